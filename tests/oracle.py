"""The truth: the formulas of the schedules in float64, and errors counted in float32 ulps of it.

Every name of this module that is also one of the package takes the same arguments, and returns the true curve: a
function from an array of steps to an array of rates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Steps: TypeAlias = npt.NDArray[np.uint64]
Rates: TypeAlias = npt.NDArray[np.float64]
Curve: TypeAlias = Callable[[Steps], Rates]

_NORMAL = 2.0**-126
_SMALLEST_ULP = 2.0**-149
_OVERFLOW = 2.0**128


def float32(value: float) -> np.float64:
    """A hyperparameter that is a rate, as the schedules know it."""
    return np.float64(np.float32(value))


def ulps(rates: npt.ArrayLike, truth: Rates) -> Rates:
    """Errors of float32 ``rates`` in float32 ulps of the ``truth``; infinity counts as the first number too large.

    Below the smallest normal number, where GPUs flush to 0, any such number is right.
    """
    got = np.asarray(rates)
    assert got.dtype == np.float32
    errors: Rates = distance(got, truth) / ulp(truth)
    return np.where((np.abs(got) < _NORMAL) & (np.abs(truth) <= _NORMAL), 0, errors)


def ulp(truth: Rates) -> Rates:
    """The distance between the float32 numbers around ``truth``, denormals included."""
    _, exponent = np.frexp(_bounded(truth))
    spacing: Rates = np.where(truth == 0, 0, np.ldexp(1.0, exponent - 24))
    return np.maximum(spacing, _SMALLEST_ULP)


def distance(a: npt.ArrayLike, b: npt.ArrayLike) -> Rates:
    """The difference between ``a`` and ``b``, infinity counting as the first number too large."""
    return np.abs(_bounded(np.asarray(a, np.float64)) - _bounded(np.asarray(b, np.float64)))


def _bounded(values: Rates) -> Rates:
    return np.clip(values, -_OVERFLOW, _OVERFLOW)


def _power(base: float, exponent: Rates) -> Rates:
    with np.errstate(over="ignore", under="ignore"):
        # Far above float32, and finite, for a rate of 0 stays 0 however it grows.
        return np.minimum(np.float64(base) ** exponent, 2.0**500)


def _weights(shape: str, left: Rates, done: Rates, steps: Any) -> tuple[Rates, Rates]:
    """s and 1 - s, each in a form that does not cancel: (1 + cos πx) / 2 = cos²(πx/2) = sin²(π(1-x)/2)."""
    if shape == "linear":
        return left / steps, done / steps
    if shape == "cosine":
        return np.sin(np.pi / 2 * (left / steps)) ** 2, np.sin(np.pi / 2 * (done / steps)) ** 2
    if shape == "sqrt":
        return left / steps / (1 + np.sqrt(done / steps)), np.sqrt(done / steps)
    if shape == "exponential":
        return np.exp2(left / steps) - 1, 2 - np.exp2(left / steps)
    assert shape == "rex"
    return left / (steps - done / 2), done / 2 / (steps - done / 2)


def _ramp(
    init: float, end: float, steps: Any, shape: str = "linear", power: float = 1.0, k: float | None = None
) -> Curve:
    """init · s^power + end · (1 - s^power); a step may lie between two, and rates need not be float32."""

    def curve(step: Any) -> Rates:
        done = np.clip(step, 0, steps).astype(np.float64)
        if k is None:
            s, rest = _weights(shape, steps - done, done, steps)
        else:
            with np.errstate(divide="ignore"):
                s, rest = _weights(shape, -np.expm1(k * np.log(done / steps)), (done / steps) ** k, 1)
        with np.errstate(divide="ignore", under="ignore"):
            log = np.where(rest < s, np.log1p(-rest), np.log(s))
            rates: Rates = init * s**power - end * np.expm1(power * log)
        return rates

    return curve


def _first(curve: Curve, step: int = 0) -> float:
    return float(curve(np.array([step], np.uint64))[0])


def _curve(schedule: Any) -> Curve:
    """A curve, or a number in place of one."""
    return schedule if callable(schedule) else constant(schedule)


def constant(value: float) -> Curve:
    """value"""
    return lambda step: np.full(step.shape, float32(value))


def linear_schedule(init: float, end: float, steps: int, *, k: float | None = None) -> Curve:
    """s = 1 - x^k"""
    return _ramp(float32(init), float32(end), steps, k=k)


def cosine_decay(
    init: float, decay_steps: int, end: float = 0.0, *, power: float = 1.0, k: float | None = None
) -> Curve:
    """s = ((1 + cos πx^k) / 2)^power"""
    return _ramp(float32(init), float32(end), decay_steps, "cosine", power, k)


def polynomial_decay(
    init: float, decay_steps: int, end: float = 0.0, *, power: float = 1.0, k: float | None = None
) -> Curve:
    """s = (1 - x^k)^power"""
    return _ramp(float32(init), float32(end), decay_steps, "linear", power, k)


def sqrt_decay(init: float, decay_steps: int, end: float = 0.0, *, k: float | None = None) -> Curve:
    """s = 1 - √(x^k)"""
    return _ramp(float32(init), float32(end), decay_steps, "sqrt", k=k)


def rex_decay(init: float, decay_steps: int, end: float = 0.0, *, k: float | None = None) -> Curve:
    """s = (1 - x^k) / (1 - x^k/2)"""
    return _ramp(float32(init), float32(end), decay_steps, "rex", k=k)


def tanh_decay(init: float, decay_steps: int, end: float = 0.0, *, lower: float = -6.0, upper: float = 3.0) -> Curve:
    """s = (1 - tanh z) / 2 = 1 / (1 + exp 2z), z = lower · (1 - x) + upper · x; ``end`` from ``decay_steps`` on"""

    def curve(step: Steps) -> Rates:
        x = np.minimum(step.astype(np.float64) / decay_steps, 1)
        z = lower * (1 - x) + upper * x
        rates = float32(init) / (1 + np.exp(2 * z)) + float32(end) / (1 + np.exp(-2 * z))
        return np.where(step < decay_steps, rates, float32(end))

    return curve


def exponential_decay(init: float, decay_rate: float, *, decay_steps: int = 1, end: float | None = None) -> Curve:
    """init · decay_rate^(t / decay_steps), not beyond ``end``."""

    def curve(step: Steps) -> Rates:
        rates = float32(init) * _power(decay_rate, step.astype(np.float64) / decay_steps)
        if end is None:
            return rates
        return np.maximum(rates, float32(end)) if decay_rate < 1 else np.minimum(rates, float32(end))

    return curve


def step_decay(init: float, decay_rate: float, step_size: int) -> Curve:
    """init · decay_rate^(t // step_size)"""

    def curve(step: Steps) -> Rates:
        return float32(init) * _power(decay_rate, (step // np.uint64(step_size)).astype(np.float64))

    return curve


def inverse_time_decay(init: float, decay_rate: float, *, decay_steps: int = 1) -> Curve:
    """init / (1 + decay_rate · t / decay_steps)"""
    return lambda step: float32(init) / (1 + decay_rate * step.astype(np.float64) / decay_steps)


def inverse_sqrt_decay(init: float, timescale: int) -> Curve:
    """init · √(timescale / (t + timescale))"""
    return lambda step: float32(init) * np.sqrt(timescale / (step.astype(np.float64) + timescale))


def power_law_decay(init: float, timescale: int, power: float) -> Curve:
    """init · (1 + t / timescale)^-power"""
    return lambda step: float32(init) * (1 + step.astype(np.float64) / timescale) ** -power


def _hyperbola(step: Any, steps: int, bound: int) -> Any:
    """√((N - x) / U · (2 - (N + x) / U))"""
    x = np.minimum(np.asarray(step, np.float64), steps)
    return np.sqrt((steps - x) / bound * (2 - (steps + x) / bound))


def hyperbolic_decay(init: float, decay_steps: int, upper_bound: int, infimum: float = 0.0) -> Curve:
    """init + (init - infimum) · (h(t) - h(0))"""
    fall, first = float32(init) - float32(infimum), _hyperbola(0, decay_steps, upper_bound)
    return lambda step: float32(init) + fall * (_hyperbola(step, decay_steps, upper_bound) - first)


def exp_hyperbolic_decay(init: float, decay_steps: int, upper_bound: int, infimum: float) -> Curve:
    """init · (init / infimum)^(h(t) - h(0))"""
    ratio, first = float32(init) / float32(infimum), _hyperbola(0, decay_steps, upper_bound)
    return lambda step: float32(init) * ratio ** (_hyperbola(step, decay_steps, upper_bound) - first)


def piecewise_constant(values: Sequence[float], boundaries: Sequence[int]) -> Curve:
    """values[k] from step boundaries[k-1] on"""
    rates, starts = np.array(values, np.float32).astype(np.float64), np.array(boundaries, np.uint64)
    return lambda step: rates[np.searchsorted(starts, step, side="right")]


def piecewise_interpolate(values: Sequence[float], steps: Sequence[int], shape: str = "linear") -> Curve:
    """Through the knots, flat outside."""

    def curve(step: Steps) -> Rates:
        rates = np.full(step.shape, float32(values[0]))
        for k in range(len(values) - 1):
            leg = _ramp(float32(values[k]), float32(values[k + 1]), steps[k + 1] - steps[k], shape)
            on = step >= np.uint64(steps[k])
            rates[on] = leg(step[on] - np.uint64(steps[k]))
        return rates

    return curve


def table(values: Sequence[float]) -> Curve:
    """values[min(t, n - 1)]"""
    rates = np.array(values, np.float32).astype(np.float64)
    return lambda step: rates[np.minimum(step, len(values) - 1).astype(np.int64)]


def tabulate(fn: Callable[[int], float], steps: int) -> Curve:
    """fn(min(t, steps - 1))"""
    return table([fn(step) for step in range(steps)])


def cosine_restarts(
    init: float, period: int, end: float = 0.0, *, period_factor: float = 1, decay: float = 1.0
) -> Curve:
    """Cosine ramps, cycle k from init · decay^k in period · period_factor^k steps, for whole factors."""
    factor = int(period_factor)

    def curve(step: Steps) -> Rates:
        cycle: Any
        length: Any
        if factor == 1:
            cycle, at, length = step // np.uint64(period), step % np.uint64(period), period
        else:
            lengths = [period * factor**k for k in range(64) if period * factor**k < 2**63]
            starts = np.cumsum([0, *lengths[:-1]], dtype=np.uint64)
            cycle = np.searchsorted(starts, step, side="right") - 1
            at, length = step - starts[cycle], np.array(lengths)[cycle]
        top = float32(init) * _power(decay, cycle.astype(np.float64))
        done = at.astype(np.float64)
        s, rest = _weights("cosine", length - done, done, length)
        rates: Rates = top * s + float32(end) * rest
        return rates

    return curve


def cyclic(
    low: float,
    high: float,
    up_steps: int,
    down_steps: int | None = None,
    *,
    mode: str = "triangular",
    gamma: float = 1.0,
) -> Curve:
    """low + (high - low) · triangle · height, in a form that does not cancel."""
    down = down_steps or up_steps
    period = np.uint64(up_steps + down)

    def curve(step: Steps) -> Rates:
        at = (step % period).astype(np.float64)
        triangle = np.where(at < up_steps, at / up_steps, (up_steps + down - at) / down)
        base = {"triangular": 1.0, "triangular2": 0.5, "exp_range": gamma}[mode]
        count = step.astype(np.float64) if mode == "exp_range" else (step // period).astype(np.float64)
        height = triangle * _power(base, count)
        return float32(low) * (1 - height) + float32(high) * height

    return curve


def one_cycle(
    peak: float,
    total_steps: int,
    *,
    warmup_fraction: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    shape: str = "cosine",
    three_phase: bool = False,
) -> Curve:
    """init, peak, (init,) final at their knots, which may lie between two steps."""
    init = peak / div_factor
    knots = [0.0, warmup_fraction * total_steps - 1, total_steps - 1.0]
    rates = [init, peak, init / final_div_factor]
    if three_phase:
        knots.insert(2, 2 * warmup_fraction * total_steps - 2)
        rates.insert(2, init)

    def curve(step: Steps) -> Rates:
        result = np.full(step.shape, float32(init))
        for a, b, start, stop in zip(rates, rates[1:], knots, knots[1:], strict=False):
            if stop <= start:
                continue
            on = step >= start
            at: Any = step[on] - start
            result[on] = _ramp(float32(a), float32(b), stop - start, shape)(at)
        return result

    return curve


def one_cycle_momentum(total_steps: int, *, low: float = 0.85, high: float = 0.95, **options: Any) -> Curve:
    """high, low, high (, high), at the knots of one_cycle"""
    return one_cycle(low, total_steps, div_factor=low / high, final_div_factor=1.0, **options)


def join_schedules(schedules: Sequence[Callable[[Any], Any] | float], boundaries: Sequence[int]) -> Curve:
    """schedules[k] at t - boundaries[k-1] from that step on; numbers and plain functions are schedules too."""
    curves = [_curve(schedule) for schedule in schedules]

    def curve(step: Steps) -> Rates:
        segment = np.searchsorted(np.asarray(boundaries, np.uint64), step, side="right")
        rates = np.empty(step.shape, np.float64)
        for k, segment_curve in enumerate(curves):
            start = np.uint64(boundaries[k - 1] if k else 0)
            rates[segment == k] = segment_curve(step[segment == k] - start)
        return rates

    return curve


def warmup(schedule: Any, steps: int, init: float = 0.0, *, shape: str = "linear", k: float | None = None) -> Curve:
    """A ramp from init to schedule(0), then schedule(t - steps)"""
    after = _curve(schedule)
    if steps == 0:
        return after
    return join_schedules([_ramp(float32(init), _first(after), steps, shape, k=k), after], [steps])


def cooldown(
    schedule: Any, start: int, steps: int, end: float = 0.0, *, shape: str = "sqrt", k: float | None = None
) -> Curve:
    """schedule(t), and from ``start`` on a ramp from schedule(start) to end"""
    before = _curve(schedule)
    down = _ramp(_first(before, start), float32(end), steps, shape, k=k)
    return join_schedules([before, down], [start]) if start else down


def warmup_cosine_decay(
    peak: float, warmup_steps: int, total_steps: int, *, init: float = 0.0, end: float = 0.0
) -> Curve:
    """Linear to peak, cosine to end at total_steps"""
    return warmup(cosine_decay(peak, total_steps - warmup_steps, end), warmup_steps, init)


def warmup_linear_decay(
    peak: float, warmup_steps: int, total_steps: int, *, init: float = 0.0, end: float = 0.0
) -> Curve:
    """Linear to peak, linear to end at total_steps"""
    return warmup(linear_schedule(peak, end, total_steps - warmup_steps), warmup_steps, init)


def warmup_stable_decay(
    peak: float,
    warmup_steps: int,
    stable_steps: int,
    decay_steps: int,
    *,
    init: float = 0.0,
    end: float = 0.0,
    warmup_shape: str = "linear",
    decay_shape: str = "sqrt",
) -> Curve:
    """Up to peak, peak, down to end"""
    plateau = warmup(peak, warmup_steps, init, shape=warmup_shape)
    return cooldown(plateau, warmup_steps + stable_steps, decay_steps, end, shape=decay_shape)


def noam(model_size: float, warmup_steps: int, factor: float = 1.0) -> Curve:
    """factor · model_size^-½ · min(t^-½, t · warmup_steps^-1.5), t at least 1"""

    def curve(step: Steps) -> Rates:
        t = np.maximum(step, 1).astype(np.float64)
        slope = warmup_steps**-1.5 if warmup_steps else np.inf
        rates: Rates = factor * model_size**-0.5 * np.minimum(t**-0.5, t * slope)
        return rates

    return curve


def clip(schedule: Any, low: float | None = None, high: float | None = None) -> Curve:
    """No lower than low, no higher than high"""
    lowest, highest = -np.inf if low is None else float32(low), np.inf if high is None else float32(high)
    return lambda step: np.minimum(np.maximum(_curve(schedule)(step), lowest), highest)


def reduce_on_plateau(schedule: Any, *, min_rate: float = 0.0, **rules: Any) -> Curve:
    """schedule(t), no lower than min_rate: no metric was observed"""
    return lambda step: np.maximum(_curve(schedule)(step), float32(min_rate))


def delay(schedule: Any, steps: int) -> Curve:
    """schedule(max(t - steps, 0))"""
    return lambda step: _curve(schedule)(np.maximum(step, np.uint64(steps)) - np.uint64(steps))


def skip(schedule: Any, steps: int) -> Curve:
    """schedule(t + steps), of which uint64 holds at most 2**64 - 1"""
    top = 2**64 - 1
    return lambda step: _curve(schedule)(np.array([min(int(t) + steps, top) for t in step.flat], np.uint64))


def staircase(schedule: Any, every: int) -> Curve:
    """schedule(t // every · every)"""
    return lambda step: _curve(schedule)(step // np.uint64(every) * np.uint64(every))


def repeat(schedule: Any, period: int) -> Curve:
    """schedule(t % period)"""
    return lambda step: _curve(schedule)(step % np.uint64(period))
