"""Cycles: cosine restarts, triangles, one-cycle."""

from __future__ import annotations

import math

import mlx.core as mx

from ..core.checks import FLOAT32_MAX, Count, Number, count, finite, flag, one_of, positive, static
from ..core.factory import factory
from ..core.node import Child, Node, ParametricRate, Rate, as_node
from ..formulas.powers import power_of
from ..formulas.ramps import SHAPES, cosine, quarter_turn, ramp
from ..formulas.segments import joined

_STEPS = 2**62
"""More than anyone takes, and little enough to stay within uint64."""


@factory
def cosine_restarts(
    init: Number, period: Count, end: Number = 0.0, *, period_factor: float = 1.0, decay: Number = 1.0
) -> Node:
    r"""Cosine decays one after the other, each from the top.

    .. math::
        \eta(t) = \mathrm{end} + (\mathrm{init} \cdot \mathrm{decay}^k - \mathrm{end}) \, \frac{1 + \cos \pi x}{2},
        \qquad x = \frac{t - t_k}{\mathrm{period} \cdot \mathrm{period\_factor}^k}

    where :math:`t_k \le t` is the start of cycle k. The step of a restart is at the top.

    Args:
        init: The rate at step 0.
        period: Steps of the first cycle, at least 1.
        end: The rate that each cycle falls to.
        period_factor: How many times longer each cycle is than the one before: 1, or at least 1.001. Whole numbers
            restart on exact steps; others within 2**-20 of a step.
        decay: Factor from the top of one cycle to the next, at least 0.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a number is not finite, ``period`` is not a whole number >= 1, ``period_factor`` is out of range
            or ``decay`` is negative.
        TypeError: If an argument is not a number, or ``period_factor`` (or ``period`` along with it) is an array.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017;
    ``CosineAnnealingWarmRestarts`` in PyTorch; ``decay`` is ``m_mul`` in Keras.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import cosine_restarts
        >>> cosine_restarts(1, 4, decay=0.5)(mx.array([0, 2, 4, 6, 8]))
        array([1, 0.5, 0.5, 0.25, 0.25], dtype=float32)
        >>> cosine_restarts(1, 4, period_factor=2)(mx.array([0, 4, 8, 11, 12]))
        array([1, 1, 0.5, 0.0380602, 1], dtype=float32)
    """
    init, end = finite("init", init), finite("end", end)
    period, decay = count("period", period), finite("decay", decay, at_least=0)
    factor = static("period_factor", finite("period_factor", period_factor))
    if factor == 1:
        power, *base = power_of(init, decay, 1)
        return Node(Restarts(power), end, period, *quarter_turn(period), *base)
    if factor < 1.001:
        raise ValueError(f"period_factor must be 1 or at least 1.001, but got {period_factor!r}.")
    period = static("period", period)
    bits = 0 if factor.is_integer() else 20
    starts, start, length = [], period << bits, period << bits
    while start < _STEPS:
        starts.append(start)
        length = length * int(factor) if bits == 0 else round((period << bits) * factor ** len(starts))
        start += length
    bounds = [0, *starts, start]
    cycles = [
        ramp(_top(init, decay, k), end, min(b - a, 2 * _STEPS - 1), "cosine")
        for k, (a, b) in enumerate(zip(bounds, bounds[1:], strict=False))
    ]
    cycling = joined(cycles, starts)
    return cycling if bits == 0 else Node(in_ticks, cycling, 1 << bits, _STEPS >> bits, 0)


def _top(init: Number, decay: Number, k: int) -> Number:
    """init · decay^k, and no more than float32 holds, which cycles far beyond any training would exceed."""
    if isinstance(init, mx.array) or isinstance(decay, mx.array):
        return init * decay**k
    try:
        top = init * decay**k
    except OverflowError:
        top = math.copysign(math.inf, init)
    return max(-FLOAT32_MAX, min(top, FLOAT32_MAX))


