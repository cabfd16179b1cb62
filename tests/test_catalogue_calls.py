"""The catalogue as plain Python: names, copies, composition, bad input."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlxsched_compiled as ours

from .cases import FAMILIES, each_family
from .counting import requires_compile
from .peers import NAMES
from .uncompiled import uncompiled

LINEAR = ours.linear_schedule(0.5, 0, 10)
FACTORIES = {
    name: value
    for name, value in NAMES.items()
    if inspect.isfunction(value) and not name.startswith("_") and "compiled" not in name
}
"""All of the catalogue: what the package exports, but for what trains."""


def test_the_table_has_every_factory() -> None:
    first_five = {"exponential_decay", "step_decay", "cosine_decay", "linear_schedule", "join_schedules"}
    calls = " ".join(repr(family.case().schedule) + name for name, family in FAMILIES.items())
    assert {name for name in FACTORIES if name not in calls} <= first_five


def _same(copied: ours.Schedule, schedule: ours.Schedule) -> None:
    assert copied is not schedule
    assert copied.rate == schedule.rate
    assert repr(copied) == repr(schedule)
    for ours_, theirs in zip(copied.state, schedule.state, strict=True):
        assert ours_.dtype == theirs.dtype
        assert mx.array_equal(ours_, theirs)


@each_family
def test_copies_are_equal_and_share_the_graph(name: str) -> None:
    schedule = FAMILIES[name].case().schedule
    _same(copy.copy(schedule), schedule)
    _same(copy.deepcopy(schedule), schedule)
    if "tabulate" not in name:  # a lambda neither prints nor pickles
        _same(pickle.loads(pickle.dumps(schedule)), schedule)
        if name != "table":  # a table prints as short as an array does
            _same(eval(repr(schedule), dict(NAMES)), schedule)


def inverse(step: int) -> float:
    """A function at module level, so that it pickles."""
    return 1 / (step + 1)


def test_a_tabulated_function_pickles_by_its_name() -> None:
    schedule = ours.tabulate(inverse, 5)
    _same(pickle.loads(pickle.dumps(schedule)), schedule)


@pytest.mark.parametrize("name", FACTORIES)
def test_repr_names_every_argument_that_counts(name: str) -> None:
    for family in FAMILIES.values():
        text = repr(family.case().schedule)
        if text.startswith(f"{name}("):
            positional = [
                p.name
                for p in inspect.signature(FACTORIES[name]).parameters.values()
                if p.kind is not p.KEYWORD_ONLY and p.default is p.empty
            ]
            assert all(f"{parameter}=" in text for parameter in positional), text


COMBINATORS: dict[str, Callable[[Any], ours.Schedule]] = {
    "clip": lambda s: ours.clip(s, 0.1, 0.4),
    "delay": lambda s: ours.delay(s, 3),
    "staircase": lambda s: ours.staircase(s, 3),
    "repeat": lambda s: ours.repeat(s, 4),
    "warmup": lambda s: ours.warmup(s, 3, 0.1),
    "cooldown": lambda s: ours.cooldown(s, 3, 4, 0.1),
    "join_schedules": lambda s: ours.join_schedules([s, s], [4]),
    "times": lambda s: s * LINEAR,
    "times, from the right": lambda s: LINEAR * s,
    "plus": lambda s: s + LINEAR,
    "plus, from the right": lambda s: LINEAR + s,
}


def _rates(schedule: ours.Schedule) -> Any:
    return np.array(schedule(mx.arange(12)))


@pytest.mark.parametrize("name", COMBINATORS)
def test_functions_and_numbers_are_schedules(name: str) -> None:
    combine = COMBINATORS[name]
    with uncompiled():
        by_function = combine(lambda step: 0.5 * (1 - mx.minimum(step, 10) / 10))
        np.testing.assert_allclose(_rates(by_function), _rates(combine(LINEAR)), rtol=3e-7, atol=1e-8)
        numbers: list[Any] = [0.3, np.float32(0.3), np.float64(0.3), lambda _: 0.3]
        if name not in ("times", "plus"):  # an mx.array on the left of an operator refuses what it does not know
            numbers.append(mx.array(0.3))
        for number in numbers:
            np.testing.assert_array_equal(_rates(combine(number)), _rates(combine(ours.constant(0.3))))
        np.testing.assert_array_equal(_rates(combine(1)), _rates(combine(ours.constant(1.0))))


def asks_for_the_value(step: mx.array) -> Any:
    """Not traceable."""
    return 1 / (1 + step.item())


def branches_on_the_step(step: mx.array) -> Any:
    """Not traceable."""
    return 0.1 if step < 3 else 0.2


@requires_compile
@pytest.mark.parametrize("name", COMBINATORS)
@pytest.mark.parametrize("function", [asks_for_the_value, branches_on_the_step])
def test_a_function_that_cannot_be_traced_is_sent_to_tabulate(name: str, function: Any) -> None:
    def in_a_step(step: mx.array) -> mx.array:
        return COMBINATORS[name](function)(step)

    with pytest.raises(TypeError, match=rf"{function.__name__} cannot be traced.*tabulate"):
        mx.compile(in_a_step)(mx.array(3, mx.uint64))


def test_what_cannot_be_traced_can_be_tabulated() -> None:
    function: Any = branches_on_the_step
    rates = np.array(ours.tabulate(function, 10)(mx.array([0, 2, 3, 100])))
    np.testing.assert_array_equal(rates, np.array([0.1, 0.1, 0.2, 0.2], np.float32))


RATES: dict[str, Callable[[Any], Any]] = {
    "value": ours.constant,
    "init of polynomial": lambda v: ours.polynomial_decay(v, 10),
    "end of polynomial": lambda v: ours.polynomial_decay(1, 10, v),
    "power": lambda v: ours.polynomial_decay(1, 10, power=v),
    "init of sqrt": lambda v: ours.sqrt_decay(v, 10),
    "end of sqrt": lambda v: ours.sqrt_decay(1, 10, v),
    "init of rex": lambda v: ours.rex_decay(v, 10),
    "end of rex": lambda v: ours.rex_decay(1, 10, v),
    "init of tanh": lambda v: ours.tanh_decay(v, 10),
    "end of tanh": lambda v: ours.tanh_decay(1, 10, v),
    "lower": lambda v: ours.tanh_decay(1, 10, lower=v),
    "upper": lambda v: ours.tanh_decay(1, 10, upper=v),
    "init of inverse time": lambda v: ours.inverse_time_decay(v, 1),
    "decay_rate": lambda v: ours.inverse_time_decay(1, v),
    "init of inverse sqrt": lambda v: ours.inverse_sqrt_decay(v, 10),
    "values[1] of piecewise_constant": lambda v: ours.piecewise_constant([1, v], [5]),
    "values[0] of piecewise_interpolate": lambda v: ours.piecewise_interpolate([v, 1], [5, 9]),
    "fn(1)": lambda v: ours.tabulate(lambda step: v if step else 1, 3),
    "init of restarts": lambda v: ours.cosine_restarts(v, 10),
    "end of restarts": lambda v: ours.cosine_restarts(1, 10, v),
    "period_factor": lambda v: ours.cosine_restarts(1, 10, period_factor=v),
    "decay": lambda v: ours.cosine_restarts(1, 10, decay=v),
    "low of cyclic": lambda v: ours.cyclic(v, 1, 10),
    "high of cyclic": lambda v: ours.cyclic(0, v, 10),
    "gamma": lambda v: ours.cyclic(0, 1, 10, mode="exp_range", gamma=v),
    "peak of one_cycle": lambda v: ours.one_cycle(v, 10),
    "warmup_fraction": lambda v: ours.one_cycle(1, 10, warmup_fraction=v),
    "div_factor": lambda v: ours.one_cycle(1, 10, div_factor=v),
    "final_div_factor": lambda v: ours.one_cycle(1, 10, final_div_factor=v),
    "init of warmup": lambda v: ours.warmup(LINEAR, 10, v),
    "schedule of warmup": lambda v: ours.warmup(v, 10),
    "peak of warmup_cosine": lambda v: ours.warmup_cosine_decay(v, 1, 10),
    "init of warmup_cosine": lambda v: ours.warmup_cosine_decay(1, 1, 10, init=v),
    "end of warmup_cosine": lambda v: ours.warmup_cosine_decay(1, 1, 10, end=v),
    "peak of warmup_linear": lambda v: ours.warmup_linear_decay(v, 1, 10),
    "init of warmup_linear": lambda v: ours.warmup_linear_decay(1, 1, 10, init=v),
    "end of warmup_linear": lambda v: ours.warmup_linear_decay(1, 1, 10, end=v),
    "peak of warmup_stable": lambda v: ours.warmup_stable_decay(v, 1, 1, 10),
    "init of warmup_stable": lambda v: ours.warmup_stable_decay(1, 1, 1, 10, init=v),
    "end of warmup_stable": lambda v: ours.warmup_stable_decay(1, 1, 1, 10, end=v),
    "model_size": lambda v: ours.noam(v, 10),
    "factor": lambda v: ours.noam(64, 10, v),
    "low of clip": lambda v: ours.clip(LINEAR, v),
    "high of clip": lambda v: ours.clip(LINEAR, high=v),
    "schedule of clip": ours.clip,
    "schedule of delay": lambda v: ours.delay(v, 1),
    "schedule of staircase": lambda v: ours.staircase(v, 1),
    "schedule of repeat": lambda v: ours.repeat(v, 1),
    "schedule of cooldown": lambda v: ours.cooldown(v, 1, 1),
    "end of cooldown": lambda v: ours.cooldown(LINEAR, 1, 1, v),
    "right operand": lambda v: LINEAR * v,
    "left operand": lambda v: v + LINEAR,
}
COUNTS: dict[str, Callable[[Any], Any]] = {
    "decay_steps of polynomial": lambda v: ours.polynomial_decay(1, v),
    "decay_steps of sqrt": lambda v: ours.sqrt_decay(1, v),
    "decay_steps of rex": lambda v: ours.rex_decay(1, v),
    "decay_steps of tanh": lambda v: ours.tanh_decay(1, v),
    "decay_steps of inverse time": lambda v: ours.inverse_time_decay(1, 1, decay_steps=v),
    "timescale": lambda v: ours.inverse_sqrt_decay(1, v),
    "boundaries[1]": lambda v: ours.piecewise_constant([1, 2, 3], [1, v]),
    "steps[1]": lambda v: ours.piecewise_interpolate([1, 2], [0, v]),
    "steps of tabulate": lambda v: ours.tabulate(inverse, v),
    "period of restarts": lambda v: ours.cosine_restarts(1, v),
    "up_steps": lambda v: ours.cyclic(0, 1, v),
    "down_steps": lambda v: ours.cyclic(0, 1, 10, v),
    "total_steps of one_cycle": lambda v: ours.one_cycle(1, v),
    "total_steps of warmup_cosine": lambda v: ours.warmup_cosine_decay(1, 0, v),
    "total_steps of warmup_linear": lambda v: ours.warmup_linear_decay(1, 0, v),
    "decay_steps of warmup_stable": lambda v: ours.warmup_stable_decay(1, 0, 0, v),
    "every": lambda v: ours.staircase(LINEAR, v),
    "period of repeat": lambda v: ours.repeat(LINEAR, v),
    "steps of cooldown": lambda v: ours.cooldown(LINEAR, 1, v),
}
COUNTS_FROM_0: dict[str, Callable[[Any], Any]] = {
    "steps of warmup": lambda v: ours.warmup(LINEAR, v),
    "warmup_steps of warmup_cosine": lambda v: ours.warmup_cosine_decay(1, v, 10),
    "warmup_steps of warmup_linear": lambda v: ours.warmup_linear_decay(1, v, 10),
    "warmup_steps of warmup_stable": lambda v: ours.warmup_stable_decay(1, v, 0, 10),
    "stable_steps": lambda v: ours.warmup_stable_decay(1, 0, v, 10),
    "warmup_steps of noam": lambda v: ours.noam(64, v),
    "steps of delay": lambda v: ours.delay(LINEAR, v),
    "start": lambda v: ours.cooldown(LINEAR, v, 1),
    "steps[0]": lambda v: ours.piecewise_interpolate([1, 2], [v, 50]),
}


def _refuses(error: type[Exception], name: str, make: Callable[[Any], Any], value: Any) -> None:
    word = re.escape(name.split(" of ")[0])
    with pytest.raises(error, match=rf"(?<!\w){word}(?!\w)") as raised:
        make(value)
    assert repr(value) in str(raised.value)


@pytest.mark.parametrize("value", [math.nan, -math.inf, 1e39])
@pytest.mark.parametrize("name", RATES)
def test_rates_that_are_not_finite(name: str, value: float) -> None:
    _refuses(ValueError, name, RATES[name], value)


@pytest.mark.parametrize("value", ["0.1", None, [0.1], 1j, True])
@pytest.mark.parametrize("name", RATES)
def test_rates_that_are_not_numbers(name: str, value: Any) -> None:
    if value is None and name in ("low of clip", "high of clip"):
        pytest.skip("None means no bound")
    if "operand" in name and value is None:
        with pytest.raises(TypeError):
            RATES[name](value)
    else:
        _refuses(TypeError, name, RATES[name], value)


@pytest.mark.parametrize("value", [0, -1, 1.5, 2**64, math.nan, math.inf])
@pytest.mark.parametrize("name", COUNTS)
def test_counts_that_are_not_whole_and_positive(name: str, value: Any) -> None:
    if name in ("boundaries[1]", "steps[1]") and value == 0:
        pytest.skip("does not increase, and says that instead")
    _refuses(ValueError, name, COUNTS[name], value)


@pytest.mark.parametrize("value", [-1, 1.5, 2**64, math.nan, math.inf])
@pytest.mark.parametrize("name", COUNTS_FROM_0)
def test_counts_that_are_below_zero(name: str, value: Any) -> None:
    _refuses(ValueError, name, COUNTS_FROM_0[name], value)


@pytest.mark.parametrize("value", ["10", None, [10], 1j, True])
@pytest.mark.parametrize("name", [*COUNTS, *COUNTS_FROM_0])
def test_counts_that_are_not_numbers(name: str, value: Any) -> None:
    if name == "down_steps" and value is None:
        pytest.skip("None means as many as up")
    _refuses(TypeError, name, {**COUNTS, **COUNTS_FROM_0}[name], value)


@pytest.mark.parametrize(
    ("name", "make", "value"),
    [
        ("power", RATES["power"], 0),
        ("power", RATES["power"], -1),
        ("decay_rate", RATES["decay_rate"], -0.1),
        ("lower", RATES["lower"], -41),
        ("upper", RATES["upper"], 41.0),
        ("decay", RATES["decay"], -0.1),
        ("gamma", RATES["gamma"], -0.1),
        ("period_factor", RATES["period_factor"], 0.5),
        ("period_factor", RATES["period_factor"], 0),
        ("warmup_fraction", RATES["warmup_fraction"], -0.1),
        ("warmup_fraction", RATES["warmup_fraction"], 1.1),
        ("warmup_fraction", lambda v: ours.one_cycle(1, 10, warmup_fraction=v, three_phase=True), 0.6),
        ("div_factor", RATES["div_factor"], 0),
        ("final_div_factor", RATES["final_div_factor"], -1),
        ("model_size", RATES["model_size"], 0),
        ("model_size", RATES["model_size"], -64),
        ("boundaries", lambda v: ours.piecewise_constant([1, 2, 3], v), [5, 5]),
        ("boundaries", lambda v: ours.piecewise_constant([1, 2, 3], v), [5, 4]),
        ("steps", lambda v: ours.piecewise_interpolate([1, 2], v), [5, 5]),
        ("steps", lambda v: ours.piecewise_interpolate([1, 2], v), [5, 0]),
        ("shape", lambda v: ours.warmup(LINEAR, 5, shape=v), "steep"),
        ("shape", lambda v: ours.cooldown(LINEAR, 5, 5, shape=v), "steep"),
        ("shape", lambda v: ours.one_cycle(1, 10, shape=v), "steep"),
        ("shape", lambda v: ours.piecewise_interpolate([1], [5], shape=v), "steep"),
        ("warmup_shape", lambda v: ours.warmup_stable_decay(1, 1, 1, 1, warmup_shape=v), "steep"),
        ("decay_shape", lambda v: ours.warmup_stable_decay(1, 1, 1, 1, decay_shape=v), "steep"),
        ("mode", lambda v: ours.cyclic(0, 1, 5, mode=v), "square"),
        ("total_steps", lambda v: ours.warmup_cosine_decay(1, v, 10), 10),
        ("total_steps", lambda v: ours.warmup_linear_decay(1, v, 10), 11),
    ],
)
def test_values_out_of_range(name: str, make: Callable[[Any], Any], value: Any) -> None:
    _refuses(ValueError, name, make, value)


@pytest.mark.parametrize("known", ["linear", "cosine", "sqrt", "rex"])
def test_an_unknown_shape_lists_the_known_ones(known: str) -> None:
    with pytest.raises(ValueError, match=repr(known)):
        ours.warmup(LINEAR, 5, shape="steep")


@pytest.mark.parametrize("known", ["triangular", "triangular2", "exp_range"])
def test_an_unknown_mode_lists_the_known_ones(known: str) -> None:
    with pytest.raises(ValueError, match=repr(known)):
        ours.cyclic(0, 1, 5, mode="square")


def test_low_above_high() -> None:
    with pytest.raises(ValueError, match=r"low.*high.*0\.5.*0\.4"):
        ours.clip(LINEAR, 0.5, 0.4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ours.piecewise_constant([1, 2], []), "values.*0 boundaries.*2"),
        (lambda: ours.piecewise_constant([], []), "values.*0 boundaries.*0"),
        (lambda: ours.piecewise_constant([1], [5, 9]), "values.*2 boundaries.*1"),
        (lambda: ours.piecewise_interpolate([1, 2], [5]), "values.*1 steps.*2"),
        (lambda: ours.piecewise_interpolate([], []), "values.*0"),
        (lambda: ours.table([]), "values"),
        (lambda: ours.table([[1.0, 2.0]]), r"values.*\(1, 2\)"),
        (lambda: ours.table(3.0), "values"),
        (lambda: ours.table([1, math.nan]), "values.*finite"),
        (lambda: ours.table([1, math.inf]), "values.*finite"),
        (lambda: ours.table([1, 1e39]), "values.*finite"),
        (lambda: ours.table(mx.array([1, -math.inf])), "values.*finite"),
    ],
)
def test_tables_that_do_not_fit(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("value", ["ab", None, ["0.1"], [None], {1: 2}, [1j]])
def test_tables_that_are_not_numbers(value: Any) -> None:
    with pytest.raises(TypeError, match="values"):
        ours.table(value)


LISTS: dict[str, Callable[[Any], Any]] = {
    "values of piecewise_constant": lambda v: ours.piecewise_constant(v, []),
    "boundaries of piecewise_constant": lambda v: ours.piecewise_constant([1], v),
    "values of piecewise_interpolate": lambda v: ours.piecewise_interpolate(v, []),
    "steps of piecewise_interpolate": lambda v: ours.piecewise_interpolate([1], v),
}


@pytest.mark.parametrize("value", [3, "ab", None])
@pytest.mark.parametrize("name", LISTS)
def test_lists_that_are_none(name: str, value: Any) -> None:
    _refuses(TypeError, name, LISTS[name], value)


@pytest.mark.parametrize("value", [3, None, "fn"])
def test_only_functions_are_tabulated(value: Any) -> None:
    _refuses(TypeError, "fn", lambda v: ours.tabulate(v, 3), value)


@pytest.mark.parametrize("name", ["period_factor", "warmup_fraction", "total_steps of one_cycle", "steps of tabulate"])
def test_a_value_that_decides_what_is_compiled_may_not_be_an_array(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name.split(' of ')[0]} must be a Python number"):
        {**RATES, **COUNTS}[name](mx.array(2))
