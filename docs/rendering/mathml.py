"""Formulas of the site become MathML, which browsers draw by themselves: nothing is loaded from elsewhere."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\(?P<bracket>[(\[])(?P<latex>.*?)\\[)\]]</\1>',
    re.DOTALL,
)


def on_page_content(content: str, **_: Any) -> str:
    """Called by MkDocs with the HTML of each page."""
    return FORMULA.sub(_to_mathml, content)


def _to_mathml(formula: re.Match[str]) -> str:
    # A name is one word: as \mathrm, each of its letters would be a variable.
    latex = html.unescape(formula["latex"]).replace(r"\mathrm", r"\text").replace(r"\_", "_")
    if formula["bracket"] == "(":
        return convert(latex)
    return f'<div class="formula">{convert(latex, display="block")}</div>'
