"""Means of many gradients, numbers next to whole ones, empty phases, tables, what is no number."""

from __future__ import annotations

import copy
import pickle
import weakref
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

from .tiny import ONE, Weight, linear, weight
from .training import bits, eager, flat, mlp, mse, warm_cosine, with_both_tools

CURVE = mx.arange(40)
ANY: Any = optim
"""The optimizers, given what their types do not say they take."""

# Means of many


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=str)
@pytest.mark.parametrize("accumulate", [8, 512, 1024, 4096])
def test_the_mean_of_many_gradients_in_half_precision(accumulate: int, dtype: mx.Dtype) -> None:
    """Within the last bit of the mean in float64; and in the gradients' type."""
    generator = np.random.default_rng(3)
    batches = [mx.array([value], dtype) for value in generator.uniform(0.5, 1.5, accumulate)]
    mean = np.mean([batch.astype(mx.float32).item() for batch in batches], dtype=np.float64)
    model, optimizer = Weight(dtype), optim.SGD(1.0)
    step = ours.compiled_step(linear, model, optimizer, accumulate=accumulate)
    for batch in batches:
        step(batch)
    mx.eval(model.state)
    assert model.w.dtype == dtype
    assert weight(model) == pytest.approx(-mean, rel=mx.finfo(dtype).eps)


def test_a_sum_beyond_float16_has_its_mean() -> None:
    model, optimizer = Weight(mx.float16), optim.SGD(1.0)
    step = ours.compiled_step(linear, model, optimizer, accumulate=256)
    for _ in range(256):
        step(mx.array([300.0], mx.float16))
    assert weight(model) == -300.0


def test_the_mean_of_the_calls_left_over_in_half_precision() -> None:
    model, optimizer = Weight(mx.bfloat16), optim.SGD(1.0)
    step = ours.compiled_step(linear, model, optimizer, accumulate=4096)
    step.flush()  # nothing to make an update of
    assert optimizer.step.item() == 0
    for _ in range(700):
        step(mx.array([1.5], mx.bfloat16))
    step.flush()
    step.flush()
    assert weight(model) == -1.5
    assert optimizer.step.item() == 1
    assert not step.state or step.state["calls"].item() == 0


@pytest.mark.parametrize(
    ("before", "calls", "after"), [(8, 7, 2), (8, 1, 4), (2, 1, 8), (5, 3, 5), (1, 3, 4), (4, 3, 1)]
)
def test_what_was_summed_for_another_accumulate_gives_the_mean_of_all_calls(
    before: int, calls: int, after: int
) -> None:
    model, optimizer = Weight(), optim.SGD(1.0)
    step = ours.compiled_step(linear, model, optimizer, accumulate=before)
    for i in range(calls):
        step(ONE * i)
    left = calls % before
    loaded = pickle.loads(pickle.dumps({**step.state, "calls": int(step.state["calls"])})) if left else step.state

    other = Weight()
    going_on = ours.compiled_step(linear, other, optim.SGD(1.0), accumulate=after)
    going_on.state = loaded
    for i in range(left, max(after, left + 1)):
        going_on(ONE * i)
    expected = np.mean(range(max(after, left + 1)))
    assert weight(other) == -expected
    assert not going_on.state or going_on.state["calls"].item() == 0


@pytest.mark.parametrize(
    "state",
    [
        {"gradients": {"w": mx.array(1.0)}},
        {"calls": mx.array(1)},
        {"calls": mx.array(1), "gradients": {"w": mx.zeros(2)}},
        {"calls": mx.array(1), "gradients": {"v": mx.array(1.0)}},
        {"nothing": 1},
    ],
    ids=str,
)
def test_a_state_that_is_none_is_refused_before_anything_changes(state: dict[str, Any]) -> None:
    model, optimizer = Weight(), optim.SGD(1.0)
    step = ours.compiled_step(linear, model, optimizer, accumulate=3)
    step(ONE)
    before = bits(step.state)
    with pytest.raises(ValueError, match="state must"):
        step.state = state
    assert bits(step.state) == before
    step.state = {}
    assert not step.state or step.state["calls"].item() == 0


