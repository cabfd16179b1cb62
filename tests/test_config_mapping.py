"""Mappings that are schedules: mlx-lm's own form, what it leaves out, and ratios."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlxsched_compiled as ours
from mlxsched_compiled import from_config

from . import oracle
from .schedules import FACTORIES, PARAMETERS, Parameter

RATES = st.floats(1e-7, 1.0)
STEPS = st.integers(1, 1000)


def _mlx_lm_form(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    warmup = {"warmup": st.integers(0, 200), "warmup_init": st.floats(0, 1e-3)}
    either: st.SearchStrategy[dict[str, Any]] = (
        st.fixed_dictionaries(warmup) | st.fixed_dictionaries({"warmup": warmup["warmup"]}) | st.just({})
    )
    return st.builds(lambda args, more: {"name": name, "arguments": list(args), **more}, st.tuples(*arguments), either)


MLX_LM = st.one_of(
    _mlx_lm_form("cosine_decay", RATES, STEPS),
    _mlx_lm_form("cosine_decay", RATES, STEPS, RATES),
    _mlx_lm_form("linear_schedule", RATES, RATES, STEPS),
    _mlx_lm_form("exponential_decay", RATES, st.floats(0.9, 0.9999)),
    _mlx_lm_form("step_decay", RATES, st.floats(0.1, 0.99), STEPS),
)


@pytest.mark.usefixtures("uncompiled")
@given(MLX_LM)
def test_mlx_lm_makes_the_same_curve(config: dict[str, Any]) -> None:
    """Its own function is called with MLX's schedules, and with the true ones: ours errs by a few ulps of these."""
    utils = pytest.importorskip("mlx_lm.tuner.utils")
    warmup = config.get("warmup", 0)
    at = sorted({0, 1, 2, 7, 31, *(max(warmup + k, 0) for k in (-2, -1, 0, 1, 2, 3, 50)), 500, 1000, 1001, 1300})
    steps = np.array(at, np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils.opt, "schedulers", oracle)
        truth = utils.build_schedule(config)(steps)
    rates = np.array(from_config(config)(mx.array(steps)))
    assert oracle.ulps(rates, truth).max() <= 6
    stock = utils.build_schedule(config)
    apart = oracle.distance(rates, [stock(mx.array(step, mx.uint64)).item() for step in at])
    assert (apart <= oracle.distance(rates, truth) + 1e-3 * truth + 1e-6 * truth.max()).all()


def test_mlx_lm_joins_the_same_curve() -> None:
    utils = pytest.importorskip("mlx_lm.tuner.utils")
    config = {"name": "join_schedules", "arguments": [[optim.linear_schedule(0, 1, 5), lambda _: 3], [7]]}
    rates = [utils.build_schedule(config)(mx.array(step)) for step in range(10)]
    np.testing.assert_allclose(from_config(config)(mx.arange(10)), np.array(rates), rtol=2e-7)


def test_the_first_rate_lasts_a_step_more_after_the_warmup_of_mlx_lm() -> None:
    schedule = from_config({"name": "linear_schedule", "arguments": [1, 0, 4], "warmup": 2, "warmup_init": 0.5})
    assert schedule(mx.arange(9)).tolist() == [0.5, 0.75, 1, 1, 0.75, 0.5, 0.25, 0, 0]


def test_a_warmup_follows_its_schedule() -> None:
    schedule = from_config({"name": "reduce_on_plateau", "schedule": 1, "patience": 0, "warmup": 2})
    for loss in (1, 1):
        schedule.observe(loss)
    np.testing.assert_allclose(schedule(mx.arange(5)), [0, 0.05, 0.1, 0.1, 0.1])


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=PARAMETERS)
def test_every_argument_can_be_given_by_its_name(parameter: Parameter) -> None:
    if parameter.factory == "tabulate":
        return
    call = repr(FACTORIES[parameter.factory](**parameter.arguments))
    as_text = {name: _written(value) for name, value in parameter.arguments.items()}
    assert repr(from_config({"name": parameter.factory, **parameter.arguments})) == call
    assert repr(from_config({"name": parameter.factory, **as_text})) == call
    assert repr(from_config({"name": parameter.factory, "arguments": as_text})) == call


