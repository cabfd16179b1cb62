"""Schedules with a warmup: before any other, and whole training runs in one call."""

from __future__ import annotations

import math

import mlx.core as mx

from ..core.checks import Count, Number, count, finite, one_of, positive
from ..core.factory import factory
from ..core.node import Child, Node, Operand, ParametricRate, Rate, as_node
from ..formulas.ramps import SHAPES, ramp
from ..formulas.segments import switch


@factory
def warmup(schedule: Operand, steps: Count, init: Number = 0.0, *, shape: str = "linear", k: Number = 1.0) -> Node:
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
    child, steps = as_node("schedule", schedule), count("steps", steps, at_least=0)
    at_least_1 = steps if isinstance(steps, mx.array) else max(steps, 1)
    up = ramp(finite("init", init), 0.0, at_least_1, one_of("shape", shape, SHAPES), k=positive("k", k))
    start, _, _, *own = up.state
    return Node(WarmedUp(up.structure.rate), start, child, steps, *own)


class WarmedUp(ParametricRate):
    """The rate of a ramp ``up`` to a child's first rate, and then of the child.

    The ramp ends at the child's present rate. Before, that is the first one, since the child has not begun; after, the
    ramp stays at its end, and so follows the child.
    """

    up: Rate

    def __call__(self, step: mx.array, init: mx.array, child: Child, steps: mx.array, *own: mx.array) -> mx.array:
        """up(t, init, child(max(t, steps) - steps))"""
        rate = child(mx.maximum(step, steps) - steps)
        ramp_steps = mx.maximum(steps, 1)
        return self.up(mx.maximum(step, ramp_steps - steps), init, rate, ramp_steps, *own)  # of no steps: at its end


@factory
def warmup_cosine_decay(
    peak: Number, warmup_steps: Count, total_steps: Count, *, init: Number = 0.0, end: Number = 0.0
) -> Node:
    r"""A linear warmup, then a cosine decay.

    .. math:: \eta = \mathrm{warmup}(\mathrm{cosine\_decay}(\mathrm{peak},
        \mathrm{total\_steps} - \mathrm{warmup\_steps}, \mathrm{end}), \mathrm{warmup\_steps}, \mathrm{init})

    Args:
        peak: The rate at the end of the warmup.
        warmup_steps: Steps of the warmup, at least 0.
        total_steps: Steps of warmup and decay together, at least ``warmup_steps``: none left is an empty
            decay.
        init: The rate at step 0.
        end: The rate from step ``total_steps`` on.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, steps are not whole numbers, or ``warmup_steps > total_steps``.
        TypeError: If an argument is not a number.

    Source: ``warmup_cosine_decay_schedule`` in Optax; ``get_cosine_schedule_with_warmup`` in Transformers.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import warmup_cosine_decay
        >>> warmup_cosine_decay(1, 4, 14)(mx.array([0, 1, 4, 9, 14, 1000]))
        array([0, 0.25, 1, 0.5, 0, 0], dtype=float32)
    """
    return _warmup_and_decay(peak, warmup_steps, total_steps, init, end, "cosine")


@factory
def warmup_linear_decay(
    peak: Number, warmup_steps: Count, total_steps: Count, *, init: Number = 0.0, end: Number = 0.0
) -> Node:
    r"""A linear warmup, then a linear decay; to ``end`` 0, "decay to zero".

    .. math:: \eta = \mathrm{warmup}(\mathrm{linear\_schedule}(\mathrm{peak}, \mathrm{end},
        \mathrm{total\_steps} - \mathrm{warmup\_steps}), \mathrm{warmup\_steps}, \mathrm{init})

    Args:
        peak: The rate at the end of the warmup.
        warmup_steps: Steps of the warmup, at least 0.
        total_steps: Steps of warmup and decay together, at least ``warmup_steps``: none left is an empty
            decay.
        init: The rate at step 0.
        end: The rate from step ``total_steps`` on.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, steps are not whole numbers, or ``warmup_steps > total_steps``.
        TypeError: If an argument is not a number.

    Source: ``get_linear_schedule_with_warmup`` in Transformers; Bergsma et al., "Straight to Zero: Why Linearly
    Decaying the Learning Rate to Zero Works Best for LLMs", 2025.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import warmup_linear_decay
        >>> warmup_linear_decay(1, 4, 14)(mx.array([0, 1, 4, 9, 14, 1000]))
        array([0, 0.25, 1, 0.5, 0, 0], dtype=float32)
    """
    return _warmup_and_decay(peak, warmup_steps, total_steps, init, end, "linear")


