"""Copies and pickles are the same schedule, and so is what it prints as."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import mlx.core as mx
import pytest

import mlxsched_compiled as ours

from .schedules import NAMES, TABLE, TYPICAL, Row, call_of, each
from .test_calls import power_law
from .training import bits

STEPS = mx.array([0, 1, 2, 3, 5, 17, 100, 5000, 10**5], mx.uint64)


def inverse(step: int) -> float:
    """A function at module level, so that it pickles."""
    return 1 / (step + 1)


def _same(copied: ours.Schedule, schedule: ours.Schedule) -> None:
    assert copied is not schedule
    if not repr(schedule).startswith("tabulate("):  # whose copies are tables
        assert repr(copied) == repr(schedule)
    assert copied.structure == schedule.structure
    assert bits(copied.state) == bits(schedule.state)
    assert mx.array_equal(copied(STEPS), schedule(STEPS))


def _pickled(schedule: ours.Schedule, protocol: int = pickle.DEFAULT_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(schedule, protocol))


@pytest.mark.usefixtures("uncompiled")
@each(TABLE)
def test_copies_are_equal_and_share_the_graph(row: Row) -> None:
    schedule = row.schedule
    _same(copy.copy(schedule), schedule)
    _same(copy.deepcopy(schedule), schedule)
    if "lambda" not in repr(schedule) or repr(schedule).startswith("tabulate("):  # which does not pickle
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            _same(_pickled(schedule, protocol), schedule)
        if not repr(schedule).startswith("tabulate("):
            _same(eval(repr(schedule), dict(NAMES)), schedule)


def test_copies_of_what_was_tabulated_keep_the_values() -> None:
    rates = [0.3, 0.2, 0.1]
    schedule = ours.tabulate(lambda step: rates[step], 3)
    rates[:] = [9, 9, 9]
    for copied in (copy.deepcopy(schedule), _pickled(schedule)):
        assert mx.array_equal(copied(STEPS), schedule(STEPS))
        assert copied(0).item() == mx.array(0.3).item()


@pytest.mark.parametrize(
    "schedule",
    [
        ours.tabulate(inverse, 5),
        ours.Schedule(power_law, 0.1, 100),
        ours.linear_schedule(mx.array(0.5), 0.0, 10),
        2 * ours.linear_schedule(1, 2, 4) + ours.cosine_decay(1, 4) * ours.step_decay(1, 0.5, 2),
    ],
    ids=["tabulated function", "own rate", "array", "sum of products"],
)
def test_what_else_pickles(schedule: ours.Schedule) -> None:
    _same(_pickled(schedule), schedule)


@each(TYPICAL)
def test_repr_names_every_argument_that_is_given(row: Row) -> None:
    factory, arguments = call_of(row.make, 0.1)
    text = repr(row.schedule)
    assert text.startswith((f"{factory}(", "("))
    assert all(f"{name}=" in text for name in arguments if text.startswith(factory))


@pytest.mark.usefixtures("uncompiled")
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
        (
            2 * ours.linear_schedule(1, 2, 4) + 0.1,
            "((2 * linear_schedule(init=1, end=2, steps=4)) + 0.1)",
        ),
    ],
)
def test_repr_is_the_call(schedule: ours.Schedule, text: str) -> None:
    assert repr(schedule) == text
    _same(eval(text, dict(NAMES)), schedule)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    "boundaries",
    [lambda: (n for n in (10, 20)), lambda: (10, 20), lambda: range(10, 30, 10), lambda: iter({10: 1, 20: 2})],
    ids=["generator", "tuple", "range", "keys"],
)
def test_any_sequence_prints_copies_and_retunes_as_its_list(boundaries: Any) -> None:
    schedule = ours.piecewise_constant([1, 0.5, 0.1], boundaries())
    assert repr(schedule) == "piecewise_constant(values=[1, 0.5, 0.1], boundaries=[10, 20])"
    _same(_pickled(schedule), schedule)
    schedule.retune(values=(rate for rate in (3, 2, 1)))
    assert schedule.hyperparameters == {"values": [3, 2, 1], "boundaries": [10, 20]}
    assert schedule(mx.array([9, 10, 20])).tolist() == [3, 2, 1]


def test_a_list_may_change_afterwards() -> None:
    values = [1.0, 0.5]
    schedule = ours.piecewise_constant(values, [10])
    values[0] = 9.0
    schedule.retune(boundaries=[20])
    assert schedule(0).item() == 1.0
    assert repr(schedule) == "piecewise_constant(values=[1.0, 0.5], boundaries=[20])"
