"""Runs first-steps.ipynb and stores its results in it, or in another file: ``python docs/run_notebook.py [file]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).with_name("first-steps.ipynb")


def executed(file: Path) -> Any:
    """The notebook with the results of all cells, and without anything that differs from run to run.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell raises.
    """
    import nbclient
    import nbformat

    notebook: Any = nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]
    options: dict[str, Any] = {"kernel_name": "python3", "coalesce_streams": True, "record_timing": False}
    nbclient.NotebookClient(notebook, timeout=300, **options).execute()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for i, cell in enumerate(notebook.cells):
        cell.id = str(i)
    return notebook


if __name__ == "__main__":
    import nbformat

    target = Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK
    nbformat.write(executed(NOTEBOOK), target)  # type: ignore[no-untyped-call]
