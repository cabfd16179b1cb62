"""Schedules of an optimizer, and their leaves in its state.

MLX puts every name among an optimizer's ``_schedulers`` through its scheduler before each update, into the state. The
leaves of our schedules stand there too, under ``"schedules"``, by reference: so a compiled step that captures
``optimizer.state`` follows ``retune`` and ``observe``, and a checkpoint has what metrics have done.
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
from .arguments import elements_of

_LEAVES = "schedules"
"""Where the leaves stand in an optimizer's state."""
_CHANGES = "changes"
"""Among them, an array that is longer after each change of what is followed."""


class ScheduleList:
    """The scheduler of a list of hyperparameters, such as ``betas``.

    Args:
        elements: A schedule or a number for each.
    """

    def __init__(self, elements: list[Any]) -> None:
        self.elements = elements

    @property
    def schedules(self) -> list[Schedule]:
        """Those among the elements."""
        return [element for element in self.elements if isinstance(element, Schedule)]

    @property
    def state(self) -> list[list[Any]]:
        """The leaves of each, none of a number."""
        return [element.state if isinstance(element, Schedule) else [] for element in self.elements]

    def __call__(self, step: mx.array) -> list[mx.array]:
        # A number is a new array each time: MLX takes one that came out of a trace for no constant in the next.
        return [e(step) if isinstance(e, Schedule) else mx.array(e, mx.float32) for e in self.elements]


def scheduler_of(value: Any) -> Schedule | ScheduleList | None:
    """What gives a hyperparameter, or a list of them, its value before each update. None if all are numbers."""
    if not any(map(callable, elements_of(value))):
        return None
    if not isinstance(value, (list, tuple)):
        return _as_schedule(value)
    return ScheduleList([_as_schedule(element) if callable(element) else _number(element) for element in value])


def _as_schedule(function: Any) -> Schedule:
    return function if isinstance(function, Schedule) else Schedule(function)


def _number(value: Any) -> float:
    number: Any = value.item() if isinstance(value, mx.array) else value
    return float(number)


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
    if not isinstance(step, mx.array):
        return mx.array(int(step), mx.uint64)
    return step.astype(mx.uint64)


def first_value(scheduler: Any, step: mx.array) -> Any:
    """What is in the state before an update. No kernel is built for it."""
    if isinstance(scheduler, Schedule):
        return uncompiled(scheduler, step)
    if isinstance(scheduler, ScheduleList):
        return [first_value(e, step) if callable(e) else mx.array(e, mx.float32) for e in scheduler.elements]
    return scheduler(step)


def store_leaves(schedulers: dict[str, Any], state: Any) -> None:
    """Puts the leaves of all schedules into a state."""
    if isinstance(state, dict):  # MLX takes anything, such as [] to free the old one
        ours = {name: each for name, each in schedulers.items() if isinstance(each, (Schedule, ScheduleList))}
        leaves = {name: scheduler.state for name, scheduler in ours.items()}
        before = state.get(_LEAVES)
        if isinstance(before, dict) and _CHANGES in before:  # what is traced for an earlier change is not for the next
            leaves[_CHANGES] = before[_CHANGES]
        state[_LEAVES] = leaves


def without_leaves(state: Any) -> Any:
    """A state as it is copied: its schedules are copied for themselves."""
    if not isinstance(state, dict) or _LEAVES not in state:
        return state
    changes = {name: array for name, array in state[_LEAVES].items() if name == _CHANGES}
    return {**state, _LEAVES: changes}


