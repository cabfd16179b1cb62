"""Rate functions: pure functions ``rate(step, *coefficients)`` that are equal when they compute the same.

One is a plain function of a module, or a ``Structure``: an object with parameters that decide what is computed
(never the numbers it is computed with; those are coefficients).
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import mlx.core as mx

from .data import as_data
from .traces import is_concrete, is_look

RateFunction = Callable[..., mx.array]
Part = Callable[[mx.array], mx.array]
"""A part of a composite rate, its coefficients bound: a function of the step."""
Types = tuple[tuple[tuple[int, ...], mx.Dtype], ...]
"""Shape and type of each coefficient."""


def types_of(coefficients: Sequence[mx.array]) -> Types:
    """Those of some coefficients."""
    return tuple((coefficient.shape, coefficient.dtype) for coefficient in coefficients)


class Structure:
    """A rate function with parameters: equal to another of its class whose attributes are equal."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))


class Compound(Structure, ABC):
    """A rate function made of others, its parts."""

    @property
    @abstractmethod
    def parts(self) -> tuple[RateFunction, ...]:
        """The others."""

    @abstractmethod
    def part_types(self, types: Types) -> list[Types]:
        """Where its own coefficients have these ``types``, those that each part gets."""

    @abstractmethod
    def with_parts(self, parts: Sequence[RateFunction]) -> Compound:
        """The same, made of ``parts``."""

    @abstractmethod
    def with_apart(self, index: int) -> Compound:
        """The same, with the part at ``index`` in another kernel than what comes before."""

    @abstractmethod
    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        """The rate."""


class Composite(Compound):
    """``combine(step, parts, *own)``, where each part is a rate.

    The first ``own`` coefficients are its own; the rest go to the ``parts`` in order, to each as many as its ``sizes``
    say. A part that is ``apart`` is a kernel of its own.
    """

    def __init__(
        self,
        combine: Callable[..., mx.array],
        own: int,
        parts: Sequence[RateFunction],
        sizes: Sequence[int],
        apart: Sequence[bool] | None = None,
    ) -> None:
        self.combine = combine
        self.own = own
        self._parts = tuple(parts)
        self.sizes = tuple(sizes)
        self.apart = (False,) * len(self.sizes) if apart is None else tuple(apart)

    @property
    def parts(self) -> tuple[RateFunction, ...]:
        return self._parts

    def part_types(self, types: Types) -> list[Types]:
        return list(self._shares(types))

    def with_parts(self, parts: Sequence[RateFunction]) -> Composite:
        return Composite(self.combine, self.own, parts, self.sizes, self.apart)

    def with_apart(self, index: int) -> Composite:
        apart = [a or i == index for i, a in enumerate(self.apart)]
        return Composite(self.combine, self.own, self._parts, self.sizes, apart)

    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        shares = self._shares(coefficients)
        parts = [_part(*each) for each in zip(self._parts, shares, self.apart, strict=True)]
        return self.combine(step, parts, *coefficients[: self.own])

    def _shares(self, coefficients: Sequence[Any]) -> list[Any]:
        shares, at = [], self.own
        for size in self.sizes:
            shares.append(coefficients[at : at + size])
            at += size
        return shares


def _part(rate: RateFunction, coefficients: Sequence[mx.array], apart: bool) -> Part:
    if apart:
        return lambda step: own_kernel(rate(step, *coefficients))
    return lambda step: rate(step, *coefficients)


def own_kernel(array: mx.array, axes: int = 1) -> mx.array:
    """``array`` behind a view, which MLX does not fuse across.

    Views by way of as many ``axes`` are equal, and MLX computes what follows them once; by way of others they are not.
    """
    added = [*range(axes)]
    return mx.squeeze(mx.expand_dims(array, added), added)


def constant_rate(step: mx.array, value: mx.array) -> mx.array:
    """value"""
    return value


class Function:
    """A function that somebody else wrote, equal to itself alone.

    It does not keep the function alive, so that what is remembered by rate does not: schedules do. Two methods of one
    object that are the same function are the same.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        owner: Any = function
        self.method: Callable[..., Any] | None = None
        if isinstance(function, MethodType):
            owner, self.method = function.__self__, function.__func__
        try:
            self.owner: Callable[[], Any] = weakref.ref(owner)
        except TypeError:  # cannot be weakly referenced
            self.owner = lambda: owner
        self.name: str = getattr(function, "__qualname__", None) or repr(function)
        self._key = (id(owner), self.method)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Function) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return self.name

    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        owner = self.owner()
        function = owner if self.method is None else MethodType(self.method, owner)
        try:
            value = function(step, *coefficients)
        except ValueError as error:
            if not is_look(error):
                raise
            raise TypeError(
                f"{self} cannot be traced by MLX: a rate may not look at the value of the step (.item(), float(step), "
                f"if step < n). tabulate(function, steps) takes any function of an int."
            ) from error
        if isinstance(value, mx.array):
            if not _fits(value, step, *coefficients):
                raise ValueError(f"{self} returned shape {value.shape} for steps of shape {step.shape}.")
            return value.astype(mx.float32)
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise TypeError(f"{self} must return a number or an mx.array, but returned {value!r}.")
        number = mx.array(float(value), mx.float32)
        return number if is_concrete(step) else as_data([number])[0]


def functions_in(rate: RateFunction) -> list[Function]:
    """Those that somebody else wrote."""
    if isinstance(rate, Function):
        return [rate]
    if isinstance(rate, Compound):
        return [function for part in rate.parts for function in functions_in(part)]
    return []


def fitted(rate: RateFunction, step: mx.array, *coefficients: mx.array) -> mx.array:
    """The rate, as float32 of the step's shape."""
    value = rate(step, *coefficients)
    if value.shape != step.shape:
        try:
            value = mx.broadcast_to(value, step.shape)
        except ValueError:
            raise ValueError(f"{rate} returned shape {value.shape} for steps of shape {step.shape}") from None
    return value.astype(mx.float32)


def _fits(value: mx.array, *arguments: mx.array) -> bool:
    """Whether ``value`` has a shape that elementwise operations on the arguments can have."""
    shapes = [argument.shape for argument in arguments]
    try:
        return mx.broadcast_shapes(value.shape, *shapes) == mx.broadcast_shapes(*shapes)
    except ValueError:  # not elementwise: left to whoever uses the value
        return True
