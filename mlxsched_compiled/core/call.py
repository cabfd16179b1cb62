"""The call that made a schedule: for ``repr``, ``hyperparameters``, ``retune`` and ``pickle``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mlx.core as mx

from .checks import FLOAT32_MAX, in_float32

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
    """The call that makes copies, if another one does."""

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
        parameters = _parameters(self.args[0]) if self.args else self.kwargs
        if unknown := hyperparameters.keys() - parameters.keys():
            known = f"It has {', '.join(parameters)}." if parameters else "It has none."
            raise TypeError(f"{self} has no hyperparameter {', '.join(sorted(unknown))}. {known}")
        if not self.args:
            return self.function(**{**self.kwargs, **hyperparameters})
        rate = self.args[0]
        merged = {**self.hyperparameters, **hyperparameters}
        values: list[Any] = []
        for name, takes_the_rest in parameters.items():
            if name in merged:
                values.extend(merged[name] if takes_the_rest else [merged[name]])
        return self.function(rate, *values)

    def operands(self) -> Iterator[Any]:
        """The arguments, and what is in those that are lists."""
        for value in (*self.args, *self.kwargs.values()):
            yield from value if isinstance(value, (list, tuple)) else (value,)

    def reduced(self) -> tuple[Any, ...]:
        """What makes a copy, as ``pickle`` wants it."""
        call = self.copied_by or self
        return _called, (call.function, call.args, call.kwargs)

    def text(self, most: int | None = None) -> str:
        """The call as text that makes it again; with ``most``, of longer lists that many elements at each end."""
        args = [_shown(value, most) for value in self.args]
        if self.function in SIGNS:
            sign = SIGNS[self.function]
            return f"({sign}{args[0]})" if len(args) == 1 else f"({args[0]} {sign} {args[1]})"
        words = [*args, *(f"{name}={_shown(value, most)}" for name, value in self._told())]
        return f"{self.function.__name__}({', '.join(words)})"

    def __str__(self) -> str:
        return self.text(_ENDS)

    def _told(self) -> Iterator[tuple[str, Any]]:
        """The arguments by name, without keyword-only ones that have their default."""
        options = getattr(getattr(self.function, "__wrapped__", self.function), "__kwdefaults__", None) or {}
        for name, value in self.kwargs.items():
            if name not in options or _shown(value, _ENDS) != repr(options[name]):
                yield name, value


_ENDS = 10


def _called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


def _shown(value: Any, most: int | None) -> str:
    """Text that makes the value again, if there is such a text: numbers of any kind as Python's, vectors as lists."""
    if type(value) is list:
        return f"[{', ... '.join(', '.join(_shown(each, most) for each in part) for part in _ends(value, most))}]"
    if isinstance(call := getattr(value, "_call", None), Call):
        return call.text(most)
    try:
        if isinstance(value, mx.array):
            if value.ndim != 1:
                return repr(value)
            parts = (", ".join(map(_shortest, part.tolist())) for part in _ends(value, most))
            return f"[{', ... '.join(parts)}]"
        if hasattr(value, "dtype"):
            return repr(value.tolist())
        return repr(float(value) if hasattr(value, "__float__") and not isinstance(value, (int, float)) else value)
    except (ValueError, RuntimeError):  # a tracer
        return "array"


def _ends(values: Any, most: int | None) -> list[Any]:
    """The whole of a list or an array, or its two ends if it is longer than both."""
    return [values] if most is None or len(values) <= 2 * most else [values[:most], values[-most:]]


def _shortest(value: Any) -> str:
    """Few digits that are the same number in float32."""
    if isinstance(value, float):
        for digits in range(6, 10):
            rounded = float(f"{value:.{digits}g}")
            if abs(rounded) <= FLOAT32_MAX and in_float32(rounded) == value:
                return repr(rounded)
    return repr(value)


def _parameters(rate: Callable[..., Any]) -> dict[str, bool]:
    """The parameters of a rate after the step that go by position; of each, whether it takes all the rest."""
    from inspect import Parameter, signature  # seldom needed, and slow to import

    try:
        parameters = list(signature(rate).parameters.values())
    except ValueError:  # a function of MLX itself
        return {}
    by_position = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)
    return {p.name: p.kind is Parameter.VAR_POSITIONAL for p in parameters[1:] if p.kind in by_position}


def _named(rate: Callable[..., Any], values: list[Any]) -> Iterator[tuple[str, Any]]:
    for name, takes_the_rest in _parameters(rate).items():
        if takes_the_rest:
            yield name, tuple(values)
        elif values:
            yield name, values.pop(0)
