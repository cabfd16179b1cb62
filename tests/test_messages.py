"""What a schedule says: errors are short and name the way out, long schedules print at their two ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours

SHORT = 2000
"""Characters that fit a screen."""
MILLION = 1_000_000

LONG: dict[str, tuple[Callable[[], ours.Schedule], str, str]] = {
    "table of a list": (
        lambda: ours.table([k / 4 for k in range(MILLION)]),
        "table(values=[0.0, 0.25, 0.5",
        "249999.75])",
    ),
    "table of an array": (lambda: ours.table(mx.arange(MILLION) / 4), "table(values=", ")"),
    "table of NumPy": (lambda: ours.table(np.arange(MILLION) / 4), "table(values=", ")"),
    "piecewise constant": (
        lambda: ours.piecewise_constant([0.5] * 5001, [*range(5000)]),
        "piecewise_constant(values=[0.5, 0.5",
        "4998, 4999])",
    ),
    "join": (
        lambda: ours.join_schedules([0.5] * 300, [*range(1, 300)]),
        "join_schedules(schedules=[0.5, 0.5",
        "298, 299])",
    ),
    "sum": (lambda: sum([ours.constant(0.5)] * 100, ours.constant(0.25)), "((((((((", "constant(value=0.5))"),
}


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(("make", "start", "end"), LONG.values(), ids=LONG.keys())
def test_a_long_schedule_prints_its_two_ends(make: Callable[[], ours.Schedule], start: str, end: str) -> None:
    """Alone, inside others, and in a format."""
    schedule = make()
    for shown, first, last in ((schedule, start, end), (-(schedule), f"(-{start}", f"{end})")):
        text = str(shown)
        assert len(text) < SHORT
        assert text.startswith(first)
        assert text.endswith(last)
        assert f"{shown}" == text


def test_a_long_list_prints_few_of_its_numbers() -> None:
    assert str(ours.table(mx.arange(MILLION))).count(",") < 50
    assert str(-ours.piecewise_constant([0.5] * 5001, [*range(5000)])).count(",") < 50


REFUSED: dict[str, Callable[[], Any]] = {
    "a NaN in a table": lambda: ours.table([0.1] * 20_000 + [math.nan]),
    "a NaN in a table of NumPy": lambda: ours.table(np.array([0.1] * 20_000 + [math.nan])),
    "a word in a table": lambda: ours.table([0.1] * 20_000 + ["high"]),
    "rows in a table": lambda: ours.table([[0.1] * 20_000]),
    "too few boundaries": lambda: ours.piecewise_constant([0.1] * 20_000, [*range(7)]),
    "boundaries that decrease": lambda: ours.piecewise_constant([0.1] * 20_001, [*range(20_000, 0, -1)]),
    "knots that decrease": lambda: ours.piecewise_interpolate([0.1] * 20_000, [*range(20_000, 0, -1)]),
    "segments and boundaries": lambda: ours.join_schedules([0.1] * 20_000, [*range(7)]),
    "a table as a rate": lambda: ours.cosine_decay([0.1] * 20_000, 10),  # type: ignore[arg-type]
    "a table as a count": lambda: ours.cosine_decay(0.1, [10] * 20_000),  # type: ignore[arg-type]
    "a table as a word": lambda: ours.warmup(0.1, 10, shape=[0.1] * 20_000),  # type: ignore[arg-type]
    "a table as a metric": lambda: ours.reduce_on_plateau(0.1).observe([0.1] * 20_000),  # type: ignore[arg-type]
    "metrics for a table": lambda: ours.table([0.1] * 20_000).observe(0.1),
    "another table": lambda: ours.table([0.1] * 20_000).retune(values=[0.1] * 20_001),
    "no such hyperparameter": lambda: (2 * ours.table([0.1] * 20_000)).retune(value=3),
    "a long factor": lambda: ours.constant(1.0) * 10**100_000,
    "a long step": lambda: ours.constant(1.0)(-(10**100_000)),
    "a long text as a step": lambda: ours.constant(1.0)("1" * 20_000),  # type: ignore[arg-type]
    "a table as a number": lambda: optim.Adam(0.1, eps=ours.table([0.1] * 20_000)).eps + mx.array(1.0),  # type: ignore[arg-type]
    "a table compared": lambda: ours.table([0.1] * 20_000) > 0,
    "a configuration": lambda: ours.from_config({"name": "table", "arguments": [[0.1] * 20_000 + ["x"]]}),
    "a text": lambda: ours.from_config("table([" + "0.1, " * 20_000 + "nan, 'x'])"),
    "a long word": lambda: ours.from_config("cosine_" + "d" * 5000),
}


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
def test_errors_about_what_is_long_are_short(refused: Callable[[], Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=r".+") as raised:
        refused()
    assert len(str(raised.value)) < SHORT


@pytest.mark.parametrize(
    ("make", "unknown", "suggested"),
    [
        (lambda **k: ours.cosine_decay(1e-3, 10, **k), "alpha", "end"),
        (lambda **k: ours.cosine_decay(1e-3, **k), "decay_step", "decay_steps"),
        (lambda **k: ours.cosine_decay(1e-3, 10, **k), "ending", "end"),
        (lambda **k: ours.linear_schedule(end=0.1, steps=10, **k), "init_value", "init"),
        (lambda **k: ours.linear_schedule(0.1, 0.2, **k), "step", "steps"),
        (lambda **k: ours.warmup(0.1, **k), "warmup_steps", "steps"),
        (lambda **k: ours.warmup_cosine_decay(0.1, 10, 100, **k), "end_value", "end"),
        (lambda **k: ours.reduce_on_plateau(0.1, **k), "min_lr", "min_rate"),
        (lambda **k: ours.clip(0.1, **k), "lower", "low"),
    ],
)
def test_an_argument_that_is_not_there_is_answered_with_one_that_is(make: Any, unknown: str, suggested: str) -> None:
    with pytest.raises(TypeError, match=rf"(?<!\w){unknown}(?!\w)") as raised:
        make(**{unknown: 1})
    said = str(raised.value).partition(repr(unknown))[2]
    assert f"'{suggested}'" in said or f" {suggested}" in said


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ours.cosine_decay(), "cosine_decay.*init"),  # type: ignore[call-arg]
        (lambda: ours.cosine_decay(0.1), "cosine_decay.*decay_steps"),  # type: ignore[call-arg]
        (lambda: ours.cosine_decay(0.1, 10, 0.0, 2.0), "cosine_decay.*positional"),  # type: ignore[call-arg]
        (lambda: ours.cosine_decay(0.1, 10, init=0.2), "cosine_decay.*init"),  # type: ignore[misc]
    ],
)
def test_other_wrong_calls_stay_python_s_errors(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("steps", [[0, 1, 2], (0, 1, 2), range(3), [mx.array(0), mx.array(1), mx.array(2)]], ids=repr)
def test_a_list_of_steps_is_taken_or_answered_with_an_array(steps: Any) -> None:
    schedule = ours.linear_schedule(0.0, 1.0, 4)
    try:
        rates = schedule(steps)
    except TypeError as error:
        message = str(error)
    else:
        message = "array"
        assert rates.tolist() == [0.0, 0.25, 0.5]
    assert "array" in message


def test_a_schedule_beside_an_array_says_what_takes_one() -> None:
    """``mx.maximum(schedule, 0)`` and the like fail inside MLX, before anybody is asked."""
    schedule = ours.cosine_decay(0.1, 10)
    for use in (lambda: mx.array(1.0) * schedule, lambda: mx.array(schedule), lambda: schedule < 0.1):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"cosine_decay.*used as a number.*scheduled"):
            use()


@pytest.mark.parametrize(
    "rate", [lambda: ours.constant(0.1), lambda: 0.1], ids=["beside a schedule", "beside a number"]
)
def test_a_schedule_assigned_to_a_plain_optimizer_says_what_to_do(rate: Callable[[], Any]) -> None:
    optimizer: Any = optim.SGD(rate())
    with pytest.raises(TypeError, match=r"cosine_decay.*retune the schedule.*scheduled\(optimizer_class"):
        optimizer.learning_rate = ours.cosine_decay(0.1, 10)
