"""Text that is a schedule: what it prints as makes it again, and what is none is refused with its place."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlxsched_compiled as ours
from mlxsched_compiled import from_config

from .schedules import FACTORIES, TABLE, TYPICAL, Row, each
from .training import bits

STEPS = mx.array([0, 1, 2, 3, 5, 17, 49, 50, 51, 100, 999, 1100, 5000, 10**6], mx.uint64)


def _comes_back(schedule: ours.Schedule) -> None:
    text = repr(schedule)
    again = from_config(text)
    assert repr(again) == text
    assert again.structure == schedule.structure
    assert bits(again.state) == bits(schedule.state)
    assert np.array(again(STEPS)).tobytes() == np.array(schedule(STEPS)).tobytes()


@pytest.mark.usefixtures("uncompiled")
@each({name: row for name, row in TABLE.items() if "<function" not in repr(row.schedule)})
def test_a_repr_is_the_schedule(row: Row) -> None:
    _comes_back(row.schedule)


WRITTEN = [name for name, row in TYPICAL.items() if name != "tabulate"]
SCALES = st.floats(1e-3, 0.4)
LEAVES: st.SearchStrategy[Any] = st.builds(lambda name, p: TYPICAL[name].of(p), st.sampled_from(WRITTEN), SCALES)
OPERANDS = LEAVES | st.integers(-3, 3) | st.floats(-10, 10, width=32)


def _made_of(schedules: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schedules of schedules."""
    either = schedules | OPERANDS
    operators: list[Callable[[Any, Any], Any]] = [
        lambda a, b: a * b,
        lambda a, b: b - a,
        lambda a, b: a + b,
        lambda a, b: b / a,
        lambda a, b: -a,
    ]
    return st.one_of(
        st.builds(lambda f, a, b: f(a, b), st.sampled_from(operators), schedules, either),
        st.lists(either, min_size=1, max_size=4).map(
            lambda parts: ours.join_schedules(parts, [10 * k for k in range(1, len(parts))])
        ),
        st.builds(ours.warmup, either, st.integers(0, 100), st.floats(0, 1), shape=st.sampled_from(["linear", "rex"])),
        st.builds(ours.clip, schedules, st.none() | st.floats(-1, 0), st.none() | st.integers(1, 3)),
        st.builds(lambda part: ours.reduce_on_plateau(part, patience=3, mode="max"), schedules),
        st.builds(ours.delay, schedules, st.integers(0, 2**63 - 1)),
        st.builds(ours.cooldown, schedules, st.integers(0, 10**6), st.integers(1, 10**6), st.floats(-0.0, 1e-30)),
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50).map(ours.table),
    )


@pytest.mark.usefixtures("uncompiled")
@given(st.recursive(LEAVES, _made_of, max_leaves=6))
def test_any_repr_is_the_schedule(schedule: ours.Schedule) -> None:
    _comes_back(schedule)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    "schedule",
    [
        ours.table([0.1, 0.2, 3]),
        ours.table(np.random.default_rng(0).random(20_000)),
        ours.table(mx.random.uniform(shape=(20_000,), key=mx.random.key(1)) * 1e-20),
        ours.table(mx.array([1e-45, -0.0, 3.4028235e38, 16777216], mx.float32)),
        ours.table(mx.arange(5)),
        ours.piecewise_constant(np.array([0.1, 0.2]), (np.int64(3),)),  # type: ignore[arg-type]
        ours.cosine_decay(np.float64(0.1), np.int32(100)),  # type: ignore[arg-type]
        ours.cosine_decay(np.float32(0.1), 1e4),  # type: ignore[arg-type]
        ours.cosine_decay(Fraction(1, 3), Fraction(10), Decimal("0.001")),  # type: ignore[arg-type]
        sum((ours.constant(k) for k in range(80)), ours.constant(0.5)),
    ],
    ids=lambda schedule: str(schedule)[:40],
)
def test_a_repr_is_the_schedule_of_arrays_and_of_many(schedule: ours.Schedule) -> None:
    _comes_back(schedule)


