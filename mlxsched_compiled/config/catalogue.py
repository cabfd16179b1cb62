"""The factories of the package by name, for texts and mappings that call them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from inspect import Signature, signature
from types import FunctionType, ModuleType
from typing import Any

from ..core.checks import nearest, shown
from ..core.schedule import Schedule


def contents() -> ModuleType:
    """The package itself, which is complete once anything of it is used: its names in order, and its version."""
    return sys.modules[__name__.partition(".")[0]]


def catalogue() -> dict[str, Callable[..., Schedule]]:
    """The factories, by name, in the order of the package's contents."""
    names = vars(contents())
    return {name: names[name] for name in names["__all__"] if _is_factory(names[name])}


def called(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Schedule:
    """The schedule that a factory makes of its arguments.

    Raises:
        ValueError: If there is no such factory, or it refuses an argument.
        TypeError: If the arguments are not those that it has, or it refuses one for its kind.
    """
    try:
        return factory_of(name)(*args, **kwargs)
    except (TypeError, ValueError, ArithmeticError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from error


def factory_of(name: str) -> Callable[..., Schedule]:
    """The factory of that name, all arguments of which can be written."""
    known = catalogue()
    if name == "Schedule" or (name in known and "fn" in signature(known[name]).parameters):
        raise ValueError(f"{name} takes a function, which cannot be written here: make the schedule in Python.")
    if name not in known:
        raise ValueError(f"There is no schedule {shown(name)}.{nearest(name, known) or _WRITTEN}")
    return known[name]


def usage(name: str) -> str:
    """The call of a factory, with its parameters."""
    parameters = signature(catalogue()[name]).parameters.values()
    return f"{name}{Signature([p.replace(annotation=p.empty) for p in parameters])}"


_WRITTEN = " What can be written: schedules, finite numbers, words in quotes, True, False, None, and lists of these."


def _is_factory(value: Any) -> bool:
    """Whether it makes schedules, and not of configurations, which may be anything."""
    if not isinstance(value, FunctionType) or value.__annotations__.get("return") != Schedule.__name__:
        return False
    return "config" not in value.__annotations__