def load(schedulers: dict[str, Any], state: Any) -> None:
    """Restores what metrics have done from a state that was saved, and puts the leaves of all schedules into it.

    Hyperparameters stay as they are.

    Raises:
        ValueError: If what was saved is of another schedule. Nothing is changed then.
    """
    if not isinstance(state, dict):
        return
    pairs = [(s, saved) for s, saved in _saved_for(schedulers, state.get(_LEAVES)) if is_mutable(s)]
    before = [(schedule, tree_map(lambda leaf: leaf, schedule.state)) for schedule, _ in pairs]
    try:
        for schedule, saved in pairs:
            if saved:
                schedule.state = saved
    except ValueError:
        for schedule, its in before:
            schedule.state = its
        raise
    if (lost := [schedule for schedule, saved in pairs if not saved]) and _has_begun(state):
        warn(
            f"The state that is loaded has nothing of {lost[0]} under 'schedules'. What metrics have told it before is "
            f"lost: in a new program it begins anew, and the rate may be many times too high. Save optimizer.state as "
            f"a whole, or save schedule.state too, and assign it to the schedule.",
            stacklevel=3,
        )
    store_leaves(schedulers, state)


def _saved_for(schedulers: dict[str, Any], saved: Any) -> Iterator[tuple[Schedule, Any]]:
    """Each schedule, with what was saved of it, or something empty."""
    saved = saved if isinstance(saved, dict) else {}
    for name, scheduler in schedulers.items():
        of_name = saved.get(name)
        if isinstance(scheduler, ScheduleList):
            of_name = of_name[: len(scheduler.elements)] if isinstance(of_name, list) else []
        else:
            of_name = [of_name]
        for schedule, its in zip_longest(_elements(scheduler), of_name):
            if isinstance(schedule, Schedule):
                yield schedule, its


def _elements(scheduler: Any) -> list[Any]:
    return scheduler.elements if isinstance(scheduler, ScheduleList) else [scheduler]


def _has_begun(state: dict[str, Any]) -> bool:
    step = state.get("step", 0)
    return is_concrete(step) and int(step) > 0


def follow(schedulers: dict[str, Any], state: dict[str, Any], name: str, scheduler: Any) -> None:
    """Has an optimizer follow a schedule from now on."""
    leaves = _leaves_of(schedulers, state)
    if leaves is None:
        check_names(state, {_LEAVES})
        leaves = {}
    state[name] = first_value(scheduler, as_count(state["step"]))
    state[_LEAVES] = leaves
    schedulers[name] = scheduler
    leaves.pop(name, None)
    if has_leaves({name: scheduler}):
        leaves[name] = scheduler.state
    _retrace(leaves)


def unfollow(schedulers: dict[str, Any], state: dict[str, Any], name: str) -> None:
    """Has an optimizer follow no schedule any more, where it has been given a number."""
    if name not in schedulers:
        return
    leaves = _leaves_of(schedulers, state)
    del schedulers[name]
    if leaves is not None:
        leaves.pop(name, None)
        state[_LEAVES] = leaves
        _retrace(leaves)


def _leaves_of(schedulers: dict[str, Any], state: dict[str, Any]) -> dict[str, Any] | None:
    """The leaves in a state; None if a parameter of the model has their place."""
    leaves: dict[str, Any] = state.get(_LEAVES, {})
    return leaves if _LEAVES not in state or _CHANGES in leaves or has_leaves(schedulers) else None


def _retrace(leaves: dict[str, Any]) -> None:
    """Has compiled steps that capture the state traced again, as MLX does for arrays of another shape."""
    leaves[_CHANGES] = mx.array([0] * (leaves[_CHANGES].size + 1 if _CHANGES in leaves else 1))


def check_names(parameters: dict[str, Any], taken: set[str]) -> None:
    """Refuses parameters of a model that have the place of something else in the optimizer's state."""
    if clash := taken.intersection(parameters):
        raise ValueError(f"{min(clash)} is a parameter of the model and has that place in the optimizer's state.")


def number_array(name: str, value: Any) -> Any:
    """A number as it stands in the state, or a list of them."""
    if isinstance(value, (list, tuple)):
        return [number_array(f"{name}[{i}]", element) for i, element in enumerate(value)]
    return mx.array(finite(name, value), mx.float32)
