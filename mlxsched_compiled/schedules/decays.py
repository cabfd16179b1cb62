"""Decays: ramps along a shape, which have a last step, and inverses of the step, which have none."""

from __future__ import annotations

import mlx.core as mx

from ..core.checks import Count, Number, count, finite, positive
from ..core.factory import factory
from ..core.node import Node, as_node
from ..formulas.powers import power_law, residue
from ..formulas.ramps import ramp


@factory
def constant(value: Number) -> Node:
    r"""The same rate at every step.

    .. math:: \eta(t) = \mathrm{value}

    Args:
        value: The rate.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If ``value`` is not finite.
        TypeError: If ``value`` is not a number.

    Source: ``constant_schedule`` in Optax.

    Example:
        >>> from mlxsched_compiled import constant
        >>> constant(1e-3)(10**12)
        array(0.001, dtype=float32)
    """
    return as_node("value", finite("value", value))


@factory
def linear_schedule(init: Number, end: Number, steps: Count, *, k: Number = 1.0) -> Node:
    r"""From ``init`` to ``end`` in a straight line.

    .. math::
        \eta(t) = \mathrm{init} \cdot (1 - x) + \mathrm{end} \cdot x, \qquad x = \min(t / \mathrm{steps}, 1)^k

    Args:
        init: The rate at step 0.
        end: The rate from step ``steps`` on.
        steps: Steps from one to the other, at least 1.
        k: Above 0: the progress x is raised to it. The higher, the longer the rate stays near ``init``.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, ``steps`` is not a whole number >= 1 or ``k`` is not above 0.
        TypeError: If an argument is not a number.

    Source: ``mlx.optimizers.linear_schedule``; Zhang and Li, "k-decay: A New Method for Learning Rate Schedule",
    2020.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import linear_schedule
        >>> linear_schedule(0, 1e-1, 100)(mx.array([0, 50, 99, 100, 1000]))
        array([0, 0.05, 0.099, 0.1, 0.1], dtype=float32)
        >>> linear_schedule(1, 0, 4, k=2)(mx.arange(5))
        array([1, 0.9375, 0.75, 0.4375, 0], dtype=float32)
    """
    return ramp(finite("init", init), finite("end", end), count("steps", steps), k=positive("k", k))


@factory
def cosine_decay(init: Number, decay_steps: Count, end: Number = 0.0, *, power: Number = 1.0, k: Number = 1.0) -> Node:
    r"""From ``init`` to ``end`` along half a cosine wave.

    .. math::
        \eta(t) = \mathrm{end} + (\mathrm{init} - \mathrm{end}) \left(\frac{1 + \cos \pi x}{2}\right)^{\mathrm{power}},
        \qquad x = \min(t / \mathrm{decay\_steps}, 1)^k

    Args:
        init: The rate at step 0.
        decay_steps: Steps to the last one, at least 1.
        end: The rate from step ``decay_steps`` on.
        power: Exponent of the shape, above 0.
        k: Above 0: the progress x is raised to it. The higher, the longer the rate stays near ``init``.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, ``decay_steps`` is not a whole number >= 1 or an exponent is not above 0.
        TypeError: If an argument is not a number.

    Source: ``mlx.optimizers.cosine_decay``; Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", 2017; ``power`` is ``exponent`` in Optax; Zhang and Li, "k-decay: A New Method for
    Learning Rate Schedule", 2020.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import cosine_decay
        >>> schedule = cosine_decay(1e-1, 1000)
        >>> schedule(mx.array([0, 5, 500, 1000, 10**6]))
        array([0.1, 0.0999938, 0.05, 0, 0], dtype=float32)
        >>> schedule
        cosine_decay(init=0.1, decay_steps=1000, end=0.0)
    """
    init, end = finite("init", init), finite("end", end)
    return ramp(
        init, end, count("decay_steps", decay_steps), "cosine", power=positive("power", power), k=positive("k", k)
    )


