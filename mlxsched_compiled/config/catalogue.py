"""The factories of the package by name, for texts and mappings that call them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from inspect import Parameter, Signature, signature
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


def parameters(name: str) -> Mapping[str, Parameter]:
    """The parameters of a factory."""
    return signature(factory_of(name)).parameters


def called(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Schedule:
    """The schedule that a factory makes of its arguments.

    Raises:
        ValueError: If there is no such factory, the arguments are not those that it has, or it refuses them.
        TypeError: If it refuses one for its kind.
    """
    factory = factory_of(name)
    arguments = signature(factory)
    known = arguments.parameters
    for given in kwargs:
        if given not in known:
            raise ValueError(f"{name} has no argument {shown(given)}.{nearest(given, known)} It is {usage(name)}.")
    try:
        arguments.bind(*args, **kwargs)
    except TypeError as error:
        raise ValueError(f"{name}: {error}. It is {usage(name)}.") from None
    try:
        return factory(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from error
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"{name}: {error}") from error


def factory_of(name: str) -> Callable[..., Schedule]:
    """The factory of that name, all arguments of which can be written."""
    known = catalogue()
    if name not in known:
        raise ValueError(_TAKES_FUNCTION.format(name) if name == "Schedule" else _unknown(name, known))
    if any(str(p.annotation).startswith("Callable") for p in signature(known[name]).parameters.values()):
        raise ValueError(_TAKES_FUNCTION.format(name))
    return known[name]


def usage(name: str) -> str:
    """The call of a factory, with its parameters."""
    parameters = signature(catalogue()[name]).parameters.values()
    return f"{name}{Signature([p.replace(annotation=p.empty) for p in parameters])}"


_TAKES_FUNCTION = "{} takes a function, which cannot be written here: make the schedule in Python."


_HINTS = {
    "array": "An mx.array cannot be written here; a number can.",
    "inf": "Numbers here are finite.",
    "nan": "Numbers here are finite.",
    "true": "Did you mean 'True'?",
    "false": "Did you mean 'False'?",
    "null": "Did you mean 'None'?",
}


def _unknown(name: str, known: Collection[str]) -> str:
    hint = f" {_HINTS[name]}" if name in _HINTS else nearest(name, known)
    return f"There is no schedule {shown(name)}.{hint}"


def _is_factory(value: Any) -> bool:
    """Whether it makes schedules, and not of configurations, which may be anything."""
    if not isinstance(value, FunctionType) or value.__annotations__.get("return") != Schedule.__name__:
        return False
    return "config" not in value.__annotations__
