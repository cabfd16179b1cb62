"""Exponential schedules: powers of the step, and the hyperbolic tangent, which is made of one."""

from __future__ import annotations

import math
from collections.abc import Callable

import mlx.core as mx

from ..core.checks import Count, Number, count, finite
from ..core.factory import factory
from ..core.node import Node, ParametricRate, Rate
from ..formulas.powers import PowerOfPeriods, power_of
from .combinators import within

_SATURATED = 40
"""An argument at which tanh is 1 in float32 by far, and the odds are still finite."""


@factory
def exponential_decay(init: Number, decay_rate: Number, *, decay_steps: Count = 1, end: Number | None = None) -> Node:
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
    power, *base = power_of(init, decay_rate, count("decay_steps", decay_steps))
    if end is None:
        return Node(power, *base)
    end = finite("end", end)
    if isinstance(decay_rate, mx.array):
        falls = decay_rate <= 1
        return Node(within, Node(power, *base), mx.where(falls, end, -math.inf), mx.where(falls, math.inf, end))
    return Node(Bounded(power, mx.maximum if decay_rate <= 1 else mx.minimum), *base, end)


class Bounded(ParametricRate):
    """The rate of a power that goes no further than a bound."""

    power: Rate
    bound: Callable[[mx.array, mx.array], mx.array]

    def __call__(self, step: mx.array, init: mx.array, *arguments: mx.array) -> mx.array:
        """bound(power, end), where ``end`` is the last argument"""
        *base, end = arguments
        return self.bound(self.power(step, init, *base), end)


@factory
def step_decay(init: Number, decay_rate: Number, step_size: Count) -> Node:
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
    power, *base = power_of(finite("init", init), finite("decay_rate", decay_rate, at_least=0), 1)
    return Node(PowerOfPeriods(power), *base, count("step_size", step_size))


@factory
def tanh_decay(
    init: Number, decay_steps: Count, end: Number = 0.0, *, lower: Number = -6.0, upper: Number = 3.0
) -> Node:
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
        ValueError: If a rate is not finite, ``decay_steps`` is not a whole number >= 1, or ``lower`` and ``upper`` do
            not increase within -40 and 40.
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
    odds, _, *base = power_of(first, _exp(2 * (low - high)), steps)
    return Node(Logistic(odds), init, end, steps, first, *base)


class Logistic(ParametricRate):
    """init · s + end · (1 - s), where s is the hyperbolic tangent as (1 - tanh z) / 2 = 1 / (1 + e^2z).

    So the odds, s to 1 - s, are e^-2z, and fall by the same factor with each step. From the last step on they are 0.
    """

    odds: Rate

    def __call__(
        self, step: mx.array, init: mx.array, end: mx.array, steps: mx.array, first: mx.array, *base: mx.array
    ) -> mx.array:
        """(init · odds + end) / (odds + 1)"""
        odds = self.odds(step, mx.where(step < steps, first, 0), *base)
        return (init * odds + end) / (odds + 1)


def _exp(value: Number) -> Number:
    return mx.exp(value) if isinstance(value, mx.array) else math.exp(value)
