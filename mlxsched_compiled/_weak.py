"""A number in an array, which next to arrays behaves as a Python number does.

``momentum * v`` of a Python number has the type of ``v``; of a float32 array it would be float32, in bfloat16 too. And
an optimizer asks of its Python numbers whether they are in use (``if self.momentum <= 0``), which cannot be answered
by value while a step is traced.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from ._data import is_concrete

_Method = Callable[["Weak", Any], Any]


class Weak(mx.array):
    """A number as an array that takes the type of floating arrays next to it.

    Args:
        value: The number, a 0-d float32 array.
        seen: The same in the type of the arrays at hand, in which functions of MLX (``mx.maximum``) see it.
        is_used: Whether it counts as a number above 0, whatever it is.
        one_minus: What gives 1 minus the number, where that need not be computed from it.
    """

    def __init__(
        self,
        value: mx.array,
        seen: mx.array | None = None,
        *,
        is_used: bool = False,
        one_minus: Callable[[], Weak] | None = None,
    ) -> None:
        self.value = value
        self.seen = value if seen is None else seen
        super().__init__(self.seen)
        self.is_used = is_used
        self.one_minus = one_minus

    def __repr__(self) -> str:
        return f"{self.value.item():.7g}" if is_concrete(self.value) else repr(self.value)

    def __format__(self, form: str) -> str:
        return format(self.value.item(), form) if form else repr(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (self.value.item(),)

    def __bool__(self) -> bool:
        return bool(self._compared(operator.ne, 0))

    def __neg__(self) -> Weak:
        return self._with(-self.value)

    def __abs__(self) -> Weak:
        return self._with(mx.abs(self.value))

    def _with(self, value: mx.array) -> Weak:
        return Weak(value, value.astype(self.dtype), is_used=self.is_used)

    def _in(self, dtype: mx.Dtype) -> mx.array:
        if dtype == self.seen.dtype:
            return self.seen
        return self.value.astype(dtype) if mx.issubdtype(dtype, mx.inexact) else self.value

    def _computed(self, function: Callable[..., Any], other: Any, *, on_the_right: bool) -> Any:
        """The result of an operator: of two numbers a number, next to an array an array."""
        if isinstance(other, mx.array) and not isinstance(other, Weak):
            value = self._in(other.dtype)
            return function(other, value) if on_the_right else function(value, other)
        if function is operator.sub and on_the_right and self.one_minus is not None and other == 1:
            return self.one_minus()
        number = other.value if isinstance(other, Weak) else other
        value = function(number, self.value) if on_the_right else function(self.value, number)
        return self._with(value) if isinstance(value, mx.array) else value

    def _compared(self, function: Callable[..., Any], other: Any) -> Any:
        """As ``value``; but it is in use in a trace, and wherever that decides what is computed."""
        is_zero = isinstance(other, (int, float)) and other == 0
        if is_zero and (self.is_used or not is_concrete(self.value)):
            return function(1, other)
        return function(self.value, other.value if isinstance(other, Weak) else other)

    __hash__ = mx.array.__hash__


def _operator(function: Callable[..., Any], *, on_the_right: bool = False) -> _Method:
    return lambda self, other: self._computed(function, other, on_the_right=on_the_right)


def _comparison(function: Callable[..., Any]) -> _Method:
    return lambda self, other: self._compared(function, other)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    _function = getattr(operator, _name)
    setattr(Weak, f"__{_name}__", _operator(_function))
    setattr(Weak, f"__i{_name}__", _operator(_function))  # not in place: it may stand in the optimizer's state
    setattr(Weak, f"__r{_name}__", _operator(_function, on_the_right=True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Weak, f"__{_name}__", _comparison(getattr(operator, _name)))
