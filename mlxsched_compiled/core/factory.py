"""The decorator of the functions that make schedules."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import mlx.core as mx

from .call import Call
from .checks import is_sequence, listed, nearest, shown
from .node import Node
from .schedule import Schedule

P = ParamSpec("P")


def factory(make: Callable[P, Node]) -> Callable[P, Schedule]:
    """Turns a function that returns a node into one that returns a schedule.

    The schedule remembers the call, for ``repr``, ``pickle``, ``copy`` and ``retune``.
    """
    code = make.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    by_position = names[: code.co_argcount]
    defaults = dict(zip(reversed(by_position), reversed(make.__defaults__ or ()), strict=False))
    defaults |= make.__kwdefaults__ or {}

    @wraps(make)
    def called(*args: P.args, **kwargs: P.kwargs) -> Schedule:
        values = [_listed(value) for value in args]
        options = {name: _listed(value) for name, value in kwargs.items()}
        try:
            made = make(*values, **options)
        except TypeError:
            if unknown := [name for name in kwargs if name not in names]:
                known = ", ".join(names)
                raise TypeError(
                    f"{make.__name__} has no argument {shown(unknown[0])}.{nearest(unknown[0], names)} It has {known}."
                ) from None
            raise
        given = {**defaults, **dict(zip(names, values, strict=False)), **options}
        return Schedule._of(made, Call(called, kwargs={name: given[name] for name in names}))

    called.__annotations__["return"] = Schedule.__name__
    package = __name__.partition(".")[0]
    if make.__module__.startswith(f"{package}."):
        called.__module__ = package  # where pickles look for it, so that files can move
    return called


def _listed(value: Any) -> Any:
    """Any sequence, generators too, as a list of its own: the call is made again from it, whatever its owner does."""
    if isinstance(value, (int, float, str, mx.array, Node)) or not is_sequence(value):
        return value
    return listed("", value)
