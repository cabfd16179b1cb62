"""Schedules of an optimizer, and their leaves in its state.

The leaves stand under ``"schedules"``, by reference: so a compiled step that captures ``optimizer.state`` follows
``retune`` and ``observe``, and a checkpoint has what metrics have done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any
from warnings import warn

import mlx.core as mx
from mlx.utils import tree_map

from ..core.checks import finite
from ..core.schedule import Schedule, is_mutable, uncompiled
from ..core.tracing import is_concrete

_LEAVES = "schedules"
"""Where the leaves stand in an optimizer's state."""
_CHANGES = "changes"
"""Among them, an array that grows with each change of schedules: its other shape has steps traced again."""


class ScheduleList:
    """The scheduler of a list of hyperparameters, such as ``betas``.

    Args:
        given: A schedule, a function or a number for each.
    """

    def __init__(self, given: list[Any]) -> None:
        self.given = given
        # A number has a leaf too: what a trace returns, as the values in the state, must not be a constant of it.
        self.schedules = [scheduler_of(each) or Schedule(_number, float(each)) for each in given]

    @property
    def state(self) -> list[list[Any]]:
        """The leaves of each."""
        return [schedule.state for schedule in self.schedules]

    def __call__(self, step: mx.array) -> list[mx.array]:
        return [schedule(step) for schedule in self.schedules]


def _number(step: mx.array, value: mx.array) -> mx.array:
    return value


def scheduler_of(value: Any) -> Any:
    """What gives a hyperparameter, or a list of them, its value before each update. None if all are numbers."""
    if isinstance(value, (list, tuple)):
        return ScheduleList([*value]) if any(map(callable, value)) else None
    return value if isinstance(value, Schedule) else Schedule(value) if callable(value) else None


def schedules_of(optimizers: Iterable[Any]) -> Iterator[Schedule]:
    """The schedules that optimizers follow."""
    for optimizer in optimizers:
        for scheduler in getattr(optimizer, "_schedulers", {}).values():
            if isinstance(scheduler, ScheduleList):
                yield from scheduler.schedules
            elif isinstance(scheduler, Schedule):
                yield scheduler


def has_leaves(schedulers: dict[str, Any]) -> bool:
    """Whether one of these schedulers is ours."""
    return any(isinstance(scheduler, (Schedule, ScheduleList)) for scheduler in schedulers.values())


def as_count(step: Any) -> mx.array:
    """The step of an optimizer, of whatever type it is: a bfloat16 one would stand still at 256."""
    return step.astype(mx.uint64) if isinstance(step, mx.array) else mx.array(int(step), mx.uint64)


def value_at(scheduler: Any, step: mx.array) -> Any:
    """What is in the state before an update, computed without a graph."""
    if isinstance(scheduler, ScheduleList):
        return [uncompiled(schedule, step) for schedule in scheduler.schedules]
    return uncompiled(scheduler, step) if isinstance(scheduler, Schedule) else scheduler(step)


def number_array(name: str, value: Any) -> Any:
    """A number as it stands in the state, or a list of them."""
    if isinstance(value, (list, tuple)):
        return [number_array(f"{name}[{i}]", element) for i, element in enumerate(value)]
    return mx.array(finite(name, value), mx.float32)


def store_leaves(schedulers: dict[str, Any], state: Any, *, is_change: bool = False) -> None:
    """Puts the leaves of all schedules into a state.

    Args:
        schedulers: Those of the optimizer.
        state: Its state. MLX takes anything, such as [] to free the old one, and then nothing is done.
        is_change: Whether others are followed than before. Compiled steps that capture the state are traced again then.
    """
    if not isinstance(state, dict):
        return
    ours = {name: each for name, each in schedulers.items() if isinstance(each, (Schedule, ScheduleList))}
    leaves: dict[str, Any] = {name: scheduler.state for name, scheduler in ours.items()}
    before = state.get(_LEAVES)
    changes = before[_CHANGES].size if isinstance(before, dict) and _CHANGES in before else 0
    if changes + is_change:
        leaves[_CHANGES] = mx.array([0] * (changes + is_change))
    state[_LEAVES] = leaves


def follow(schedulers: dict[str, Any], state: dict[str, Any], name: str, scheduler: Any) -> None:
    """Has an optimizer follow a schedule from now on, or none: then a number stands in the state."""
    if scheduler is None and name not in schedulers:
        return
    if not has_leaves(schedulers) and _CHANGES not in state.get(_LEAVES, {_CHANGES}):
        check_names(state, {_LEAVES})  # what stands there is of a parameter
    if scheduler is None:
        del schedulers[name]
    else:
        state[name] = value_at(scheduler, as_count(state["step"]))
        schedulers[name] = scheduler
    store_leaves(schedulers, state, is_change=True)


def load(schedulers: dict[str, Any], state: Any) -> None:
    """Restores what metrics have done from a state that was saved, and puts the leaves of all schedules into it.

    Hyperparameters stay as they are.

    Raises:
        ValueError: If what was saved is of another schedule. Nothing is changed then.
    """
    if not isinstance(state, dict):
        return
    pairs = [*_mutable(schedulers, state.get(_LEAVES))]
    before = [(schedule, tree_map(lambda leaf: leaf, schedule.state)) for schedule, _ in pairs]
    try:
        for schedule, saved in pairs:
            if saved:
                schedule.state = saved
    except ValueError:
        for schedule, its in before:
            schedule.state = its
        raise
    step = state.get("step", 0)
    if (lost := [schedule for schedule, saved in pairs if not saved]) and is_concrete(step) and int(step) > 0:
        warn(
            f"The state that is loaded has nothing of {lost[0]} under 'schedules'. What metrics have told it before is "
            f"lost: in a new program it begins anew, and the rate may be many times too high. Save optimizer.state as "
            f"a whole, or save schedule.state too, and assign it to the schedule.",
            stacklevel=3,
        )
    store_leaves(schedulers, state)


def _mutable(schedulers: dict[str, Any], saved: Any) -> Iterator[tuple[Schedule, Any]]:
    """Each schedule that metrics change, with its saved state, or None."""
    saved = saved if isinstance(saved, dict) else {}
    for name, scheduler in schedulers.items():
        is_list = isinstance(scheduler, ScheduleList)
        pairs = zip_longest(scheduler.schedules, saved.get(name, ())) if is_list else [(scheduler, saved.get(name))]
        for schedule, its in pairs:
            if isinstance(schedule, Schedule) and is_mutable(schedule):
                yield schedule, its


def check_names(parameters: dict[str, Any], taken: set[str]) -> None:
    """Refuses a model with a parameter whose name is taken in the optimizer's state."""
    if clash := taken.intersection(parameters):
        raise ValueError(f"{min(clash)} is a parameter of the model and has that place in the optimizer's state.")
