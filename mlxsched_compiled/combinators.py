"""Combinators: schedules bounded, delayed, held and repeated. ``a * b`` and ``a + b`` are operators of ``Schedule``."""

from __future__ import annotations

import math

import mlx.core as mx

from .checks import Count, Number, count, finite
from .rates import Part
from .schedule import Operand, Schedule, as_schedule, composite, factory


@factory
def clip(schedule: Operand, low: Number | None = None, high: Number | None = None) -> Schedule:
    r"""A schedule that goes no lower than ``low`` and no higher than ``high``.

    .. math:: \eta(t) = \min(\max(\mathrm{schedule}(t), \mathrm{low}), \mathrm{high})

    Args:
        schedule: A schedule, a plain function of the step, or a number.
        low: The lowest rate; None for no bound.
        high: The highest rate, at least ``low``; None for no bound.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a bound is not finite, or ``low`` is above ``high``.
        TypeError: If an argument is of the wrong kind.

    Source: ``numpy.clip``.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import clip, linear_schedule
        >>> clip(linear_schedule(0, 1, 4), low=0.1, high=0.6)(mx.arange(6))
        array([0.1, 0.25, 0.5, 0.6, 0.6, 0.6], dtype=float32)
    """
    low = -math.inf if low is None else finite("low", low)
    high = math.inf if high is None else finite("high", high)
    if isinstance(low, float) and isinstance(high, float) and low > high:
        raise ValueError(f"low must be at most high, but got {low} and {high}.")
    return bounded(as_schedule("schedule", schedule), low, high)


def bounded(schedule: Schedule, low: Number, high: Number) -> Schedule:
    """``clip`` with both bounds, of which any may be infinite."""
    return composite(_bound, [schedule], low, high)


def _bound(step: mx.array, parts: list[Part], low: mx.array, high: mx.array) -> mx.array:
    return mx.minimum(mx.maximum(parts[0](step), low), high)


@factory
def delay(schedule: Operand, steps: Count) -> Schedule:
    r"""A schedule that holds its first rate for ``steps`` steps and then runs.

    .. math:: \eta(t) = \mathrm{schedule}(\max(t - \mathrm{steps}, 0))

    Args:
        schedule: A schedule, a plain function of the step, or a number.
        steps: Steps to wait, at least 0.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If ``steps`` is not a whole number >= 0.
        TypeError: If an argument is of the wrong kind.

    Source: ``transition_begin`` in Optax.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import delay, linear_schedule
        >>> delay(linear_schedule(1, 0, 2), 3)(mx.arange(6))
        array([1, 1, 1, 1, 0.5, 0], dtype=float32)
    """
    return composite(_delayed, [as_schedule("schedule", schedule)], count("steps", steps, at_least=0))


def _delayed(step: mx.array, parts: list[Part], steps: mx.array) -> mx.array:
    return parts[0](mx.maximum(step, steps) - steps)


@factory
def staircase(schedule: Operand, every: Count) -> Schedule:
    r"""A schedule that changes every ``every`` steps only.

    .. math:: \eta(t) = \mathrm{schedule}(\lfloor t / \mathrm{every} \rfloor \cdot \mathrm{every})

    Args:
        schedule: A schedule, a plain function of the step, or a number.
        every: Steps for which a rate is held, at least 1.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If ``every`` is not a whole number >= 1.
        TypeError: If an argument is of the wrong kind.

    Source: ``staircase=True`` in Optax and Keras.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import linear_schedule, staircase
        >>> staircase(linear_schedule(1, 0, 4), 2)(mx.arange(6))
        array([1, 1, 0.5, 0.5, 0, 0], dtype=float32)
    """
    return composite(_held, [as_schedule("schedule", schedule)], count("every", every))


def _held(step: mx.array, parts: list[Part], every: mx.array) -> mx.array:
    return parts[0](step // every * every)


@factory
def repeat(schedule: Operand, period: Count) -> Schedule:
    r"""A schedule whose first ``period`` steps come again and again.

    .. math:: \eta(t) = \mathrm{schedule}(t \bmod \mathrm{period})

    Args:
        schedule: A schedule, a plain function of the step, or a number.
        period: Steps of a cycle, at least 1.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If ``period`` is not a whole number >= 1.
        TypeError: If an argument is of the wrong kind.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import linear_schedule, repeat
        >>> repeat(linear_schedule(1, 0, 4), 2)(mx.arange(6))
        array([1, 0.75, 1, 0.75, 1, 0.75], dtype=float32)
    """
    return composite(_repeated, [as_schedule("schedule", schedule)], count("period", period))


def _repeated(step: mx.array, parts: list[Part], period: mx.array) -> mx.array:
    return parts[0](step % period)