def test_a_table_prints_the_fewest_digits() -> None:
    assert repr(ours.table(mx.array([0.1, 1e-5, 0.25, 1 / 3]))) == "table(values=[0.1, 1e-05, 0.25, 0.33333334])"
    assert repr(ours.table([16777216, 2])) == "table(values=[16777216.0, 2.0])"


def test_a_table_prints_no_more_digits_than_float32_has() -> None:
    rates = mx.random.uniform(shape=(1000,), key=mx.random.key(1))
    numbers = repr(ours.table(rates)).removeprefix("table(values=[").removesuffix("])").split(", ")
    assert max(len(f"{Decimal(number).normalize():E}".partition("E")[0].replace(".", "")) for number in numbers) == 9


def test_a_long_call_is_shown_by_its_ends() -> None:
    schedule = ours.table(mx.arange(10_000))
    assert len(repr(schedule)) > 50_000
    assert len(str(schedule)) < 1000
    assert re.fullmatch(r"table\(values=\[0\.0, 1\.0, .* \.\.\. .*, 9999\.0\]\)", f"{schedule}")


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("1e-3", "constant(value=0.001)"),
        (" 3 ", "constant(value=3)"),
        ("-.5", "constant(value=-0.5)"),
        ("1_000", "constant(value=1000)"),
        ("2 * 0.5e-3", "constant(value=0.001)"),
        ("cosine_decay(1e-3, 2 * 500)", "cosine_decay(init=0.001, decay_steps=1000, end=0.0)"),
        ("linear_schedule(\n  0, 1,\r\n  steps=10\r)", "linear_schedule(init=0, end=1, steps=10)"),
        ("-constant(1) / 2 - 3", "(((-constant(value=1)) / 2) - 3)"),
        ("1 - (2 - 3) * 4 - 10 / 4", "constant(value=2.5)"),
        ("2 * -3", "constant(value=-6)"),
        ("# of a run\n1 + (  # so\n2)  # 3", "constant(value=3)"),
        (
            "one_cycle(1, 100, three_phase=True, shape='linear')",
            "one_cycle(peak=1, total_steps=100, shape='linear', three_phase=True)",
        ),
        ("table((1, 2))", "table(values=[1.0, 2.0])"),
    ],
)
def test_what_is_text(text: str, call: str) -> None:
    assert repr(from_config(text)) == call


@pytest.mark.parametrize("number", [3, 0.1, np.float32(0.5), np.int64(2), mx.array(0.5)], ids=repr)
def test_a_number_is_a_constant(number: Any) -> None:
    schedule = from_config(number)
    assert schedule.__name__ == "constant"
    assert schedule(7).item() == mx.array(number, mx.float32).item()


def test_a_schedule_is_itself() -> None:
    schedule = ours.constant(0.1)
    assert from_config(schedule) is schedule


