"""Rates that are not a family of their own: rates made of rates, a user's function, a constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from .graph import Rate

Part = Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class Composite:
    """``combine(step, parts, *own)``: the first ``own`` coefficients are its own, the rest go to the parts in order."""

    combine: Callable[..., mx.array]
    own: int
    parts: tuple[tuple[Rate, int], ...]

    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        own, theirs = coefficients[: self.own], coefficients[self.own :]
        parts: list[Part] = []
        for rate, size in self.parts:
            parts.append(_bound(rate, theirs[:size]))
            theirs = theirs[size:]
        return self.combine(step, parts, *own)


def _bound(rate: Rate, coefficients: tuple[mx.array, ...]) -> Part:
    return lambda step: rate(step, *coefficients)


def multiply(step: mx.array, parts: list[Part]) -> mx.array:
    """a · b"""
    return parts[0](step) * parts[1](step)


def add(step: mx.array, parts: list[Part]) -> mx.array:
    """a + b"""
    return parts[0](step) + parts[1](step)


def constant_rate(step: mx.array, value: mx.array) -> mx.array:
    """value"""
    return value


class Function:
    """A function that somebody else wrote, equal to itself alone."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Function) and other.function is self.function

    def __hash__(self) -> int:
        return id(self.function)

    def __repr__(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))

    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        try:
            value = self.function(step, *coefficients)
        except Exception as error:
            raise TypeError(
                f"{self} cannot be traced by MLX: it raised {type(error).__name__}: {error}. A rate may not look at "
                f"the value of the step (.item(), if step < n); tabulate(function, steps) takes any function of an int."
            ) from error
        if isinstance(value, mx.array):
            return value.astype(mx.float32)
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise TypeError(f"{self} must return a number or an mx.array, but returned {value!r}.")
        # Two lanes of which one is used: a number in the graph would be part of the kernel's text, in 7 digits.
        return mx.array([float(value)] * 2, mx.float32)[0]