def _written(value: Any) -> Any:
    """Numbers and schedules as text; words are text anyway."""
    if isinstance(value, list):
        return [_written(v) for v in value]
    return value if isinstance(value, (str, bool)) else repr(value)


@pytest.mark.parametrize(
    ("config", "call"),
    [
        (
            {"name": "cosine_decay", "arguments": ["1e-3", "2 * 500"], "warmup": "10", "warmup_init": "1e-5"},
            "warmup(delay(cosine_decay(1e-3, 1000), 1), 10, 1e-5)",
        ),
        ({"name": "cosine_decay", "arguments": [1e-3, 100], "warmup": 0}, "cosine_decay(1e-3, 100)"),
        (
            {"name": "cosine_decay", "arguments": [1e-3], "decay_steps": 100, "power": 2},
            "cosine_decay(1e-3, 100, power=2)",
        ),
        ({"name": "one_cycle", "arguments": [1e-3, 100], "shape": "linear"}, "one_cycle(1e-3, 100, shape='linear')"),
        ({"name": "one_cycle", "arguments": [1e-3, 100], "warmup": 0}, "one_cycle(1e-3, 100)"),
        (
            {"name": "cyclic", "arguments": {"low": 0, "high": 1}, "up_steps": 5, "mode": "triangular2"},
            "cyclic(0, 1, 5, mode='triangular2')",
        ),
        (
            {"name": "piecewise_constant", "arguments": [[1e-3, "1e-4"], [10]], "warmup": 5},
            "warmup(delay(piecewise_constant([1e-3, 1e-4], [10]), 1), 5)",
        ),
        ({"name": "table", "values": "[0.1, 0.2]"}, "table([0.1, 0.2])"),
        (
            {
                "name": "join_schedules",
                "schedules": [
                    {"name": "linear_schedule", "arguments": [0, 1, 5]},
                    "2 * cosine_decay(1, 20)",
                    {"name": "constant", "arguments": ["3e-3"], "warmup": 2},
                    "1e-4",
                    5,
                ],
                "boundaries": [5, 30, 40, 50],
            },
            "join_schedules([linear_schedule(0, 1, 5), 2 * cosine_decay(1, 20), warmup(delay(constant(3e-3), 1), 2), "
            "1e-4, 5], [5, 30, 40, 50])",
        ),
        (
            {"name": "skip", "arguments": ["noam(64, 10)", 50], "warmup": 3},
            "warmup(delay(skip(noam(64, 10), 50), 1), 3)",
        ),
        (
            {"name": "join_schedules", "arguments": [[1, "noam(64, 10)"], [9]], "warmup": 3},
            "warmup(delay(join_schedules([1, noam(64, 10)], [9]), 1), 3)",
        ),
    ],
)
def test_what_a_mapping_stands_for(config: dict[str, Any], call: str) -> None:
    assert repr(from_config(config)) == repr(from_config(call))


class Sequence:
    """As much of a sequence as Python needs to iterate: OmegaConf's lists are no list or tuple either."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __getitem__(self, i: int) -> Any:
        return self.values[i]


class Keys:
    """As much of a mapping as ``dict`` needs."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def keys(self) -> Any:
        return self.values.keys()

    def __getitem__(self, key: str) -> Any:
        return self.values[key]


class Column(Sequence):
    """Something of pandas, which has keys too, and numbers of NumPy."""

    def keys(self) -> Any:
        return range(len(self.values))

    def __array__(self, *_: Any, **__: Any) -> Any:
        return np.array(self.values)

    def tolist(self) -> list[Any]:
        return list(self.values)


ARGUMENTS: list[tuple[Any, Any]] = [
    (Sequence("1e-3", "1e-4"), Sequence("10")),
    (("1e-3", 1e-4), (10,)),
    (Column("1e-3", "1e-4"), Column(10)),
    (np.array([1e-3, 1e-4]), np.array([10])),
    (np.array(["1e-3", "1e-4"]), np.array(["10"])),
    ([np.float64(1e-3), np.str_("1e-4")], [np.int64(10)]),
    ((rate for rate in ("1e-3", 1e-4)), range(10, 11)),
    ({1: 1e-3, 2: 1e-4}.values(), {10: 1}.keys()),
    ("[1e-3, 1e-4]", "[10]"),
    (["1e-3", "1e-4"], [10.3]),
]


