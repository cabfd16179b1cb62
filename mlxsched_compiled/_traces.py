"""What is in a trace, and what is a constant there."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

import mlx.core as mx


def is_concrete(array: mx.array) -> bool:
    """Whether ``array`` has a value now, rather than stand for one inside a trace."""
    try:
        mx.eval(array)
    except (ValueError, RuntimeError):
        return False
    return True


class _Probe(threading.local):
    """A compiled function that does nothing. MLX runs its Python again for what is in a trace, and mostly not else."""

    def __init__(self) -> None:
        self._runs = 0
        self._call = mx.compile(self._body, shapeless=True)

    def _body(self, array: mx.array) -> mx.array:
        self._runs += 1
        return array

    def runs_for(self, array: mx.array) -> bool:
        before = self._runs
        self._call(array)
        return self._runs != before


_probe = _Probe()


def is_traced(array: mx.array) -> bool:
    """The opposite of ``is_concrete``, which as a rule does not evaluate what is concrete."""
    # Python runs too for the first array of a kind, under mx.grad, and where compilation is disabled.
    return _probe.runs_for(array) and not is_concrete(array)


_NEAR = 6
"""Within as many frames an optimizer calls its schedulers."""


def is_frozen(step: mx.array) -> bool:
    """Whether an optimizer is at this step in a trace to which it is a constant, and so all that follows from it."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_NEAR):
        if frame is None:
            break
        if frame.f_code.co_name == "apply_gradients":
            gradient = _first_array(frame.f_locals.get("gradients"))
            return gradient is not None and is_traced(gradient) and not is_traced(step)
        frame = frame.f_back
    return False


def _first_array(tree: Any) -> mx.array | None:
    if isinstance(tree, mx.array):
        return tree
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return next((array for child in children if (array := _first_array(child)) is not None), None)


def is_look(error: BaseException) -> bool:
    """Whether MLX says that something looked at the value of an array in a trace, which has none."""
    return "function transformations" in str(error)
