r"""Decays without a last step, as the inverse of the step or of its root."""

from __future__ import annotations

import mlx.core as mx

from .checks import Count, Number, count, finite
from .schedule import Schedule, factory, schedule


@factory
def inverse_time_decay(init: Number, decay_rate: Number, *, decay_steps: Count = 1) -> Schedule:
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
    return schedule(_inverse_time, init, decay_rate / count("decay_steps", decay_steps))


def _inverse_time(step: mx.array, init: mx.array, per_step: mx.array) -> mx.array:
    return init / (1 + per_step * step.astype(mx.float32))


@factory
def inverse_sqrt_decay(init: Number, timescale: Count) -> Schedule:
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
    timescale = count("timescale", timescale)
    return schedule(_inverse_sqrt, finite("init", init), timescale * 1.0)


def _inverse_sqrt(step: mx.array, init: mx.array, timescale: mx.array) -> mx.array:
    return init * mx.sqrt(timescale / (step.astype(mx.float32) + timescale))