@pytest.mark.parametrize(("values", "boundaries"), ARGUMENTS)
def test_a_list_may_be_any_sequence_and_a_number_text(values: Any, boundaries: Any) -> None:
    config = Keys(name="piecewise_constant", arguments=Sequence(values, boundaries))
    assert repr(from_config(config)) == "piecewise_constant(values=[0.001, 0.0001], boundaries=[10])"  # type: ignore[arg-type]


def test_what_is_like_a_mapping_may_be_inside() -> None:
    inner = Keys(name="cosine_decay", arguments=Keys(init="1e-3", decay_steps=np.int64(100)))
    config = {"name": "join_schedules", "schedules": Sequence(inner, 1e-5), "boundaries": Column(50)}
    again = from_config("join_schedules([cosine_decay(1e-3, 100), 1e-5], [50])")
    assert repr(from_config(config)) == repr(again)


@pytest.mark.parametrize("values", [[np.float64(0.1), np.float32(0.5)], np.array([0.1, 0.5]), Column(0.1, "0.5")])
def test_a_table_of_any_numbers(values: Any) -> None:
    rates = from_config({"name": "table", "values": values})(mx.array([0, 1, 2]))
    assert rates.tolist() == mx.array([0.1, 0.5, 0.5]).tolist()


def test_an_array_stays_itself() -> None:
    """It may be a tracer, whose value nobody has."""
    value = mx.array(0.5)
    for config in ({"name": "constant", "value": value}, {"name": "constant", "arguments": [value]}):
        assert from_config(config).hyperparameters["value"] is value


def test_containers_of_others() -> None:
    pandas = pytest.importorskip("pandas")
    rates = pandas.Series(["1e-3", "1e-4"], index=[5, 6])
    schedule = from_config({"name": "piecewise_constant", "values": rates, "boundaries": pandas.Index([10])})
    assert repr(schedule) == "piecewise_constant(values=[0.001, 0.0001], boundaries=[10])"


@pytest.mark.parametrize("warmup", [None, False, 0, "", " ", "0", "None", "False"])
def test_an_empty_warmup_is_none(warmup: Any) -> None:
    config = {"name": "cosine_decay", "arguments": [1e-3, 100], "warmup": warmup, "warmup_init": 1e-7}
    assert repr(from_config(config)) == "cosine_decay(init=0.001, decay_steps=100, end=0.0)"
    assert repr(from_config({**config, "name": "noam", "arguments": [64, 10]})).startswith("noam")


@pytest.mark.parametrize(
    ("config", "call"),
    [
        ({"name": "cosine_decay", "arguments": [1, 1000 / 3]}, "cosine_decay(1, 333)"),
        ({"name": "cosine_decay", "arguments": [1, "1000 / 3"]}, "cosine_decay(1, 333)"),
        ({"name": "linear_schedule", "arguments": [1, 0, np.float32(9.7)]}, "linear_schedule(1, 0, 10)"),
        (
            {"name": "step_decay", "arguments": [1, 0.5, 33.4], "warmup": 2.7},
            "warmup(delay(step_decay(1, 0.5, 33), 1), 3)",
        ),
        ({"name": "join_schedules", "arguments": [[1, 2, 3], [33.4, 66.7]]}, "join_schedules([1, 2, 3], [33, 67])"),
        (
            {"name": "cosine_decay", "init": 1, "total_steps": 1000 / 3, "warmup": 33},
            "warmup(cosine_decay(1, 300), 33)",
        ),
    ],
)
def test_a_length_that_is_not_whole_is_rounded(config: dict[str, Any], call: str) -> None:
    """mlx-lm takes them, of a third of the iterations."""
    assert repr(from_config(config)) == repr(from_config(call))


