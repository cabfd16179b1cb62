"""Schedules made of schedules. ``a * b``, ``a + b`` and their like are operators of ``Schedule``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mlx.core as mx

from ..core.checks import Count, Number, count, finite, listed, not_decreasing, one_of, positive
from ..core.factory import factory
from ..core.node import Child, Node, Operand, ParametricRate, as_node
from ..formulas.ramps import SHAPES, BentRamp, Ramp, ramp
from ..formulas.segments import joined


@factory
def join_schedules(schedules: Sequence[Operand], boundaries: Sequence[Count]) -> Node:
    r"""One schedule after the other, each counting its steps from its own start.

    .. math:: \eta(t) = \eta_k(t - b_k), \qquad b_k \le t < b_{k+1}, \quad b_0 = 0

    Args:
        schedules: Schedules, plain functions of the step that MLX can trace, or numbers.
        boundaries: The steps at which the second and each later schedule starts; one fewer than ``schedules``.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If there is no schedule, the numbers do not match, or the boundaries decrease.
            Equal ones leave nothing to the schedule between them.
        TypeError: If a schedule is none of the three.

    Source: ``mlx.optimizers.join_schedules``.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import cosine_decay, join_schedules, linear_schedule
        >>> schedule = join_schedules([linear_schedule(0, 1, 2), cosine_decay(1, 4)], [2])
        >>> schedule(mx.array([0, 1, 2, 4, 6, 100]))
        array([0, 0.5, 1, 0.5, 0, 0], dtype=float32)
    """
    parts = [as_node(f"schedules[{i}]", s) for i, s in enumerate(listed("schedules", schedules))]
    if not parts:
        raise ValueError("schedules must not be empty.")
    starts = not_decreasing("boundaries", boundaries)
    if len(starts) != len(parts) - 1:
        raise ValueError(f"boundaries must be one fewer than the {len(parts)} schedules, but got {len(starts)}.")
    return joined(parts, starts)


@factory
def cooldown(
    schedule: Operand, start: Count, steps: Count, end: Number = 0.0, *, shape: str = "sqrt", k: Number = 1.0
) -> Node:
    r"""Runs a schedule, and from ``start`` on goes down to ``end``: turns a run under way into a finished one.

    .. math::
        \eta(t) = \begin{cases}
        \mathrm{schedule}(t) & t < \mathrm{start} \\
        \mathrm{schedule}(\mathrm{start}) \, s(x) + \mathrm{end} (1 - s(x)), \quad
        x = \min((t - \mathrm{start}) / \mathrm{steps}, 1)^k & t \ge \mathrm{start}
        \end{cases}

    Args:
        schedule: A schedule, a plain function of the step, or a number.
        start: The step at which the way down begins, at least 0.
        steps: Steps of the way down, at least 1.
        end: The rate from step ``start + steps`` on.
        shape: Of the way down: ``"linear"``, ``"cosine"``, ``"sqrt"``, ``"rex"`` or ``"exponential"``.
        k: Above 0: the progress x is raised to it. The higher, the longer the rate stays up.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If steps are not whole numbers, ``end`` is not finite, the shape is unknown or ``k`` is not above 0.
        TypeError: If an argument is of the wrong kind.

    Source: Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import constant, cooldown
        >>> cooldown(constant(1), 50, 100)(mx.array([0, 50, 51, 75, 150, 1000]))
        array([1, 1, 0.9, 0.5, 0, 0], dtype=float32)
    """
    before, start = as_node("schedule", schedule), count("start", start, at_least=0)
    end, steps = finite("end", end), count("steps", steps)
    down = ramp(0.0, end, steps, one_of("shape", shape, SHAPES), k=positive("k", k))
    rate = down.structure.rate
    assert isinstance(rate, (Ramp, BentRamp))
    return Node(CooledDown(rate), end, before, start, *down.state[2:])


class CooledDown(ParametricRate):
    """The rate of a child up to ``start``, and then of a ramp ``down`` from the rate that the child has there."""

    down: Ramp | BentRamp

    def __call__(
        self, step: mx.array, end: mx.array, child: Child, start: mx.array, steps: mx.array, *own: mx.array
    ) -> mx.array:
        """child(min(t, start)) · s + end · (1 - s)"""
        before = mx.minimum(step, start)
        remaining, gone = self.down.weights_at(step - before, steps, *own)
        return end * gone + remaining * child(before)


@factory
def clip(schedule: Operand, low: Number | None = None, high: Number | None = None) -> Node:
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
    return Node(within, as_node("schedule", schedule), low, high)


def within(step: mx.array, child: Child, low: mx.array, high: mx.array) -> mx.array:
    """min(max(child, low), high)"""
    return mx.minimum(mx.maximum(child(step), low), high)


@factory
def delay(schedule: Operand, steps: Count) -> Node:
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
    return Node(delayed, as_node("schedule", schedule), count("steps", steps, at_least=0))


def delayed(step: mx.array, child: Child, steps: mx.array) -> mx.array:
    """child(max(t, steps) - steps)"""
    return child(mx.maximum(step, steps) - steps)


@factory
def skip(schedule: Operand, steps: Count) -> Node:
    r"""A schedule without its first ``steps`` steps: to go on where a run without a saved optimizer state stopped.

    .. math:: \eta(t) = \mathrm{schedule}(t + \mathrm{steps})

    Args:
        schedule: A schedule, a plain function of the step, or a number.
        steps: Steps to leave out, at least 0.

    Returns:
        A schedule, float32, of the shape of the step. From the last step that uint64 can count it holds its rate.

    Raises:
        ValueError: If ``steps`` is not a whole number >= 0.
        TypeError: If an argument is of the wrong kind.

    Source: ``last_epoch`` in PyTorch.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import linear_schedule, skip
        >>> skip(linear_schedule(1, 0, 4), 1)(mx.arange(5))
        array([0.75, 0.5, 0.25, 0, 0], dtype=float32)
    """
    return Node(skipped, as_node("schedule", schedule), count("steps", steps, at_least=0))


def skipped(step: mx.array, child: Child, steps: mx.array) -> mx.array:
    """child(t + steps); beyond 2^64 - 1 - steps the sum would wrap"""
    return child(mx.minimum(step, ~steps) + steps)


@factory
def staircase(schedule: Operand, every: Count) -> Node:
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
    return Node(held, as_node("schedule", schedule), count("every", every))


def held(step: mx.array, child: Child, every: mx.array) -> mx.array:
    """child(⌊t / every⌋ every)"""
    return child(step // every * every)


@factory
def repeat(schedule: Operand, period: Count) -> Node:
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
    return Node(repeated, as_node("schedule", schedule), count("period", period))


def repeated(step: mx.array, child: Child, period: mx.array) -> mx.array:
    """child(t mod period)"""
    return child(step % period)
