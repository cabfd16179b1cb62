"""What is in a trace, what is a constant there, and which optimizer's update it is."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

import mlx.core as mx

from ._kernels import nodes


def is_concrete(array: mx.array) -> bool:
    """Whether ``array`` has a value now, rather than stand for one inside a trace."""
    try:
        mx.eval(array)
    except (ValueError, RuntimeError):
        return False
    return True


class _Probe(threading.local):
    """A compiled function that does nothing. MLX runs its Python again for what is in a trace, and mostly not else.

    Not for all of that: what a gradient within the trace was taken of does not count any more. It is a hint, which
    spares an eager loop from evaluating its gradients to find out.
    """

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


def is_shapeless() -> bool:
    """Whether this is in a trace of ``mx.compile(..., shapeless=True)``, which takes no slices.

    MLX does not say. But only there it puts broadcasts into the sum of two arrays of one shape.
    """
    pair = mx.array([0.0, 0.0])
    return nodes(pair + pair) != ["Add"]


_NEAR = 6
"""Within as many frames an optimizer calls its schedulers."""


def is_update_traced() -> bool:
    """Whether an optimizer that calls its schedulers is given gradients that are in a trace. Evaluates nothing else."""
    _, gradient = _update_at_hand()
    # Python runs too for the first array of a kind, under mx.grad, and where compilation is disabled.
    return gradient is not None and _probe.runs_for(gradient) and not is_concrete(gradient)


def corrected_type() -> mx.Dtype | None:
    """The type in which an update corrects the bias of Adam, if it is traced and has no other use for its rate.

    MLX then computes the rate and the correction in one kernel. (With weight decay, it ends one before the correction.)
    """
    optimizer, gradient = _update_at_hand()
    corrects = getattr(optimizer, "bias_correction", False) and not hasattr(optimizer, "weight_decay")
    return gradient.dtype if corrects and gradient is not None and not is_concrete(gradient) else None


def _update_at_hand() -> tuple[Any, mx.array | None]:
    """The optimizer that calls its schedulers, and a gradient that it is given."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_NEAR):
        if frame is None:
            break
        if frame.f_code.co_name == "apply_gradients":
            return frame.f_locals.get("self"), _first_array(frame.f_locals.get("gradients"))
        frame = frame.f_back
    return None, None


def _first_array(tree: Any) -> mx.array | None:
    if isinstance(tree, mx.array):
        return tree
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return next((array for child in children if (array := _first_array(child)) is not None), None)


def is_look(error: BaseException) -> bool:
    """Whether MLX says that something looked at the value of an array in a trace, which has none."""
    return "function transformations" in str(error)