@pytest.mark.parametrize(
    ("config", "call"),
    [
        (
            {"name": "cosine_decay", "init": 1e-3, "total_steps": 1000, "warmup_ratio": 0.1, "end_ratio": 0.1},
            "warmup(cosine_decay(1e-3, 900, 1e-4), 100)",
        ),
        ({"name": "cosine_decay", "arguments": [1e-3], "total_steps": 1000}, "cosine_decay(1e-3, 1000)"),
        ({"name": "cosine_decay", "init": 1e-3, "total_steps": 100, "warmup": 7}, "warmup(cosine_decay(1e-3, 93), 7)"),
        (
            {"name": "cosine_decay", "arguments": [1e-3, 93], "total_steps": 100, "warmup": 7},
            "warmup(cosine_decay(1e-3, 93), 7)",
        ),
        (
            {"name": "linear_schedule", "init": "1e-3", "end_ratio": 0, "total_steps": "100", "warmup_ratio": "0.29"},
            "warmup(linear_schedule(1e-3, 0.0, 71), 29)",  # 0.29 * 100 is less than 29
        ),
        (
            {"name": "warmup_cosine_decay", "peak": 1, "total_steps": 1000, "warmup_ratio": 0.1, "init_ratio": 0.5},
            "warmup_cosine_decay(1, 100, 1000, init=0.5)",
        ),
        (
            {"name": "warmup_stable_decay", "peak": 2, "total_steps": 1000, "warmup_ratio": 0.05, "decay_ratio": 0.2},
            "warmup_stable_decay(2, 50, 750, 200)",
        ),
        (
            {
                "name": "warmup_stable_decay",
                "arguments": [2, 50],
                "total_steps": 100,
                "stable_ratio": 0.3,
                "end_ratio": 0.5,
            },
            "warmup_stable_decay(2, 50, 30, 20, end=1.0)",
        ),
        ({"name": "noam", "arguments": [64], "total_steps": 1000, "warmup_ratio": 0.1}, "noam(64, 100)"),
        ({"name": "constant", "value": 1, "total_steps": 1000, "warmup_ratio": 0.1}, "warmup(constant(1), 100)"),
        ({"name": "cosine_restarts", "arguments": [2, 50], "end_ratio": 0.1}, "cosine_restarts(2, 50, 0.2)"),
        ({"name": "one_cycle", "arguments": [1], "total_steps": 100}, "one_cycle(1, 100)"),
        (  # all of the run, and no step more: 2.5, 2.5 and 5 steps
            {
                "name": "warmup_stable_decay",
                "peak": 1,
                "total_steps": 10,
                "warmup_ratio": 0.25,
                "stable_ratio": 0.25,
                "decay_ratio": 0.5,
            },
            "warmup_stable_decay(1, 2, 3, 5)",
        ),
        (
            {"name": "warmup_stable_decay", "arguments": [1, 2, 3, 5], "total_steps": 10},
            "warmup_stable_decay(1, 2, 3, 5)",
        ),
        (
            {"name": "warmup_stable_decay", "peak": 1, "total_steps": 10, "warmup_ratio": 0.2, "decay_ratio": 0.8},
            "warmup_stable_decay(1, 2, 0, 8)",
        ),
        (
            {"name": "cosine_decay", "init": 1, "total_steps": 10, "warmup_ratio": 0.25, "decay_ratio": 0.75},
            "warmup(cosine_decay(1, 8), 2)",
        ),
    ],
)
def test_ratios(config: dict[str, Any], call: str) -> None:
    assert repr(from_config(config)) == repr(from_config(call))


