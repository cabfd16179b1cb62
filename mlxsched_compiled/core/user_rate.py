"""Rates that a user wrote."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import mlx.core as mx

from .runtime_inputs import runtime_inputs
from .tracing import is_concrete, looks_at_a_value


class UserRate:
    """A user's function of the step and hyperparameters. Equal to another if that has the very same function.

    Args:
        function: The function.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UserRate):
            return False
        if isinstance(self.function, MethodType):  # made anew each time that it is read from its object
            return self.function == other.function
        return self.function is other.function

    def __hash__(self) -> int:
        return hash(self.function) if isinstance(self.function, MethodType) else object.__hash__(self.function)

    def __repr__(self) -> str:
        return getattr(self.function, "__qualname__", None) or repr(self.function)

    def __call__(self, step: mx.array, *hyperparameters: mx.array) -> mx.array:
        """The rate, float32."""
        try:
            value = self.function(step, *hyperparameters)
        except (ValueError, TypeError) as error:
            if not looks_at_a_value(error):
                raise
            what = self._looked_at(hyperparameters)
            raise TypeError(
                f"{self} cannot be traced by MLX: a rate may not look at the value of {what} (.item(), float(...), "
                f"if ... < n). Write mx.where for if. tabulate(function, steps) takes any function of an int."
            ) from error
        if isinstance(value, mx.array):
            if not _fits(value, step, *hyperparameters):
                raise ValueError(f"{self} returned shape {value.shape} for steps of shape {step.shape}.")
            return value.astype(mx.float32)
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise TypeError(f"{self} must return a number or an mx.array, but returned {value!r:.200}.")
        number = mx.array(float(value), mx.float32)
        return number if is_concrete(step) else runtime_inputs([number])[0]

    def _looked_at(self, hyperparameters: tuple[mx.array, ...]) -> str:
        """What the function asks the value of. Tried again with a concrete step, it can only be a hyperparameter."""
        try:
            self.function(mx.array(0, mx.uint64), *hyperparameters)
        except Exception as error:
            return "a hyperparameter" if hyperparameters and looks_at_a_value(error) else "the step"
        return "the step"


def _fits(value: mx.array, *arguments: mx.array) -> bool:
    """Whether ``value`` has a shape that elementwise operations on the arguments can have."""
    shapes = [argument.shape for argument in arguments]
    try:
        return mx.broadcast_shapes(value.shape, *shapes) == mx.broadcast_shapes(*shapes)
    except ValueError:  # not elementwise: left to whoever uses the value
        return True
