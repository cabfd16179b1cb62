"""A rate function with its coefficients: what a factory returns, what a combinator takes, and what ``Schedule`` is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import mlx.core as mx

from .checks import Count, Number, finite
from .graph import applied
from .rates import Composite, Function, Part, RateFunction, Types, constant_rate, types_of

Coefficient = float | int | mx.array
Operand: TypeAlias = "Bound | Callable[[mx.array], Any] | Number"
"""What stands for a schedule: one, a plain function of the step that MLX can trace, a number."""


class Bound:
    """A rate function and its coefficients.

    Args:
        structure: The rate function.
        coefficients: What it is called with after the step. A float becomes a float32 array, an int a uint64 one.
        functions: Those that somebody else wrote and ``structure`` calls, which it does not keep alive.
    """

    __slots__ = ("_functions", "_live", "_observed", "_state", "_structure")

    def __init__(
        self, structure: RateFunction, coefficients: Sequence[Coefficient], functions: Sequence[Callable[..., Any]] = ()
    ) -> None:
        self._structure = structure
        self._state = [_array(c) for c in coefficients]
        self._functions = tuple(functions)
        self._live = 0
        """How many coefficients, the first ones, metrics change..."""
        self._observed: Callable[..., Sequence[mx.array]] | None = None
        """...and what ``observed(metric, *coefficients)`` makes of those."""

    @property
    def structure(self) -> RateFunction:
        """What is compiled: equal for schedules that share a graph."""
        return self._structure

    @property
    def _types(self) -> Types:
        """Shape and type of each coefficient."""
        return types_of(self._state)

    @property
    def state(self) -> list[mx.array]:
        """The coefficients, as a list that ``mx.compile(..., inputs=[..., schedule.state])`` can capture.

        Captured, they can change while the step stays compiled. Not captured, they are constants of the step.
        """
        return self._state


def bind(structure: RateFunction, *coefficients: Coefficient) -> Bound:
    """A rate function of this package and its coefficients."""
    return Bound(structure, coefficients)


def composite(combine: Callable[..., mx.array], parts: Sequence[Bound], *coefficients: Coefficient) -> Bound:
    """Made of others: ``combine(step, parts, *coefficients)``, each part a function of the step."""
    structure = Composite(
        combine, len(coefficients), [part.structure for part in parts], [len(part.state) for part in parts]
    )
    return Bound(
        structure,
        [*coefficients, *(c for part in parts for c in part.state)],
        [f for part in parts for f in part._functions],
    )


def as_bound(name: str, value: Operand) -> Bound:
    """Any of the things that stand for a schedule."""
    if isinstance(value, Bound):
        return value
    if callable(value):
        return Bound(Function(value), [], [value])
    return bind(constant_rate, finite(name, value))


def clipped(part: Bound, low: Number, high: Number) -> Bound:
    """No lower than ``low`` and no higher than ``high``, of which any may be infinite."""
    return composite(_within, [part], low, high)


def _within(step: mx.array, parts: list[Part], low: mx.array, high: mx.array) -> mx.array:
    return mx.minimum(mx.maximum(parts[0](step), low), high)


def rate_at(part: Bound, step: Count) -> mx.array:
    """One rate, as a coefficient of another; not compiled."""
    return applied(part.structure, mx.array(step, mx.uint64), *part.state)


def _array(value: Coefficient) -> mx.array:
    if isinstance(value, mx.array):
        return value
    if isinstance(value, float):
        return mx.array(value, mx.float32)
    if value < 2**63:
        return mx.array(value, mx.uint64)
    return mx.array(value - 2**64, mx.int64).view(mx.uint64)
