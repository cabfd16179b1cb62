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

from ..core.traces import is_concrete, is_look

_Method = Callable[["Weak", Any], Any]
Expression = tuple[tuple[Callable[..., Any], float | None, bool], ...]
"""What is computed of a number: operators, each with its other operand or None, and whether the number is on the right
of that."""


def evaluated(expression: Expression, number: Any) -> Any:
    """What it is of this number: a Python number of a Python number, an array of an array."""
    for function, other, on_the_right in expression:
        if other is None:
            number = function(number)
        else:
            number = function(other, number) if on_the_right else function(number, other)
    return number


def _nowhere(expression: Expression, dtype: mx.Dtype) -> mx.array | None:
    return None


class Weak(mx.array):
    """A number as an array that takes the type of floating arrays next to it.

    Args:
        value: The number, a 0-d float32 array.
        read: What gives an expression of it in a type, where that need not be computed here.
        expression: What ``value`` is of the number that ``read`` reads.
        dtype: Of the arrays at hand: the type in which functions of MLX (``mx.maximum``) see it.
        is_used: Whether it counts as a number above 0, whatever it is.
    """

    def __init__(
        self,
        value: mx.array,
        read: Callable[[Expression, mx.Dtype], mx.array | None] = _nowhere,
        expression: Expression = (),
        *,
        dtype: mx.Dtype = mx.float32,
        is_used: bool = False,
    ) -> None:
        self.value = value
        self.read = read
        self.expression = expression
        self.is_used = is_used
        # Of an expression, most often an operator makes another or reads it in a type; then this is not computed.
        seen = value.astype(dtype) if expression else self._in(dtype)
        super().__init__(0.0, seen.dtype)
        self[()] = seen  # mx.array(seen) would be a copy, and a kernel where a function of MLX sees it

    def __repr__(self) -> str:
        return f"{self.value.item():.7g}" if is_concrete(self.value) else "<a number in a trace>"

    def __format__(self, form: str) -> str:
        return format(self.item(), form) if form else repr(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (self.item(),)

    def item(self) -> Any:
        """The number, for Python."""
        return _looked_at(self.value)

    tolist = __float__ = item

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __array__(self, *how: Any, **named: Any) -> Any:
        self.item()  # NumPy asks for it
        return super().__array__(*how, **named)

    def __bool__(self) -> bool:
        return bool(self._compared(operator.ne, 0))

    def __neg__(self) -> Weak:
        return self._then(operator.neg)

    def __abs__(self) -> Weak:
        return self._then(operator.abs)

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.item(), digits)

    def _then(self, function: Callable[..., Any], other: float | None = None, *, on_the_right: bool = False) -> Weak:
        """One more operation with a Python number."""
        operation = (function, other, on_the_right)
        value = evaluated((operation,), self.value)
        return Weak(value, self.read, (*self.expression, operation), dtype=self.dtype, is_used=self.is_used)

    def _in(self, dtype: mx.Dtype) -> mx.array:
        if not mx.issubdtype(dtype, mx.inexact):
            dtype = mx.float32
        present = self.read(self.expression, dtype)
        return self.value.astype(dtype) if present is None else present

    def _computed(self, function: Callable[..., Any], other: Any, *, on_the_right: bool) -> Any:
        """The result of an operator: of two numbers a number, next to an array an array."""
        if isinstance(other, mx.array) and not isinstance(other, Weak):
            value = self._in(other.dtype)
            return function(other, value) if on_the_right else function(value, other)
        if isinstance(other, (int, float)):
            return self._then(function, other, on_the_right=on_the_right)
        number = other.value if isinstance(other, Weak) else other
        value = function(number, self.value) if on_the_right else function(self.value, number)
        return Weak(value, dtype=self.dtype, is_used=self.is_used) if isinstance(value, mx.array) else value

    def _compared(self, function: Callable[..., Any], other: Any) -> Any:
        """As ``value``; but it is in use in a trace, and wherever that decides what is computed."""
        is_zero = isinstance(other, (int, float)) and other == 0
        if is_zero and (self.is_used or not is_concrete(self.value)):
            return function(1, other)
        answer = function(self.value, other.value if isinstance(other, Weak) else other)
        return _Answer(answer) if isinstance(answer, mx.array) else answer

    __hash__ = mx.array.__hash__


class _Answer(mx.array):
    """What a comparison says: an array, whose value Python asks for by ``if``, ``max`` or ``in``."""

    def __init__(self, answer: mx.array) -> None:
        super().__init__(False)
        self[()] = answer

    def __bool__(self) -> bool:
        return bool(_looked_at(self))


def _looked_at(array: mx.array) -> Any:
    """The value of an array, for Python."""
    try:
        return array.item()
    except ValueError as error:
        if not is_look(error):
            raise
        raise TypeError(_NO_VALUE) from error


_NO_VALUE = (
    "A hyperparameter of scheduled(...) has no value while a step is traced (mx.compile, compiled_step), and here "
    "Python asks for it. Compute with MLX instead: mx.sqrt for math.sqrt, mx.maximum for max, mx.where for if, without "
    "float(), int() or .item()."
)


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