@factory
def polynomial_decay(
    init: Number, decay_steps: Count, end: Number = 0.0, *, power: Number = 1.0, k: Number = 1.0
) -> Node:
    r"""From ``init`` to ``end`` along a power of the progress left.

    .. math::
        \eta(t) = \mathrm{end} + (\mathrm{init} - \mathrm{end}) \, (1 - x)^{\mathrm{power}},
        \qquad x = \min(t / \mathrm{decay\_steps}, 1)^k

    Args:
        init: The rate at step 0.
        decay_steps: Steps to the last one, at least 1.
        end: The rate from step ``decay_steps`` on.
        power: Exponent of the shape, above 0; 1 is a straight line.
        k: Above 0: the progress x is raised to it. The higher, the longer the rate stays near ``init``.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, ``decay_steps`` is not a whole number >= 1 or an exponent is not above 0.
        TypeError: If an argument is not a number.

    Source: ``PolynomialLR`` in PyTorch; ``polynomial_schedule`` in Optax; Zhang and Li, "k-decay: A New Method for
    Learning Rate Schedule", 2020.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import polynomial_decay
        >>> polynomial_decay(1, 4, power=2)(mx.array([0, 1, 2, 4, 1000]))
        array([1, 0.5625, 0.25, 0, 0], dtype=float32)
    """
    init, end = finite("init", init), finite("end", end)
    return ramp(
        init, end, count("decay_steps", decay_steps), "linear", power=positive("power", power), k=positive("k", k)
    )


@factory
def sqrt_decay(init: Number, decay_steps: Count, end: Number = 0.0, *, k: Number = 1.0) -> Node:
    r"""From ``init`` to ``end``, fast at first and then ever slower: the cooldown 1 - sqrt.

    .. math::
        \eta(t) = \mathrm{end} + (\mathrm{init} - \mathrm{end}) \, \left(1 - \sqrt{x}\right),
        \qquad x = \min(t / \mathrm{decay\_steps}, 1)^k

    Args:
        init: The rate at step 0.
        decay_steps: Steps to the last one, at least 1.
        end: The rate from step ``decay_steps`` on.
        k: Above 0: the progress x is raised to it. The higher, the longer the rate stays near ``init``.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, ``decay_steps`` is not a whole number >= 1 or ``k`` is not above 0.
        TypeError: If an argument is not a number.

    Source: Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import sqrt_decay
        >>> sqrt_decay(1, 100)(mx.array([0, 1, 25, 100, 1000]))
        array([1, 0.9, 0.5, 0, 0], dtype=float32)
    """
    init, end = finite("init", init), finite("end", end)
    return ramp(init, end, count("decay_steps", decay_steps), "sqrt", k=positive("k", k))


@factory
def rex_decay(init: Number, decay_steps: Count, end: Number = 0.0, *, k: Number = 1.0) -> Node:
    r"""From ``init`` to ``end``, staying high for long and falling fast at the end.

    .. math::
        \eta(t) = \mathrm{end} + (\mathrm{init} - \mathrm{end}) \, \frac{1 - x}{1 - x / 2},
        \qquad x = \min(t / \mathrm{decay\_steps}, 1)^k

    Args:
        init: The rate at step 0.
        decay_steps: Steps to the last one, at least 1.
        end: The rate from step ``decay_steps`` on.
        k: Above 0: the progress x is raised to it. The higher, the longer the rate stays near ``init``.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, ``decay_steps`` is not a whole number >= 1 or ``k`` is not above 0.
        TypeError: If an argument is not a number.

    Source: Chen et al., "REX: Revisiting Budgeted Training with an Improved Schedule", 2021.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import rex_decay
        >>> rex_decay(1, 100)(mx.array([0, 50, 80, 100, 1000]))
        array([1, 0.666667, 0.333333, 0, 0], dtype=float32)
    """
    init, end = finite("init", init), finite("end", end)
    return ramp(init, end, count("decay_steps", decay_steps), "rex", k=positive("k", k))


