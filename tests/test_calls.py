"""What a schedule can be made of and called with: steps of any kind, functions, numbers, rates of one's own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlxsched_compiled as ours

from .measuring import requires_compile
from .schedules import FACTORIES, INLINED, PARAMETERS, TABLE, TYPICAL, Row, call_of, each

LINEAR = ours.linear_schedule(0.5, 0, 10)
STEPS = [0, 1, 2, 4, 5, 9, 10, 11, 19, 20, 99, 100, 101, 120]
DTYPES = [mx.int8, mx.int16, mx.int32, mx.int64, mx.uint8, mx.uint16, mx.uint32, mx.uint64]
DTYPES += [mx.float16, mx.bfloat16, mx.float32]


def _floats(schedule: Any, steps: Any = None) -> Any:
    return np.array(schedule(mx.arange(2000) if steps is None else steps))


def test_the_table_has_every_factory() -> None:
    made = {call_of(row.make, 0.1)[0] for row in TYPICAL.values()}
    assert made == FACTORIES.keys()


@pytest.mark.usefixtures("uncompiled")
@each(TYPICAL)
def test_numbers_of_any_kind_are_steps(row: Row) -> None:
    schedule = row.schedule
    expected = _floats(schedule, mx.array(STEPS, mx.uint64))
    kinds: list[Callable[[int], Any]] = [int, float, np.int32, np.uint64, np.float32, np.array, np.float64]
    for kind in kinds:
        rates = [schedule(kind(step)) for step in STEPS]
        assert all(isinstance(rate, mx.array) and rate.dtype == mx.float32 and rate.shape == () for rate in rates)
        np.testing.assert_array_equal(np.array(rates), expected)
    np.testing.assert_array_equal(_floats(schedule, np.array(STEPS, np.uint64)), expected)


def _assert_any_type_is_a_step(schedule: ours.Schedule, dtype: mx.Dtype) -> None:
    steps = mx.array(STEPS, dtype)
    curve = schedule(steps)
    assert curve.dtype == mx.float32
    np.testing.assert_array_equal(np.array(curve), _floats(schedule, mx.array(STEPS, mx.uint64)))
    np.testing.assert_array_equal([schedule(step).item() for step in steps], np.array(curve))


@pytest.mark.usefixtures("uncompiled")  # each type would be another kernel to build
@each(TYPICAL)
def test_arrays_of_any_type_are_steps(row: Row) -> None:
    for dtype in DTYPES:
        _assert_any_type_is_a_step(row.schedule, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["exponential_decay", "join_schedules"])
def test_arrays_of_any_type_are_steps_of_a_compiled_schedule(name: str, dtype: mx.Dtype) -> None:
    _assert_any_type_is_a_step(TABLE[name].schedule, dtype)


@pytest.mark.parametrize("shape", [(), (1,), (12,), (3, 4), (1, 1), (2, 1, 6), (0,), (3, 0)], ids=str)
@each(INLINED)
def test_rates_have_the_shape_of_the_steps(row: Row, shape: tuple[int, ...]) -> None:
    rates = row.schedule(mx.zeros(shape, mx.uint64))
    assert rates.shape == shape
    assert rates.dtype == mx.float32


COMBINATORS: dict[str, Callable[[Any], ours.Schedule]] = {
    **{key: p.make for key, p in PARAMETERS.items() if isinstance(p.value, ours.Schedule)},
    "join_schedules": lambda s: ours.join_schedules([s, s], [4]),
    "times": lambda s: s * LINEAR,
    "times, from the right": lambda s: LINEAR * s,
    "plus": lambda s: s + LINEAR,
    "plus, from the right": lambda s: LINEAR + s,
}
"""All that takes a schedule, as a function of it."""


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("name", COMBINATORS)
def test_functions_and_numbers_are_schedules(name: str) -> None:
    combine = COMBINATORS[name]
    by_function = combine(lambda step: 0.5 * (1 - mx.minimum(step, 10) / 10))
    np.testing.assert_allclose(_floats(by_function), _floats(combine(LINEAR)), rtol=3e-7, atol=1e-8)
    numbers: list[Any] = [0.3, np.float32(0.3), np.float64(0.3), lambda _: 0.3]
    if name not in ("times", "plus"):  # an mx.array on the left of an operator refuses what it does not know
        numbers.append(mx.array(0.3))
    for number in numbers:
        np.testing.assert_array_equal(_floats(combine(number)), _floats(combine(ours.constant(0.3))))
    np.testing.assert_array_equal(_floats(combine(1)), _floats(combine(ours.constant(1.0))))


def test_arrays_of_other_types_as_schedules_are_cast() -> None:
    rates = ours.join_schedules([mx.array(3, mx.int32), mx.array(0.5, mx.float16)], [2])(mx.arange(4))
    assert rates.dtype == mx.float32
    assert rates.tolist() == [3, 3, 0.5, 0.5]


@pytest.mark.usefixtures("uncompiled")
def test_products_and_sums() -> None:
    linear, cosine = ours.linear_schedule(1, 2, 4), ours.cosine_decay(1, 4)
    steps = mx.array([0, 1, 2, 3, 5, 17, 100, 5000, 10**5])
    a, b = _floats(linear, steps), _floats(cosine, steps)
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
        np.testing.assert_allclose(_floats(schedule, steps), expected, rtol=3e-7)
        copied = copy.deepcopy(schedule)
        assert repr(copied) == repr(schedule)
        np.testing.assert_array_equal(_floats(copied, steps), _floats(schedule, steps))


def test_a_list_that_changes_later_does_not_change_a_join() -> None:
    parts, boundaries = [ours.linear_schedule(0, 1, 5), ours.cosine_decay(1, 5)], [5]
    schedule = ours.join_schedules(parts, boundaries)
    before = _floats(schedule)
    parts.clear()
    boundaries.clear()
    np.testing.assert_array_equal(_floats(copy.deepcopy(schedule)), before)


def power_law(step: mx.array, peak: mx.array, steps: mx.array) -> mx.array:
    """A rate of one's own, at module level, so that it pickles."""
    return peak * (1 + step / steps) ** -0.5


