r"""Ramps: from ``init`` to ``end`` in a number of steps, along a shape.

.. math:: \eta(t) = \mathrm{init} \cdot s(x) + \mathrm{end} \cdot (1 - s(x)), \qquad x = \min(t / \mathrm{steps}, 1)

A shape gives both weights, s and 1 - s, each computed without cancellation from the whole numbers of steps left and
done. So they are exactly 1 and 0 at step 0, exactly 0 and 1 from the last step on, and right to a few ulps wherever
one of them is tiny.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import mlx.core as mx

from ._bound import Bound, bind
from ._checks import Count, Number
from ._rates import Structure, constant_rate

_LEAST = 1e-30  # below any weight of a step, and above 0, whose logarithm is not finite
_NEVER = -1e30  # the logarithm of what is 0 in float32, raised to any power

Weights = Callable[..., tuple[mx.array, mx.array]]


class Ramp(Structure):
    """The rate of a ramp whose shape has these weights."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def __call__(self, step: mx.array, init: mx.array, end: mx.array, steps: mx.array, *shape: mx.array) -> mx.array:
        remaining, gone = self.weights(*_counts(step, steps), *shape)
        return init * remaining + end * gone


class PoweredRamp(Structure):
    """The rate of a ramp whose shape is a power of the one with these weights."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def __call__(
        self, step: mx.array, init: mx.array, end: mx.array, steps: mx.array, power: mx.array, *shape: mx.array
    ) -> mx.array:
        left, done, steps = _counts(step, steps)
        remaining, gone = self.weights(left, done, steps, *shape)
        remaining = mx.maximum(remaining, _LEAST)
        # From the last step on the weights are 0 and 1 to the bit. One where around all would be too deep for a kernel.
        log = mx.where(done < left, mx.log1p(-gone), mx.where(left > 0, mx.log(remaining), _NEVER))
        return -end * mx.expm1(power * log) + mx.where(left > 0, init, 0) * mx.power(remaining, power)


def _counts(step: mx.array, steps: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """The steps left, done and in all, in float32 only after the difference."""
    done = mx.minimum(step, steps)
    left = steps - done
    return left.astype(mx.float32), done.astype(mx.float32), steps.astype(mx.float32)


def linear(left: mx.array, done: mx.array, steps: mx.array) -> tuple[mx.array, mx.array]:
    """s = 1 - x"""
    return left / steps, done / steps


def cosine(left: mx.array, done: mx.array, steps: mx.array, quarter_turn: mx.array) -> tuple[mx.array, mx.array]:
    """s = (1 + cos πx) / 2 = sin²(π/2 · (1 - x)), where ``quarter_turn`` is π/2 over the steps"""
    return mx.square(mx.sin(left * quarter_turn)), mx.square(mx.sin(done * quarter_turn))


def sqrt(left: mx.array, done: mx.array, steps: mx.array) -> tuple[mx.array, mx.array]:
    """s = 1 - √x = (1 - x) / (1 + √x)"""
    root = mx.sqrt(done / steps)
    return left / steps / (1 + root), root


def rex(left: mx.array, done: mx.array, steps: mx.array) -> tuple[mx.array, mx.array]:
    """s = (1 - x) / (1 - x/2)"""
    both = left + steps
    return 2 * left / both, done / both


def quarter_turn(steps: Count) -> tuple[Number, ...]:
    """What ``cosine`` needs."""
    return (math.pi / 2 / steps,)


def _nothing(steps: Count) -> tuple[Number, ...]:
    return ()


SHAPES: dict[str, tuple[Weights, Callable[[Count], tuple[Number, ...]]]] = {
    "linear": (linear, _nothing),
    "cosine": (cosine, quarter_turn),
    "sqrt": (sqrt, _nothing),
    "rex": (rex, _nothing),
}
"""Name of a shape: its weights, and the coefficients they need for a number of steps."""


def ramp(init: Number, end: Number, steps: Count, shape: str = "linear", *, power: Number = 1.0) -> Bound:
    """A ramp, its arguments checked before. One of no steps is at its end from the start."""
    if not isinstance(steps, mx.array) and steps == 0:
        return bind(constant_rate, end)
    weights, coefficients = SHAPES[shape]
    if isinstance(power, mx.array) or power != 1:
        return bind(PoweredRamp(weights), init, end, steps, power, *coefficients(steps))
    return bind(Ramp(weights), init, end, steps, *coefficients(steps))