def _weighted_loss(model: nn.Module, x: mx.array, tokens: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    count = mx.sum(tokens)
    return mx.sum(model(x) * tokens) / count, count, x


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_mean_weighted_by_tokens_is_that_over_all_tokens(calls: int) -> None:
    """Of a full update, of one by ``flush``, and where a batch has none at all."""
    generator = np.random.default_rng(2)
    data = [(generator.normal(size=n), (generator.random(n) < 0.6).astype(float)) for n in (3, 9, 5)][:calls]
    data[0] = (data[0][0], np.ones(3))
    tokens = np.concatenate([tokens for _, tokens in data])
    mean = np.average(np.concatenate([x for x, _ in data]), weights=tokens)

    model, optimizer = Weight(), optim.SGD(1.0)
    step = ours.compiled_step(_weighted_loss, model, optimizer, accumulate=3, weighted=True)
    for x, n in data:
        loss, weight_of_batch, batch = step(mx.array(x, mx.float32), mx.array(n, mx.float32))
        assert loss.item() == pytest.approx(0.0)
        assert weight_of_batch.item() == n.sum()
        assert batch.shape == x.shape
    step.flush()
    assert weight(model) == pytest.approx(-mean, rel=1e-6)
    assert optimizer.step.item() == 1


@with_both_tools
@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.SGD(warm_cosine(), momentum=0.9),
        lambda: ANY.AdamW(warm_cosine(), weight_decay=mx.array(0.1)),
        lambda: optim.Adafactor(),
        lambda: optim.MultiOptimizer([optim.Lion(warm_cosine()), optim.Adam(0.1)], [lambda name, w: w.ndim > 1]),
    ],
)
def test_an_update_that_is_not_finite_changes_nothing_and_is_counted(
    make: Callable[[], optim.Optimizer], tool: Callable[..., Any]
) -> None:
    """Among others, the run is that without it."""
    mx.random.seed(1)
    x, y = mx.random.normal((4, 4)), mx.random.normal((4, 2))
    bad = [mx.where(mx.arange(4) == 2, value, x) for value in (float("nan"), float("inf"))]
    runs = []
    for batches in ([x, bad[0], 2 * x, bad[1], bad[0], x], [x, 2 * x, x]):
        model, optimizer = mlp(), make()
        counted: Any
        if tool is ours.compiled_step:
            step = counted = ours.compiled_step(mse, model, optimizer, skip_nonfinite=True)
        else:
            counted = ours.compiled_update(model, optimizer, skip_nonfinite=True)
            step = _updating(model, counted)
        for batch in batches:
            step(batch, y)
        runs.append(bits(model.state, optimizer.state))
        assert counted.skipped.item() == len(batches) - 3
    assert runs[0] == runs[1]


def _updating(model: nn.Module, update: Any) -> Any:
    return lambda *batch: update(nn.value_and_grad(model, mse)(model, *batch)[1])


def test_a_skipped_update_takes_back_what_the_loss_did_to_the_model() -> None:
    """Running statistics of a batch norm. The sum that was accumulated starts anew."""
    mx.random.seed(1)
    model, optimizer = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm(3), nn.Linear(3, 2)), optim.SGD(0.1)
    step = ours.compiled_step(mse, model, optimizer, accumulate=2, skip_nonfinite=True)
    x, y = mx.random.normal((4, 4)), mx.random.normal((4, 2))
    before = bits(model.state)
    step(x, y)
    step(x * float("nan"), y)
    assert bits(model.state) == before
    assert step.skipped.item() == 1
    step(x, y)
    step(x, y)
    assert optimizer.step.item() == 1
    assert all(mx.all(mx.isfinite(p)).item() for _, p in flat(model.parameters()))


# Numbers next to whole ones


@pytest.mark.parametrize("steps", [0.07 * 100, 7.0, np.float64(0.07 * 100), np.float32(7), Fraction(7), np.array(7.0)])
def test_a_float_next_to_a_whole_number_is_that_number(steps: Any) -> None:
    made: list[Callable[[Any], Schedule]] = [
        lambda n: ours.linear_schedule(1.0, 0.0, n),
        lambda n: ours.join_schedules([1.0, 2.0], [n]),
        lambda n: ours.warmup(1.0, n),
        lambda n: ours.piecewise_interpolate([1.0, 2.0], [0, n]),
    ]
    for make in made:
        assert bits(make(steps)(CURVE)) == bits(make(7)(CURVE))


