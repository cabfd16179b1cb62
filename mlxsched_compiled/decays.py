r"""Decays with a last step, each a ramp along a shape: see ``ramps.py`` for the shapes themselves."""

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
