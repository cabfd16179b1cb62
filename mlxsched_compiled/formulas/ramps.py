r"""Ramps: from ``init`` to ``end`` in a number of steps, along a shape.

.. math:: \eta(t) = \mathrm{init} \cdot s(x) + \mathrm{end} \cdot (1 - s(x)), \qquad x = \min(t / \mathrm{steps}, 1)

A shape gives both weights, s and 1 - s, each computed without cancellation from the whole numbers of steps left and
done. So they are exactly 1 and 0 at step 0, exactly 0 and 1 from the last step on, and right to a few ulps wherever
one of them is tiny.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import mlx.core as mx

from ..core.checks import Count, Number
from ..core.node import Node, ParametricRate, Rate, fusion_barrier
from .powers import power_law, residue

_LEAST = 1e-30  # in place of 0, whose logarithm is not finite; below the weight of any step
_ENDLESS = 1e30  # an exponent that makes 0 of anything below 1

Weights = Callable[..., tuple[mx.array, mx.array]]
"""``weights(left, done, steps, *own)``, the three in float32: s and 1 - s."""


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
    both = steps + steps - done
    return 2 * left / both, done / both


def exponential(left: mx.array, done: mx.array, steps: mx.array, log_2: mx.array) -> tuple[mx.array, mx.array]:
    """s = 2^(1 - x) - 1, where ``log_2`` is ln 2 over the steps"""
    # At the first and the last step, where one of them is 1, expm1 may be an ulp off.
    s = mx.where(done > 0, mx.expm1(mx.minimum(left, steps) * log_2), 1)
    return s, mx.where(done < steps, -2 * mx.expm1(done * -log_2), 1)


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
"""Name of a shape: its weights, and what they need besides for a number of steps."""


def ramp(
    init: Number, end: Number, steps: Count, shape: str = "linear", *, power: Number = 1.0, k: Number = 1.0
) -> Node:
    """A ramp, its arguments checked before. One of no steps is at its end from the start."""
    if not isinstance(steps, mx.array) and steps == 0:
        init, steps = end, 1
    powers = (power,) if isinstance(power, mx.array) or power != 1 else ()
    if not isinstance(k, mx.array) and k == 1:
        weights, own = SHAPES[shape]
        along: Rate = PoweredRamp(weights) if powers else Ramp(weights)
        return Node(along, init, end, steps, *powers, *own(steps))
    if shape == "sqrt":  # √(x^k) is x^(k/2), whose gradient by k is finite at step 0
        shape, k = "linear", k / 2
    weights, own = SHAPES[shape]
    along = BentPoweredRamp(weights) if powers else BentRamp(weights)
    return Node(along, init, end, steps, k, residue(k), *powers, *own(1))


class Counts(NamedTuple):
    """Steps in float32, converted only after the difference."""

    before: mx.array
    """Whether the last step is still to come."""
    left: mx.array
    """Steps left; after the last step, wrapped around and so without meaning."""
    done: mx.array
    """Steps done, at most ``steps``."""
    steps: mx.array
    """Steps in all."""

    @classmethod
    def at(cls, step: mx.array, steps: mx.array) -> Counts:
        """Those at ``step``."""
        left, done = steps - step, mx.minimum(step, steps)
        return cls(step < steps, left.astype(mx.float32), done.astype(mx.float32), steps.astype(mx.float32))


class Ramp(ParametricRate):
    """The rate of a ramp whose shape has these weights."""

    weights: Weights

    def __call__(self, step: mx.array, init: mx.array, end: mx.array, steps: mx.array, *own: mx.array) -> mx.array:
        """init · s + end · (1 - s)"""
        before, left, done, steps = Counts.at(step, steps)
        remaining, gone = self.weights(left, done, steps, *own)
        # The shallow operand last, and `where` around init rather than around s: else a warmup of it is too deep.
        return end * gone + remaining * mx.where(before, init, 0)

    def weights_at(self, step: mx.array, steps: mx.array, *own: mx.array) -> tuple[mx.array, mx.array]:
        """s and 1 - s"""
        before, left, done, steps = Counts.at(step, steps)
        remaining, gone = self.weights(left, done, steps, *own)
        return mx.where(before, remaining, 0), gone


class PoweredRamp(ParametricRate):
    """The rate of a ramp whose shape is a power of the one with these weights."""

    weights: Weights

    def __call__(
        self, step: mx.array, init: mx.array, end: mx.array, steps: mx.array, power: mx.array, *own: mx.array
    ) -> mx.array:
        """init · s^power + end · (1 - s^power)"""
        before, left, done, all_steps = Counts.at(step, steps)
        remaining, gone = self.weights(left, done, all_steps, *own)
        return _powered(before, step + step >= steps, remaining, gone, init, end, power)


def _powered(
    before: mx.array,
    is_late: mx.array,
    remaining: mx.array,
    gone: mx.array,
    init: mx.array,
    end: mx.array,
    power: mx.array,
) -> mx.array:
    """init · s^power + end · (1 - s^power), with s and 1 - s before the last step"""
    remaining = mx.where(before, remaining, _LEAST)
    log = mx.where(is_late, mx.log(remaining), mx.log1p(-gone))
    gone = -end * mx.expm1(mx.where(before, power, _ENDLESS) * log)
    return gone + mx.power(remaining, power) * mx.where(before, init, 0)


class BentRamp(ParametricRate):
    """The rate of a ramp whose progress is time-warped: x^k in place of x."""

    weights: Weights

    def __call__(self, step: mx.array, init: mx.array, end: mx.array, steps: mx.array, *own: mx.array) -> mx.array:
        """init · s + end · (1 - s), with s of x^k"""
        remaining, gone = self.weights_at(step, steps, *own)
        return end * gone + remaining * init

    def weights_at(
        self, step: mx.array, steps: mx.array, k: mx.array, residue: mx.array, *own: mx.array
    ) -> tuple[mx.array, mx.array]:
        """s and 1 - s"""
        if self.weights is linear:
            return _unbent(step, steps, k), _bent(step, steps, k, residue)
        return self.weights(*_bent_apart(step, steps, k, residue), mx.array(1.0), *own)


class BentPoweredRamp(ParametricRate):
    """The same, with a shape that is a power of the one with these weights."""

    weights: Weights

    def __call__(
        self,
        step: mx.array,
        init: mx.array,
        end: mx.array,
        steps: mx.array,
        k: mx.array,
        residue: mx.array,
        power: mx.array,
        *own: mx.array,
    ) -> mx.array:
        """init · s^power + end · (1 - s^power), with s of x^k"""
        left, done = _bent_apart(step, steps, k, residue)
        # Above a half ``_powered`` does not use what is done. Up to 1, log1p(-done) would have an infinite gradient.
        remaining, gone = self.weights(left, mx.minimum(done, 0.5), mx.array(1.0), *own)
        return _powered(step < steps, left <= done, remaining, gone, init, end, power)


def _bent_apart(step: mx.array, steps: mx.array, k: mx.array, residue: mx.array) -> tuple[mx.array, mx.array]:
    """1 - x^k and x^k, each between fusion barriers, so that neither kernel computes what is in the other"""
    unbent = _unbent(fusion_barrier(step), fusion_barrier(steps), k)
    return fusion_barrier(unbent), fusion_barrier(_bent(step, steps, k, residue))


def _unbent(step: mx.array, steps: mx.array, k: mx.array) -> mx.array:
    """1 - x^k"""
    before, left, done, steps = Counts.at(step, steps)
    left = mx.where(before, left, 0)
    log = mx.where(left < done, mx.log1p(left / -steps), mx.log(mx.maximum(done / steps, _LEAST)))
    return -mx.expm1(_exponent(done, k) * log)


def _bent(step: mx.array, steps: mx.array, k: mx.array, residue: mx.array) -> mx.array:
    """x^k"""
    _, _, done, steps = Counts.at(step, steps)
    return power_law(mx.maximum(done / steps, _LEAST), _exponent(done, k), residue)


def _exponent(done: mx.array, k: mx.array) -> mx.array:
    """k, but at step 0 an exponent with which ``_LEAST`` becomes 0"""
    return mx.where(done > 0, k, _ENDLESS)
