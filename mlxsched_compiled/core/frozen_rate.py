"""The warning that a rate stands still: its optimizer's update is traced, and its step is not."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any
from warnings import warn
from weakref import WeakSet

from mlx.optimizers import MultiOptimizer, Optimizer

from .tracing import is_concrete

_UPDATES = {
    function.__code__ for function in (Optimizer.update, Optimizer.apply_gradients, MultiOptimizer.apply_gradients)
}
_warned: WeakSet[Any] = WeakSet()


def traced_update() -> Any:
    """The optimizer whose update is under way on this thread, given gradients that are tracers; None if there is none.

    It looks for the frames of MLX's own functions on the stack: nothing else says which update calls a schedule. Of two
    within each other, such as that of a ``MultiOptimizer`` and of one of its own, it is the outer one.
    """
    optimizer, gradients = None, None
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code in _UPDATES:
            optimizer, gradients = frame.f_locals["self"], frame.f_locals["gradients"]
        frame = frame.f_back
    return None if is_concrete(gradients) else optimizer


def warn_of_frozen_rate(optimizer: Any) -> None:
    """Warns, once for each optimizer."""
    if optimizer not in _warned:
        _warned.add(optimizer)
        warn(
            f"The rate of {type(optimizer).__name__} stands still: its update is compiled, but its state, which counts "
            f"the steps, is no input of the compiled function. Write mx.compile(..., inputs=[..., optimizer.state], "
            f"outputs=[..., optimizer.state]).",
            stacklevel=2,
        )
