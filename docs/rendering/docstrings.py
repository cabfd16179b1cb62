"""Docstrings as the site needs them: formulas between dollars, examples as a section, factories of schedules."""

from __future__ import annotations

import re
from inspect import cleandoc
from typing import Any

import griffe

DISPLAYED = re.compile(r"^\.\. math::((?: .*)?(?:\n+ +\S.*)*)", re.MULTILINE)
INLINE = re.compile(r":math:`([^`]*)`")


class Docstrings(griffe.Extension):
    """What Griffe does with the objects of the package once it has read them."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """The docstring of any object."""
        if obj.docstring is not None:
            obj.docstring.value = _markdown(obj.docstring.value)

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """The result of a factory, whose decorator makes a schedule of what its code returns."""
        if any(str(decorator.value) == "factory" for decorator in func.decorators):
            func.returns = "Schedule"


def _markdown(docstring: str) -> str:
    docstring = DISPLAYED.sub(lambda formula: f"$$\n{cleandoc(formula[1])}\n$$", docstring)
    docstring = INLINE.sub(r"$\1$", docstring)
    return docstring.replace("\nExample:\n", "\nExamples:\n")
