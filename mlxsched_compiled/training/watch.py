"""Warnings of what would be lost without a word where a plain optimizer of MLX follows a schedule.

Its next update overwrites a learning rate that is assigned, and its state says nothing of metrics. (Optimizers made by
``scheduled``, and all under ``install``, lose neither: they have the schedules in their state.)
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import is_
from typing import Any
from warnings import warn

import mlx.core as mx

from ..core.node import leaves
from ..core.schedule import Schedule, is_mutable
from ..optimizers.state import schedules_of

_DEPTH = 5
"""Frames from a warning up to the user's, who called a tool."""


class Watch:
    """Compares optimizers with what the step before left, and warns once of each kind of loss."""

    def __init__(self, optimizers: Iterable[Any]) -> None:
        self._left: list[_Left] = []
        self._warned: set[str] = set()
        self.remember(optimizers)

    def remember(self, optimizers: Iterable[Any]) -> None:
        """Notes how optimizers are."""
        self._left = [_Left(each) for each in optimizers if "learning_rate" in getattr(each, "_schedulers", {})]

    def check(self) -> None:
        """Warns of what was done to them since."""
        for left in self._left:
            if left.is_as_it_was():
                continue
            if left.has_another_rate():
                self._warn(
                    "A learning rate was assigned to an optimizer that follows a schedule, and the update overwrites "
                    "it: MLX's optimizers ask the schedule before each update. Give the schedule other numbers by "
                    "schedule.retune(...), or make the optimizer by scheduled(...), where a rate that is assigned "
                    "counts from then on."
                )
            for schedule in left.lost():
                self._warn(
                    f"The optimizer goes on from a state that was loaded, and {schedule} does not: what metrics have "
                    f"done to it is in schedule.state, which has not been restored. Save schedule.state beside "
                    f"optimizer.state, and assign both (schedule.state = saved). Optimizers made by scheduled(...) "
                    f"have it in their state."
                )

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            warn(message, stacklevel=_DEPTH)


class _Left:
    """An optimizer, and what was left in it."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self._state = state = optimizer.state
        self._scheduler, self._step, self._rate = _counts(optimizer)
        self._mutable = [] if "schedules" in state else [(s, leaves(s.state)) for s in _mutable(optimizer)]
        # A state that was assigned before the first step, when it is too late to see whether that of schedules was.
        self._came_loaded = bool(self._mutable) and not optimizer._initialized and self._step.item() > 0

    def is_as_it_was(self) -> bool:
        """Whether nothing was assigned. Asked before each step."""
        optimizer = self._optimizer
        state = optimizer.state
        return state is self._state and state["learning_rate"] is self._rate and not self._came_loaded

    def has_another_rate(self) -> bool:
        """Whether the rate alone was assigned."""
        scheduler, step, rate = _counts(self._optimizer)
        kept = self._optimizer.state is self._state and scheduler is self._scheduler and step is self._step
        return kept and rate is not self._rate and not mx.array_equal(rate, self._rate).item()

    def lost(self) -> list[Schedule]:
        """The schedules that a state was loaded without."""
        if self._came_loaded:
            return [schedule for schedule, _ in self._mutable if _is_new(schedule)]
        _, step, _ = _counts(self._optimizer)
        if self._optimizer.state is self._state or int(step) == int(self._step):
            return []
        return [s for s, before in self._mutable if all(map(is_, leaves(s.state), before))]


def _counts(optimizer: Any) -> tuple[Any, Any, Any]:
    state = optimizer.state
    return optimizer._schedulers.get("learning_rate"), state.get("step"), state.get("learning_rate")


def _mutable(optimizer: Any) -> list[Schedule]:
    return [schedule for schedule in schedules_of([optimizer]) if is_mutable(schedule)]


def _is_new(schedule: Schedule) -> bool:
    """Whether a schedule is as when it was made: no metric has changed it."""
    from ..config.from_config import from_config

    try:
        new = from_config(repr(schedule))
    except (ValueError, TypeError):  # it has a function of the user's
        return False
    return all(mx.array_equal(a, b).item() for a, b in zip(leaves(schedule.state), leaves(new.state), strict=True))
