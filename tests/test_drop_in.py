"""In place of MLX's own: the same calls, the same curves, in every optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.utils import tree_flatten

import mlxsched_compiled as ours

from . import oracle
from .cases import Case, each
from .counting import requires_compile
from .strategies import schedules, steps
from .training import Trainer

CALLS = [
    Case(3, lambda m: m.exponential_decay(1e-1, 0.9)),
    Case(3, lambda m: m.exponential_decay(init=1e-1, decay_rate=0.9)),
    Case(3, lambda m: m.exponential_decay(decay_rate=0.99, init=1)),
    Case(3, lambda m: m.step_decay(1e-1, 0.9, 10)),
    Case(3, lambda m: m.step_decay(init=1e-1, decay_rate=0.9, step_size=10)),
    Case(3, lambda m: m.step_decay(1e-1, 0.9, step_size=10)),
    Case(6, lambda m: m.cosine_decay(1e-1, 1000)),
    Case(6, lambda m: m.cosine_decay(1e-1, 100, 1e-2)),
    Case(6, lambda m: m.cosine_decay(1e-1, 100, end=1e-2)),
    Case(6, lambda m: m.cosine_decay(init=1e-1, decay_steps=100, end=1e-2)),
    Case(3, lambda m: m.linear_schedule(0, 1e-1, 100)),
    Case(3, lambda m: m.linear_schedule(0, 1e-1, steps=100)),
    Case(3, lambda m: m.linear_schedule(init=1, end=1e-1, steps=10)),
    Case(3, lambda m: m.linear_schedule(np.float32(0.5), np.float64(0.25), np.int64(100))),
    Case(6, lambda m: m.join_schedules([m.linear_schedule(0, 1e-1, steps=10), m.cosine_decay(1e-1, 200)], [10])),
    Case(
        3, lambda m: m.join_schedules(schedules=[m.linear_schedule(0, 1, 9), m.step_decay(1, 0.5, 9)], boundaries=[9])
    ),
    Case(3, lambda m: m.join_schedules((m.linear_schedule(0, 1, 9), m.exponential_decay(1, 0.5)), (9,))),
    Case(3, lambda m: m.join_schedules([m.exponential_decay(1e-1, 0.9)], [])),
    Case(0, lambda m: m.join_schedules([lambda _: 3, lambda _: 4, lambda _: 5], [2, 4])),
]
STEPS = [0, 1, 2, 4, 5, 9, 10, 11, 19, 20, 99, 100, 101, 120]
INTEGERS = [mx.int8, mx.int16, mx.int32, mx.int64, mx.uint8, mx.uint16, mx.uint32, mx.uint64]
FLOATS = [mx.float16, mx.bfloat16, mx.float32]
OPTIMIZERS = [
    optimizer
    for _, optimizer in inspect.getmembers(optim, inspect.isclass)
    if issubclass(optimizer, optim.Optimizer) and optimizer not in (optim.Optimizer, optim.MultiOptimizer)
]


def _agree(case: Case, at: list[int]) -> None:
    """That our rates and MLX's differ by no more than MLX's own error and our ulps."""
    known = np.array(at, np.uint64)
    truth = case.truth(known)
    mlx_rates = [np.array(case.make(optim)(mx.array(step, mx.uint64))) for step in at]
    our_rates = np.array(case.schedule(mx.array(known)))
    apart = oracle.distance(our_rates, np.array(mlx_rates))
    assert (apart <= oracle.distance(np.array(mlx_rates), truth) + case.ulps * oracle.ulp(truth)).all()


@each(CALLS)
def test_calls_that_work_on_mlx_work_on_ours(case: Case) -> None:
    _agree(case, STEPS)


@given(schedules, st.lists(steps, min_size=1, max_size=5))
def test_any_schedule_agrees_with_mlx(case: Case, at: list[int]) -> None:
    _agree(case, at)


@each(CALLS)
def test_numbers_of_any_kind_are_steps(case: Case) -> None:
    schedule = case.schedule
    expected = np.array(schedule(mx.array(STEPS, mx.uint64)))
    kinds: list[Callable[[int], Any]] = [int, float, np.int32, np.uint64, np.float32, np.array, np.float64]
    for kind in kinds:
        rates = [schedule(kind(step)) for step in STEPS]
        assert all(isinstance(rate, mx.array) and rate.dtype == mx.float32 and rate.shape == () for rate in rates)
        np.testing.assert_array_equal(np.array(rates), expected)
    curve: Any = np.array(STEPS, np.uint64)
    np.testing.assert_array_equal(np.array(schedule(curve)), expected)


@each([CALLS[0], CALLS[14]])
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_arrays_of_any_type_are_steps(case: Case, dtype: mx.Dtype) -> None:
    schedule = case.schedule
    expected = np.array(schedule(mx.array(STEPS, mx.uint64)))
    curve = schedule(mx.array(STEPS, dtype))
    assert curve.dtype == mx.float32
    np.testing.assert_array_equal(np.array(curve), expected)
    np.testing.assert_array_equal([schedule(mx.array(step, dtype)).item() for step in STEPS], expected)


@pytest.mark.parametrize("shape", [(), (1,), (12,), (3, 4), (1, 1), (2, 1, 6), (0,), (3, 0)])
@pytest.mark.parametrize("case", CALLS[::3], ids=lambda case: repr(case.schedule))
def test_rates_have_the_shape_of_the_steps(case: Case, shape: tuple[int, ...]) -> None:
    rates = case.schedule(mx.zeros(shape, mx.uint64))
    assert rates.shape == shape
    assert rates.dtype == mx.float32


def test_the_examples_in_the_documentation_of_mlx() -> None:
    examples = [
        (optim.SGD, ours.exponential_decay(1e-1, 0.9), 0.1, 5, 0.06561),
        (optim.SGD, ours.step_decay(1e-1, 0.9, 10), 0.1, 21, 0.081),
        (optim.SGD, ours.cosine_decay(1e-1, 1000), 0.1, 5, 0.0999961),
        (
            optim.Adam,
            ours.join_schedules([ours.linear_schedule(0, 1e-1, steps=10), ours.cosine_decay(1e-1, 200)], [10]),
            0.0,
            12,
            0.0999938,
        ),
        (optim.Adam, ours.linear_schedule(0, 1e-1, 100), 0.0, 101, 0.1),
    ]
    for make, schedule, first, updates, last in examples:
        optimizer = make(learning_rate=schedule)
        assert optimizer.learning_rate.dtype == mx.float32
        assert optimizer.learning_rate.item() == np.float32(first)
        for _ in range(updates):
            optimizer.update({}, {})
        assert optimizer.learning_rate.item() == pytest.approx(last, rel=1e-6)


def test_the_first_rate_prints_as_mlx_documents_it() -> None:
    assert repr(optim.SGD(learning_rate=ours.exponential_decay(1e-1, 0.9)).learning_rate) == "array(0.1, dtype=float32)"


def _make(optimizer: Any, rate: Any) -> Any:
    # Adafactor ignores the learning rate unless told otherwise.
    options = {"relative_step": False} if optimizer is optim.Adafactor else {}
    return optimizer(learning_rate=rate, **options)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_trains_as_with_the_rates_set_by_hand(optimizer: Any) -> None:
    schedule = ours.join_schedules([ours.linear_schedule(0.1, 0.2, 2), ours.cosine_decay(0.2, 4)], [2])
    scheduled, by_hand = _make(optimizer, schedule), _make(optimizer, 0.0)
    weights = {"w": mx.arange(6.0).reshape(2, 3) / 7 - 0.3}
    a, b = weights, weights
    for step in range(7):
        gradients = {"w": mx.sin(weights["w"] + step)}
        a = scheduled.apply_gradients(gradients, a)
        by_hand.learning_rate = schedule(step)
        b = by_hand.apply_gradients(gradients, b)
        assert scheduled.learning_rate.dtype == mx.float32
        assert scheduled.learning_rate.item() == schedule(step).item()
        assert mx.array_equal(a["w"], b["w"])


@requires_compile
def test_a_compiled_step_trains_at_the_rates_of_the_schedule() -> None:
    schedule = ours.join_schedules([ours.linear_schedule(0, 0.1, 3), ours.exponential_decay(0.1, 0.5)], [3])
    assert Trainer(schedule).rates(8) == [schedule(step).item() for step in range(8)]


def test_several_optimizers_at_once() -> None:
    warmup, decay = ours.linear_schedule(0, 0.1, 4), ours.exponential_decay(1, 0.5)
    optimizer = optim.MultiOptimizer(
        [optim.AdamW(learning_rate=warmup), optim.SGD(learning_rate=decay)], [lambda name, _: name == "weight"]
    )
    model: Any = {"weight": mx.ones((2, 2)), "bias": mx.ones(2)}
    for step in range(6):
        optimizer.update(model, dict(model))
        rates = [group.learning_rate.item() for group in optimizer.optimizers]
        assert rates == [warmup(step).item(), decay(step).item()]


def test_a_saved_run_goes_on_at_the_same_rate() -> None:
    schedule = ours.cosine_decay(0.1, 10)
    first, second = optim.Adam(learning_rate=schedule), optim.Adam(learning_rate=schedule)
    model: Any = {}
    for _ in range(4):
        first.update(model, {})
    second.state = dict(tree_flatten(first.state))
    second.update(model, {})
    assert second.learning_rate.item() == schedule(4).item()


@pytest.mark.parametrize("step", [-1, -(2**40), np.int64(-3), -2.0])
def test_a_step_below_zero_is_refused(step: Any) -> None:
    with pytest.raises(ValueError, match="step"):
        ours.cosine_decay(0.1, 10)(step)


@pytest.mark.parametrize(
    "name", ["exponential_decay", "step_decay", "cosine_decay", "linear_schedule", "join_schedules"]
)
def test_parameters_stand_where_mlx_has_them(name: str) -> None:
    expected = inspect.signature(getattr(optim, name)).parameters.values()
    got = inspect.signature(getattr(ours, name)).parameters.values()
    positional = [p for p in got if p.kind is not p.KEYWORD_ONLY]
    assert [(p.name, p.default) for p in positional] == [(p.name, p.default) for p in expected]
