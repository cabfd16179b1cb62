"""A hyperparameter as a weakly typed scalar: a 0-d array that behaves as a Python number does.

``momentum * v`` of a Python number has the type of ``v``; of a float32 array it would be float32, in bfloat16 too. And
an optimizer asks of its numbers whether they are in use (``if self.momentum <= 0``), which cannot be answered by value
while a step is traced.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from numbers import Number
from typing import Any

import mlx.core as mx

from ..core.tracing import is_concrete, looks_at_a_value


class WeakScalar(mx.array):
    """A number that takes the type of floating arrays next to it.

    Args:
        value: The number, an array of no dimension.
        dtype: Of the arrays at hand: the type in which functions of MLX (``mx.maximum``) see it.
        in_use: Whether comparisons with 0 take it for a number above 0, whatever it is.
    """

    def __init__(self, value: mx.array, dtype: mx.Dtype = mx.float32, *, in_use: bool = False) -> None:
        super().__init__(value, _floating(dtype))
        self.value = value
        self.in_use = in_use

    def __repr__(self) -> str:
        return f"{self.value.item():.7g}" if is_concrete(self.value) else "<a number in a trace>"

    def __format__(self, form: str) -> str:
        return format(self.item(), form) if form else repr(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (self.item(),)

    def item(self) -> Any:
        """The number, for Python."""
        return _for_python(self.value)

    tolist = __float__ = item

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.item(), digits)

    def __array__(self, *how: Any, **named: Any) -> Any:
        self.item()  # NumPy asks for it
        return super().__array__(*how, **named)

    def __bool__(self) -> bool:
        return bool(self._compared(operator.ne, 0))

    def __neg__(self) -> WeakScalar:
        return self._of(-self.value)

    def __abs__(self) -> WeakScalar:
        return self._of(mx.abs(self.value))

    def _of(self, value: mx.array) -> WeakScalar:
        return WeakScalar(value, self.dtype, in_use=self.in_use)

    def _computed(self, function: Callable[[Any, Any], Any], other: Any, *, reverse: bool) -> Any:
        """The result of an operator: of two numbers a number, next to an array an array."""
        if isinstance(other, mx.array) and not isinstance(other, WeakScalar):
            value = self.value.astype(_floating(other.dtype))
            return function(other, value) if reverse else function(value, other)
        number = _value(other)
        result = function(number, self.value) if reverse else function(self.value, number)
        return self._of(result) if isinstance(result, mx.array) else result

    def _compared(self, function: Callable[[Any, Any], Any], other: Any) -> Any:
        """Compares the value; but with 0, which asks whether it is in use, a tracer is above 0."""
        if not isinstance(other, (Number, mx.array)):
            return NotImplemented
        is_zero = not isinstance(other, mx.array) and not other
        if is_zero and (self.in_use or not is_concrete(self.value)):
            return function(1, other)
        answer = function(self.value, _value(other))
        return _Answer(answer) if isinstance(answer, mx.array) else answer

    __hash__ = mx.array.__hash__


class _Answer(mx.array):
    """The result of a comparison, an array. If Python asks for its value (``if``, ``max``), errors are ours."""

    def __bool__(self) -> bool:
        return bool(_for_python(self))


def _floating(dtype: mx.Dtype) -> mx.Dtype:
    """The type of a number next to an array of this one, which may be an integer."""
    return dtype if mx.issubdtype(dtype, mx.inexact) else mx.float32


def _value(number: Any) -> Any:
    return number.value if isinstance(number, WeakScalar) else number


def _for_python(array: mx.array) -> Any:
    try:
        return array.item()
    except ValueError as error:
        if not looks_at_a_value(error):
            raise
        raise TypeError(_NO_VALUE) from error


_NO_VALUE = (
    "A hyperparameter of scheduled(...) has no value while a step is traced (mx.compile, compiled_step), and here "
    "Python asks for it. Compute with MLX instead: mx.sqrt for math.sqrt, mx.maximum for max, mx.where for if, without "
    "float(), int() or .item()."
)


def _operator(function: Callable[[Any, Any], Any], *, reverse: bool = False) -> Callable[[WeakScalar, Any], Any]:
    return lambda self, other: self._computed(function, other, reverse=reverse)


def _comparison(function: Callable[[Any, Any], Any]) -> Callable[[WeakScalar, Any], Any]:
    return lambda self, other: self._compared(function, other)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    _function = getattr(operator, _name)
    setattr(WeakScalar, f"__{_name}__", _operator(_function))
    setattr(WeakScalar, f"__i{_name}__", _operator(_function))  # not in place: it may stand in the optimizer's state
    setattr(WeakScalar, f"__r{_name}__", _operator(_function, reverse=True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(WeakScalar, f"__{_name}__", _comparison(getattr(operator, _name)))
