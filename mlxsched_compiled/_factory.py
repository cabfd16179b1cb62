"""The decorator of the functions that make schedules."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import ParamSpec

from ._bound import Bound
from ._call import Call
from .schedule import Schedule

P = ParamSpec("P")


def factory(make: Callable[P, Bound]) -> Callable[P, Schedule]:
    """Turns a function that returns a rate function and its coefficients into one that returns a schedule.

    The schedule remembers the call, for ``repr``, ``pickle``, ``copy`` and ``retune``.
    """
    its_signature = signature(make)
    parameters = its_signature.parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not Parameter.empty}

    @wraps(make)
    def called(*args: P.args, **kwargs: P.kwargs) -> Schedule:
        made = make(*args, **kwargs)
        given = {**defaults, **dict(zip(parameters, args, strict=False)), **kwargs}
        # In the order of the signature, and apart from lists that their owner may change.
        arguments = {n: list(given[n]) if isinstance(given[n], list) else given[n] for n in parameters}
        return Schedule._of(made, Call(called, kwargs=arguments))

    called.__signature__ = its_signature.replace(return_annotation=Schedule.__name__)  # type: ignore[attr-defined]
    package = __name__.partition(".")[0]
    if make.__module__.startswith(f"{package}."):
        called.__module__ = package  # where pickles look for it, so that files can move
    return called