@pytest.mark.parametrize("steps", [7.5, 7.0001, np.float32(7.5), np.array(7.5), Fraction(15, 2), float("nan")])
def test_a_float_between_is_refused(steps: Any) -> None:
    made: list[Callable[[Any], Schedule]] = [
        lambda n: ours.linear_schedule(1.0, 0.0, n),
        lambda n: ours.join_schedules([1.0, 2.0], [n]),
    ]
    for make in made:
        with pytest.raises(ValueError, match="whole number"):
            make(steps)


@pytest.mark.parametrize(
    "step", [7.5, np.float32(7.5), np.float64(7.9), np.array(7.5), Fraction(15, 2), mx.array(7.5), 7, 7.000000000000001]
)
def test_a_step_between_is_the_one_below_as_a_number_and_as_an_array(step: Any) -> None:
    schedule = ours.linear_schedule(0.0, 1.0, 10)
    assert bits(schedule(step)) == bits(schedule(mx.array(7)))


def _always(value: float) -> Callable[[mx.array], mx.array]:
    return lambda step: mx.array(value)


@pytest.mark.parametrize("boundaries", [[5, 5], [0, 0], [0, 5], [5, 5, 5, 5, 9], [3, 3, 3, 7, 7]])
def test_equal_boundaries_leave_nothing_to_the_segment_between(boundaries: list[int]) -> None:
    values = [float(i) for i in range(1, len(boundaries) + 2)]
    expected = [values[sum(step >= boundary for boundary in boundaries)] for step in range(40)]
    assert ours.piecewise_constant(values, boundaries)(CURVE).tolist() == expected
    assert ours.join_schedules(values, boundaries)(CURVE).tolist() == expected
    assert ours.join_schedules([_always(v) for v in values], boundaries)(12).item() == expected[12]
    retuned = ours.join_schedules(values, sorted(range(len(boundaries))))
    retuned.retune(boundaries=boundaries)
    assert retuned(CURVE).tolist() == expected


@pytest.mark.parametrize("boundaries", [[5, 4], [1, 5, 5, 4], [0, 9, 8]])
def test_decreasing_boundaries_are_refused(boundaries: list[int]) -> None:
    values = [1.0] * (len(boundaries) + 1)
    for make in (ours.join_schedules, ours.piecewise_constant):
        with pytest.raises(ValueError, match="decrease"):
            make(values, boundaries)


EMPTY: list[tuple[Callable[[], Schedule], Callable[[int], float]]] = [
    (lambda: ours.warmup_cosine_decay(1.0, 8, 8), lambda t: t / 8 if t < 8 else 0.0),
    (lambda: ours.warmup_cosine_decay(1.0, 8, 8, end=0.25), lambda t: t / 8 if t < 8 else 0.25),
    (lambda: ours.warmup_linear_decay(1.0, 8, 8, end=0.25), lambda t: t / 8 if t < 8 else 0.25),
    (lambda: ours.warmup_stable_decay(1.0, 8, 4, 0), lambda t: t / 8 if t < 8 else float(t < 12)),
    (lambda: ours.warmup_stable_decay(1.0, 0, 0, 0, end=0.25), lambda t: 0.25),
    (lambda: ours.warmup_stable_decay(1.0, 0, 5, 0, end=0.25), lambda t: 1.0 if t < 5 else 0.25),
    (lambda: ours.warmup_stable_decay(1.0, 8, 0, 0, end=0.5), lambda t: t / 8 if t < 8 else 0.5),
    (lambda: ours.warmup(ours.constant(0.5), 0), lambda t: 0.5),
]


@pytest.mark.parametrize(("make", "expected"), EMPTY)
def test_a_phase_of_no_steps_is_empty(make: Callable[[], Schedule], expected: Callable[[int], float]) -> None:
    assert make()(CURVE).tolist() == [expected(step) for step in range(40)]


def test_a_warmup_beyond_the_total_is_refused() -> None:
    for make in (ours.warmup_cosine_decay, ours.warmup_linear_decay):
        with pytest.raises(ValueError, match="total_steps"):
            make(1.0, 101, 100)


