"""Notebooks are pages of the site, with the results that are stored in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Called by MkDocs with all files below ``docs``."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(file)
        files.append(Notebook(file.src_uri, file.src_dir, file.dest_dir, config.use_directory_urls))


class Notebook(File):
    """A notebook in place of a page in Markdown."""

    def is_documentation_page(self) -> bool:
        """True: it gets an address and a place in the navigation."""
        return True

    @property
    def content_string(self) -> str:
        """The notebook as Markdown."""
        cells = json.loads(self.content_bytes)["cells"]
        return "\n\n".join(part for cell in cells for part in _parts(cell))

    @content_string.setter
    def content_string(self, value: str) -> None:
        raise AttributeError("A notebook is read from its file.")


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
    elif cell["cell_type"] == "code":
        yield _block("python", source)
        yield from (_result(output) for output in cell["outputs"])


def _result(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return _block("text", "".join(output["text"]))
    data = output["data"]
    if "text/html" in data:
        return f'<div class="result">{_without_blank_lines("".join(data["text/html"]))}</div>'
    if "image/png" in data:
        return f"![A picture](data:image/png;base64,{data['image/png'].strip()})"
    return _block("text", "".join(data["text/plain"]))


def _block(language: str, text: str) -> str:
    return f"````{language}\n{text}\n````"


def _without_blank_lines(html: str) -> str:
    # Markdown would take what follows a blank line for text.
    return "\n".join(line for line in html.splitlines() if line.strip())
