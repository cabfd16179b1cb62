r"""Powers of the step, and a base raised to the step, right to the last bits at any step.

In float32 the base itself is rounded, and raising it to the step multiplies that error by the step. Here the
step meets a 64-bit fixed-point logarithm instead:

.. math:: \mathrm{base}^t = 2^{\pm p}, \qquad p = t \cdot |\log_2 \mathrm{base}|

The whole part of p makes exact powers of two, by shifts; only its fraction goes through a float32 ``expm1``.
"""

from __future__ import annotations

import math

import mlx.core as mx

from ..core.bound import Bound, Coefficient, bind
from ..core.checks import Count, Number, in_float32
from ..core.rates import Part, RateFunction, Structure

_FRACTION_BITS = 47
_LN2 = math.log(2) / 2**_FRACTION_BITS
"""The natural logarithm of one unit of p. MLX writes constants into kernels with 7 digits; this one has no more."""


class Power(Structure):
    """init · 2^p if it ``grows``, else init · 2^-p.

    The whole part of p, e, becomes ``factors`` times the same power of two, 2^(e // factors), and the rest,
    2^(e % factors). A shift reaches 2^63, so 4 factors do for p below 256 and 8 for any.
    """

    def __init__(self, grows: bool, factors: int) -> None:
        self.grows = grows
        self.factors = factors

    def __call__(
        self, step: mx.array, init: mx.array, per_step: mx.array, last: mx.array, residue: mx.array
    ) -> mx.array:
        """The rate.

        ``per_step`` (uint64) is p of one step in units of 2**-47, ``residue`` (float32) the natural logarithm of what
        that rounds off, with the sign of the exponent, and ``last`` the step from which on nothing changes.
        """
        step = mx.minimum(step, last)
        p = step * per_step
        # Small numbers are made of p: each constant would take a kernel as long as half a coefficient. And under vmap a
        # shift takes its shape from its left operand.
        one = (p == p).astype(mx.uint64)
        bits: int | mx.array = self.factors.bit_length() - 1
        low: int | mx.array = self.factors - 1
        if self.factors == 4:
            bits, low = one + one, one + one + one
        whole = p >> _FRACTION_BITS
        part = mx.left_shift(one, whole >> bits).astype(mx.float32)
        rest = mx.left_shift(one, mx.bitwise_and(low, whole)).astype(mx.float32)
        fraction = (p & (2**_FRACTION_BITS - 1)).astype(mx.float32)
        exponent = fraction * (_LN2 if self.grows else -_LN2) + step.astype(mx.float32) * residue
        scale = mx.multiply if self.grows else mx.divide
        square = part * part
        for _ in range(self.factors // 2):
            init = scale(init, square)
        power_of_fraction = one.astype(mx.float32) + mx.expm1(exponent)
        if self.grows:  # upwards first, so that an init below the normal range is not rounded there
            return power_of_fraction * (init * rest)
        return init * power_of_fraction / rest


def _raised(step: mx.array, init: mx.array, base: mx.array, steps: mx.array) -> mx.array:
    """init · base^(t / steps) in float32, for a base that is an array: nothing is known of it before the call."""
    return init * mx.power(base, step.astype(mx.float32) / steps)


def power_of(init: Number, base: Number, steps: Number) -> tuple[RateFunction, tuple[Coefficient, ...]]:
    """The rate init · base^(t / steps), and its coefficients but the first, ``init``."""
    if isinstance(base, mx.array) or isinstance(steps, mx.array):
        return _raised, (base, steps)
    grows = base > 1
    bits = min(abs(math.log2(base)) / steps, 255.5) if base > 0 else 255.5
    scaled = math.ldexp(bits, _FRACTION_BITS)
    per_step = round(scaled)
    residue = (scaled - per_step) * (_LN2 if grows else -_LN2)
    enough = _until_it_is_over(init, grows)
    last = min(int(255.5 / bits), 2**53) if bits > 0 else 0
    if last * bits >= enough or last == 0 or last == 2**53:
        return Power(grows, 4), (per_step, last, residue)
    return Power(grows, 8), (per_step, math.ceil(enough / bits), residue)


def raised(init: Number, base: Number, steps: Count) -> Bound:
    """init · base^(t / steps)"""
    power, coefficients = power_of(init, base, steps)
    return bind(power, init, *coefficients)


def _until_it_is_over(init: Number, grows: bool) -> float:
    """The p from which on a rate is infinite or, rounded to float32, 0."""
    size = 0.0 if isinstance(init, mx.array) or init == 0 else math.log2(abs(init))
    return 128 - size if grows else 151 + size


def per_period(step: mx.array, parts: list[Part], period: mx.array) -> mx.array:
    """The part, a whole period being one of its steps."""
    return parts[0](step // period)


def power_law(base: mx.array, exponent: mx.array, residue: mx.array) -> mx.array:
    """base^(exponent + residue), for a base that is far from 1 as well."""
    return mx.power(base, exponent) * (1 + residue * mx.log(base))


def residue(exponent: Number) -> Number:
    """What is left of an exponent where float32 rounds it."""
    if isinstance(exponent, mx.array):
        return 0.0
    return exponent - in_float32(exponent)
