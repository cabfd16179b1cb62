"""What stands in modules and classes in the place of something else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from threading import RLock
from types import FunctionType, ModuleType
from typing import Any

# In the place of what is not there.
NOTHING = object()


class Replacements:
    """Things put in the place of others, which can be put back."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, str], tuple[Any, Any]] = {}  # of an owner's attribute, what was there, and ours
        self.lock = RLock()  # to be held where several things are replaced, or put back, as one

    def put(self, owner: Any, name: str, ours: Any) -> Any:
        """Puts ``ours`` in the place of an attribute, and returns what was there."""
        before = vars(owner).get(name, NOTHING)
        if before is not ours:
            self._made[owner, name] = before, ours
            setattr(owner, name, ours)
        return before

    def wrap(self, owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
        """Puts what ``wrapper`` makes of an attribute in its place, if that has not been done."""
        before = vars(owner).get(name, NOTHING)
        _, ours = self._made.get((owner, name), (None, None))
        if before is not ours:
            self.put(owner, name, wrapper(before))

    def undo(self) -> list[str]:
        """Puts all back, but for what somebody else has replaced again. The names of that."""
        theirs = []
        for (owner, name), (before, ours) in self._made.items():
            if vars(owner).get(name, NOTHING) is not ours:
                module = "" if isinstance(owner, ModuleType) else f"{owner.__module__}."
                theirs.append(f"{module}{owner.__name__}.{name}")
            elif before is NOTHING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._made.clear()
        return sorted(theirs)


def importers(of: Collection[Any]) -> Iterator[tuple[ModuleType, str, Any]]:
    """Modules that have one of some functions among their globals, its name there, and the function."""
    for module in [*sys.modules.values()]:
        for name, value in [*vars(module).items()] if isinstance(module, ModuleType) else ():
            if isinstance(value, FunctionType) and value in of:
                yield module, name, value
