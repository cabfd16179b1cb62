"""``Schedule``: a user's own rate, operators, copies and names."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlxsched_compiled as ours

from .cases import CASES, Case, each
from .counting import requires_compile

STEPS = mx.array([0, 1, 2, 3, 5, 17, 100, 5000, 10**5], mx.uint64)


def power_law(step: mx.array, peak: mx.array, steps: mx.array) -> mx.array:
    """A rate at module level, so that it pickles."""
    return peak * (1 + step / steps) ** -0.5


def looks_at_the_step(step: mx.array) -> Any:
    """Not a function of arrays: it branches on a value."""
    return 0.1 if step < 3 else 0.2


def test_a_rate_of_ones_own() -> None:
    schedule = ours.Schedule(power_law, 0.1, 100)
    rates = schedule(mx.array([0, 300, 9900]))
    assert rates.dtype == mx.float32
    np.testing.assert_allclose(np.array(rates), [0.1, 0.05, 0.01], rtol=3e-7)


@pytest.mark.parametrize("value", [3, 0.1, np.float32(0.1), np.int64(3), mx.array(3, mx.int32)])
@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_numbers_are_cast_and_spread(value: Any, shape: tuple[int, ...]) -> None:
    rates = ours.Schedule(lambda _: value)(mx.zeros(shape, mx.uint64))
    assert rates.dtype == mx.float32
    assert rates.shape == shape
    assert (np.array(rates) == np.float32(np.array(value))).all()


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.int32, mx.uint64])
def test_other_types_are_cast(dtype: mx.Dtype) -> None:
    rates = ours.Schedule(lambda step: step.astype(dtype))(mx.arange(5))
    assert rates.dtype == mx.float32
    assert rates.tolist() == [0, 1, 2, 3, 4]


def test_arrays_of_other_types_as_schedules_are_cast() -> None:
    rates = ours.join_schedules([mx.array(3, mx.int32), mx.array(0.5, mx.float16)], [2])(mx.arange(4))
    assert rates.dtype == mx.float32
    assert rates.tolist() == [3, 3, 0.5, 0.5]


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_hyperparameters_of_other_types_give_float32(dtype: mx.Dtype) -> None:
    init, end = mx.array(0.5, dtype), mx.array(0.25, dtype)
    for schedule in (ours.linear_schedule(init, end, 4), ours.cosine_decay(init, 4, end)):
        assert schedule(2).dtype == mx.float32
        assert schedule(2).item() == pytest.approx(0.375)


def test_a_number_keeps_all_its_bits() -> None:
    schedule = ours.Schedule(lambda _: 0.123456789)
    assert schedule(3).item() == np.float32(0.123456789)
    assert mx.compile(schedule)(mx.array(3, mx.uint64)).item() == np.float32(0.123456789)


def wide(step: mx.array) -> mx.array:
    """Not a rate per step."""
    return mx.zeros((7, 2)) + mx.sum(step)


@pytest.mark.parametrize("step", [3, mx.arange(5)], ids=["scalar", "array"])
def test_a_wrong_shape_names_the_rate(step: Any) -> None:
    with pytest.raises(ValueError, match="wide"):
        ours.Schedule(wide)(step)


@pytest.mark.parametrize("value", [None, "0.1", [0.1]])
def test_a_rate_that_is_no_number_names_the_function(value: Any) -> None:
    def returns_nothing_useful(step: mx.array) -> Any:
        return value

    with pytest.raises(TypeError, match="returns_nothing_useful"):
        ours.Schedule(returns_nothing_useful)(3)


@requires_compile
def test_a_function_that_cannot_be_traced_names_itself() -> None:
    with pytest.raises(TypeError, match="looks_at_the_step"):
        ours.Schedule(looks_at_the_step)(3)
    with pytest.raises(TypeError, match="looks_at_the_step"):
        ours.join_schedules([looks_at_the_step, 0.1], [10])(3)


@requires_compile
def test_after_a_failed_trace_others_still_work() -> None:
    schedule = ours.cosine_decay(0.1, 10)
    before = schedule(3).item()
    with pytest.raises(TypeError):
        ours.join_schedules([looks_at_the_step, schedule], [10])(3)
    assert schedule(3).item() == before
    assert ours.cosine_decay(0.1, 10)(3).item() == before


def test_hyperparameters_reach_the_rate_as_arrays() -> None:
    seen: list[Any] = []

    def rate(step: mx.array, a: mx.array, b: mx.array, c: mx.array) -> mx.array:
        seen.extend((step.dtype, a.dtype, b.dtype, c.dtype))
        return a + b + c

    assert ours.Schedule(rate, 1, 0.5, mx.array(2, mx.uint64))(mx.array(3, mx.int8)).item() == 3.5
    assert seen[:4] == [mx.uint64, mx.float32, mx.float32, mx.uint64]


def test_products_and_sums() -> None:
    linear, cosine = ours.linear_schedule(1, 2, 4), ours.cosine_decay(1, 4)
    a, b = np.array(linear(STEPS)), np.array(cosine(STEPS))
    for schedule, expected in (
        (linear * cosine, a * b),
        (linear + cosine, a + b),
        (2 * linear, 2 * a),
        (linear * 2, a * 2),
        (0.5 + linear, 0.5 + a),
        (linear + 1, a + 1),
        ((lambda _: 3) * cosine, 3 * b),
        (linear * 0.5 + cosine * linear, a * 0.5 + b * a),
    ):
        np.testing.assert_allclose(np.array(schedule(STEPS)), expected, rtol=3e-7)
        _same(copy.deepcopy(schedule), schedule)


def test_products_and_sums_pickle_and_print_as_they_were_written() -> None:
    schedule = 2 * ours.linear_schedule(1, 2, 4) + ours.cosine_decay(1, 4) * ours.step_decay(1, 0.5, 2)
    _same(pickle.loads(pickle.dumps(schedule)), schedule)
    _same(eval(repr(schedule), vars(ours).copy()), schedule)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (ours.cosine_decay(0.1, 1000), "cosine_decay(init=0.1, decay_steps=1000, end=0.0)"),
        (ours.cosine_decay(0.1, 1000, power=2.0), "cosine_decay(init=0.1, decay_steps=1000, end=0.0, power=2.0)"),
        (ours.linear_schedule(0, 0.1, steps=10), "linear_schedule(init=0, end=0.1, steps=10)"),
        (ours.exponential_decay(0.1, 0.9), "exponential_decay(init=0.1, decay_rate=0.9)"),
        (ours.step_decay(0.1, 0.9, 10), "step_decay(init=0.1, decay_rate=0.9, step_size=10)"),
        (
            ours.join_schedules([ours.linear_schedule(0, 1, 5), 0.5], [5]),
            "join_schedules(schedules=[linear_schedule(init=0, end=1, steps=5), 0.5], boundaries=[5])",
        ),
        (2 * ours.linear_schedule(0, 1, 5), "(2 * linear_schedule(init=0, end=1, steps=5))"),
    ],
)
def test_repr_is_the_call(schedule: ours.Schedule, text: str) -> None:
    assert repr(schedule) == text


def _same(copied: ours.Schedule, schedule: ours.Schedule) -> None:
    assert copied is not schedule
    assert repr(copied) == repr(schedule)
    assert mx.array_equal(copied(STEPS), schedule(STEPS))
    assert copied.rate == schedule.rate


@each(CASES)
def test_copies_are_equal_and_share_the_graph(case: Case) -> None:
    schedule = case.schedule
    _same(copy.copy(schedule), schedule)
    _same(copy.deepcopy(schedule), schedule)
    if "lambda" not in repr(schedule):
        _same(eval(repr(schedule), vars(ours).copy()), schedule)
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            _same(pickle.loads(pickle.dumps(schedule, protocol)), schedule)


def test_a_schedule_of_ones_own_pickles() -> None:
    schedule = ours.Schedule(power_law, 0.1, 100)
    copied = pickle.loads(pickle.dumps(schedule))
    assert mx.array_equal(copied(STEPS), schedule(STEPS))
    assert copied.rate == schedule.rate


def test_a_schedule_with_an_array_pickles() -> None:
    schedule = ours.linear_schedule(mx.array(0.5), 0.0, 10)
    copied = pickle.loads(pickle.dumps(schedule))
    assert mx.array_equal(copied(STEPS), schedule(STEPS))


def test_a_list_that_changes_later_does_not_change_a_join() -> None:
    parts, boundaries = [ours.linear_schedule(0, 1, 5), ours.cosine_decay(1, 5)], [5]
    schedule = ours.join_schedules(parts, boundaries)
    before = schedule(STEPS)
    parts.clear()
    boundaries.clear()
    assert mx.array_equal(copy.deepcopy(schedule)(STEPS), before)
