"""Bad hyperparameters raise when the schedule is made, by name and value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxsched_compiled import (
    Schedule,
    cosine_decay,
    exponential_decay,
    join_schedules,
    linear_schedule,
    step_decay,
)

RATES: list[tuple[str, Callable[[Any], Any]]] = [
    ("init", lambda v: exponential_decay(v, 0.9)),
    ("decay_rate", lambda v: exponential_decay(0.1, v)),
    ("end", lambda v: exponential_decay(0.1, 0.9, end=v)),
    ("init", lambda v: step_decay(v, 0.9, 10)),
    ("decay_rate", lambda v: step_decay(0.1, v, 10)),
    ("init", lambda v: cosine_decay(v, 10)),
    ("end", lambda v: cosine_decay(0.1, 10, v)),
    ("power", lambda v: cosine_decay(0.1, 10, power=v)),
    ("init", lambda v: linear_schedule(v, 0, 10)),
    ("end", lambda v: linear_schedule(0, v, 10)),
    ("schedules[1]", lambda v: join_schedules([0.1, v], [10])),
]
COUNTS: list[tuple[str, Callable[[Any], Any]]] = [
    ("decay_steps", lambda v: exponential_decay(0.1, 0.9, decay_steps=v)),
    ("step_size", lambda v: step_decay(0.1, 0.9, v)),
    ("decay_steps", lambda v: cosine_decay(0.1, v)),
    ("steps", lambda v: linear_schedule(0, 0.1, v)),
    ("boundaries[0]", lambda v: join_schedules([0.1, 0.2], [v])),
]
LEAST = {"boundaries[0]": 0}
"""The least of a count, where that is not 1."""


def _refuses(error: type[Exception], name: str, make: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(error, match=re.escape(name)) as raised:
        make(value)
    assert repr(value) in str(raised.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39, np.float64("nan"), 10**400])
@pytest.mark.parametrize(("name", "make"), RATES)
def test_rates_that_are_not_finite(name: str, make: Callable[[Any], Any], value: Any) -> None:
    _refuses(ValueError, name, make, value)


@pytest.mark.parametrize("value", ["0.1", None, [0.1], {}, 1j, b"1"])
@pytest.mark.parametrize(("name", "make"), RATES)
def test_rates_that_are_not_numbers(name: str, make: Callable[[Any], Any], value: Any) -> None:
    if value is None and name == "end" and make is RATES[2][1]:
        pytest.skip("None means no bound")
    _refuses(TypeError, name, make, value)


@pytest.mark.parametrize("value", [0, -1, 1.5, -(10**30), 2**64, np.int64(0), 0.0])
@pytest.mark.parametrize(("name", "make"), COUNTS)
def test_counts_that_are_not_whole_and_positive(name: str, make: Callable[[Any], Any], value: Any) -> None:
    if value == LEAST.get(name, 1):
        make(value)
    else:
        _refuses(ValueError, name, make, value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("name", "make"), COUNTS)
def test_counts_that_are_not_finite(name: str, make: Callable[[Any], Any], value: Any) -> None:
    _refuses(ValueError, name, make, value)


@pytest.mark.parametrize("value", ["10", None, [10], 1j])
@pytest.mark.parametrize(("name", "make"), COUNTS)
def test_counts_that_are_not_numbers(name: str, make: Callable[[Any], Any], value: Any) -> None:
    _refuses(TypeError, name, make, value)


@pytest.mark.parametrize("value", [1e4, 10_000, np.int32(10_000), np.float64(1e4)])
def test_whole_numbers_of_any_type_are_counts(value: Any) -> None:
    assert cosine_decay(0.1, value)(5000).item() == cosine_decay(0.1, 10_000)(5000).item()


@pytest.mark.parametrize("value", [-0.9, -1e-9])
def test_negative_bases(value: float) -> None:
    _refuses(ValueError, "decay_rate", lambda v: exponential_decay(0.1, v), value)
    _refuses(ValueError, "decay_rate", lambda v: step_decay(0.1, v, 10), value)


@pytest.mark.parametrize("value", [0, -1.5])
def test_powers_that_are_not_positive(value: float) -> None:
    _refuses(ValueError, "power", lambda v: cosine_decay(0.1, 10, power=v), value)


@pytest.mark.parametrize("boundaries", [[10, 10], [10, 5], [5, 20, 20], [3, 2, 1]])
def test_boundaries_that_do_not_increase(boundaries: list[int]) -> None:
    _refuses(ValueError, "boundaries", lambda b: join_schedules([0.1] * (len(b) + 1), b), boundaries)


@pytest.mark.parametrize("boundaries", [[], [1], [1, 2, 3]])
def test_counts_of_schedules_and_boundaries_that_do_not_match(boundaries: list[int]) -> None:
    with pytest.raises(ValueError, match=rf"boundaries.*3.*{len(boundaries)}"):
        join_schedules([0.1, 0.2, 0.3], boundaries)


def test_no_schedules() -> None:
    with pytest.raises(ValueError, match="schedules"):
        join_schedules([], [])


@pytest.mark.parametrize("value", [3, None, "ab"])
def test_lists_that_are_none(value: Any) -> None:
    with pytest.raises(TypeError, match="schedules"):
        join_schedules(value, [])
    with pytest.raises(TypeError, match="boundaries"):
        join_schedules([0.1, 0.2], value)


def test_an_array_must_be_a_scalar() -> None:
    with pytest.raises(ValueError, match=r"init.*shape"):
        linear_schedule(mx.zeros(3), 0.0, 10)


@pytest.mark.parametrize("rate", [3, None, "cosine"])
def test_a_rate_must_be_a_function(rate: Any) -> None:
    _refuses(TypeError, "rate", Schedule, rate)


@pytest.mark.parametrize("value", ["0.1", None, [1]])
def test_hyperparameters_of_a_schedule_must_be_numbers(value: Any) -> None:
    _refuses(TypeError, "hyperparameter", lambda v: Schedule(lambda step, h: h, v), value)
