"""Coefficients of schedules in the state of the optimizer that follows them.

A compiled step that captures ``optimizer.state`` has them as inputs then, and sees what ``retune`` and ``observe`` do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import mlx.core as mx

from ..core.schedule import Schedule


class Several(ABC):
    """A scheduler that stands for several schedules."""

    def __init__(self, schedules: list[Schedule]) -> None:
        self.schedules = schedules

    @property
    @abstractmethod
    def state(self) -> list[list[mx.array]]:
        """What a graph has of it as input."""

    @state.setter
    @abstractmethod
    def state(self, state: list[list[mx.array]]) -> None: ...


def schedules_of(optimizers: Iterable[Any]) -> Iterator[Schedule]:
    """The schedules that optimizers were given."""
    for optimizer in optimizers:
        for scheduler in getattr(optimizer, "_schedulers", {}).values():
            several = scheduler.schedules if isinstance(scheduler, Several) else [scheduler]
            yield from (schedule for schedule in several if isinstance(schedule, Schedule))


def carry(schedulers: dict[str, Any], state: dict[str, Any]) -> None:
    """Puts the coefficients of schedules into an optimizer's state, and takes out of it what metrics have done.

    Args:
        schedulers: Those of the optimizer.
        state: Its state: its own, or one that was saved.
    """
    saved = state.get("schedules", {})
    ours = {name: s for name, s in schedulers.items() if isinstance(s, (Schedule, Several))}
    for name in ours.keys() & saved.keys():
        ours[name].state = saved[name]
    state["schedules"] = {name: scheduler.state for name, scheduler in ours.items()}


def check_names(parameters: dict[str, Any], taken: set[str]) -> None:
    """Refuses parameters of a model that have the place of something else in the optimizer's state."""
    if clash := taken.intersection(parameters):
        raise ValueError(f"{min(clash)} is a parameter of the model and has that place in the optimizer's state.")