DEEP = "nested"
PLACE = "has no place here"
REFUSED: list[tuple[str, int, str]] = [
    ("cosine_dekay(1, 2)", 1, "'cosine_dekay'. Did you mean 'cosine_decay'?"),
    ("2 * cosine_dekay", 5, "'cosine_dekay'. Did you mean 'cosine_decay'?"),
    ("2 * cosine_decay", 5, "cosine_decay must be called"),
    ("warmup(cosine_decay(1, decay_stepz=3), 4)", 8, "'decay_stepz'. Did you mean 'decay_steps'?"),
    ("warmup(cosine_decay(1), 4)", 8, "missing 1 required positional argument: 'decay_steps'"),
    ("constant(1, 2)", 1, "takes 1 positional argument but 2 were given"),
    ("constant(1, value=2)", 1, "multiple values for argument 'value'"),
    ("constant(value=1, value=2)", 19, "value is given twice"),
    ("warmup(cosine_decay(1, 0), 4)", 8, "decay_steps must be from 1"),
    ("one_cycle(1, 10, shape='lineer')", 1, "'lineer'"),
    ("constant(1) + clip(constant(1), 2, 1)", 15, "low must be at most high"),
    ("constant(1).state", 12, f"'.' {PLACE}"),
    ("mx.array(1)", 1, "There is no schedule 'mx'"),
    ("().__class__.__base__", 3, f"'.' {PLACE}"),
    ("[1][0]", 4, f"'[' {PLACE}"),
    ("lambda step: 1", 1, "There is no schedule 'lambda'"),
    ("table([x for x in (1, 2)])", 8, "There is no schedule 'x'"),
    ("table(1 for x in (1, 2))", 9, f"'for' {PLACE}"),
    ("2 ** 3", 4, f"'*' {PLACE}"),
    ("2 // 3", 4, f"'/' {PLACE}"),
    ("~3", 1, f"'~' {PLACE}"),
    ("not 3", 1, "There is no schedule 'not'"),
    ("f'{1}'", 1, "There is no schedule 'f'"),
    ("warmup(*[1, 2])", 8, f"'*' {PLACE}"),
    ("constant(**1)", 10, f"'*' {PLACE}"),
    ("(a := 1)", 2, "There is no schedule 'a'"),
    ("(a = 1)", 2, f"'a' {PLACE}"),
    ("{'name': 'constant'}", 1, f"'{{' {PLACE}"),
    ("1 < 2", 3, f"'<' {PLACE}"),
    ("1 if 2 else 3", 3, f"'if' {PLACE}"),
    ("[1 2]", 4, f"'2' {PLACE}"),
    ("[1,, 2]", 4, f"',' {PLACE}"),
    ("'a\\n'", 1, PLACE),
    ("constant(1j)", 10, "'1j' is no number"),
    ("constant(b'1')", 10, "There is no schedule 'b'"),
    ("constant(...)", 10, f"'.' {PLACE}"),
    ("constant(1)(2)", 12, f"'(' {PLACE}"),
    ("inf", 1, "finite"),
    ("constant(nan)", 10, "finite"),
    ("1e400", 1, "finite"),
    ("-1e39", 2, "finite"),
    ("cosine_decay(1, 1" + "0" * 50 + ")", 17, "finite"),
    ("1" * 5000, 1, "finite"),
    ("1e30 * 1e30", 1, "finite"),
    ("1 / 0", 1, "division by zero"),
    ("(1, 2) + 1", 1, "(1, 2)"),
    ("3 * (1,)", 5, "(1,)"),
    ("True + 1", 1, "True"),
    ("'a' * 3", 1, "'a'"),
    ("+constant(1)", 1, f"'+' {PLACE}"),
    ("one_cycle(1, 10, three_phase=true)", 30, "True, False, None"),
    ("tabulate(f, 3)", 1, "takes a function"),
    ("Schedule(f, 3)", 1, "takes a function"),
    (repr(ours.tabulate(lambda step: 1.0, 3)), 1, "takes a function"),
    (repr(ours.constant(1) * (lambda step: 1.0)), 22, f"'<' {PLACE}"),
    (repr(ours.constant(mx.array(0.5))), 16, "There is no schedule 'array'. What can be written"),
    ("scheduled(1)", 1, "'scheduled'"),
    ("from_config(1)", 1, "'from_config'"),
    ("__import__('os')", 1, "'__import__'"),
    ("constant(1", 9, "'(' was never closed"),
    ("(1, [2, 3", 5, "'[' was never closed"),
    ("constant(1) constant(2)", 13, f"not the text of a schedule: 'constant' {PLACE}"),
    ("1; 2", 2, f"not the text of a schedule: ';' {PLACE}"),
    ("\\", 1, "not the text of a schedule"),
    ("(" * 5000, 102, DEEP),
    ("(" * 90 + "1", 90, "never closed"),
    ("-" * 200_000 + "1", 102, DEEP),
    ("1" + "+1" * 200_000, 203, DEEP),
    ("-" * 50 + "[" * 51 + "1" + "]" * 51, 102, DEEP),
    ("constant(value=" * 50_000, 1516, DEEP),
    ("1" + "0" * 100_000, 1, "finite"),
    ("',a,'" + "+',a,'" * 100_000, 1, "',a,'"),
    ("0x" + "f" * 100_000, 1, "is no number"),
    ("v" * 100_000, 1, "There is no schedule 'vvv"),
    (f"constant({'v' * 100_000}=1)", 1, "has no argument 'vvv"),
]


