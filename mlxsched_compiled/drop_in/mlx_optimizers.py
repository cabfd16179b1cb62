"""MLX's own optimizers, which treat their learning rate as those made by ``scheduled`` do.

The leaves of its schedule stand in their state, what is assigned to it counts from then on, and steps are counted in
uint64 whatever type they were loaded in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx.optimizers import Optimizer

from ..optimizers.state import as_count, check_names, follow, has_leaves, load, store_leaves
from .replacements import NOTHING, Replacements


def install(replacements: Replacements) -> None:
    """Has optimizers do so from when they are made, wherever their state comes from."""
    for name, wrapper in _WRAPPERS.items():
        replacements.wrap(Optimizer, name, wrapper)


def _made(maybe_schedule: Callable[..., None]) -> Callable[..., None]:
    def wrapped(self: Any, name: str, param: Any) -> None:
        maybe_schedule(self, name, param)
        if has_leaves(self._schedulers):
            store_leaves(self._schedulers, self._state)

    return wrapped


def _initialized(init: Callable[..., None]) -> Callable[..., None]:
    def wrapped(self: Any, parameters: dict[str, Any]) -> None:
        if has_leaves(_schedulers(self)):
            check_names(parameters, {"schedules"})
        init(self, parameters)

    return wrapped


def _state(state: property) -> property:
    def assign(self: Any, state_: Any) -> None:
        if has_leaves(_schedulers(self)):
            load(self._schedulers, state_)
        state.__set__(self, state_)

    return state.setter(assign)


def _learning_rate(learning_rate: property) -> property:
    def assign(self: Any, value: Any) -> None:
        if not callable(value):
            learning_rate.__set__(self, value)  # which refuses what is no number, before anything is changed
        follow(_schedulers(self), self.state, "learning_rate", value if callable(value) else None)

    return learning_rate.setter(assign)


def _step(step: property) -> property:
    def read(self: Any) -> mx.array:
        return as_count(step.__get__(self))

    return step.getter(read)


def _copied(set_state: Any) -> Callable[..., None]:
    def wrapped(self: Any, attributes: Any) -> None:
        if set_state is not NOTHING:
            set_state(self, attributes)
        else:  # as for any object
            named, slots = attributes if isinstance(attributes, tuple) else (attributes, None)
            vars(self).update(named or {})
            for name, value in (slots or {}).items():
                setattr(self, name, value)
        if has_leaves(_schedulers(self)):
            store_leaves(self._schedulers, self._state)

    return wrapped


def _schedulers(optimizer: Any) -> dict[str, Any]:
    """None of an optimizer that has not called the constructor of MLX's."""
    schedulers: dict[str, Any] = getattr(optimizer, "_schedulers", {})
    return schedulers


_WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "_maybe_schedule": _made,
    "init": _initialized,
    "state": _state,
    "learning_rate": _learning_rate,
    "step": _step,
    "__setstate__": _copied,
}
"""What is made of the attributes of ``Optimizer``."""
