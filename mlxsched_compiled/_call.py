"""The call that made a schedule: what it prints as, what its hyperparameters are, and how to make another like it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from typing import Any, NamedTuple

SIGNS: dict[Any, str] = {
    operator.mul: "*",
    operator.add: "+",
    operator.sub: "-",
    operator.truediv: "/",
    operator.neg: "-",
}
"""How operators are written."""


class Call(NamedTuple):
    """A function and its arguments: those of a factory by name, those of ``Schedule`` and of operators by position."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012  never changed
    copied_by: Call | None = None
    """The call that makes copies, where it is not this one."""

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The arguments by name, without the rate function and without operands."""
        if self.function in SIGNS:
            return {}
        if not self.args:
            return {name: list(value) if isinstance(value, list) else value for name, value in self.kwargs.items()}
        rate, *values = self.args
        return dict(_named(rate, values))

    def changed(self, hyperparameters: dict[str, Any]) -> Any:
        """What the call returns with some of its hyperparameters changed."""
        if self.function in SIGNS:
            if hyperparameters:
                raise TypeError(f"{self} has no hyperparameters of its own; retune its operands.")
            return self.function(*self.args)
        if not self.args:
            return self.function(**{**self.kwargs, **hyperparameters})
        rate = self.args[0]
        known = [p.name for p in _parameters(rate)]
        if unknown := hyperparameters.keys() - set(known):
            raise TypeError(f"{self} has no hyperparameter {', '.join(sorted(unknown))}.")
        merged = {**self.hyperparameters, **hyperparameters}
        several = {p.name for p in _parameters(rate) if p.kind is Parameter.VAR_POSITIONAL}
        changed = [merged[name] for name in known if name in merged and name not in several]
        return self.function(rate, *changed, *(value for name in several for value in merged.get(name, ())))

    def operands(self) -> Iterator[Any]:
        """The arguments, and what is in those that are lists."""
        for value in (*self.args, *self.kwargs.values()):
            yield from value if isinstance(value, (list, tuple)) else (value,)

    def reduced(self) -> tuple[Any, ...]:
        """What makes a copy, as ``pickle`` wants it."""
        call = self.copied_by or self
        return _called, (call.function, call.args, call.kwargs)

    def __str__(self) -> str:
        if self.function in SIGNS:
            sign, *rest = SIGNS[self.function], *map(repr, self.args)
            return f"({sign}{rest[0]})" if len(rest) == 1 else f"({rest[0]} {sign} {rest[1]})"
        words = [repr(value) for value in self.args] + [f"{name}={value!r}" for name, value in self._told()]
        return f"{self.function.__name__}({', '.join(words)})"

    def _told(self) -> Iterator[tuple[str, Any]]:
        """The arguments without options that have their default."""
        parameters = signature(self.function).parameters
        for name, value in self.kwargs.items():
            parameter = parameters[name]
            if parameter.kind is not Parameter.KEYWORD_ONLY or repr(value) != repr(parameter.default):
                yield name, value


def _called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


def _parameters(rate: Callable[..., Any]) -> list[Parameter]:
    """Those of a rate after the step, that can be given by position."""
    try:
        parameters = list(signature(rate).parameters.values())
    except ValueError:  # a function of MLX itself
        return []
    by_position = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)
    return [p for p in parameters if p.kind in by_position][1:]


def _named(rate: Callable[..., Any], values: list[Any]) -> Iterator[tuple[str, Any]]:
    for parameter in _parameters(rate):
        if parameter.kind is Parameter.VAR_POSITIONAL:
            yield parameter.name, tuple(values)
        elif values:
            yield parameter.name, values.pop(0)
