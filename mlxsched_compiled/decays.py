"""Decays with a last step, each a ramp along a shape: see ``ramps.py`` for the shapes themselves."""

from __future__ import annotations

from .checks import Count, Number, count, finite, positive
from .ramps import ramp
from .schedule import Schedule, factory


@factory
def linear_schedule(init: Number, end: Number, steps: Count) -> Schedule:
    r"""From ``init`` to ``end`` in a straight line.

    .. math:: \eta(t) = \mathrm{init} \cdot (1 - x) + \mathrm{end} \cdot x, \qquad x = \min(t / \mathrm{steps}, 1)

    Args:
        init: The rate at step 0.
        end: The rate from step ``steps`` on.
        steps: Steps from one to the other, at least 1.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, or ``steps`` is not a whole number >= 1.
        TypeError: If an argument is not a number.

    Source: ``mlx.optimizers.linear_schedule``.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import linear_schedule
        >>> linear_schedule(0, 1e-1, 100)(mx.array([0, 50, 99, 100, 1000]))
        array([0, 0.05, 0.099, 0.1, 0.1], dtype=float32)
    """
    return ramp(finite("init", init), finite("end", end), count("steps", steps))


@factory
def cosine_decay(init: Number, decay_steps: Count, end: Number = 0.0, *, power: Number = 1.0) -> Schedule:
    r"""From ``init`` to ``end`` along half a cosine wave.

    .. math::
        \eta(t) = \mathrm{end} + (\mathrm{init} - \mathrm{end}) \left(\frac{1 + \cos \pi x}{2}\right)^{\mathrm{power}},
        \qquad x = \min(t / \mathrm{decay\_steps}, 1)

    Args:
        init: The rate at step 0.
        decay_steps: Steps to the last one, at least 1.
        end: The rate from step ``decay_steps`` on.
        power: Exponent of the shape, above 0.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, ``decay_steps`` is not a whole number >= 1 or ``power`` is not above 0.
        TypeError: If an argument is not a number.

    Source: ``mlx.optimizers.cosine_decay``; Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", 2017; ``power`` is ``exponent`` in Optax.

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
    return ramp(init, end, count("decay_steps", decay_steps), "cosine", power=positive("power", power))


@factory
def polynomial_decay(init: Number, decay_steps: Count, end: Number = 0.0, *, power: Number = 1.0) -> Schedule:
    r"""From ``init`` to ``end`` along a power of the progress left.

    .. math::
        \eta(t) = \mathrm{end} + (\mathrm{init} - \mathrm{end}) \, (1 - x)^{\mathrm{power}},
        \qquad x = \min(t / \mathrm{decay\_steps}, 1)

    Args:
        init: The rate at step 0.
        decay_steps: Steps to the last one, at least 1.
        end: The rate from step ``decay_steps`` on.
        power: Exponent of the shape, above 0; 1 is a straight line.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, ``decay_steps`` is not a whole number >= 1 or ``power`` is not above 0.
        TypeError: If an argument is not a number.

    Source: ``PolynomialLR`` in PyTorch; ``polynomial_schedule`` in Optax.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import polynomial_decay
        >>> polynomial_decay(1, 4, power=2)(mx.array([0, 1, 2, 4, 1000]))
        array([1, 0.5625, 0.25, 0, 0], dtype=float32)
    """
    init, end = finite("init", init), finite("end", end)
    return ramp(init, end, count("decay_steps", decay_steps), "linear", power=positive("power", power))


@factory
def sqrt_decay(init: Number, decay_steps: Count, end: Number = 0.0) -> Schedule:
    r"""From ``init`` to ``end``, fast at first and then ever slower: the cooldown 1 - sqrt.

    .. math::
        \eta(t) = \mathrm{end} + (\mathrm{init} - \mathrm{end}) \, \left(1 - \sqrt{x}\right),
        \qquad x = \min(t / \mathrm{decay\_steps}, 1)

    Args:
        init: The rate at step 0.
        decay_steps: Steps to the last one, at least 1.
        end: The rate from step ``decay_steps`` on.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite or ``decay_steps`` is not a whole number >= 1.
        TypeError: If an argument is not a number.

    Source: Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import sqrt_decay
        >>> sqrt_decay(1, 100)(mx.array([0, 1, 25, 100, 1000]))
        array([1, 0.9, 0.5, 0, 0], dtype=float32)
    """
    init, end = finite("init", init), finite("end", end)
    return ramp(init, end, count("decay_steps", decay_steps), "sqrt")


@factory
def rex_decay(init: Number, decay_steps: Count, end: Number = 0.0) -> Schedule:
    r"""From ``init`` to ``end``, staying high for long and falling fast at the end.

    .. math::
        \eta(t) = \mathrm{end} + (\mathrm{init} - \mathrm{end}) \, \frac{1 - x}{1 - x / 2},
        \qquad x = \min(t / \mathrm{decay\_steps}, 1)

    Args:
        init: The rate at step 0.
        decay_steps: Steps to the last one, at least 1.
        end: The rate from step ``decay_steps`` on.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite or ``decay_steps`` is not a whole number >= 1.
        TypeError: If an argument is not a number.

    Source: Chen et al., "REX: Revisiting Budgeted Training with an Improved Schedule", 2021.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import rex_decay
        >>> rex_decay(1, 100)(mx.array([0, 50, 80, 100, 1000]))
        array([1, 0.666667, 0.333333, 0, 0], dtype=float32)
    """
    init, end = finite("init", init), finite("end", end)
    return ramp(init, end, count("decay_steps", decay_steps), "rex")