class Restarts(ParametricRate):
    """The rate of a cosine ramp for each period, from a power of the periods before."""

    power: Rate

    def __call__(
        self, step: mx.array, end: mx.array, period: mx.array, quarter_turn: mx.array, *base: mx.array
    ) -> mx.array:
        """power · s + end · (1 - s)"""
        done = step % period
        left = period - done
        remaining, gone = cosine(left.astype(mx.float32), done.astype(mx.float32), period, quarter_turn)
        return self.power(step // period, *base, remaining) + end * gone


@factory
def cyclic(
    low: Number,
    high: Number,
    up_steps: Count,
    down_steps: Count | None = None,
    *,
    mode: str = "triangular",
    gamma: Number = 1.0,
) -> Node:
    r"""Up and down between two rates, again and again.

    .. math:: \eta(t) = \mathrm{low} + (\mathrm{high} - \mathrm{low}) \cdot \mathrm{triangle}(t) \cdot a(t)

    where the triangle goes from 0 to 1 in ``up_steps`` and back in ``down_steps``, and a(t) is 1 for ``"triangular"``,
    halves with each cycle for ``"triangular2"`` and is :math:`\mathrm{gamma}^t` for ``"exp_range"``.

    Args:
        low: The rate at the start of each cycle.
        high: The rate at the top of the first cycle (less :math:`\mathrm{gamma}^t` in mode ``"exp_range"``).
        up_steps: Steps from low to high, at least 1.
        down_steps: Steps from high to low, at least 1; None for as many as up.
        mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``.
        gamma: The factor per step of ``"exp_range"``, at least 0; the other modes do not use it.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a number is not finite, steps are not whole numbers >= 1, ``gamma`` is negative or the mode
            unknown.
        TypeError: If an argument is not a number.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", 2015; ``CyclicLR`` in PyTorch.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import cyclic
        >>> cyclic(0, 1, 2, 4, mode="triangular2")(mx.array([0, 1, 2, 4, 6, 8]))
        array([0, 0.5, 1, 0.5, 0, 0.5], dtype=float32)
    """
    low, high, gamma = finite("low", low), finite("high", high), finite("gamma", gamma, at_least=0)
    up = count("up_steps", up_steps)
    down = up if down_steps is None else count("down_steps", down_steps)
    mode = one_of("mode", mode, ("triangular", "triangular2", "exp_range"))
    if mode == "triangular":
        return Node(triangle, low, high, up, down)
    if mode == "triangular2":
        return Node(halved_triangle, low, high, up, down)
    power, *base = power_of(1.0, gamma, 1)
    return Node(PoweredTriangle(power), low, high, up, down, *base)


def triangle(step: mx.array, low: mx.array, high: mx.array, up: mx.array, down: mx.array) -> mx.array:
    """low · (1 - x) + high · x, where x goes up to 1 and down again"""
    in_cycle = step % (up + down)
    rises = in_cycle < up
    steps = mx.where(rises, up, down)
    done = mx.where(rises, in_cycle, up + down - in_cycle)
    left = (steps - done).astype(mx.float32)
    return high * (done.astype(mx.float32) / steps) + low * (left / steps)


def halved_triangle(step: mx.array, low: mx.array, high: mx.array, up: mx.array, down: mx.array) -> mx.array:
    """The triangle, its height halved with each cycle"""
    return _above(low, triangle(step, low, high, up, down), _power_of_half(step // (up + down)))


class PoweredTriangle(ParametricRate):
    """The rate of a triangle whose height is times a power of the step."""

    power: Rate

    def __call__(
        self, step: mx.array, low: mx.array, high: mx.array, up: mx.array, down: mx.array, *base: mx.array
    ) -> mx.array:
        """low + (triangle - low) · power"""
        return _above(low, triangle(step, low, high, up, down), self.power(step, *base))


def _above(low: mx.array, rate: mx.array, scale: mx.array) -> mx.array:
    return (1 - scale) * low + rate * scale


def _power_of_half(exponent: mx.array) -> mx.array:
    """0.5 ** exponent, exactly: the fourth power of a root, and a rest, since a shift reaches 2**63 only."""
    exponent = mx.minimum(exponent, 255)
    one = (exponent == exponent).astype(mx.uint64)  # in its shape: under vmap a shift takes its left operand's
    root = mx.left_shift(one, exponent >> 2).astype(mx.float32)
    rest = mx.left_shift(one, exponent & 3).astype(mx.float32)
    square = root * root
    return 1 / square / square / rest


@factory
def one_cycle(
    peak: Number,
    total_steps: int,
    *,
    warmup_fraction: float = 0.3,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
    shape: str = "cosine",
    three_phase: bool = False,
) -> Node:
    r"""One cycle: up to the peak, down to almost nothing.

    .. math::
        \mathrm{init} = \frac{\mathrm{peak}}{\mathrm{div\_factor}} \;\to\; \mathrm{peak}
        \;\to\; \frac{\mathrm{init}}{\mathrm{final\_div\_factor}}

    along the shape, with the top at step ``warmup_fraction * total_steps - 1`` (which may lie between two steps) and
    the end at step ``total_steps - 1``. In three phases, the rate comes down to ``init`` as fast as it went up, and
    then to the end.

    Args:
        peak: The highest rate.
        total_steps: Steps of the whole cycle, at least 1; later the rate stays.
        warmup_fraction: The part of them spent going up, from 0 to 1 (to 0.5 in three phases).
        div_factor: Peak over the rate at step 0, above 0.
        final_div_factor: The rate at step 0 over the last, above 0.
        shape: Of each phase: ``"linear"``, ``"cosine"``, ``"sqrt"``, ``"rex"`` or ``"exponential"``.
        three_phase: Whether to come down in two phases.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a number is not finite or out of range, or the shape is unknown.
        TypeError: If an argument is not a number, ``total_steps`` or ``warmup_fraction`` is an array, or
            ``three_phase`` is neither True nor False.

    Source: Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates",
    2018; ``OneCycleLR`` in PyTorch.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import one_cycle
        >>> one_cycle(1, 100)(mx.array([0, 29, 64, 99, 1000]))
        array([0.04, 1, 0.500002, 4e-06, 4e-06], dtype=float32)
    """
    peak = finite("peak", peak)
    init = peak / positive("div_factor", div_factor)
    final = init / positive("final_div_factor", final_div_factor)
    return _one_cycle(init, peak, final, total_steps, warmup_fraction, shape, three_phase)


@factory
def one_cycle_momentum(
    total_steps: int,
    *,
    low: Number = 0.85,
    high: Number = 0.95,
    warmup_fraction: float = 0.3,
    shape: str = "cosine",
    three_phase: bool = False,
) -> Node:
    r"""The momentum beside ``one_cycle``: low where the rate is high.

    .. math:: \mathrm{high} \to \mathrm{low} \to \mathrm{high}

    along the shape, with its lowest at step ``warmup_fraction * total_steps - 1`` and its end at step
    ``total_steps - 1``; in three phases, it is ``high`` in the third. For ``scheduled``. What goes so beside
    ``cyclic(low, high, ...)`` is ``cyclic(0.9, 0.8, ...)``.

    Args:
        total_steps: Steps of the whole cycle, at least 1; later the momentum stays.
        low: The momentum at the peak of the rate.
        high: The momentum at the start and at the end.
        warmup_fraction: The part of the steps in which the rate goes up, from 0 to 1 (to 0.5 in three phases).
        shape: Of each phase: ``"linear"``, ``"cosine"``, ``"sqrt"``, ``"rex"`` or ``"exponential"``.
        three_phase: Whether the rate comes down in two phases.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a number is not finite or out of range, or the shape is unknown.
        TypeError: If an argument is not a number, ``total_steps`` or ``warmup_fraction`` is an array, or
            ``three_phase`` is neither True nor False.

    Source: ``cycle_momentum`` of ``OneCycleLR`` in PyTorch.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import one_cycle_momentum
        >>> one_cycle_momentum(100)(mx.array([0, 29, 64, 99, 1000]))
        array([0.95, 0.85, 0.9, 0.95, 0.95], dtype=float32)
    """
    low, high = finite("low", low), finite("high", high)
    return _one_cycle(high, low, high, total_steps, warmup_fraction, shape, three_phase)


def _one_cycle(
    init: Number, peak: Number, final: Number, total_steps: int, warmup_fraction: float, shape: str, three_phase: bool
) -> Node:
    """From ``init`` to ``peak`` to ``final``."""
    total = static("total_steps", count("total_steps", total_steps))
    fraction = static("warmup_fraction", finite("warmup_fraction", warmup_fraction))
    if not 0 <= fraction <= (0.5 if flag("three_phase", three_phase) else 1):
        raise ValueError(f"warmup_fraction must be from 0 to {0.5 if three_phase else 1}, but got {warmup_fraction!r}.")
    shape = one_of("shape", shape, SHAPES)

    rates, knots = [init, peak], [0.0, fraction * total - 1]
    if three_phase:
        rates, knots = [*rates, init], [*knots, 2 * fraction * total - 2]
    rates, knots = [*rates, final], [*knots, total - 1.0]
    per_step = 1 << min(62 - total.bit_length(), 40)
    ticks = [round(knot * per_step) for knot in knots]
    # A phase that would end before step 0 or before it starts is left out; one under way at step 0 is entered midway.
    phases = [
        (at, to, a, b) for at, to, a, b in zip(ticks, ticks[1:], rates, rates[1:], strict=False) if to > max(at, 0)
    ]
    if not phases:
        return as_node("final", final)
    first = phases[0][0]
    legs = [ramp(a, b, to - at, shape) for at, to, a, b in phases]
    cycle = joined(legs, [at - first for at, *_ in phases[1:]])
    return Node(in_ticks, cycle, per_step, total - 1, -first)


def in_ticks(step: mx.array, child: Child, per_step: mx.array, last: mx.array, first: mx.array) -> mx.array:
    """The child, which counts in substeps, ``per_step`` of them to a step: so it can begin something between two steps.

    Nothing changes after step ``last``. Step 0 is the substep ``first``.
    """
    return child(mx.minimum(step, last) * per_step + first)
