"""The warning of a rate that stands still, because its optimizer's update is traced and its step is not."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any
from warnings import warn
from weakref import WeakSet

from mlx.optimizers import Optimizer

from .tracing import is_concrete

_APPLY, _UPDATE = Optimizer.apply_gradients.__code__, Optimizer.update.__code__
_warned: WeakSet[Any] = WeakSet()


def is_frozen_by_update() -> bool:
    """Whether an optimizer's update is under way on this thread, and traced. Asked where the step is concrete.

    Warns, once for each optimizer, if the update is one of a model in a compiled function. It looks for the frames of
    MLX's own functions on the stack: nothing else says which update calls a schedule.
    """
    is_traced, optimizer = False, None
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is _APPLY:
            is_traced = not is_concrete(frame.f_locals.get("gradients"))
        # Only a compiled function fills a model with tracers. The outer of two updates is that of a ``MultiOptimizer``.
        if frame.f_code is _UPDATE and not is_concrete(frame.f_locals.get("model")):
            optimizer = frame.f_locals.get("self")
        frame = frame.f_back
    if is_traced and optimizer is not None:
        _warn_once(optimizer)
    return is_traced


def _warn_once(optimizer: Any) -> None:
    if optimizer not in _warned:
        _warned.add(optimizer)
        warn(
            f"The rate of {type(optimizer).__name__} stands still: its update is compiled, but its state, which counts "
            f"the steps, is no input of the compiled function. Write mx.compile(..., inputs=[..., optimizer.state], "
            f"outputs=[..., optimizer.state]).",
            stacklevel=2,
        )
