"""What is done to a part of a schedule reaches all that is made of it, or is refused before anything has changed.

Whatever the parts are put together with, however deep and in however many places they stand.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

from .measuring import requires_compile, uncompiled
from .test_calls import COMBINATORS
from .tiny import ONE, Weight, linear, weight
from .training import TOOLS, Step, bits, eager

CURVE = mx.arange(48)
Make = Callable[[Schedule], Schedule]


def _join(count: int, at: int, *kinds: Callable[[], Any]) -> Make:
    """A join of so many segments, one of which is the part."""

    def make(s: Schedule) -> Schedule:
        segments: list[Any] = [kinds[k % len(kinds)]() for k in range(count)]
        segments[at] = s
        return ours.join_schedules(segments, [4 * k for k in range(1, count)])

    return make


def _line() -> Schedule:
    return ours.linear_schedule(0.25, 0.5, 8)


def _cosine() -> Schedule:
    return ours.cosine_decay(0.5, 8)


def _twice(step: mx.array) -> float:
    """A plain function, that pickles."""
    return 2.0


def _step() -> Schedule:
    return ours.step_decay(0.5, 0.5, 2)


MADE: dict[str, Make] = {
    **COMBINATORS,
    "minus": lambda s: s - _line(),
    "minus, from the right": lambda s: _line() - s,
    "divided": lambda s: s / _line(),
    "divisor": lambda s: 1 / (s + 1),
    "negative": lambda s: -s,
    "times a function": lambda s: _twice * s,
    "warmup of none": lambda s: ours.warmup(s, 0),
    "warmup with a shape": lambda s: ours.warmup(s, 9, 0.25, shape="cosine"),
    "warmup with a shape and k": lambda s: ours.warmup(s, 9, 0.25, shape="sqrt", k=1.5),
    "cooldown of any shape": lambda s: ours.cooldown(s, 9, 20, 0.125, shape="rex", k=0.5),
    "clip on one side": lambda s: ours.clip(s, high=0.375),
    "clip by an array": lambda s: ours.clip(s, low=mx.array(0.375)),
    "plateau": lambda s: ours.reduce_on_plateau(s, min_rate=0.125),
    "join, first": _join(2, 0, _line),
    "join, last of three": _join(3, 2, _line, _cosine),
    "join of many of one kind": _join(12, 5, _cosine),
    "join of many of another kind": _join(12, 5, _line),
    "join of many kinds": _join(12, 7, _line, _cosine, _step),
    "join of many, repeated": lambda s: ours.join_schedules([s] * 10, [4 * k for k in range(1, 10)]),
    "join of many composites": lambda s: ours.join_schedules(
        [ours.warmup(s, k + 1) for k in range(9)], [4 * k for k in range(1, 9)]
    ),
    "join in a join": lambda s: _join(9, 3, _line)(_join(9, 4, _cosine)(s)),
    "square": lambda s: s * s,
    "diamond": lambda s: ours.warmup(s, 5) + ours.clip(s, high=0.375),
    "diamond of diamonds": lambda s: (lambda d: ours.delay(d, 2) * d)(ours.repeat(s, 7) + s),
    "diamond in a join": lambda s: ours.join_schedules([s, 2 * s, ours.delay(s, 3) - s], [5, 9]),
    "deep": lambda s: ours.skip(ours.repeat(ours.staircase(ours.delay(ours.clip(2 * s + 0.1, 0.2, 0.9), 3), 2), 30), 1),
    "twelve deep": lambda s: [s := ours.warmup(2 * s, k % 3) for k in range(6)][-1],
}
every_whole = pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())


def _part() -> Schedule:
    return ours.cosine_decay(0.5, 20)


CHANGES: dict[str, dict[str, Any]] = {"a rate": {"init": 0.875}, "all": {"init": 0.25, "decay_steps": 31, "end": 0.125}}


def _changed(hyperparameters: dict[str, Any]) -> Schedule:
    return ours.cosine_decay(**{"init": 0.5, "decay_steps": 20, **hyperparameters})


def _all_of(*schedules: Schedule) -> Any:
    return [(bits(s(CURVE), s.state), repr(s)) for s in schedules]


def _reaches(change: Callable[[], None], found: Callable[[], Any], expected: Callable[[], Any]) -> bool:
    """Whether a change was followed. If not, it was refused, and ``found`` is what it was."""
    before = found()
    try:
        change()
    except ValueError:
        assert found() == before
        return False
    assert found() == expected()
    return True


def _is_long(make: Make) -> bool:
    """Whether it is a join that copies the numbers of its segments, and may refuse."""
    return any(name.startswith(("join of many", "join in a join")) for name in MADE if MADE[name] is make)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("hyperparameters", CHANGES.values(), ids=CHANGES.keys())
@every_whole
def test_retune_of_a_part(make: Make, hyperparameters: dict[str, Any]) -> None:
    """In the rates and the text, of the whole, its copies and its pickles."""
    part = _part()
    whole = make(part)
    other = make(part)

    def found() -> Any:
        copied = copy.deepcopy(whole)
        return [_all_of(part, whole, other), bits(copied(CURVE)), repr(copied)]

    def expected() -> Any:
        asked_for = _changed(hyperparameters)
        made = make(asked_for)
        return [_all_of(asked_for, made, made), bits(made(CURVE)), repr(made)]

    reached = _reaches(lambda: part.retune(**hyperparameters), found, expected)
    assert reached or _is_long(make)
    if "lambda" not in repr(whole) and "function" not in repr(whole):
        assert bits(pickle.loads(pickle.dumps(whole))(CURVE)) == bits(whole(CURVE))


@pytest.mark.usefixtures("uncompiled")
@every_whole
def test_retune_of_a_part_of_a_part(make: Make) -> None:
    """Twice, and of the one in between as well."""
    inner = ours.constant(0.5)
    part = ours.warmup(inner, 10)
    whole = make(part)
    changes: list[tuple[Callable[[], None], Callable[[], Schedule]]] = [
        (lambda: inner.retune(value=0.25), lambda: ours.warmup(ours.constant(0.25), 10)),
        (lambda: part.retune(steps=20, init=0.125), lambda: ours.warmup(ours.constant(0.25), 20, 0.125)),
        (lambda: inner.retune(value=0.75), lambda: ours.warmup(ours.constant(0.75), 20, 0.125)),
    ]
    for change, asked_for in changes:
        if not _reaches(change, lambda: _all_of(whole), lambda: _all_of(make(asked_for()))):  # noqa: B023
            assert _is_long(make)
            break


def _plateau() -> Schedule:
    return ours.reduce_on_plateau(ours.cosine_decay(0.5, 20), patience=0, factor=0.5)


def _observed(schedule: Schedule) -> Schedule:
    for _ in range(2):
        schedule.observe(1.0)
    return schedule


@pytest.mark.usefixtures("uncompiled")
@every_whole
def test_observe_of_a_part(make: Make) -> None:
    """A long join may refuse to be made of a plateau, which it would not follow."""
    part = _plateau()
    try:
        whole = make(part)
    except ValueError:
        assert _is_long(make)
        return
    _observed(part)
    asked_for = make(_observed(_plateau()))
    assert _all_of(whole) == _all_of(asked_for)
    saved = copy.deepcopy(whole.state)
    fresh = make(_plateau())
    fresh.state = saved
    assert bits(fresh(CURVE)) == bits(whole(CURVE))
    if make is not MADE["plateau"]:  # where the outer one is told as well
        told = make(_plateau())
        _observed(told)
        assert bits(told(CURVE)) == bits(whole(CURVE))


# In a step


def _capturing(optimizer: Any, model: Any, *schedules: Schedule) -> Step:
    """A user-compiled step that captures the state of these schedules."""
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state]
    captured = [schedule.state for schedule in schedules]
    compiled: Step = mx.compile(eager(linear, model, optimizer), inputs=[*state, captured], outputs=state)
    return compiled


IN_STEPS: dict[str, Make] = {
    name: MADE[name]
    for name in (
        *("times", "minus, from the right", "warmup with a shape", "clip on one side", "plateau", "join, first"),
        *("join of many kinds", "square", "diamond", "diamond in a join", "deep"),
    )
}


@requires_compile
@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS.keys())
@pytest.mark.parametrize("make", IN_STEPS.values(), ids=IN_STEPS.keys())
def test_a_step_of_our_tools_follows_a_part(make: Make, tool: Callable[..., Step]) -> None:
    part = _plateau()
    try:
        whole = make(part)
    except ValueError:
        part = _part()
        whole = make(part)
    optimizer = optim.SGD(whole)
    step = tool(linear, Weight(), optimizer)
    changes: list[Callable[[], None]] = [lambda: None, lambda: part.retune(**_louder(part)), lambda: _tell(part)]
    for change in changes:
        change()
        step(ONE)
        assert bits(optimizer.learning_rate) == bits(whole(optimizer.step - 1))


def _louder(part: Schedule) -> dict[str, Any]:
    return {"schedule": ours.cosine_decay(0.875, 20)} if "factor" in part.hyperparameters else {"init": 0.875}


def _tell(part: Schedule) -> None:
    if "factor" in part.hyperparameters:
        _observed(part)


@requires_compile
@pytest.mark.parametrize("name", [name for name in IN_STEPS if not _is_long(MADE[name])])
def test_a_step_that_captures_the_whole_follows_a_part(name: str) -> None:
    make = MADE[name]
    part = _part()
    whole = make(part)
    optimizer = optim.SGD(whole)
    step = _capturing(optimizer, Weight(), whole)
    for change in ({}, {"init": 0.875}, {"init": 0.25, "decay_steps": 9}):
        expected = make(_changed(change))
        part.retune(**change)
        step(ONE)
        assert bits(optimizer.learning_rate) == bits(whole(optimizer.step - 1)) == bits(expected(optimizer.step - 1))


@requires_compile
@pytest.mark.parametrize("captured", ["part", "nothing"])
@pytest.mark.parametrize("make", IN_STEPS.values(), ids=IN_STEPS.keys())
def test_a_step_that_captures_less_follows_or_has_it_refused(make: Make, captured: str) -> None:
    """Never ignored: the step goes on with the rate that the schedule shows."""
    part = _part()
    whole = make(part)
    optimizer = optim.SGD(whole)
    step = _capturing(optimizer, Weight(), *([part] if captured == "part" else []))
    step(ONE)
    followed = _reaches(
        lambda: part.retune(init=0.875),
        lambda: _all_of(part, whole),
        lambda: _all_of(_changed({"init": 0.875}), make(_changed({"init": 0.875}))),
    )
    assert not (followed and captured == "nothing")
    for size in (1, 2):  # for the second it is traced again
        step(mx.ones(size))
        assert bits(optimizer.learning_rate) == bits(whole(optimizer.step - 1))


def _one_in_the_loss(first: Callable[..., Any], optimizer: Any, model: Any, captured: list[Any]) -> Step:
    """A user-compiled step with a schedule in its loss and another in its optimizer."""
    optimizer.init(model.trainable_parameters())

    def loss_fn(model: nn.Module, x: mx.array) -> mx.array:
        value: mx.array = first(optimizer.step) * linear(model, x)
        return value

    state = [model.state, optimizer.state]
    compiled: Step = mx.compile(eager(loss_fn, model, optimizer), inputs=[*state, captured], outputs=state)
    return compiled


OPTIMIZERS: dict[str, Callable[[Schedule], Any]] = {
    "SGD": optim.SGD,
    "Lion": optim.Lion,
    "lambda": lambda s: optim.SGD(lambda step: s(step)),
    "product": lambda s: optim.SGD(2 * s),
    "scheduled": lambda s: ours.scheduled(optim.SGD, learning_rate=s),
    "scheduled, not the rate": lambda s: ours.scheduled(optim.SGD, learning_rate=1.0, weight_decay=s),
}


@requires_compile
@pytest.mark.parametrize("captures", [False, True], ids=["captures nothing", "captures the first"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_one_schedule_in_the_loss_and_another_in_the_optimizer(make: Callable[[Schedule], Any], captures: bool) -> None:
    """Compiled by the user. The second is retuned: refused or followed, and after a refusal nothing is another."""
    first, second = ours.linear_schedule(1.0, 0.5, 4), ours.linear_schedule(0.5, 0.25, 4)
    model, optimizer = Weight(), make(second)
    model.w = mx.array(1.0)
    step = _one_in_the_loss(first, optimizer, model, [first.state] if captures else [])
    for _ in range(2):
        step(ONE)

    def trained_eagerly() -> mx.array:
        twin: Any = Weight()
        stock = make(copy.deepcopy(second))
        twin.w = mx.array(model.w)
        stock.init(twin.trainable_parameters())
        stock.state = {**stock.state, **{k: v for k, v in optimizer.state.items() if k in ("step", "w")}}
        reference = eager(lambda model, x: first(stock.step) * linear(model, x), twin, stock)
        reference(ONE)
        w: mx.array = twin.w
        return w

    for schedule, change in ((second, {"init": 2.0}), (first, {"init": 3.0}), (second, {"end": 1.0})):
        _reaches(partial(schedule.retune, **change), partial(repr, schedule), partial(repr, schedule))
        expected = trained_eagerly()
        step(ONE)
        assert mx.allclose(model.w, expected, rtol=1e-6, atol=0).item(), (schedule, change)


@requires_compile
def test_a_schedule_in_the_loss_alone() -> None:
    """And two of them, of which one is captured."""
    first, second = ours.constant(1.0), ours.constant(2.0)
    model = Weight()
    step = _one_in_the_loss(lambda step: first(step) * second(step), optim.SGD(1.0), model, [first.state])
    step(ONE)
    assert weight(model) == -2.0
    first.retune(value=3.0)
    step(ONE)
    assert weight(model) == -8.0
    with pytest.raises(ValueError, match=r"schedule\.state.*compiled_step"):
        second.retune(value=4.0)
    step(ONE)
    assert weight(model) == -14.0


# All or nothing


@requires_compile
@pytest.mark.parametrize("arm", [0, 1])
def test_a_diamond_with_one_frozen_arm_refuses_and_stays(arm: int) -> None:
    part = _part()
    arms = [ours.warmup(part, 5), 2 * part]
    top, beside = arms[0] * arms[1], ours.delay(part, 3)
    mx.compile(lambda step: arms[arm](step))(mx.array(3, mx.uint64))  # which does not capture it
    everything = (part, *arms, top, beside)
    before = _all_of(*everything)
    with pytest.raises(ValueError, match=r"schedule\.state.*compiled_step"):
        part.retune(init=0.875)
    assert _all_of(*everything) == before
    arms[1 - arm].retune(**([{"steps": 7}, {}][1 - arm]))  # the other arm is free
    assert repr(top) == repr(arms[0] * arms[1])


@requires_compile
def test_a_frozen_diamond_refuses_metrics_and_stays() -> None:
    part = _plateau()
    part.observe(1.0)
    whole = ours.warmup(part, 5) + part
    mx.compile(lambda step: whole(step))(mx.array(3, mx.uint64))
    before = _all_of(part, whole)
    for schedule in (part, whole):
        with pytest.raises(ValueError, match=r"schedule\.state.*compiled_step"):
            schedule.observe(1.0)
    assert _all_of(part, whole) == before


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    "hyperparameters",
    [{"decay_rate": 1.5}, {"init": 0.25, "decay_rate": 1.5}, {"init": float("nan")}, {"init": 0.25, "end": -1e39}],
)
def test_a_change_that_a_diamond_does_not_take_leaves_all_as_it_was(hyperparameters: dict[str, Any]) -> None:
    part = ours.exponential_decay(0.5, 0.9)
    everything = [part, *(make(part) for make in MADE.values())]
    before = _all_of(*everything)
    with pytest.raises(ValueError, match=r".+"):
        part.retune(**hyperparameters)
    assert _all_of(*everything) == before


# Of anything


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> Make:
    """A random composition, as a function of a part that stands in it anywhere."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        leaf: Make = draw(st.sampled_from([lambda s: s, lambda s: s, lambda s: _line(), lambda s: ours.constant(0.75)]))
        return leaf
    below = trees(depth=depth - 1)
    kind = draw(st.integers(0, 3))
    a, b = draw(below), draw(below)
    n = draw(st.integers(1, 20))
    if kind == 0:
        operator: Callable[[Any, Any], Schedule] = draw(
            st.sampled_from([lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / (y * y + 1)])
        )
        return lambda s: operator(a(s), b(s))
    if kind == 1:
        return lambda s: ours.join_schedules([a(s), b(s), 0.5], [n, n + 7])
    combine: Callable[[Any], Schedule] = draw(
        st.sampled_from(
            [
                lambda x: ours.warmup(x, n, 0.25, shape="cosine"),
                lambda x: ours.cooldown(x, n, 9, 0.125),
                lambda x: ours.clip(x, low=0.125, high=2.0),
                lambda x: ours.delay(x, n),
                lambda x: ours.skip(x, n),
                lambda x: ours.staircase(x, n),
                lambda x: ours.repeat(x, n),
                lambda x: -x,
                lambda x: ours.reduce_on_plateau(x, patience=n),
            ]
        )
    )
    return lambda s: combine(a(s))


