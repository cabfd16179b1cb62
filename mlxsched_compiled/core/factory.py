"""The decorator of the functions that make schedules."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from .call import Call
from .checks import nearest
from .node import Node
from .schedule import Schedule

P = ParamSpec("P")


def factory(make: Callable[P, Node]) -> Callable[P, Schedule]:
    """Turns a function that returns a node into one that returns a schedule.

    The schedule remembers the call, for ``repr``, ``pickle``, ``copy`` and ``retune``.
    """
    code, options = make.__code__, make.__kwdefaults__ or {}
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    by_position = names[: code.co_argcount]
    defaults = dict(zip(reversed(by_position), reversed(make.__defaults__ or ()), strict=False)) | options

    @wraps(make)
    def called(*args: P.args, **kwargs: P.kwargs) -> Schedule:
        try:
            made = make(*args, **kwargs)
        except TypeError:
            if unknown := [name for name in kwargs if name not in names]:
                known = ", ".join(names)
                raise TypeError(
                    f"{make.__name__} has no argument {unknown[0]!r}.{nearest(unknown[0], names)} It has {known}."
                ) from None
            raise
        given = {**defaults, **dict(zip(names, args, strict=False)), **kwargs}
        # In the order of the signature, and apart from lists that their owner may change.
        arguments = {n: list(given[n]) if isinstance(given[n], list) else given[n] for n in names}
        return Schedule._of(made, Call(called, kwargs=arguments))

    called.__annotations__["return"] = Schedule.__name__
    package = __name__.partition(".")[0]
    if make.__module__.startswith(f"{package}."):
        called.__module__ = package  # where pickles look for it, so that files can move
    return called
