"""In place of MLX's own: the same calls, the same curves, in every optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

import mlxsched_compiled as ours

from . import oracle
from .measuring import requires_compile
from .schedules import Row
from .training import OPTIMIZERS, rates_in_a_step

CALLS = [
    Row(lambda m, p: m.exponential_decay(1e-1, 0.9), 3),
    Row(lambda m, p: m.exponential_decay(init=1e-1, decay_rate=0.9), 3),
    Row(lambda m, p: m.exponential_decay(decay_rate=0.99, init=1), 3),
    Row(lambda m, p: m.step_decay(1e-1, 0.9, 10), 3),
    Row(lambda m, p: m.step_decay(init=1e-1, decay_rate=0.9, step_size=10), 3),
    Row(lambda m, p: m.step_decay(1e-1, 0.9, step_size=10), 3),
    Row(lambda m, p: m.cosine_decay(1e-1, 1000), 6),
    Row(lambda m, p: m.cosine_decay(1e-1, 100, 1e-2), 6),
    Row(lambda m, p: m.cosine_decay(1e-1, 100, end=1e-2), 6),
    Row(lambda m, p: m.cosine_decay(init=1e-1, decay_steps=100, end=1e-2), 6),
    Row(lambda m, p: m.linear_schedule(0, 1e-1, 100), 3),
    Row(lambda m, p: m.linear_schedule(0, 1e-1, steps=100), 3),
    Row(lambda m, p: m.linear_schedule(init=1, end=1e-1, steps=10), 3),
    Row(lambda m, p: m.linear_schedule(np.float32(0.5), np.float64(0.25), np.int64(100)), 3),
    Row(lambda m, p: m.join_schedules([m.linear_schedule(0, 1e-1, steps=10), m.cosine_decay(1e-1, 200)], [10]), 6),
    Row(
        lambda m, p: m.join_schedules(schedules=[m.linear_schedule(0, 1, 9), m.step_decay(1, 0.5, 9)], boundaries=[9]),
        3,
    ),
    Row(lambda m, p: m.join_schedules((m.linear_schedule(0, 1, 9), m.exponential_decay(1, 0.5)), (9,)), 3),
    Row(lambda m, p: m.join_schedules([m.exponential_decay(1e-1, 0.9)], []), 3),
    Row(lambda m, p: m.join_schedules([lambda _: 3, lambda _: 4, lambda _: 5], [2, 4]), 0),
]


def assert_agree(row: Row, at: list[int]) -> None:
    """That our rates and MLX's differ by no more than MLX's own error and our ulps."""
    known = np.array(at, np.uint64)
    truth = row.truth(known)
    mlx_rates = np.array([row.make(optim, 0.1)(mx.array(step, mx.uint64)) for step in at])
    apart = oracle.distance(np.array(row.schedule(mx.array(known))), mlx_rates)
    assert (apart <= oracle.distance(mlx_rates, truth) + row.ulps * oracle.ulp(truth)).all()


@pytest.mark.parametrize("row", CALLS)
def test_calls_that_work_on_mlx_work_on_ours(row: Row) -> None:
    assert_agree(row, [0, 1, 2, 4, 5, 9, 10, 11, 19, 20, 99, 100, 101, 120])


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


def test_every_optimizer_is_there() -> None:
    known = {type(getattr(make(0.1), "optimizers", [make(0.1)])[0]) for make in OPTIMIZERS.values()}
    classes = {optimizer for _, optimizer in inspect.getmembers(optim, inspect.isclass)}
    assert known == {c for c in classes if issubclass(c, optim.Optimizer)} - {optim.Optimizer, optim.MultiOptimizer}


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "MultiOptimizer"])
def test_every_optimizer_trains_as_with_the_rates_set_by_hand(name: str) -> None:
    schedule = ours.join_schedules([ours.linear_schedule(0.1, 0.2, 2), ours.cosine_decay(0.2, 4)], [2])
    scheduled, by_hand = OPTIMIZERS[name](schedule), OPTIMIZERS[name](0.0)
    weights = {"w": mx.arange(6.0).reshape(2, 3) / 7 - 0.3}
    a, b = weights, weights
    for step in range(7):
        # To each its own gradients, which MLX 0.32.1 changes in place.
        a = scheduled.apply_gradients({"w": mx.sin(weights["w"] + step)}, a)
        by_hand.learning_rate = schedule(step)
        b = by_hand.apply_gradients({"w": mx.sin(weights["w"] + step)}, b)
        assert scheduled.learning_rate.dtype == mx.float32
        assert scheduled.learning_rate.item() == schedule(step).item()
        assert mx.array_equal(a["w"], b["w"])


@requires_compile
def test_a_compiled_step_trains_at_the_rates_of_the_schedule() -> None:
    schedule = ours.join_schedules([ours.linear_schedule(0, 0.1, 3), ours.exponential_decay(0.1, 0.5)], [3])
    assert rates_in_a_step(schedule, 8) == [schedule(step).item() for step in range(8)]


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


@pytest.mark.parametrize(
    "name", ["exponential_decay", "step_decay", "cosine_decay", "linear_schedule", "join_schedules"]
)
def test_parameters_stand_where_mlx_has_them(name: str) -> None:
    expected = inspect.signature(getattr(optim, name)).parameters.values()
    got = inspect.signature(getattr(ours, name)).parameters.values()
    positional = [p for p in got if p.kind is not p.KEYWORD_ONLY]
    assert [(p.name, p.default) for p in positional] == [(p.name, p.default) for p in expected]


@pytest.mark.parametrize("count", [2, 5, 9])
@pytest.mark.parametrize(
    "function",
    [
        lambda step: 0.9 - 0.1 * mx.sum(step >= mx.array([1, 2, 3])),
        lambda step: 0.9 - 0.1 * mx.sum(step >= mx.array([0])),
        lambda step: mx.max(mx.stack([0.9 - 0.1 * step, mx.array(0.5)])),
        lambda step: mx.array([0.9, 0.8, 0.7, 0.6])[step],
    ],
    ids=["sum of three", "sum of one", "stack", "index"],
)
def test_joins_of_functions_of_one_step(function: Callable[[mx.array], mx.array], count: int) -> None:
    """As MLX calls a function: with an array of no dimension, however many schedules are joined."""
    boundaries = [4 * (i + 1) for i in range(count - 1)]
    ours_, mlxs = (
        module.join_schedules(
            [function, module.cosine_decay(1.0, 4)] * (count // 2) + [function] * (count % 2), boundaries
        )
        for module in (ours, optim)
    )
    for step in range(4 * count):
        assert ours_(mx.array(step)).item() == pytest.approx(mlxs(mx.array(step)).item(), abs=1e-6)
