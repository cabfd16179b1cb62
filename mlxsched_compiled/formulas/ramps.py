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

from ..core.bound import Bound, bind, composite
from ..core.checks import Count, Number
from ..core.rates import Part, Structure, constant_rate
from .powers import power_law, residue

_LEAST = 1e-30  # below any weight of a step, and above 0, whose logarithm is not finite
_NEVER = -1e30  # the logarithm of what is 0 in float32, raised to any power

Weights = Callable[..., tuple[mx.array, mx.array]]


class Ramp(Structure):
    """The rate of a ramp whose shape has these weights."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def __call__(self, step: mx.array, init: mx.array, end: mx.array, steps: mx.array, *shape: mx.array) -> mx.array:
        return self.between(*_counts(step, steps), init, end, *shape)

    def between(
        self, left: mx.array, done: mx.array, steps: mx.array, init: mx.array, end: mx.array, *shape: mx.array
    ) -> mx.array:
        """The rate with so much left and done of ``steps``."""
        remaining, gone = self.weights(left, done, steps, *shape)
        return init * remaining + end * gone


class PoweredRamp(Ramp):
    """The rate of a ramp whose shape is a power of the one with these weights."""

    def between(
        self, left: mx.array, done: mx.array, steps: mx.array, init: mx.array, end: mx.array, *shape: mx.array
    ) -> mx.array:
        power, *own = shape
        remaining, gone = self.weights(left, done, steps, *own)
        remaining = mx.maximum(remaining, _LEAST)
        # From the last step on the weights are 0 and 1 to the bit. One where around all would be too deep for a kernel.
        log = mx.where(done < left, mx.log1p(-gone), mx.where(left > 0, mx.log(remaining), _NEVER))
        return -end * mx.expm1(power * log) + mx.where(left > 0, init, 0) * mx.power(remaining, power)


class BentRamp(Structure):
    """The rate of a ramp whose progress is x^k and not x. Its parts are x^k - 1 and x^k."""

    def __init__(self, ramp: Ramp) -> None:
        self.ramp = ramp

    def __call__(self, step: mx.array, parts: list[Part], init: mx.array, end: mx.array, *shape: mx.array) -> mx.array:
        return self.ramp.between(-parts[0](step), parts[1](step), mx.array(1.0), init, end, *shape)


class BentPoweredRamp(PoweredRamp):
    """One whose progress depends on k: from a half on what is done is not asked for, and its logarithm has no slope."""

    def between(
        self, left: mx.array, done: mx.array, steps: mx.array, init: mx.array, end: mx.array, *shape: mx.array
    ) -> mx.array:
        return super().between(left, mx.minimum(done, 0.5), steps, init, end, *shape)


def _bent_line(
    step: mx.array, init: mx.array, end: mx.array, steps: mx.array, k: mx.array, residue: mx.array
) -> mx.array:
    """init · (1 - x^k) + end · x^k"""
    return end * _bent(step, steps, k, residue) - init * _less_than_all(step, steps, k)


def _less_than_all(step: mx.array, steps: mx.array, k: mx.array) -> mx.array:
    """x^k - 1"""
    left, done, steps = _counts(step, steps)
    log = mx.where(left < done, mx.log1p(left / -steps), mx.log(mx.maximum(done / steps, _LEAST)))
    return mx.expm1(_exponent(done, k) * log)


def _bent(step: mx.array, steps: mx.array, k: mx.array, residue: mx.array) -> mx.array:
    """x^k"""
    _, done, steps = _counts(step, steps)
    return power_law(mx.maximum(done / steps, _LEAST), _exponent(done, k), residue)


def _exponent(done: mx.array, k: mx.array) -> mx.array:
    """k, and at step 0 one that makes 0 of ``_LEAST`` too."""
    return mx.where(done > 0, k, -_NEVER)


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


def exponential(left: mx.array, done: mx.array, steps: mx.array, log_2: mx.array) -> tuple[mx.array, mx.array]:
    """s = 2^(1 - x) - 1, where ``log_2`` is ln 2 over the steps"""
    s = mx.where(done > 0, mx.expm1(left * log_2), 1)  # both where they are 1 to the bit
    return s, mx.where(left > 0, -2 * mx.expm1(done * -log_2), 1)


def quarter_turn(steps: Count) -> tuple[Number, ...]:
    """What ``cosine`` needs."""
    return (math.pi / 2 / steps,)


def _log_2(steps: Count) -> tuple[Number, ...]:
    return (math.log(2) / steps,)


def _nothing(steps: Count) -> tuple[Number, ...]:
    return ()


SHAPES: dict[str, tuple[Weights, Callable[[Count], tuple[Number, ...]]]] = {
    "linear": (linear, _nothing),
    "cosine": (cosine, quarter_turn),
    "sqrt": (sqrt, _nothing),
    "rex": (rex, _nothing),
    "exponential": (exponential, _log_2),
}
"""Name of a shape: its weights, and the coefficients they need for a number of steps."""


def ramp(
    init: Number, end: Number, steps: Count, shape: str = "linear", *, power: Number = 1.0, k: Number = 1.0
) -> Bound:
    """A ramp, its arguments checked before. One of no steps is at its end from the start."""
    if not isinstance(steps, mx.array) and steps == 0:
        return bind(constant_rate, end)
    powers = (power,) if isinstance(power, mx.array) or power != 1 else ()
    if not isinstance(k, mx.array) and k == 1:
        weights, coefficients = SHAPES[shape]
        along = PoweredRamp(weights) if powers else Ramp(weights)
        return bind(along, init, end, steps, *powers, *coefficients(steps))
    if shape == "sqrt":  # √(x^k) is x^(k/2), and that has a slope by k at step 0
        shape, k = "linear", k / 2
    if shape == "linear" and not powers:
        return bind(_bent_line, init, end, steps, k, residue(k))
    weights, coefficients = SHAPES[shape]
    along = BentPoweredRamp(weights) if powers else Ramp(weights)
    parts = [bind(_less_than_all, steps, k), bind(_bent, steps, k, residue(k))]
    return composite(BentRamp(along), parts, init, end, *powers, *coefficients(1))
