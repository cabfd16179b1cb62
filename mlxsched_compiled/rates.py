"""Rates that are not a family of their own: rates made of rates, somebody else's function, a constant."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from .graph import Rate, Structure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Part = Callable[[mx.array], mx.array]
"""A part of a composite rate, its coefficients bound: a function of the step."""


class Composite(Structure):
    """``combine(step, parts, *own)``, where each part is a rate.

    The first ``own`` coefficients are its own; the rest go to the ``parts`` in order, to each as many as its ``sizes``
    say. A part that is ``apart`` is a kernel of its own.
    """

    def __init__(
        self,
        combine: Callable[..., mx.array],
        own: int,
        parts: tuple[Rate, ...],
        sizes: tuple[int, ...],
        apart: tuple[bool, ...],
    ) -> None:
        self.combine = combine
        self.own = own
        self.parts = parts
        self.sizes = sizes
        self.apart = apart

    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        own, theirs = coefficients[: self.own], coefficients[self.own :]
        bound: list[Part] = []
        for rate, size, apart in zip(self.parts, self.sizes, self.apart, strict=True):
            bound.append(_bound(rate, theirs[:size], apart))
            theirs = theirs[size:]
        return self.combine(step, bound, *own)


def _bound(rate: Rate, coefficients: tuple[mx.array, ...], apart: bool) -> Part:
    if apart:
        return lambda step: own_kernel(rate(step, *coefficients))
    return lambda step: rate(step, *coefficients)


def own_kernel(rate: mx.array) -> mx.array:
    """``rate`` behind a view, which MLX does not fuse across."""
    return mx.squeeze(mx.expand_dims(rate, 0), 0)


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
                f"{self} cannot be traced by MLX: it raised {type(error).__name__} ({error}). A rate may not look at "
                f"the value of the step (.item(), if step < n); tabulate(function, steps) takes any function of an int."
            ) from error
        if isinstance(value, mx.array):
            if not _fits(value, step, *coefficients):
                raise ValueError(f"{self} returned shape {value.shape} for steps of shape {step.shape}.")
            return value.astype(mx.float32)
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise TypeError(f"{self} must return a number or an mx.array, but returned {value!r}.")
        # Two lanes of which one is used: a number in the graph would be part of the kernel's text, in 7 digits.
        return mx.array([float(value)] * 2, mx.float32)[..., 0]


def _fits(value: mx.array, *arguments: mx.array) -> bool:
    """Whether ``value`` has a shape that elementwise operations on the arguments can have."""
    shapes = [argument.shape for argument in arguments]
    try:
        return mx.broadcast_shapes(value.shape, *shapes) == mx.broadcast_shapes(*shapes)
    except ValueError:  # not elementwise: left to whoever uses the value
        return True