def test_a_table_of_a_function_is_its_values_from_then_on() -> None:
    """In a copy and a pickle too, which do not call it again; a lambda will do."""
    setting = {"peak": 1.0}
    calls = []

    def rate(step: int) -> float:
        calls.append(step)
        return setting["peak"] / (step + 1)

    schedule = ours.tabulate(rate, 10)
    product = 2 * schedule
    before, twice = bits(schedule(CURVE)), bits(product(CURVE))
    setting["peak"] = 9.0
    for fresh in (copy.copy(schedule), copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert bits(fresh(CURVE)) == before
    assert bits(pickle.loads(pickle.dumps(product))(CURVE)) == twice
    assert len(calls) == 10
    tabulated = ours.tabulate(lambda step: 1 / (1 + step), 10)
    assert bits(pickle.loads(pickle.dumps(tabulated))(CURVE)) == bits(tabulated(CURVE))


# What a schedule is, and what is no number

FALSE = [np.True_, np.bool_(False), np.array(True), True]


@pytest.mark.parametrize("value", FALSE, ids=repr)
def test_bools_are_no_numbers(value: Any) -> None:
    made: list[Callable[[], Any]] = [
        lambda: ours.cosine_decay(value, 10),
        lambda: ours.cosine_decay(0.1, value),
        lambda: ours.join_schedules([0.1, value], [3]),
        lambda: ours.join_schedules([0.1, 0.2], [value]),
        lambda: Schedule(lambda step, a: a * step, value),
        lambda: ours.constant(1.0)(value),
        lambda: ours.constant(1.0) * value,
        lambda: ours.compiled_step(linear, Weight(), optim.SGD(0.1), accumulate=value),
        lambda: ours.compiled_step(linear, Weight(), optim.SGD(0.1), max_grad_norm=value),
    ]
    for make in made:
        with pytest.raises(TypeError, match="number"):
            make()


def test_differences_quotients_and_negation() -> None:
    a, b = ours.linear_schedule(1.0, 2.0, 8), ours.linear_schedule(4.0, 2.0, 8)
    first, second = a(CURVE), b(CURVE)
    made: list[tuple[Schedule, mx.array, str]] = [
        (a - b, first - second, "linear_schedule(init=1.0, end=2.0, steps=8) - linear"),
        (3 - a, 3 - first, "(3 - linear"),
        (a - 3, first - 3, " - 3)"),
        (a / b, first / second, ") / linear"),
        (2 / a, 2 / first, "(2 / linear"),
        (a / 2, first / 2, " / 2)"),
        (-a, -first, "(-linear"),
        (-(a - b) / -a, (first - second) / first, "/ (-linear"),
        (a - mx.array(0.5), first - 0.5, " - array(0.5"),
        (lambda_minus(a), 1.0 - first, "- linear"),
    ]
    for schedule, expected, text in made:
        np.testing.assert_allclose(np.array(schedule(CURVE)), np.array(expected), rtol=1e-6)
        assert text in repr(schedule)
        assert bits(pickle.loads(pickle.dumps(schedule.__class__.__mul__(a, b)))(CURVE)) == bits((a * b)(CURVE))


def lambda_minus(schedule: Schedule) -> Schedule:
    """A plain function less a schedule."""
    return (lambda step: mx.array(1.0)) - schedule


def test_a_schedule_has_a_name_and_can_be_referred_to_weakly() -> None:
    def decay(step: mx.array) -> mx.array:
        return 1.0 / (1.0 + step)

    assert ours.cosine_decay(0.1, 10).__name__ == "cosine_decay"
    assert ours.tabulate(lambda step: 1.0, 3).__name__ == "tabulate"
    assert Schedule(decay).__name__ == "decay"
    assert isinstance((2 * Schedule(decay)).__name__, str)
    schedule = ours.constant(1.0)
    known = weakref.WeakKeyDictionary({schedule: "one"})
    assert known[schedule] == "one"
    del schedule
    assert not known


def test_nothing_here_changes_what_eager_training_does() -> None:
    """A mean of one gradient is that gradient."""
    weights = []
    for way in (eager, ours.compiled_step):
        model = Weight(mx.bfloat16)
        step = way(linear, model, optim.SGD(1.0))
        step(mx.array([1.7], mx.bfloat16))
        weights.append(weight(model))
    assert weights[0] == weights[1]