_IDS = [re.sub("0x[0-9a-f]+", "0x", text[:40]) for text, *_ in REFUSED]
"""The same in all processes."""


@pytest.mark.parametrize(("text", "column", "problem"), REFUSED, ids=_IDS)
def test_what_is_no_text(text: str, column: int, problem: str) -> None:
    with pytest.raises((ValueError, TypeError)) as raised:
        from_config(text)
    sentence, excerpt, caret = str(raised.value).split("\n")
    assert problem in sentence
    assert sentence.endswith(f"(line 1, column {column})")
    assert text[column - 1] == excerpt[caret.index("^")]
    assert len(excerpt) < 120


def test_what_is_deep_over_several_lines_and_comments() -> None:
    for text in ("(1" + "\n+1" * 200_000 + ")", "(1" + "+1 #,\n" * 100_000 + ")"):
        with pytest.raises(ValueError, match=r"nested more than 100 deep. \(line 10"):
            from_config(text)


def test_in_a_thread_as_well() -> None:
    """Whose stack may be smaller."""
    texts = ("(" * 100_000, "-" * 100_000 + "1", "warmup(" * 10_000, "-" * 98 + "1")
    answers: list[str] = []

    def work() -> None:
        for text in texts:
            try:
                answers.append(repr(from_config(text)))
            except ValueError as error:
                answers.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ["nested more than 100 deep" in answer for answer in answers] == [True, True, True, False]
    assert answers[-1] == "constant(value=1)"


def test_a_place_in_several_lines_and_after_other_letters() -> None:
    with pytest.raises(ValueError, match=r"'constnt'.*\(line 3, column 23\)\n +cyclic\(0, 1, 2, mode=constnt\(2\)\)"):
        from_config("join_schedules([1,\r\n2,\n cyclic(0, 1, 2, mode=constnt(2))], [1, 2])")
    with pytest.raises(ValueError, match=r"'constnt'.*\(line 2, column 2\)\n +constnt\(2\)\], \[1\]\)\n"):
        from_config("join_schedules([1,\r constnt(2)], [1])")
    with pytest.raises(ValueError, match=r"'löss'.*column 18\)\n    one_cycle\('é', x=löss\(1\)\)\n {21}\^"):
        from_config("one_cycle('é', x=löss(1))")


@pytest.mark.parametrize("text", ["", "  \n", "\ud800", "1\0", "constant(1)\0", "constant("])
def test_what_is_no_text_at_all(text: str) -> None:
    with pytest.raises(ValueError, match="text"):
        from_config(text)


@pytest.mark.parametrize(
    "config",
    [None, True, False, "True", "None", "'linear'", "[1, 2]", "(1, 2)", [1], (1,), 1j, b"1", {1}, len, object()],
)
def test_what_is_no_schedule(config: Any) -> None:
    shown = str([*config] if isinstance(config, tuple) else config).replace("(", "[").replace(")", "]")[:20]
    with pytest.raises(TypeError, match="must be a number, but got ") as raised:
        from_config(config)
    assert shown in str(raised.value).replace("(", "[").replace(")", "]")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e39, 10**400], ids=["nan", "inf", "1e39", "10**400"])
def test_numbers_that_are_not_finite(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        from_config(number)


@given(st.text("cosine_dayrmu(1,2[]=)+-*/.'e \n\"", max_size=30))
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    try:
        schedule = from_config(text)
    except (ValueError, TypeError):  # and nothing else
        return
    assert isinstance(schedule, ours.Schedule)


def test_every_factory_can_be_written_but_those_that_take_functions() -> None:
    for name in FACTORIES:
        with pytest.raises((ValueError, TypeError), match="takes a function" if name == "tabulate" else "missing"):
            from_config(f"{name}()") if name != "reduce_on_plateau" else from_config(f"{name}(patience=1)")
