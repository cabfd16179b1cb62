"""What is in a trace, what is a constant there, and which optimizer's update it is."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

import mlx.core as mx

from .kernels import nodes


def is_concrete(tree: Any) -> bool:
    """Whether an array, or each of a tree, has a value now, rather than stand for one inside a trace."""
    try:
        mx.eval(tree)
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

    def _body(self, tree: Any) -> list[mx.array]:
        self._runs += 1
        return []

    def runs_for(self, tree: Any) -> bool:
        before = self._runs
        self._call(tree)
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
    _, gradients = _update_at_hand()
    return _are_in_trace(gradients)


def reading_of_rate() -> tuple[mx.Dtype, bool]:
    """The type in which an update that is traced takes its rate, and whether it only corrects the bias of Adam with it.

    MLX then computes the rate and the correction in one kernel. With weight decay there is another use of the rate, and
    its kernel ends before the correction. Where nothing is traced: float32, and no.
    """
    optimizer, gradients = _update_at_hand()
    first = _first_array(gradients)
    if first is None or not _are_in_trace(gradients):
        return mx.float32, False
    return first.dtype, getattr(optimizer, "bias_correction", False) and not hasattr(optimizer, "weight_decay")


def _are_in_trace(gradients: Any) -> bool:
    # All of them, since that of what the loss does not use is 0, and in no trace. Python runs too for the first arrays
    # of a kind, under mx.grad, and where compilation is disabled.
    return _first_array(gradients) is not None and _probe.runs_for(gradients) and not is_concrete(gradients)


def _update_at_hand() -> tuple[Any, Any]:
    """The optimizer that calls its schedulers, and the gradients that it is given."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_NEAR):
        if frame is None:
            break
        if frame.f_code.co_name == "apply_gradients":
            return frame.f_locals.get("self"), frame.f_locals.get("gradients")
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
