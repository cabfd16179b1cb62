"""What one part of a program asks MLX for decides nothing for the others.

Whoever compiles a schedule with ``shapeless=True``, or uses it while compilation is disabled, finds the same rates as
anybody, and leaves to all others what they would have had without that.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

from .measuring import requires_compile, run, uncompiled
from .tiny import ONE, Weight, linear, weight
from .training import TOOLS, Step, by_hand, eager

pytestmark = requires_compile

STEPS = mx.arange(24)
CODE = """
import json
import mlx.core as mx
import mlx.optimizers as optim
import mlxsched_compiled as ours
from tests.measuring import uncompiled
from tests.test_remembered import nodes_of
from tests.tiny import ONE, Weight, linear
from tests.training import by_hand

def rate(step, peak):
    return peak / (1 + mx.sqrt(step))

def made():
    return [
        ours.cosine_decay(0.5, 20),
        2 * ours.warmup(ours.cosine_decay(0.5, 20), 5),
        ours.join_schedules([0.1, ours.cosine_decay(0.5, 20), 0.1], [5, 20]),
        ours.reduce_on_plateau(ours.cosine_decay(0.5, 20), patience=0),
        ours.Schedule(rate, 0.5),
    ]

def without(work):
    with uncompiled():
        return work()

used = made()
for schedule in used:
    mx.eval([{before}])
print(json.dumps([[nodes_of(new), nodes_of(old)] for new, old in zip(made(), used)]))
"""

BEFORE: dict[str, str] = {
    "shapeless": "mx.compile(schedule, shapeless=True)(mx.arange(3)), "
    "mx.compile(lambda t: 2 * schedule(t), shapeless=True)(mx.array(2))",
    "disabled": "without(lambda: [schedule(2), schedule(mx.arange(3)), mx.compile(schedule)(mx.array(3))]), "
    "without(lambda: by_hand(linear, Weight(), optim.SGD(schedule))(ONE))",
    "disabled, scheduled": "without(lambda: ours.scheduled(optim.AdamW, learning_rate=schedule, "
    "weight_decay=schedule).init({'w': ONE}))",
}


def nodes_of(schedule: Schedule) -> dict[str, Any]:
    """What a call, a user-compiled step and our tools compute with it: how many nodes, and which rates."""
    found: dict[str, Any] = {"call": _count(schedule(mx.array(3))), "rates": schedule(STEPS).tolist()}
    for name, way in {**TOOLS, "by hand": by_hand}.items():
        model: Any = Weight()
        optimizer = optim.AdamW(schedule)
        step = way(linear, model, optimizer)
        mx.eval(step(ONE), model.state, optimizer.state)
        found[name] = _count(step(ONE), model.w, optimizer.state["learning_rate"], optimizer.state["step"])
        found[f"{name}, rates"] = []
        for _ in range(3):
            mx.eval(step(ONE), model.state)
            found[f"{name}, rates"].append(optimizer.learning_rate.item())
    return found


def _count(*arrays: Any) -> int:
    """Nodes of a graph that is not evaluated yet."""
    graph = io.StringIO()
    mx.export_to_dot(graph, *arrays)
    return graph.getvalue().count("shape=rectangle")


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE.keys())
def test_what_was_asked_for_before_is_not_what_others_get(before: str, in_a_fresh_process: list[Any]) -> None:
    assert _in_a_process(before) == in_a_fresh_process


@pytest.fixture(scope="module", name="in_a_fresh_process")
def _in_a_fresh_process() -> list[Any]:
    return _in_a_process("mx.array(0)")


def _in_a_process(before: str) -> list[Any]:
    """What schedules cost where this came before; kernels are shared with the tests, for it builds many."""
    found: list[Any] = json.loads(run(CODE.replace("{before}", before), Path(gettempdir())))
    return found


# In one process

SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "cosine_decay": lambda: ours.cosine_decay(0.5, 20),
    "a product": lambda: 2 * ours.warmup(ours.cosine_decay(0.5, 20), 5),
    "a join": lambda: ours.join_schedules([0.1, ours.cosine_decay(0.5, 20), 0.1], [5, 20]),
    "a plateau": lambda: ours.reduce_on_plateau(ours.cosine_decay(0.5, 20), patience=0),
}
every_schedule = pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES.keys())


@every_schedule
def test_shapeless_rates_are_the_rates(make: Callable[[], Schedule]) -> None:
    """Of one step and of many, whichever comes first; and of others as ever."""
    expected = make()(STEPS)
    for first, then in ((mx.array(3), STEPS), (STEPS, mx.array(3)), (STEPS[:4], STEPS[:12].reshape(3, 4))):
        schedule = make()
        shapeless = mx.compile(schedule, shapeless=True)
        for steps in (first, then, first):
            assert mx.array_equal(shapeless(steps), expected[steps])
        assert mx.array_equal(make()(STEPS), expected)
        assert mx.array_equal(schedule(STEPS), expected)
        assert mx.array_equal(mx.compile(make())(STEPS), expected)


@every_schedule
def test_a_use_without_compilation_leaves_retune_as_it_is(make: Callable[[], Schedule]) -> None:
    """It has made a constant of nothing."""
    schedule = make()
    with uncompiled():
        by_hand(linear, Weight(), optim.SGD(schedule))(ONE)
        mx.compile(schedule)(mx.array(3))
        mx.vmap(lambda w: w * schedule(3))(STEPS)
    part = schedule
    while "schedule" in part.hyperparameters:
        part = part.hyperparameters["schedule"]
    name = next(iter(part.hyperparameters), None)
    if name in ("init", "value"):
        part.retune(**{name: 0.25})
        twin = make()
        other = twin
        while "schedule" in other.hyperparameters:
            other = other.hyperparameters["schedule"]
        other.retune(**{name: 0.25})
        assert mx.array_equal(schedule(STEPS), twin(STEPS))


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS.keys())
def test_retune_and_observe_after_a_use_without_compilation(tool: Callable[..., Step]) -> None:
    """In a step that was first used so, and in one that was not."""
    base = ours.constant(0.5)
    schedule = ours.reduce_on_plateau(base, patience=0, factor=0.5)
    model, other = Weight(), Weight()
    step, its_twin = tool(linear, model, optim.SGD(schedule)), tool(linear, other, optim.SGD(schedule))
    with uncompiled():
        step(ONE)
        eager(linear, Weight(), optim.SGD(schedule))(ONE)
    its_twin(ONE)
    base.retune(value=2.0)
    for each in (step, its_twin):
        each(ONE)
    assert weight(model) == weight(other) == -2.5
    with uncompiled():
        base.retune(value=4.0)
        for _ in range(2):
            schedule.observe(1.0)
        step(ONE)
    its_twin(ONE)
    assert weight(model) == weight(other) == -4.5
