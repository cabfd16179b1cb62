"""MLX's own optimizers, which carry the coefficients of their schedules as those made by ``scheduled`` do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.optimizers import Optimizer

from ..core.schedule import Schedule
from ..optimizers.carried import carry, check_names
from .replacements import NOTHING, Replacements


def install(replacements: Replacements) -> None:
    """Has optimizers carry coefficients from when they are made, wherever their state comes from."""
    for name, wrapper in _WRAPPERS.items():
        replacements.wrap(Optimizer, name, wrapper)


def _carries(optimizer: Any) -> bool:
    return any(isinstance(scheduler, Schedule) for scheduler in optimizer._schedulers.values())


def _made(maybe_schedule: Callable[..., None]) -> Callable[..., None]:
    def wrapped(self: Any, name: str, param: Any) -> None:
        maybe_schedule(self, name, param)
        if _carries(self):
            carry(self._schedulers, self._state)

    return wrapped


def _initialized(init: Callable[..., None]) -> Callable[..., None]:
    def wrapped(self: Any, parameters: dict[str, Any]) -> None:
        if _carries(self):
            check_names(parameters, {"schedules"})
        init(self, parameters)

    return wrapped


def _assigned(state: property) -> property:
    def wrapped(self: Any, state_: dict[str, Any]) -> None:
        if _carries(self):
            carry(self._schedulers, state_)
        state.__set__(self, state_)

    return state.setter(wrapped)


def _copied(set_state: Any) -> Callable[..., None]:
    def wrapped(self: Any, attributes: Any) -> None:
        if set_state is not NOTHING:
            set_state(self, attributes)
        else:  # as for any object
            named, slots = attributes if isinstance(attributes, tuple) else (attributes, None)
            vars(self).update(named or {})
            for name, value in (slots or {}).items():
                setattr(self, name, value)
        if _carries(self):
            carry(self._schedulers, self._state)

    return wrapped


_WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "_maybe_schedule": _made,
    "init": _initialized,
    "state": _assigned,
    "__setstate__": _copied,
}
"""What is made of the methods of ``Optimizer``."""
