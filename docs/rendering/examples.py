"""Examples of a session are marked as such, so that what is copied from them is what to type."""

from __future__ import annotations

from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of each page."""
    return markdown.replace("```python\n>>> ", "```pycon\n>>> ")
