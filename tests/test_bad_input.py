"""Bad hyperparameters raise when the schedule is made, by name and value.

Which parameters there are, and what some of them refuse besides, is in the table of schedules.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlxsched_compiled as ours

from .schedules import FACTORIES, PARAMETERS, TYPICAL, Parameter, Row, call_of, each, each_parameter

LINEAR = ours.linear_schedule(0.5, 0, 10)


def test_the_table_has_every_parameter() -> None:
    expected = {f"{name}: {p}" for name, make in FACTORIES.items() for p in inspect.signature(make).parameters}
    assert PARAMETERS.keys() == expected


def _refuses(error: type[Exception], name: str, make: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(error, match=rf"(?<!\w){re.escape(name)}(?!\w)") as raised:
        make(value)
    values = [value, *([value.tolist()] if isinstance(value, (np.generic, np.ndarray)) else [])]  # as Python has it
    assert any(repr(v)[:25] in str(raised.value) for v in values)
    assert len(str(raised.value)) < 400


def _numbers() -> dict[str, tuple[Parameter, str, Callable[[Any], Any]]]:
    """All that takes one number, also inside a list: the parameter, the name that an error says, and the call."""
    found: dict[str, tuple[Parameter, str, Callable[[Any], Any]]] = {}
    for key, p in PARAMETERS.items():
        if isinstance(p.value, (int, float, ours.Schedule)) and not isinstance(p.value, bool):
            found[key] = p, p.name, p.make
        elif isinstance(p.value, list) and p.factory != "table":  # whose errors are of the whole

            def make(v: Any, p: Parameter = p) -> Any:
                return p.make([v, *p.value[1:]])

            found[f"{key}[0]"] = p, f"{p.name}[0]", make
    return found


def _kind(parameter: Parameter) -> type:
    value = parameter.value[0] if isinstance(parameter.value, list) else parameter.value
    return int if isinstance(value, int) else float


NUMBERS = _numbers()
RATES = {key: (name, make) for key, (p, name, make) in NUMBERS.items() if _kind(p) is float}
RATES |= {
    "tabulate: fn(0)": ("fn(0)", lambda v: ours.tabulate(lambda step: v, 3)),
    "right operand": ("right operand", lambda v: LINEAR * v),
    "left operand": ("left operand", lambda v: v + LINEAR),
}
COUNTS = {key: (name, make) for key, (p, name, make) in NUMBERS.items() if _kind(p) is int}
FROM_0 = {key for key in COUNTS if NUMBERS[key][0].zero}
MAY_BE_NONE = {
    key for key, p in PARAMETERS.items() if inspect.signature(FACTORIES[p.factory]).parameters[p.name].default is None
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39, np.float64("nan"), 10**400], ids=repr)
@pytest.mark.parametrize("key", RATES)
def test_rates_that_are_not_finite(key: str, value: Any) -> None:
    _refuses(ValueError, *RATES[key], value)


@pytest.mark.parametrize("value", ["0.1", None, [0.1], {}, 1j, b"1", True, np.ones(1)], ids=repr)
@pytest.mark.parametrize("key", RATES)
def test_rates_that_are_not_numbers(key: str, value: Any) -> None:
    if value is None and key in MAY_BE_NONE:
        RATES[key][1](value)
    else:
        _refuses(TypeError, *RATES[key], value)


@pytest.mark.parametrize("value", [0, -1, 1.5, -(10**30), 2**64, np.int64(0), 0.0, math.nan, math.inf], ids=repr)
@pytest.mark.parametrize("key", COUNTS)
def test_counts_that_are_not_whole_and_positive(key: str, value: Any) -> None:
    if value == 0 and key in FROM_0:
        COUNTS[key][1](value)
    else:
        _refuses(ValueError, *COUNTS[key], value)


@pytest.mark.parametrize("value", ["10", None, [10], 1j, True, np.ones(1, int)], ids=repr)
@pytest.mark.parametrize("key", COUNTS)
def test_counts_that_are_not_numbers(key: str, value: Any) -> None:
    if value is None and key in MAY_BE_NONE:
        COUNTS[key][1](value)
    else:
        _refuses(TypeError, *COUNTS[key], value)


@pytest.mark.parametrize("value", [1e4, 10_000, np.int32(10_000), np.float64(1e4)], ids=repr)
def test_whole_numbers_of_any_type_are_counts(value: Any) -> None:
    assert ours.cosine_decay(0.1, value)(5000).item() == ours.cosine_decay(0.1, 10_000)(5000).item()


@each({name: row for name, row in TYPICAL.items() if row.bad})
def test_values_out_of_range(row: Row) -> None:
    """Those that the table has beside its rows."""
    factory, arguments = call_of(row.make, 0.1)
    for name, values in row.bad.items():
        parameter = replace(PARAMETERS[f"{factory}: {name}"], arguments=arguments)
        for value in values:
            _refuses(ValueError, name, parameter.make, value)


@each_parameter(bool)
@pytest.mark.parametrize("value", ["no", "", 1, 0.0, None, mx.array(True)], ids=repr)
def test_what_must_be_true_or_false(parameter: Parameter, value: Any) -> None:
    _refuses(TypeError, parameter.name, parameter.make, value)


KNOWN = {
    "cyclic: mode": ["triangular", "triangular2", "exp_range"],
    "reduce_on_plateau: mode": ["min", "max"],
    "reduce_on_plateau: threshold_mode": ["rel", "abs"],
}


@each_parameter(str)
def test_an_unknown_word_lists_the_known_ones(parameter: Parameter) -> None:
    for word in KNOWN.get(f"{parameter.factory}: {parameter.name}", ["linear", "cosine", "sqrt", "rex", "exponential"]):
        parameter.make(word)
        with pytest.raises(ValueError, match=repr(word)):
            parameter.make("steep")


@pytest.mark.parametrize("value", [3, "ab", None])
@each_parameter(list)
def test_lists_that_are_none(parameter: Parameter, value: Any) -> None:
    if parameter.factory != "table":
        _refuses(TypeError, parameter.name, parameter.make, value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ours.clip(LINEAR, 0.5, 0.4), r"low.*high.*0\.5.*0\.4"),
        (lambda: ours.join_schedules([0.1, 0.2, 0.3], []), "boundaries.*3.*0"),
        (lambda: ours.join_schedules([0.1, 0.2, 0.3], [1]), "boundaries.*3.*1"),
        (lambda: ours.join_schedules([0.1, 0.2, 0.3], [1, 2, 3]), "boundaries.*3.*3"),
        (lambda: ours.join_schedules([], []), "schedules"),
        (lambda: ours.piecewise_constant([1, 2], []), "values.*0 boundaries.*2"),
        (lambda: ours.piecewise_constant([], []), "values.*0 boundaries.*0"),
        (lambda: ours.piecewise_constant([1], [5, 9]), "values.*2 boundaries.*1"),
        (lambda: ours.piecewise_interpolate([1, 2], [5]), "values.*1 steps.*2"),
        (lambda: ours.piecewise_interpolate([], []), "values.*0"),
        (lambda: ours.table([]), "values"),
        (lambda: ours.table([[1.0, 2.0]]), r"values.*\(1, 2\)"),
        (lambda: ours.table([1, math.nan]), "values.*finite"),
        (lambda: ours.table([1, math.inf]), "values.*finite"),
        (lambda: ours.table([1, 1e39]), "values.*finite"),
        (lambda: ours.table(mx.array([1, -math.inf])), "values.*finite"),
        (lambda: ours.linear_schedule(mx.zeros(3), 0.0, 10), "init.*shape"),
        (lambda: LINEAR / 0, "right operand of / must not be 0, but got 0"),
        (lambda: LINEAR / np.float64(0), "right operand of / must not be 0"),
    ],
)
def test_arguments_that_do_not_fit(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


LONG = [0.1] * 100_000


@pytest.mark.parametrize(
    "make",
    [
        lambda: ours.constant(LONG),  # type: ignore[arg-type]
        lambda: ours.cosine_decay(0.1, LONG),  # type: ignore[arg-type]
        lambda: ours.cosine_decay(0.1, 10**5000),
        lambda: ours.constant("0.1" * 100_000),  # type: ignore[arg-type]
        lambda: ours.constant({"rates": LONG}),  # type: ignore[arg-type]
        lambda: ours.constant(np.ones((9, 9, 9))),  # type: ignore[arg-type]
        lambda: ours.piecewise_constant("0.1" * 100_000, [1]),  # type: ignore[arg-type]
        lambda: ours.piecewise_constant([1] * 100_001, [*range(99_999, -1, -1)]),
        lambda: ours.piecewise_constant([LONG, 1], [1]),  # type: ignore[list-item]
        lambda: ours.one_cycle(1, 10, shape=LONG),  # type: ignore[arg-type]
        lambda: ours.one_cycle(1, 10, three_phase=LONG),  # type: ignore[arg-type]
        lambda: ours.reduce_on_plateau(1, patience=0).observe(LONG),  # type: ignore[arg-type]
    ],
)
def test_an_error_about_a_long_value_is_short(make: Callable[[], Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"must (be|not)") as raised:
        make()
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("boundaries", "is_one"),
    [
        (range(10, 30, 10), True),
        ((n for n in (10, 20)), True),
        ({10: "a", 20: "b"}.keys(), True),
        (np.array([10.0, 20.0]), True),
        ([np.int64(10), np.float64(20)], True),
        (mx.array([10, 20]), True),
        ({10: "a", 20: "b"}, False),
        ({10, 20}, False),
        (b"ab", False),
        (np.array(10), False),
    ],
)
def test_a_list_may_be_any_sequence(boundaries: Any, is_one: bool) -> None:
    if is_one:
        schedule = ours.join_schedules((0.1, 0.2, 0.3), boundaries)
        assert schedule(mx.array([9, 10, 19, 20])).tolist() == mx.array([0.1, 0.2, 0.2, 0.3]).tolist()
    else:
        with pytest.raises(TypeError, match="boundaries must be a list, but got"):
            ours.join_schedules([0.1, 0.2, 0.3], boundaries)


@pytest.mark.parametrize(
    "value", ["ab", None, 3.0, {0.1}, ["0.1"], [None], {1: 2}, [1j], [True], [0.1, False], np.ones(2, bool)]
)
def test_tables_that_are_not_numbers(value: Any) -> None:
    with pytest.raises(TypeError, match="values"):
        ours.table(value)


@pytest.mark.parametrize("value", [3, None, "cosine"])
def test_what_must_be_a_function(value: Any) -> None:
    _refuses(TypeError, "rate", ours.Schedule, value)
    _refuses(TypeError, "fn", lambda v: ours.tabulate(v, 3), value)


@pytest.mark.parametrize("value", ["0.1", None, [1]])
def test_hyperparameters_of_a_schedule_must_be_numbers(value: Any) -> None:
    _refuses(TypeError, "hyperparameter", lambda v: ours.Schedule(lambda step, h: h, v), value)


@each_parameter(int, float)
def test_a_value_that_decides_what_is_compiled_may_not_be_an_array(parameter: Parameter) -> None:
    """And no other value may be refused for being one."""
    if parameter.fixed:
        with pytest.raises(TypeError, match=f"{parameter.name} must be a Python number"):
            parameter.make(mx.array(2))
    else:
        parameter.make(mx.array(parameter.value))


@pytest.mark.parametrize("step", [-1, -(2**40), np.int64(-3), -2.0])
def test_a_step_below_zero(step: Any) -> None:
    with pytest.raises(ValueError, match="step"):
        LINEAR(step)