@factory
def warmup_stable_decay(
    peak: Number,
    warmup_steps: Count,
    stable_steps: Count,
    decay_steps: Count,
    *,
    init: Number = 0.0,
    end: Number = 0.0,
    warmup_shape: str = "linear",
    decay_shape: str = "sqrt",
) -> Node:
    r"""A warmup, a plateau, a decay: the trapezoid, or WSD.

    .. math:: \eta = \mathrm{cooldown}(\mathrm{warmup}(\mathrm{peak}, \mathrm{warmup\_steps}, \mathrm{init}),
        \mathrm{warmup\_steps} + \mathrm{stable\_steps}, \mathrm{decay\_steps}, \mathrm{end})

    Args:
        peak: The rate of the plateau.
        warmup_steps: Steps of the warmup, at least 0.
        stable_steps: Steps of the plateau, at least 0.
        decay_steps: Steps of the decay, at least 0.
        init: The rate at step 0.
        end: The rate after the decay.
        warmup_shape: Of the way up: ``"linear"``, ``"cosine"``, ``"sqrt"``, ``"rex"`` or ``"exponential"``.
        decay_shape: Of the way down: one of the same.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, steps are not whole numbers, or a shape is unknown.
        TypeError: If an argument is not a number.

    Source: Hu et al., "MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training Strategies",
    2024; Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import warmup_stable_decay
        >>> warmup_stable_decay(1, 4, 10, 100)(mx.array([0, 1, 4, 14, 39, 1000]))
        array([0, 0.25, 1, 1, 0.5, 0], dtype=float32)
    """
    steps, stable = count("warmup_steps", warmup_steps, at_least=0), count("stable_steps", stable_steps, at_least=0)
    warmup_shape = one_of("warmup_shape", warmup_shape, SHAPES)
    decay_shape = one_of("decay_shape", decay_shape, SHAPES)
    peak, init, end = finite("peak", peak), finite("init", init), finite("end", end)
    up = ramp(init, peak, steps, warmup_shape)
    down = ramp(peak, end, count("decay_steps", decay_steps, at_least=0), decay_shape)
    return Node(switch, up, down, steps + stable)


@factory
def noam(model_size: Number, warmup_steps: Count, factor: Number = 1.0) -> Node:
    r"""The schedule of the Transformer: up in a straight line, down as the inverse root of the step.

    .. math::
        \eta(t) = \mathrm{factor} \cdot \mathrm{model\_size}^{-1/2}
        \min\left(t^{-1/2},\; t \cdot \mathrm{warmup\_steps}^{-3/2}\right), \qquad t \ge 1

    Args:
        model_size: The width of the model, above 0.
        warmup_steps: Steps of the way up, at least 0.
        factor: Of the whole.

    Returns:
        A schedule, float32, of the shape of the step. Step 0 counts as step 1.

    Raises:
        ValueError: If ``model_size`` is not above 0, ``warmup_steps`` not a whole number >= 0 or ``factor`` not finite.
        TypeError: If an argument is not a number.

    Source: Vaswani et al., "Attention Is All You Need", 2017.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import noam
        >>> noam(64, 100)(mx.array([0, 1, 50, 100, 400]))
        array([0.000125, 0.000125, 0.00625, 0.0125, 0.00625], dtype=float32)
    """
    scale = finite("factor", factor) * positive("model_size", model_size) ** -0.5
    steps = count("warmup_steps", warmup_steps, at_least=0)
    slope = math.inf if isinstance(steps, int) and steps == 0 else (steps * 1.0) ** -1.5
    return Node(_noam, scale, slope)


def _noam(step: mx.array, scale: mx.array, slope: mx.array) -> mx.array:
    t = mx.maximum(step, 1).astype(mx.float32)
    return scale * mx.minimum(1 / mx.sqrt(t), t * slope)


def _warmup_and_decay(
    peak: Number, warmup_steps: Count, total_steps: Count, init: Number, end: Number, shape: str
) -> Node:
    peak, init, end = finite("peak", peak), finite("init", init), finite("end", end)
    steps, total = count("warmup_steps", warmup_steps, at_least=0), count("total_steps", total_steps)
    if isinstance(steps, int) and isinstance(total, int) and steps > total:
        raise ValueError(f"warmup_steps must be at most total_steps, but got {steps} and {total}.")
    return Node(switch, ramp(init, peak, steps), ramp(peak, end, total - steps, shape), steps)