def test_a_rate_of_ones_own() -> None:
    rates = ours.Schedule(power_law, 0.1, 100)(mx.array([0, 300, 9900]))
    assert rates.dtype == mx.float32
    np.testing.assert_allclose(np.array(rates), [0.1, 0.05, 0.01], rtol=3e-7)


def test_hyperparameters_reach_a_rate_as_arrays() -> None:
    seen: list[Any] = []

    def rate(step: mx.array, a: mx.array, b: mx.array, c: mx.array) -> mx.array:
        seen.extend((step.dtype, a.dtype, b.dtype, c.dtype))
        return a + b + c

    assert ours.Schedule(rate, 1, 0.5, mx.array(2, mx.uint64))(mx.array(3, mx.int8)).item() == 3.5
    assert seen[:4] == [mx.uint64, mx.float32, mx.float32, mx.uint64]


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_hyperparameters_of_other_types_give_float32(dtype: mx.Dtype) -> None:
    init, end = mx.array(0.5, dtype), mx.array(0.25, dtype)
    for schedule in (ours.linear_schedule(init, end, 4), ours.cosine_decay(init, 4, end)):
        assert schedule(2).dtype == mx.float32
        assert schedule(2).item() == pytest.approx(0.375)


@pytest.mark.parametrize("value", [3, 0.1, np.float32(0.1), np.int64(3), mx.array(3, mx.int32)], ids=repr)
@pytest.mark.parametrize("shape", [(), (2, 3)], ids=str)
def test_what_a_rate_returns_is_cast_and_spread(value: Any, shape: tuple[int, ...]) -> None:
    rates = ours.Schedule(lambda _: value)(mx.zeros(shape, mx.uint64))
    assert rates.dtype == mx.float32
    assert rates.shape == shape
    assert (np.array(rates) == np.float32(np.array(value))).all()


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.int32, mx.uint64], ids=str)
def test_arrays_that_a_rate_returns_are_cast(dtype: mx.Dtype) -> None:
    rates = ours.Schedule(lambda step: step.astype(dtype))(mx.arange(5))
    assert rates.dtype == mx.float32
    assert rates.tolist() == [0, 1, 2, 3, 4]


def test_a_number_that_a_rate_returns_keeps_all_its_bits() -> None:
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


def asks_for_the_value(step: mx.array) -> Any:
    """Not traceable."""
    return 1 / (1 + step.item())


def branches_on_the_step(step: mx.array) -> Any:
    """Not traceable."""
    return 0.1 if step < 3 else 0.2


@requires_compile
@pytest.mark.parametrize("name", [*COMBINATORS, "Schedule"])
@pytest.mark.parametrize("function", [asks_for_the_value, branches_on_the_step])
def test_a_function_that_cannot_be_traced_is_sent_to_tabulate(name: str, function: Any) -> None:
    """And others still work."""
    cosine = ours.cosine_decay(0.1, 10)
    before = cosine(3).item()

    def in_a_step(step: mx.array) -> mx.array:
        return {**COMBINATORS, "Schedule": ours.Schedule}[name](function)(step)

    for call in (in_a_step, mx.compile(in_a_step)):
        with pytest.raises(TypeError, match=rf"{function.__name__} cannot be traced.*tabulate"):
            call(mx.array(3, mx.uint64))
    assert cosine(3).item() == ours.cosine_decay(0.1, 10)(3).item() == before


def test_what_cannot_be_traced_can_be_tabulated() -> None:
    function: Any = branches_on_the_step
    rates = np.array(ours.tabulate(function, 10)(mx.array([0, 2, 3, 100])))
    np.testing.assert_array_equal(rates, np.array([0.1, 0.1, 0.2, 0.2], np.float32))