@factory
def inverse_time_decay(init: Number, decay_rate: Number, *, decay_steps: Count = 1) -> Node:
    r"""Falls as the inverse of the time.

    .. math:: \eta(t) = \frac{\mathrm{init}}{1 + \mathrm{decay\_rate} \cdot t / \mathrm{decay\_steps}}

    Args:
        init: The rate at step 0.
        decay_rate: By how much the denominator grows in ``decay_steps`` steps, at least 0.
        decay_steps: Steps that count as one unit of time, at least 1.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a number is not finite, ``decay_rate`` is negative or ``decay_steps`` is not a whole number >= 1.
        TypeError: If an argument is not a number.

    Source: ``InverseTimeDecay`` in Keras.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import inverse_time_decay
        >>> inverse_time_decay(1, 0.5, decay_steps=10)(mx.array([0, 20, 60, 1980]))
        array([1, 0.5, 0.25, 0.01], dtype=float32)
    """
    init, decay_rate = finite("init", init), finite("decay_rate", decay_rate, at_least=0)
    return Node(_inverse_time, init, decay_rate / count("decay_steps", decay_steps))


def _inverse_time(step: mx.array, init: mx.array, per_step: mx.array) -> mx.array:
    return init / (1 + per_step * step.astype(mx.float32))


@factory
def inverse_sqrt_decay(init: Number, timescale: Count) -> Node:
    r"""Falls as the inverse square root of the time.

    .. math:: \eta(t) = \mathrm{init} \cdot \sqrt{\frac{\mathrm{timescale}}{t + \mathrm{timescale}}}

    Args:
        init: The rate at step 0.
        timescale: Steps, at least 1; after three times as many the rate is half of ``init``.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If ``init`` is not finite, or ``timescale`` is not a whole number >= 1.
        TypeError: If an argument is not a number.

    Source: ``get_inverse_sqrt_schedule`` in Transformers; Zhai et al., "Scaling Vision Transformers", 2021.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import inverse_sqrt_decay
        >>> inverse_sqrt_decay(1, 100)(mx.array([0, 300, 9900]))
        array([1, 0.5, 0.1], dtype=float32)
    """
    return _power_law(finite("init", init), count("timescale", timescale), 0.5)


@factory
def power_law_decay(init: Number, timescale: Count, power: Number) -> Node:
    r"""Falls as a power of the time.

    .. math::
        \eta(t) = \mathrm{init} \cdot
        \left(\frac{\mathrm{timescale}}{t + \mathrm{timescale}}\right)^{\mathrm{power}}

    Args:
        init: The rate at step 0.
        timescale: Steps, at least 1, after which the rate is ``init`` / 2^power.
        power: The exponent, above 0; 1/2 is ``inverse_sqrt_decay``, 1 falls as the inverse of the time.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If ``init`` is not finite, ``timescale`` is not a whole number >= 1 or ``power`` is not above 0.
        TypeError: If an argument is not a number.

    Source: Shen et al., "Power Scheduler: A Batch Size and Token Number Agnostic Learning Rate Scheduler", 2024;
    ``PowerDecayScheduler`` in pytorch-scheduler.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import power_law_decay
        >>> power_law_decay(1, 100, 2)(mx.array([0, 100, 900]))
        array([1, 0.25, 0.01], dtype=float32)
    """
    return _power_law(finite("init", init), count("timescale", timescale), positive("power", power))


def _power_law(init: Number, timescale: Count, power: Number) -> Node:
    if isinstance(power, mx.array) or power != 0.5:
        return Node(_power, init, timescale * 1.0, power, residue(power))
    return Node(_root, init, timescale * 1.0)


def _power(step: mx.array, init: mx.array, timescale: mx.array, power: mx.array, residue: mx.array) -> mx.array:
    return init * power_law(timescale / (step.astype(mx.float32) + timescale), power, residue)


def _root(step: mx.array, init: mx.array, timescale: mx.array) -> mx.array:
    return init * mx.sqrt(timescale / (step.astype(mx.float32) + timescale))
