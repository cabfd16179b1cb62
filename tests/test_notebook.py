"""The notebook in docs/: it runs, and gives the results that are stored in it."""

from __future__ import annotations

from typing import Any

import pytest

from .test_docs import DOCS, script


@pytest.mark.filterwarnings("default")  # of the kernel and its client
def test_the_notebook_has_the_results_of_its_cells() -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    nbformat: Any = pytest.importorskip("nbformat")
    module = script("run_notebook")
    stored = nbformat.read(module.NOTEBOOK, as_version=4)
    assert module.NOTEBOOK == DOCS / "first-steps.ipynb"
    assert _results(module.executed(module.NOTEBOOK)) == _results(stored)
    pictures = [
        output for cell in stored.cells for output in cell.get("outputs", []) if "text/html" in output.get("data", {})
    ]
    assert len(pictures) == 4


def _results(notebook: Any) -> list[list[str]]:
    """What each cell prints and shows, in text."""
    return [
        [
            output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]
            for output in cell.outputs
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
