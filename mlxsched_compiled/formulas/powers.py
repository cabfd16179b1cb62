r"""Powers of the step, and a base raised to the step, right to the last bits at any step.

In float32 the base itself is rounded, and raising it to the step multiplies that error by the step. Here the
step meets a 64-bit fixed-point logarithm instead:

.. math:: \mathrm{base}^t = 2^{\pm p}, \qquad p = t \cdot |\log_2 \mathrm{base}|

The whole part of p makes exact powers of two, by shifts; only its fraction goes through a float32 ``expm1``.
"""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx

from ..core.checks import Number, in_float32
from ..core.node import ParametricRate, Rate

_FRACTION_BITS = 47
_LN2 = math.log(2) / 2**_FRACTION_BITS
"""The natural logarithm of one unit of p. MLX writes constants into kernels with 7 digits; this one has no more."""
_MOST = 2 ** (_FRACTION_BITS + 8) - 1
"""The largest p, just below 256, in these units. There, any rate is 0 or infinite in float32."""
_COARSE = 24
"""The largest p of one step with which p is large enough at the last step below ``_MOST``: over 232, where any rate
from an ``init`` below 2^83 is 0."""


class Power(ParametricRate):
    """init · 2^p if it ``grows``, else init · 2^-p, where p is proportional to the step.

    It ``is_coarse`` if a single step has a large p. Then p may exceed ``_MOST`` at the last step, and is cut off there.
    """

    grows: bool
    is_coarse: bool

    def __call__(
        self,
        step: mx.array,
        init: mx.array,
        per_step: mx.array,
        last: mx.array,
        residue: mx.array,
        factor: float | mx.array = 1.0,
    ) -> mx.array:
        """The rate, times ``factor``.

        ``per_step`` (uint64) is p of one step in units of 2**-47, ``residue`` (float32) the natural logarithm of what
        that rounds off, with the sign of the exponent, and ``last`` the step from which on nothing changes.
        """
        step = mx.minimum(step, last)
        p = step * per_step
        if self.is_coarse:
            p = mx.minimum(p, _MOST)
        # The whole part of p is 4 a + b: 2^p is (2^a)^4 · 2^b times a power of 2 below 2. A shift reaches 2^63. Under
        # vmap it takes its shape from its left operand.
        one = (p == p).astype(mx.uint64)
        root = mx.left_shift(one, p >> (_FRACTION_BITS + 2)).astype(mx.float32)
        rest = mx.left_shift(one, p >> _FRACTION_BITS & 3).astype(mx.float32)
        fraction = (p & (2**_FRACTION_BITS - 1)).astype(mx.float32)
        power = mx.exp(fraction * (_LN2 if self.grows else -_LN2) + step.astype(mx.float32) * residue)
        square = root * root
        up = init * rest * power * square * square
        down = init / square / square * (power / rest)
        # The shallow operand last: MLX counts how deep p lies by the last path that leads to it.
        return (up if self.grows else down) * (factor * one.astype(mx.float32))


def _raised(
    step: mx.array, init: mx.array, base: mx.array, steps: mx.array, factor: float | mx.array = 1.0
) -> mx.array:
    """init · base^(t / steps) in float32, for a base or steps given as an array, which the host does not look into."""
    return factor * init * mx.power(base, step.astype(mx.float32) / steps)


def power_of(init: Number, base: Number, steps: Number) -> tuple[Any, ...]:
    """init · base^(t / steps): its rate and arguments."""
    if isinstance(base, mx.array) or isinstance(steps, mx.array):
        return _raised, init, base, steps
    grows = base > 1
    bits = min(abs(math.log2(base)) / steps, 255) if base > 0 else 255
    scaled = math.ldexp(bits, _FRACTION_BITS)
    per_step = round(scaled)
    residue = (scaled - per_step) * (_LN2 if grows else -_LN2)
    last = min(_MOST // per_step, 2**53) if per_step > 0 else 2**53
    if is_coarse := bits > _COARSE:
        last += 1
    return Power(grows, is_coarse), init, per_step, last, residue


class PowerOfPeriods(ParametricRate):
    """The rate of a power of whole periods."""

    power: Rate

    def __call__(self, step: mx.array, init: mx.array, *arguments: mx.array) -> mx.array:
        """power(⌊t / period⌋), where the period is the last argument"""
        *base, period = arguments
        return self.power(step // period, init, *base)


def power_law(base: mx.array, exponent: mx.array, residue: mx.array) -> mx.array:
    """base^(exponent + residue), accurate also for a base far from 1."""
    return mx.power(base, exponent) * (1 + residue * mx.log(base))


def residue(exponent: Number) -> Number:
    """What float32 rounds off an exponent."""
    if isinstance(exponent, mx.array):
        return 0.0
    return exponent - in_float32(exponent)
