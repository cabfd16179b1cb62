r"""Exponential schedules: a base raised to the step, right to the last bits at any step.

In float32 the base itself is rounded, and raising it to the step multiplies that error by the step. Here the
step meets a 64-bit fixed-point logarithm instead:

.. math:: \mathrm{base}^t = 2^{\pm p}, \qquad p = t \cdot |\log_2 \mathrm{base}|

The whole part of p makes exact powers of two, by shifts; only its fraction goes through a float32 ``expm1``.
"""

from __future__ import annotations

import math

import mlx.core as mx

from ._bound import Bound, Coefficient, bind, clipped, composite
from ._checks import Count, Number, count, finite
from ._factory import factory
from ._rates import Part, RateFunction, Structure

_FRACTION_BITS = 47
_LN2 = math.log(2) / 2**_FRACTION_BITS
"""The natural logarithm of one unit of p. MLX writes constants into kernels with 7 digits; this one has no more."""
_SATURATED = 40
"""tanh is 1 to within float32 by far, and its odds are still finite."""


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


@factory
def exponential_decay(init: Number, decay_rate: Number, *, decay_steps: Count = 1, end: Number | None = None) -> Bound:
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
    decay = raised(init, decay_rate, count("decay_steps", decay_steps))
    if end is None:
        return decay
    end = finite("end", end)
    if isinstance(decay_rate, mx.array):
        falls = decay_rate <= 1
        return clipped(decay, mx.where(falls, end, -math.inf), mx.where(falls, math.inf, end))
    return clipped(decay, end, math.inf) if decay_rate <= 1 else clipped(decay, -math.inf, end)


@factory
def step_decay(init: Number, decay_rate: Number, step_size: Count) -> Bound:
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
    decay = raised(finite("init", init), finite("decay_rate", decay_rate, at_least=0), 1)
    return composite(per_period, [decay], count("step_size", step_size))


def per_period(step: mx.array, parts: list[Part], period: mx.array) -> mx.array:
    """The part, a whole period being one of its steps."""
    return parts[0](step // period)


@factory
def tanh_decay(
    init: Number, decay_steps: Count, end: Number = 0.0, *, lower: Number = -6.0, upper: Number = 3.0
) -> Bound:
    r"""From near ``init`` to near ``end`` along a hyperbolic tangent, then ``end``.

    .. math::
        \eta(t) = \mathrm{end} + (\mathrm{init} - \mathrm{end}) \,
        \tfrac12 \left(1 - \tanh(\mathrm{lower} (1 - x) + \mathrm{upper} \, x)\right),
        \qquad x = \min(t / \mathrm{decay\_steps}, 1)

    Args:
        init: The rate at step 0.
        decay_steps: Steps to the last one, at least 1.
        end: The rate from step ``decay_steps`` on.
        lower: The argument of tanh at step 0, from -40 to 40. The further below 0, the closer to ``init`` the start.
        upper: The argument of tanh at step ``decay_steps``, from -40 to 40, where the rate jumps to ``end``.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite or ``decay_steps`` is not a whole number >= 1.
        TypeError: If an argument is not a number.

    Source: Hsueh et al., "Stochastic Gradient Descent with Hyperbolic-Tangent Decay on Classification", 2018.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import tanh_decay
        >>> tanh_decay(1, 100)(mx.array([0, 50, 99, 100, 1000]))
        array([0.999994, 0.952574, 0.00295882, 0, 0], dtype=float32)
    """
    init, end = finite("init", init), finite("end", end)
    low, high = finite("lower", lower), finite("upper", upper)
    known = [z for z in (low, high) if not isinstance(z, mx.array)]
    if any(abs(z) > _SATURATED for z in known) or known != sorted(known):
        raise ValueError(
            f"lower and upper must increase from -{_SATURATED} to {_SATURATED}, but got {lower!r} and {upper!r}."
        )
    steps = count("decay_steps", decay_steps)
    first = _exp(-2 * low)
    odds, coefficients = power_of(first, _exp(2 * (low - high)), steps)
    return bind(Logistic(odds), init, end, steps, first, *coefficients)


class Logistic(Structure):
    """init · s + end · (1 - s), where s is the hyperbolic tangent as (1 - tanh z) / 2 = 1 / (1 + e^2z).

    So the odds, s to 1 - s, are e^-2z, and fall by the same factor with each step. From the last step on they are 0.
    """

    def __init__(self, odds: RateFunction) -> None:
        self.odds = odds

    def __call__(
        self, step: mx.array, init: mx.array, end: mx.array, steps: mx.array, first: mx.array, *base: mx.array
    ) -> mx.array:
        odds = self.odds(step, mx.where(step < steps, first, 0), *base)
        return (init * odds + end) / (odds + 1)


def _exp(value: Number) -> Number:
    return mx.exp(value) if isinstance(value, mx.array) else math.exp(value)
