"""Rates and slopes at the edges: segments that are not there, last steps, huge steps, steps below 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

from . import oracle
from .measuring import Counted, requires_compile
from .tiny import ONE, Weight, linear
from .training import Step, bits, by_hand, with_both_tools

# Slopes

KINDS: dict[str, Callable[[Any], Schedule]] = {
    "linear_schedule": lambda h: ours.linear_schedule(h, 0.0, 10),
    "linear_schedule, k": lambda h: ours.linear_schedule(h, 0.0, 10, k=0.5),
    "cosine_decay": lambda h: ours.cosine_decay(h, 10),
    "cosine_decay, power": lambda h: ours.cosine_decay(h, 10, power=0.5),
    "cosine_decay, k": lambda h: ours.cosine_decay(h, 10, k=0.5),
    "polynomial_decay": lambda h: ours.polynomial_decay(h, 10, power=0.1),
    "sqrt_decay": lambda h: ours.sqrt_decay(h, 10),
    "rex_decay": lambda h: ours.rex_decay(h, 10),
    "tanh_decay": lambda h: ours.tanh_decay(h, 10),
    "exponential_decay": lambda h: ours.exponential_decay(h, 0.5),
    "exponential_decay, growing": lambda h: ours.exponential_decay(h, 1e6),
    "exponential_decay, to an end": lambda h: ours.exponential_decay(h, 0.5, end=0.01),
    "step_decay": lambda h: ours.step_decay(h, 0.5, 2),
    "inverse_time_decay": lambda h: ours.inverse_time_decay(h, 0.5),
    "inverse_sqrt_decay": lambda h: ours.inverse_sqrt_decay(h, 10),
    "power_law_decay": lambda h: ours.power_law_decay(h, 10, 0.3),
    "hyperbolic_decay": lambda h: ours.hyperbolic_decay(h, 10, 10),
    "exp_hyperbolic_decay": lambda h: ours.exp_hyperbolic_decay(h, 10, 10, 1e-3),
    "cosine_restarts": lambda h: ours.cosine_restarts(h, 5, period_factor=2),
    "cyclic": lambda h: ours.cyclic(0.0, h, 5),
    "one_cycle": lambda h: ours.one_cycle(h, 10),
    "piecewise_constant": lambda h: ours.piecewise_constant([0.5, h, 0.1], [2, 9]),
    "piecewise_interpolate": lambda h: ours.piecewise_interpolate([0.5, h, 0.1], [2, 5, 9], "sqrt"),
    "warmup": lambda h: ours.warmup(ours.cosine_decay(h, 10), 3, shape="sqrt"),
    "noam": lambda h: ours.noam(512, 10, h),
    "own": lambda h: Schedule(_own, h),
}


def _own(step: mx.array, h: mx.array) -> mx.array:
    return h * mx.sqrt(mx.maximum(10.0 - step, 0.0) + 1.0)


FEW_STEPS = [0, 1, 4, 5, 9, 10, 14, 15, 16, 25, 100, 2**24 + 1, 2**40]
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def _slope(make: Callable[[Any], Any]) -> Callable[[int], float]:
    """Of the square of the rate, by the hyperparameter, which is a quarter."""

    def squared(h: mx.array, step: mx.array) -> mx.array:
        return mx.square(make(h)(step))

    slope: Any = mx.grad(squared)
    return lambda step: float(slope(mx.array(0.25), mx.array(step, mx.uint64)))


@pytest.mark.usefixtures("uncompiled")
@every_kind
@pytest.mark.parametrize("segments", [3, 11])
def test_the_slope_of_a_join_by_a_segment_that_is_not_there_is_zero(kind: Any, segments: int) -> None:
    """Neither before it begins, nor after its end, nor where it has no steps; where it is there, its own."""

    def make(h: Any) -> Schedule:
        return ours.join_schedules(
            [0.5, kind(h), *[ours.cosine_decay(0.5, 9)] * (segments - 2)], [5, 16, *range(17, 14 + segments)]
        )

    def empty(h: Any) -> Schedule:
        return ours.join_schedules([0.5, kind(h), 0.125], [5, 5])

    joined, nowhere, alone = _slope(make), _slope(empty), _slope(kind)
    for step in FEW_STEPS:
        assert nowhere(step) == 0, step
        if not 5 <= step < 16:
            assert joined(step) == 0, step
        elif np.isfinite(own := alone(step - 5)):  # one of them grows beyond float32
            assert joined(step) == pytest.approx(own, rel=1e-6), step


@pytest.mark.usefixtures("uncompiled")
@every_kind
def test_slopes_are_finite_at_every_step(kind: Any) -> None:
    """Alone, warmed up, clipped and repeated, by a rate and by the step."""
    makes: list[Callable[[Any], Schedule]] = [
        kind,
        lambda h: ours.warmup(kind(h), 5),
        lambda h: ours.cooldown(kind(h), 5, 5),
        lambda h: ours.clip(kind(h), 0.125, 0.375),
        lambda h: ours.repeat(kind(h), 7),
        lambda h: ours.reduce_on_plateau(kind(h), min_rate=0.125),
    ]
    for make in makes:
        if kind is KINDS["exponential_decay, growing"]:
            make = _clipped(make)
        slope = _slope(make)
        assert np.isfinite([slope(step) for step in FEW_STEPS]).all()
        by_step: Any = mx.grad(make(0.25))
        assert np.isfinite([by_step(mx.array(float(step))).item() for step in (0, 5, 10, 16, 100)]).all()


def _clipped(make: Callable[[Any], Schedule]) -> Callable[[Any], Schedule]:
    return lambda h: ours.clip(make(h), high=1e9)


# Last steps, huge steps, steps below 0


@pytest.mark.parametrize("power", [0.01, 0.1, 0.3, 1.0, 3.0, 50.0])
@pytest.mark.parametrize("steps", [1, 3, 100, 10**6 + 1, 2**40 + 1])
@pytest.mark.usefixtures("uncompiled")
def test_a_power_of_nothing_is_nothing(power: float, steps: int) -> None:
    """However small the power: from the last step on the rate is the end."""
    for schedule in (
        ours.polynomial_decay(1.0, steps, power=power),
        ours.cosine_decay(1.0, steps, power=power),
        ours.polynomial_decay(1.0, steps, 0.25, power=power, k=0.1),
    ):
        end = schedule.hyperparameters["end"]
        assert [schedule(step).item() for step in (steps, steps + 1, 2**62)] == [end] * 3
        assert schedule(steps - 1).item() >= end


HUGE: dict[str, Callable[[Any], Any]] = {
    "hyperbolic": lambda m: m.hyperbolic_decay(1e-3, 2**40, 2**41, 1e-5),
    "hyperbolic, a line": lambda m: (
        m.hyperbolic_decay(1e-3, 2**40, 2**40) if m is ours else m.linear_schedule(1e-3, 0.0, 2**40)
    ),
    "hyperbolic, odd": lambda m: m.hyperbolic_decay(1.0, 2**40 - 1, 2**40 + 1, 0.5),
    "linear": lambda m: m.linear_schedule(1.0, 0.0, 2**40),
    "cosine": lambda m: m.cosine_decay(1.0, 2**40),
    "rex": lambda m: m.rex_decay(1.0, 2**40, 0.25),
    "warmup": lambda m: m.warmup(m.cosine_decay(1.0, 2**40), 2**40, 0.25),
    "warmup with a shape and k": lambda m: m.warmup(0.5, 2**40, shape="rex", k=2.0),
}


@pytest.mark.parametrize("make", HUGE.values(), ids=HUGE.keys())
@pytest.mark.usefixtures("uncompiled")
def test_at_steps_around_two_to_the_forty(make: Callable[[Any], Any]) -> None:
    n = 2**40
    steps = [0, 1, 2**20, n // 3, n // 2, n - 2**20, n - 2, n - 1, n, n + 1, n + n // 2, 2 * n - 1, 2 * n, 2**62]
    rates = np.array(make(ours)(mx.array(steps, mx.uint64)))
    assert oracle.ulps(rates, make(oracle)(np.array(steps, np.uint64))).max() <= 8


@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt", "rex", "exponential"])
@pytest.mark.parametrize("k", [0.5, 1.0, 1.7, 3.0])
@pytest.mark.usefixtures("uncompiled")
def test_a_warmup_of_any_shape_with_any_k(shape: str, k: float) -> None:
    """From ``init`` to what the schedule begins with, and then that."""

    def make(m: Any) -> Any:
        return m.warmup(m.inverse_sqrt_decay(0.3, 70), 100, 0.01, shape=shape, k=k)

    steps = [0, 1, 2, 3, 7, 50, 93, 98, 99, 100, 101, 1000, 10**6]
    rates = np.array(make(ours)(mx.array(steps, mx.uint64)))
    assert oracle.ulps(rates, make(oracle)(np.array(steps, np.uint64))).max() <= 10
    assert rates[0] == np.float32(0.01)
    assert rates[9] == np.float32(0.3)
    assert (np.diff(rates[:10]) >= 0).all()


@pytest.mark.parametrize("step", [-0.5, -1e-9, np.float32(-0.5), np.float64(-0.001), -1])
def test_a_number_a_little_below_zero_is_no_step(step: Any) -> None:
    with pytest.raises(ValueError, match="step"):
        ours.linear_schedule(0.5, 0.0, 10)(step)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16, mx.int32, mx.int8], ids=str)
@pytest.mark.usefixtures("uncompiled")
def test_below_zero_in_an_array_the_first_step_counts(dtype: mx.Dtype) -> None:
    """MLX could not say which of them is wrong without waiting."""
    schedule = ours.linear_schedule(0.5, 0.0, 10)
    below = mx.array([-0.5, -1.0, -100.0]).astype(dtype)
    assert schedule(below).tolist() == [0.5] * 3
    assert schedule(below[1]).item() == 0.5


# A user's function


def _rate(step: mx.array, peak: Any = 0.5) -> mx.array:
    rate: mx.array = peak / (1.0 + step)
    return rate


PLACES: dict[str, Callable[[Any], Schedule]] = {
    "alone": Schedule,
    "with a hyperparameter": lambda f: Schedule(f, 0.25),
    "in a product": lambda f: 2 * Schedule(f),
    "in a join": lambda f: ours.join_schedules([0.1, f], [1]),
    "in a clip in a sum": lambda f: ours.clip(f, low=0.001) + 1,
    "in a warmup": lambda f: ours.warmup(f, 3),
    "in a cooldown": lambda f: ours.cooldown(f, 3, 10),
}


@requires_compile
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_function_is_called_once_for_each_kind_of_step_and_never_again(place: Callable[[Any], Schedule]) -> None:
    """Where a ramp begins or ends at it, it is asked for that rate too: twice."""
    counted = Counted(_rate)
    schedule = place(counted)
    most = 2 if place in (PLACES["in a warmup"], PLACES["in a cooldown"]) else 1
    made = counted.calls
    assert made <= most - 1
    for steps in (0, mx.arange(4)):
        before = counted.calls
        schedule(steps)
        assert 1 <= counted.calls - before <= most
    before = counted.calls
    for step in range(1, 20):
        schedule(step)
        schedule(mx.arange(step, step + 4))
    assert str(schedule)
    assert schedule.hyperparameters is not None
    assert counted.calls == before


@requires_compile
@with_both_tools
def test_a_step_calls_a_function_once_in_its_trace(tool: Callable[..., Step]) -> None:
    for place in (lambda f: f, Schedule, lambda f: 2 * Schedule(f)):
        counted = Counted(_rate)
        optimizer = optim.SGD(place(counted))
        step = tool(linear, Weight(), optimizer)
        before = counted.calls
        step(ONE)
        assert 1 <= counted.calls - before <= 1 + (place is not Schedule)
        before = counted.calls
        for _ in range(5):
            step(ONE)
        assert counted.calls == before


@requires_compile
def test_a_user_compiled_step_calls_a_function_once_in_its_trace() -> None:
    counted = Counted(_rate)
    optimizer = optim.SGD(2 * Schedule(counted))
    step = by_hand(linear, Weight(), optimizer)
    before = counted.calls
    step(ONE)
    assert counted.calls == before + 1
    for _ in range(5):
        step(ONE)
    assert counted.calls == before + 1
    assert bits(optimizer.learning_rate) == bits(2 * Schedule(_rate)(5))


@pytest.mark.parametrize("steps", [1, 2, 100])
def test_what_is_tabulated_is_called_once_for_each_step(steps: int) -> None:
    counted = Counted(lambda step: 1.0 / (1 + step))
    schedule = ours.warmup(2 * ours.tabulate(counted, steps), 3)
    schedule(mx.arange(200))
    str(schedule)
    assert counted.calls == steps
