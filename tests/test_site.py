"""The site: it builds without a warning, loads nothing from elsewhere, and shows the docstrings with their formulas."""

from __future__ import annotations

import html
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mlxsched_compiled

ROOT = Path(__file__).parents[1]


def _build(config: Path, site: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--config-file",
        str(config),
        "--site-dir",
        str(site),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr


@pytest.fixture(scope="module", name="site")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    _build(ROOT / "mkdocs.yml", site)
    return site


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]*)"|<link\b[^>]*\bhref="([^"]*)"|url\(["']?([^"')]+)"""
    pages = [*site.glob("**/*.html"), *site.glob("**/*.css")]
    addresses = ["".join(address) for page in pages for address in re.findall(loaded, page.read_text())]
    assert addresses
    assert [address for address in addresses if re.match(r"(https?:)?//", address)] == []


def test_formulas_are_drawn(site: Path) -> None:
    page = (site / "api.html").read_text()
    docstrings = [inspect.getdoc(getattr(mlxsched_compiled, name)) or "" for name in mlxsched_compiled.__all__]
    displayed = sum(docstring.count(".. math::") for docstring in docstrings)
    assert displayed > 0
    assert page.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">') >= displayed
    assert not re.search(r"math::|:math:|\$\$|arithmatex|\\\w", html.unescape(page))


def test_factories_return_schedules(site: Path) -> None:
    assert "Node" not in (site / "api.html").read_text()


def test_a_notebook_is_a_page_with_its_results(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# First\n", "\n", "See [this](second.ipynb)."]},
        {
            "cell_type": "code",
            "source": ["print(1)\n", "schedule"],
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["1\n"]},
                {"output_type": "display_data", "data": {"image/png": "iVBORw0=\n", "text/plain": ["<Figure>"]}},
                {"output_type": "execute_result", "data": {"text/html": ["<svg>\n\n</svg>"], "text/plain": ["s"]}},
                {"output_type": "execute_result", "data": {"text/plain": ["array(2 < 3)"]}},
            ],
        },
    ]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "docs" / "second.ipynb").write_text(json.dumps({"cells": [{"cell_type": "raw", "source": []}]}))
    config = {
        "site_name": "notebooks",
        "hooks": [str(ROOT / "docs" / "rendering" / "notebooks.py")],
        "markdown_extensions": ["fenced_code"],
        "use_directory_urls": False,
    }
    (tmp_path / "mkdocs.yml").write_text(json.dumps(config))
    _build(tmp_path / "mkdocs.yml", tmp_path / "site")
    page = html.unescape((tmp_path / "site" / "index.html").read_text())
    for part in ["First</h1>", 'href="second.html"', "print(1)\nschedule", ">1\n", "<svg>\n</svg>", "array(2 < 3)"]:
        assert part in page
    assert 'src="data:image/png;base64,iVBORw0="' in page
    assert "<Figure>" not in page
