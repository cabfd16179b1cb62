"""What is assigned to an optimizer beside a schedule counts, or is warned of: a learning rate, and a state."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_flatten, tree_map, tree_unflatten

import mlxsched_compiled as ours

from .tiny import ONE, Weight, linear
from .training import Step, eager, with_both_tools

RATE = "A learning rate was assigned"
STATE = "has not been restored"


def _warned(action: Callable[[], Any]) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return caught


# The rate


@with_both_tools
@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("rate", [0.5, mx.array(0.5)], ids=["number", "array"])
def test_a_rate_that_the_update_overwrites_is_warned_of_once(
    rate: Any, steps_before: int, tool: Callable[..., Step]
) -> None:
    schedule = ours.linear_schedule(1.0, 0.0, 10)
    model = Weight()
    optimizer: Any = optim.SGD(schedule)
    step = tool(linear, model, optimizer)
    for _ in range(steps_before):
        step(ONE)
    optimizer.learning_rate = rate
    (caught,) = _warned(lambda: step(ONE))
    assert RATE in str(caught.message)
    assert "schedule.retune" in str(caught.message)
    assert "scheduled(...)" in str(caught.message)
    assert caught.filename == (__file__ if tool is ours.compiled_step else caught.filename)
    assert optimizer.learning_rate.item() == schedule(steps_before).item()
    optimizer.learning_rate = rate
    step(ONE)  # warnings are errors here


@with_both_tools
def test_in_one_of_two_groups_too(tool: Callable[..., Step]) -> None:
    groups = [optim.SGD(0.1), optim.AdamW(ours.constant(0.1))]
    step = tool(linear, Weight(), optim.MultiOptimizer(groups, [lambda name, w: w.ndim > 1]))
    step(ONE)
    groups[0].learning_rate = 0.2  # which has no schedule
    step(ONE)
    groups[1].learning_rate = 0.2
    with pytest.warns(UserWarning, match=RATE):
        step(ONE)


@with_both_tools
def test_where_nothing_is_lost_there_is_no_warning(tool: Callable[..., Step]) -> None:
    """Warnings are errors here: an equal rate, eager steps between, retune, a state of another step, two tools."""
    schedule = ours.reduce_on_plateau(0.5)
    model, optimizer = Weight(), optim.SGD(schedule, momentum=0.5)
    steps: list[Step] = [
        tool(linear, model, optimizer),
        eager(linear, model, optimizer),
        ours.compiled_step(linear, model, optimizer),
    ]
    for _ in range(2):
        for step in steps:
            step(ONE)
        optimizer.learning_rate = optimizer.learning_rate
        steps[0](ONE)
        schedule.retune(factor=0.3)
        schedule.observe(1.0)
        optimizer.state = tree_map(lambda a: a * 1, optimizer.state)
        steps[0](ONE)
        optimizer._schedulers["learning_rate"] = schedule = ours.reduce_on_plateau(0.25)
        optimizer.learning_rate = 0.25


@with_both_tools
def test_assigned_to_an_optimizer_of_scheduled_it_counts_from_then_on(tool: Callable[..., Step]) -> None:
    """A number, another schedule, a number."""
    optimizer: Any = ours.scheduled(
        optim.SGD, learning_rate=ours.linear_schedule(1.0, 0.0, 10), momentum=ours.constant(0.5)
    )
    model = Weight()
    step = tool(linear, model, optimizer)
    other = ours.linear_schedule(0.0, 1.0, 10)
    rates: list[float] = []
    for assigned in (None, 0.75, other, 0.125):
        if assigned is not None:
            optimizer.learning_rate = assigned
        step(ONE)
        rates.append(optimizer.learning_rate.item())
        step(ONE)
        rates.append(optimizer.learning_rate.item())
        other.retune(end=2.0)
    expected = [1.0, 0.9, 0.75, 0.75, 4 * 0.2, 5 * 0.2, 0.125, 0.125]
    assert rates == pytest.approx(expected, rel=1e-6)


# The state


def _run(rate: Any, make: Callable[[Any], Any] = optim.SGD, tool: Callable[..., Step] = ours.compiled_step) -> Any:
    model, optimizer = Weight(), make(rate)
    return optimizer, tool(linear, model, optimizer)


def _saved() -> Any:
    """The state of an optimizer after three steps, whose plateau has reduced the rate."""
    schedule = ours.reduce_on_plateau(0.5, patience=0)
    optimizer, step = _run(schedule)
    for loss in (1.0, 2.0, 2.0):
        step(ONE)
        schedule.observe(loss)
    trees = {"optimizer": optimizer.state, "schedule": schedule.state}
    return tree_unflatten(list(dict(tree_flatten(trees)).items()))


PLATEAUS: dict[str, Callable[[], Any]] = {
    "alone": lambda: ours.reduce_on_plateau(0.5, patience=0),
    "in a product": lambda: 2 * ours.reduce_on_plateau(0.5, patience=0),
    "after a warmup": lambda: ours.warmup(ours.reduce_on_plateau(0.5, patience=0), 2),
}


@with_both_tools
@pytest.mark.parametrize("make_plateau", PLATEAUS.values(), ids=PLATEAUS.keys())
@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_state_loaded_without_that_of_a_plateau_is_warned_of_once(
    steps_before: int, make_plateau: Callable[[], Any], tool: Callable[..., Step]
) -> None:
    schedule = make_plateau()
    optimizer, step = _run(schedule, tool=tool)
    for _ in range(steps_before):
        step(ONE)
    optimizer.state = _saved()["optimizer"]
    (caught,) = _warned(lambda: step(ONE))
    assert STATE in str(caught.message)
    assert "schedule.state = saved" in str(caught.message)
    assert repr(schedule) in str(caught.message)
    step(ONE)


@with_both_tools
def test_also_where_it_was_loaded_before_the_tool_was_made(tool: Callable[..., Step]) -> None:
    optimizer = optim.MultiOptimizer(
        [optim.AdamW(0.1), optim.SGD(PLATEAUS["after a warmup"]())], [lambda name, w: w.ndim > 1]
    )
    optimizer.optimizers[1].state = _saved()["optimizer"]
    step = tool(linear, Weight(), optimizer)
    with pytest.warns(UserWarning, match=STATE):
        step(ONE)
    step(ONE)


@with_both_tools
@pytest.mark.parametrize("order", ["tool first", "tool last"])
def test_a_plateau_that_is_restored_goes_on_without_a_warning(order: str, tool: Callable[..., Step]) -> None:
    saved = _saved()
    schedule = ours.reduce_on_plateau(0.5, patience=0)
    optimizer = optim.SGD(schedule)
    model = Weight()
    step = tool(linear, model, optimizer) if order == "tool first" else None
    optimizer.state, schedule.state = saved["optimizer"], saved["schedule"]
    step = step or tool(linear, model, optimizer)
    step(ONE)
    assert optimizer.learning_rate.item() == pytest.approx(0.005)
    assert optimizer.step.item() == 4


@with_both_tools
@pytest.mark.parametrize("rate", [lambda: ours.constant(0.1), lambda: 0.1, lambda: optim.cosine_decay(0.1, 10)])
def test_of_what_no_metric_changes_nothing_is_lost(rate: Callable[[], Any], tool: Callable[..., Step]) -> None:
    optimizer, step = _run(rate(), tool=tool)
    optimizer.state = _saved()["optimizer"]
    step(ONE)


@with_both_tools
def test_an_optimizer_of_scheduled_has_it_in_its_state(tool: Callable[..., Step]) -> None:
    def make(rate: Any) -> Any:
        return ours.scheduled(optim.SGD, learning_rate=rate, momentum=ours.constant(0.5))

    schedule = ours.reduce_on_plateau(0.5, patience=0)
    optimizer, step = _run(schedule, make, tool)
    for loss in (1.0, 2.0):
        step(ONE)
        schedule.observe(loss)
    resumed, its_step = _run(ours.reduce_on_plateau(0.5, patience=0), make, tool)
    resumed.state = tree_unflatten(list(dict(tree_flatten(optimizer.state)).items()))
    its_step(ONE)
    assert resumed.learning_rate.item() == pytest.approx(0.05)
