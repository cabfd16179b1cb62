r"""Exponential schedules: a base raised to the step, right to the last bits at any step.

In float32 the base itself is rounded, and raising it to the step multiplies that error by the step. Here the
step meets a 64-bit fixed-point logarithm instead:

.. math:: \mathrm{base}^t = 2^{\pm p}, \qquad p = t \cdot |\log_2 \mathrm{base}|

The whole part of p makes exact powers of two, by shifts; only its fraction goes through a float32 ``expm1``.
"""

from __future__ import annotations

import math

import mlx.core as mx

from .checks import Count, Number, count, finite
from .combinators import bounded
from .rates import Part
from .schedule import Coefficient, Schedule, composite, factory, schedule

_FRACTION_BITS = 47
_LN2 = math.log(2) / 2**_FRACTION_BITS
"""The natural logarithm of one unit of p. MLX writes constants into kernels with 7 digits; this one has no more."""
_HIGHEST = 251.9
"""Where p stops: every rate below 2**101 is 0 by then, or infinite, and no shift has reached 64."""


def _decaying(step: mx.array, init: mx.array, *base: mx.array) -> mx.array:
    """init · 2^-p"""
    square, rest, exponent = _power_of_two(step, -_LN2, *base)
    scaled = init / square / square
    return (scaled + scaled * mx.expm1(exponent)) / rest


def _growing(step: mx.array, init: mx.array, *base: mx.array) -> mx.array:
    """init · 2^p"""
    square, rest, exponent = _power_of_two(step, _LN2, *base)
    return init * square * square * (1 + mx.expm1(exponent)) * rest  # not a sum: infinity times 0 is none


def _power_of_two(
    step: mx.array, ln2: float, per_step: mx.array, last: mx.array, residue: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    """2^p as ``square² · rest · exp(exponent)``, where the first two are exact and ``ln2`` gives the exponent its sign.

    ``per_step`` (uint64) is p of one step in units of 2**-47, ``residue`` (float32) the signed natural logarithm of
    what that rounds off, ``last`` the step where p stops.
    """
    step = mx.minimum(step, last)
    p = step * per_step
    unit = mx.power(p, 0)  # 1, in the shape of p: under vmap a shift takes its shape from the left operand
    exponent = (p & (2**_FRACTION_BITS - 1)).astype(mx.float32) * ln2 + step.astype(mx.float32) * residue
    quarter = mx.left_shift(unit, p >> (_FRACTION_BITS + 2)).astype(mx.float32)  # 2^(e // 4) for the whole part e
    rest = mx.left_shift(unit, (p >> _FRACTION_BITS) & 3).astype(mx.float32)  # 2^(e % 4)
    return quarter * quarter, rest, exponent


def _raised(step: mx.array, init: mx.array, base: mx.array, steps: mx.array) -> mx.array:
    """init · base^(t / steps) in float32, for a base that is an array: nothing is known of it before the call."""
    return init * mx.power(base, step.astype(mx.float32) / steps)


def exponential(init: Number, base: Number, steps: Number) -> Schedule:
    """init · base^(t / steps), its arguments checked before."""
    if isinstance(base, mx.array) or isinstance(steps, mx.array):
        return schedule(_raised, init, base, steps)
    return schedule(_decaying if base <= 1 else _growing, init, *_fixed_point(base, steps))


def _fixed_point(base: float, steps: float) -> tuple[Coefficient, ...]:
    bits = abs(math.log2(base)) / steps if base > 0 else math.inf
    if bits > _HIGHEST / 2:  # below float32 (or above it) after one step
        bits = _HIGHEST
    scaled = math.ldexp(bits, _FRACTION_BITS)
    per_step = round(scaled)
    last = min(int(_HIGHEST / bits), 2**53) if bits > 0 else 0
    return per_step, last, (scaled - per_step) * (-_LN2 if base <= 1 else _LN2)


@factory
def exponential_decay(
    init: Number, decay_rate: Number, *, decay_steps: Count = 1, end: Number | None = None
) -> Schedule:
    r"""Multiplies the rate by ``decay_rate`` every ``decay_steps`` steps, smoothly.

    .. math:: \eta(t) = \mathrm{init} \cdot \mathrm{decay\_rate}^{\,t / \mathrm{decay\_steps}}

    Args:
        init: The rate at step 0.
        decay_rate: The factor, at least 0. Given as an array it is raised in float32, which loses accuracy as MLX does.
        decay_steps: Steps in which the rate falls by one such factor, at least 1.
        end: A bound: the rate falls no lower than this if ``decay_rate`` is at most 1, and rises no higher if it is
            above.

    Returns:
        A schedule, float32, of the shape of the step. It counts steps up to 2**53.

    Raises:
        ValueError: If a number is not finite, ``decay_rate`` is negative or ``decay_steps`` is not a whole number >= 1.
        TypeError: If an argument is not a number.

    Source: ``mlx.optimizers.exponential_decay``; the keywords follow ``optax.exponential_decay``.

    Example:
        >>> import mlx.core as mx
        >>> import mlx.optimizers as optim
        >>> from mlxsched_compiled import exponential_decay
        >>> optimizer = optim.SGD(learning_rate=exponential_decay(1e-1, 0.9))
        >>> optimizer.learning_rate
        array(0.1, dtype=float32)
        >>> for _ in range(5): optimizer.update({}, {})
        >>> optimizer.learning_rate
        array(0.06561, dtype=float32)
        >>> exponential_decay(1, 0.5, decay_steps=10, end=0.1)(mx.array([0, 10, 20, 40, 1000]))
        array([1, 0.5, 0.25, 0.1, 0.1], dtype=float32)
    """
    init = finite("init", init)
    decay_rate = finite("decay_rate", decay_rate, at_least=0)
    decay = exponential(init, decay_rate, count("decay_steps", decay_steps))
    if end is None:
        return decay
    end = finite("end", end)
    if isinstance(decay_rate, mx.array):
        falls = decay_rate <= 1
        return bounded(decay, mx.where(falls, end, -math.inf), mx.where(falls, math.inf, end))
    return bounded(decay, end, math.inf) if decay_rate <= 1 else bounded(decay, -math.inf, end)


@factory
def step_decay(init: Number, decay_rate: Number, step_size: Count) -> Schedule:
    r"""Multiplies the rate by ``decay_rate`` every ``step_size`` steps, at once.

    .. math:: \eta(t) = \mathrm{init} \cdot \mathrm{decay\_rate}^{\lfloor t / \mathrm{step\_size} \rfloor}

    Args:
        init: The rate at step 0.
        decay_rate: The factor, at least 0.
        step_size: Steps from one factor to the next, at least 1.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a number is not finite, ``decay_rate`` is negative or ``step_size`` is not a whole number >= 1.
        TypeError: If an argument is not a number.

    Source: ``mlx.optimizers.step_decay``; ``StepLR`` in PyTorch.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import step_decay
        >>> step_decay(1, 0.5, 10)(mx.array([0, 9, 10, 20, 10_000]))
        array([1, 1, 0.5, 0.25, 0], dtype=float32)
    """
    return composite(_per_period, [exponential_decay(init, decay_rate)], count("step_size", step_size))


def _per_period(step: mx.array, parts: list[Part], period: mx.array) -> mx.array:
    """The part, a whole period being one of its steps."""
    return parts[0](step // period)