@given(RATES, st.integers(2, 10_000), st.floats(0, 0.4), st.floats(0, 1))
def test_a_total_includes_the_warmup(peak: float, total: int, ratio: float, end_ratio: float) -> None:
    """Whichever schedule it is given to."""
    ends = {"total_steps": total, "warmup_ratio": ratio, "end_ratio": end_ratio}
    whole = from_config({"name": "warmup_cosine_decay", "peak": peak, **ends})
    parts = from_config({"name": "cosine_decay", "init": peak, **ends})
    steps = mx.array([0, 1, round(ratio * total), total // 2, total - 1, total, total + 1, 2 * total])
    assert whole(steps).tolist() == parts(steps).tolist()
    assert parts(total).item() == mx.array(end_ratio * peak).item()


OWN_WAY_UP = ["noam", "one_cycle", "one_cycle_momentum", "cyclic"]
OWN_WAY_UP += ["warmup", "warmup_cosine_decay", "warmup_linear_decay", "warmup_stable_decay"]


@pytest.mark.parametrize("name", FACTORIES)
def test_a_warmup_is_refused_where_there_is_one(name: str) -> None:
    if name == "tabulate":
        return
    arguments = next(p.arguments for p in PARAMETERS.values() if p.factory == name)
    if name in OWN_WAY_UP:
        with pytest.raises(
            ValueError, match=f"{name} takes no warmup, since it has its own way up: .*(warmup|up_steps)"
        ):
            from_config({"name": name, "arguments": arguments, "warmup": 5})
    else:
        assert from_config({"name": name, "arguments": arguments, "warmup": 5}).__name__ == "warmup"


COSINE: dict[str, Any] = {"name": "cosine_decay", "arguments": [1e-3, 1000]}
LIST: list[Any] = [1]
LIST.append(LIST)
REFUSED: list[tuple[Any, type[Exception], str]] = [
    ({}, TypeError, "'name' must be the name of a schedule, but is None; there is none"),
    ({"nam": "constant"}, TypeError, "'name' must be the name of a schedule, but is None; there is 'nam'"),
    ({"name": None}, TypeError, "'name' must be the name of a schedule, but is None"),
    ({"name": True}, TypeError, "'name' must be the name of a schedule, but is True"),
    ({"name": "cosine"}, ValueError, "name: There is no schedule 'cosine'. Did you mean 'cosine_"),
    ({"name": "tabulate"}, ValueError, "name: tabulate takes a function"),
    ({"name": "Schedule"}, ValueError, "name: Schedule takes a function"),
    ({"name": "scheduled"}, ValueError, "name: There is no schedule 'scheduled'"),
    ({"name": "constant", 1: 2}, TypeError, "a key must be text, but got 1"),
    ({"name": "constant", "arguments": 1}, TypeError, "arguments must be a list or a mapping, but got 1"),
    ({"name": "constant", "arguments": "[1]"}, TypeError, "arguments must be a list or a mapping, but got '[1]'"),
    ({"name": "constant", "arguments": None}, TypeError, "arguments must be a list or a mapping, but got None"),
    (
        {"name": "constant", "arguments": []},
        TypeError,
        "constant: constant() missing 1 required positional argument: 'value'",
    ),
    ({"name": "constant", "arguments": [None]}, TypeError, "constant: value must be a number, but got None"),
    ({"name": "constant", "arguments": [True]}, TypeError, "constant: value must be a number, but got True"),
    ({"name": "constant", "arguments": ["True"]}, TypeError, "constant: value must be a number, but got True"),
    ({"name": "constant", "arguments": ["ten"]}, ValueError, "arguments[0]: There is no schedule 'ten'"),
    ({"name": "constant", "arguments": [1, 2]}, ValueError, "constant takes no 'arguments[1]'. It takes value"),
    ({"name": "constant", "arguments": {1: 2}}, TypeError, "constant: a key must be text, but got 1"),
    ({**COSINE, "init": 1}, ValueError, "init is given twice"),
    ({**COSINE, "arguments": {"name": 1}}, ValueError, "takes no 'arguments.name'"),
    ({"name": "constant", "argument": [1]}, ValueError, "constant takes no 'argument'. Did you mean 'arguments'?"),
    ({**COSINE, "powr": 2}, ValueError, "cosine_decay takes no 'powr'. Did you mean 'power'?"),
    ({**COSINE, "warmup_steps": 2}, ValueError, "cosine_decay takes no 'warmup_steps'. Did you mean 'warmup'?"),
    ({**COSINE, "init_lr": 2}, ValueError, "cosine_decay takes no 'init_lr'. Did you mean 'init'?"),
    ({"name": "linear"}, ValueError, "name: There is no schedule 'linear'. Did you mean 'linear_schedule'?"),
    ({"name": "constant_with_warmup"}, ValueError, "'constant_with_warmup'. Did you mean 'constant'?"),
    ({"name": "warmup_cosin_decay"}, ValueError, "'warmup_cosin_decay'. Did you mean 'warmup_cosine_decay'?"),
    ({**COSINE, "warmupratio": 2}, ValueError, "Did you mean 'warmup_ratio'?"),
    ({**COSINE, "end_ration": 2}, ValueError, "Did you mean 'end_ratio'?"),
    ({**COSINE, "arguments": {"decay": 2}}, ValueError, "takes no 'arguments.decay'. Did you mean 'decay_"),
    ({**COSINE, "warmup": -1}, ValueError, "warmup must be from 0"),
    ({**COSINE, "warmup": 0.1}, ValueError, "warmup must be a whole number, but got 0.1"),
    ({"name": "cosine_decay", "arguments": [1, 0.3]}, ValueError, "decay_steps must be a whole number, but got 0.3"),
    (
        {**COSINE, "warmup": "inf"},
        ValueError,
        "warmup: There is no schedule 'inf'. What can be written: schedules, finite numbers",
    ),
    ({**COSINE, "warmup": math.inf}, ValueError, "warmup must be a whole number, but got inf"),
    ({**COSINE, "warmup": [2]}, TypeError, "warmup must be a whole number, but got [2]"),
    ({**COSINE, "warmup": True}, TypeError, "warmup must be a whole number, but got True"),
    ({**COSINE, "warmup": "ten"}, ValueError, "warmup: There is no schedule 'ten'"),
    ({**COSINE, "warmup": 2, "warmup_init": None}, TypeError, "warmup_init must be a number, but got None"),
    ({**COSINE, "warmup_init": 0}, ValueError, "warmup_init is for a warmup"),
    ({**COSINE, "warmup_ratio": 0.1}, ValueError, "warmup_ratio is a part of total_steps, which is not given"),
    (
        {**COSINE, "warmup_ratio": 0.1, "total_steps": 1000},
        ValueError,
        "warmup 100 and decay_steps 1000 are 1100 steps, and total_steps is 1000. (With warmup_ratio 0.1, total_steps",
    ),
    (
        {"name": "cosine_decay", "init": 1, "total_steps": 9, "warmup": 9},
        ValueError,
        "decay_steps must be from 1 to 2**63 - 1, but got 0. (With total_steps 9.)",
    ),
    (
        {"name": "linear_schedule", "init": 1, "end": 0, "total_steps": 9, "warmup_ratio": 1},
        ValueError,
        "linear_schedule: steps must be from 1 to 2**63 - 1, but got 0. (With total_steps 9, warmup_ratio 1.)",
    ),
    (
        {"name": "cyclic", "low": 0, "high": 1, "total_steps": 9, "up_ratio": 0},
        ValueError,
        "but got 0. (With total_steps 9, up_ratio 0.)",
    ),
    ({"name": "cosine_decay", "init": 1e30, "end_ratio": 1e30}, TypeError, "missing 1 required positional argument"),
    (
        {"name": "cosine_decay", "init": 1e30, "decay_steps": 9, "end_ratio": 1e30},
        ValueError,
        "e+60. (With end_ratio 1e+30.)",
    ),
    ({"name": "table", "values": {1, 2}}, TypeError, "values"),
    ({"name": "constant", "x" * 10_000: 1}, ValueError, "constant takes no 'xxx"),
    ({"name": "x" * 10_000}, ValueError, "There is no schedule 'xxx"),
    ({"name": ["x"] * 10_000}, TypeError, "'name' must be the name of a schedule, but is ['x', "),
    ({"name": "constant", "arguments": [1] * 10_000}, ValueError, "takes no 'arguments[1]'"),
    ({"name": "constant", "value": [1] * 10_000}, TypeError, "value must be a number, but got [1, 1"),
    ({**COSINE, "total_steps": 1200}, ValueError, "decay_steps 1000 are 1000 steps, and total_steps is 1200"),
    (
        {"name": "cosine_decay", "init": 1, "total_steps": 9, "warmup": 10},
        ValueError,
        "warmup 10 are 10 steps, and total_steps is 9",
    ),
    ({**COSINE, "warmup_ratio": 10, "total_steps": 1000}, ValueError, "warmup_ratio must be from 0 to 1, but got 10"),
    ({**COSINE, "warmup_ratio": None, "total_steps": 1000}, TypeError, "warmup_ratio must be a number, but got None"),
    ({**COSINE, "warmup_ratio": 0.1, "warmup": 9, "total_steps": 1e3}, ValueError, "warmup_ratio and warmup are both"),
    ({**COSINE, "total_steps": True}, TypeError, "total_steps must be a whole number, but got True"),
    ({"name": "cosine_decay", "total_steps": 9, "end_ratio": 0.1}, ValueError, "end_ratio is a part of init, which is"),
    ({"name": "step_decay", "arguments": [1, 0.5, 9], "total_steps": 99}, ValueError, "no end that total_steps could"),
    ({"name": "clip", "arguments": [1, 0.5], "total_steps": 99}, ValueError, "no end that total_steps could"),
    ({"name": "cooldown", "arguments": [1, 50], "total_steps": 99}, ValueError, "no end that total_steps could"),
    (
        {"name": "piecewise_interpolate", "arguments": [[1, 2]], "total_steps": 99},
        ValueError,
        "no end that total_steps could",
    ),
    (
        {"name": "warmup_stable_decay", "peak": 2, "total_steps": 1000, "decay_ratio": 0.2},
        TypeError,
        "missing 2 required positional arguments: 'warmup_steps'",
    ),
    ({"name": "one_cycle", "arguments": [1, 100], "warmup_ratio": 0.1}, ValueError, "warmup_fraction"),
    ({"name": "one_cycle", "arguments": [1, 100], "shape": "1"}, ValueError, "shape must be one of 'linear'"),
    (
        {"name": "join_schedules", "arguments": [[1, {"name": "constnt"}], [5]]},
        ValueError,
        "arguments[0]: [1]: name: There is no schedule 'constnt'. Did you mean 'constant'?",
    ),
    (
        {"name": "join_schedules", "arguments": [[1, "constnt(2)"], [5]]},
        ValueError,
        "[1]: There is no schedule 'constnt'",
    ),
    ({"name": "table", "values": LIST}, ValueError, "nested too deep, or contains itself"),
]


@pytest.mark.parametrize(("config", "error", "problem"), REFUSED, ids=[problem for *_, problem in REFUSED])
def test_what_is_no_schedule(config: Any, error: type[Exception], problem: str) -> None:
    with pytest.raises(error) as raised:
        from_config(config)
    assert problem in str(raised.value).split("\n")[0]
    assert len(str(raised.value)) < 1000


def test_the_keys_are_no_names_of_arguments() -> None:
    for parameter in PARAMETERS.values():
        assert parameter.name not in ("name", "arguments", "warmup", "warmup_init")
        assert not parameter.name.endswith("_ratio")


def test_a_configuration_is_left_as_it_is() -> None:
    config = {"name": "cosine_decay", "arguments": ["1e-3"], "total_steps": 100, "warmup_ratio": 0.1}
    before = repr(config)
    from_config(config)
    assert repr(config) == before


def _examples() -> list[tuple[str, str]]:
    page = (Path(__file__).parents[1] / "docs" / "configurations.md").read_text()
    return re.findall(r"```yaml\n(lr_schedule:.*?)\n# (.*?)\n```", page, re.DOTALL)


@pytest.mark.parametrize(("example", "text"), _examples())
def test_the_examples_in_yaml_are_the_texts_below_them(example: str, text: str) -> None:
    yaml = pytest.importorskip("yaml")
    assert repr(from_config(yaml.safe_load(example)["lr_schedule"])) == repr(from_config(text))


def test_there_are_examples_in_yaml() -> None:
    assert len(_examples()) >= 4


@pytest.mark.parametrize(
    "text", ["1e-3", "cosine_decay(1e-3, 100)", "{name: noam, arguments: [64, 1e2], factor: 1e-1}"]
)
def test_what_yaml_makes_of_it(text: str) -> None:
    yaml = pytest.importorskip("yaml")
    assert isinstance(from_config(yaml.safe_load(f"lr_schedule: {text}")["lr_schedule"]), ours.Schedule)
