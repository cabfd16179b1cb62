"""Schedules made of schedules. ``a * b``, ``a + b`` and their like are operators of ``Schedule``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mlx.core as mx

from ..core.bound import Bound, Operand, as_bound, clipped, composite, rate_at
from ..core.checks import Count, Number, count, finite, listed, not_decreasing, one_of, positive
from ..core.factory import factory
from ..core.rates import Compound, Part, RateFunction, Structure
from ..formulas.joins import joined
from ..formulas.ramps import SHAPES, ramp


@factory
def join_schedules(schedules: Sequence[Operand], boundaries: Sequence[Count]) -> Bound:
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
    parts = [as_bound(f"schedules[{i}]", s) for i, s in enumerate(listed("schedules", schedules))]
    if not parts:
        raise ValueError("schedules must not be empty.")
    starts = not_decreasing("boundaries", boundaries)
    if len(starts) != len(parts) - 1:
        raise ValueError(f"boundaries must be one fewer than the {len(parts)} schedules, but got {len(starts)}.")
    return joined(parts, starts)


@factory
def warmup(schedule: Operand, steps: Count, init: Number = 0.0, *, shape: str = "linear", k: Number = 1.0) -> Bound:
    r"""Goes up to a schedule's first rate, then runs the schedule.

    .. math::
        \eta(t) = \begin{cases}
        \mathrm{init} \cdot s(x) + \mathrm{schedule}(0) (1 - s(x)), \quad
        x = (t / \mathrm{steps})^k & t < \mathrm{steps} \\
        \mathrm{schedule}(t - \mathrm{steps}) & t \ge \mathrm{steps}
        \end{cases}

    Args:
        schedule: A schedule, a plain function of the step, or a number. It counts its steps from the end of the warmup.
        steps: Steps of the warmup, at least 0; none is the schedule itself.
        init: The rate at step 0.
        shape: Of the way up: ``"linear"``, ``"cosine"``, ``"sqrt"``, ``"rex"`` or ``"exponential"``.
        k: Above 0: the progress x is raised to it. The higher, the longer the rate stays near ``init``.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If ``steps`` is not a whole number >= 0, ``init`` is not finite, the shape is unknown or ``k`` is
            not above 0.
        TypeError: If an argument is of the wrong kind.

    Source: Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import cosine_decay, warmup
        >>> warmup(cosine_decay(1, 10), 4)(mx.array([0, 1, 4, 9, 14, 1000]))
        array([0, 0.25, 1, 0.5, 0, 0], dtype=float32)
    """
    after, steps = as_bound("schedule", schedule), count("steps", steps, at_least=0)
    init, shape = finite("init", init), one_of("shape", shape, SHAPES)
    return warmed(after, steps, init, rate_at(after, 0), shape, positive("k", k))


def warmed(after: Bound, steps: Count, init: Number, peak: Number, shape: str = "linear", k: Number = 1.0) -> Bound:
    """A ramp from ``init`` to ``peak``, then ``after``."""
    if not isinstance(steps, mx.array) and steps == 0:
        return after
    up = ramp(init, peak, steps, shape, k=k)
    if isinstance(up.structure, Compound):  # whose coefficients are in another order
        return joined([up, after], [steps])
    return composite(_Warmed(up.structure), [after], *up.state)


class _Warmed(Structure):
    """A ramp up, and from its last step on the part: their join, with a coefficient fewer."""

    def __init__(self, up: RateFunction) -> None:
        self.up = up

    def __call__(
        self, step: mx.array, parts: list[Part], init: mx.array, end: mx.array, steps: mx.array, *shape: mx.array
    ) -> mx.array:
        return mx.where(step < steps, self.up(step, init, end, steps, *shape), parts[0](step - steps))


@factory
def cooldown(
    schedule: Operand, start: Count, steps: Count, end: Number = 0.0, *, shape: str = "sqrt", k: Number = 1.0
) -> Bound:
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
    before, start = as_bound("schedule", schedule), count("start", start, at_least=0)
    steps, end = count("steps", steps), finite("end", end)
    return cooled(before, start, steps, end, one_of("shape", shape, SHAPES), positive("k", k))


def cooled(before: Bound, start: Count, steps: Count, end: Number, shape: str, k: Number) -> Bound:
    """``before``, and from ``start`` on a ramp from its rate there to ``end``."""
    down = ramp(rate_at(before, start), end, steps, shape, k=k)
    if not isinstance(start, mx.array) and start == 0:
        return down
    return joined([before, down], [start])


@factory
def clip(schedule: Operand, low: Number | None = None, high: Number | None = None) -> Bound:
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
    return clipped(as_bound("schedule", schedule), low, high)


@factory
def delay(schedule: Operand, steps: Count) -> Bound:
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
    return delayed(as_bound("schedule", schedule), count("steps", steps, at_least=0))


def delayed(part: Bound, steps: Count) -> Bound:
    """The part, its first rate held for so many steps before."""
    return composite(_delayed, [part], steps)


def _delayed(step: mx.array, parts: list[Part], steps: mx.array) -> mx.array:
    return parts[0](mx.maximum(step, steps) - steps)


@factory
def skip(schedule: Operand, steps: Count) -> Bound:
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
    steps = count("steps", steps, at_least=0)
    last = ~steps  # as uint64 2**64 - 1 - steps: beyond that step the sum would wrap
    return composite(_skipped, [as_bound("schedule", schedule)], steps, last)


def _skipped(step: mx.array, parts: list[Part], steps: mx.array, last: mx.array) -> mx.array:
    return parts[0](mx.minimum(step, last) + steps)


@factory
def staircase(schedule: Operand, every: Count) -> Bound:
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
    return composite(_every, [as_bound("schedule", schedule)], count("every", every))


def _every(step: mx.array, parts: list[Part], every: mx.array) -> mx.array:
    return parts[0](step // every * every)


@factory
def repeat(schedule: Operand, period: Count) -> Bound:
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
    return repeated(as_bound("schedule", schedule), count("period", period))


def repeated(part: Bound, period: Count) -> Bound:
    """The first ``period`` steps of the part, again and again."""
    return composite(_repeated, [part], period)


def _repeated(step: mx.array, parts: list[Part], period: mx.array) -> mx.array:
    return parts[0](step % period)


def finely(part: Bound, ticks: Count, last: Count, midway: Count = 0) -> Bound:
    """The part, a step being so many of its ticks, so that what starts between two steps starts on a whole one.

    Nothing changes after step ``last``. Step 0 may be ``midway``, so many ticks after the part's start.
    """
    if isinstance(midway, int) and midway == 0:
        return composite(_fine, [part], ticks, last)
    return composite(_fine, [part], ticks, last, midway)


def _fine(
    step: mx.array, parts: list[Part], ticks: mx.array, last: mx.array, midway: mx.array | None = None
) -> mx.array:
    tick = mx.minimum(step, last) * ticks
    return parts[0](tick if midway is None else tick + midway)