@given(trees(), st.sampled_from([*CHANGES.values()]))
def test_retune_reaches_any_tree(make: Make, hyperparameters: dict[str, Any]) -> None:
    with uncompiled():
        part = _part()
        whole = make(part)
        part.retune(**hyperparameters)
        assert _all_of(whole) == _all_of(make(_changed(hyperparameters)))


@given(trees())
def test_metrics_reach_any_tree(make: Make) -> None:
    """All plateaus in it, if the whole is told; one alone, if that one is."""
    with uncompiled():
        part, twin = _plateau(), _plateau()
        whole = make(part)
        before = bits(whole(CURVE))
        _observed(part)
        assert bits(whole(CURVE)) == bits(make(_observed(twin))(CURVE))
        restored = make(_plateau())
        restored.state = copy.deepcopy(whole.state)
        assert bits(restored(CURVE)) == bits(whole(CURVE))
        pickled = pickle.loads(pickle.dumps(whole))
        assert _all_of(pickled) == _all_of(whole)
        if "reduce_on_plateau" not in repr(whole):
            assert bits(whole(CURVE)) == before


@given(trees())
def test_a_copy_of_any_tree_shares_nothing(make: Make) -> None:
    with uncompiled():
        part = _part()
        whole = make(part)
        before = _all_of(whole)
        copied, pickled = copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))
        assert _all_of(copied) == _all_of(pickled) == before
        part.retune(init=0.875)
        assert _all_of(copied) == _all_of(pickled) == before
