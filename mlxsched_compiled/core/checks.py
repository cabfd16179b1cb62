"""Checks of hyperparameters, made on the host before anything compiles. Each error names the parameter and the value.

An ``mx.array`` passes with its value unseen: it may be a tracer, and whoever passes one answers for what is in it.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Collection, Mapping
from reprlib import Repr
from typing import Any, TypeVar

import mlx.core as mx

T = TypeVar("T")

Number = float | mx.array
"""A rate or a factor: a Python number (NumPy's too), or a 0-d ``mx.array``, which stays that array."""
Count = int | mx.array
"""A number of steps, likewise."""

FLOAT32_MAX = float(mx.finfo(mx.float32).max)
_COUNT_MAX = 2**63 - 1
_ULPS = 4

_LONGEST = 200
"""Characters of a value in an error."""


class _Short(Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlong = self.maxstring = 60
        self.maxother = _LONGEST

    def repr_Schedule(self, schedule: Any, level: int) -> str:
        """Found by the name of the class: the ``str`` of a schedule is short, and its ``repr`` has every number."""
        return str(schedule)


_SHORT = _Short()


def shown(value: Any) -> str:
    """A value as errors show it: its ``repr``, shortened."""
    try:
        return _SHORT.repr(value)[:_LONGEST]
    except ValueError:  # an int with more digits than Python prints
        return f"a number of {value.bit_length()} bits"


def finite(name: str, value: Any, *, at_least: float = -math.inf) -> Number:
    """``value`` as a float that float32 can hold."""
    if isinstance(value, mx.array):
        return _scalar(name, value, mx.float32)
    if _is_no_number(value) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, but got {shown(value)}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= FLOAT32_MAX:
        raise ValueError(f"{name} must be finite in float32, but got {shown(value)}.")
    if number < at_least:
        raise ValueError(f"{name} must be at least {at_least:g}, but got {shown(value)}.")
    return number


def measured(metric: Any) -> mx.array:
    """A metric as a float32 array, not waited for; it may be infinite or NaN."""
    if isinstance(metric, mx.array):
        array = _scalar("metric", metric, mx.float32)
        assert isinstance(array, mx.array)
        return array
    if _is_no_number(metric) or not hasattr(metric, "__float__"):
        raise TypeError(f"metric must be a number, but got {shown(metric)}.")
    try:
        return mx.array(float(metric), mx.float32)
    except OverflowError:  # of an int
        return mx.array(math.inf if metric > 0 else -math.inf)


def positive(name: str, value: Any) -> Number:
    """``value`` as a float above 0."""
    number = finite(name, value)
    if not isinstance(number, mx.array) and number <= 0:
        raise ValueError(f"{name} must be greater than 0, but got {shown(value)}.")
    return number


def count(name: str, value: Any, *, at_least: int = 1) -> Count:
    """``value`` as a whole number of steps; a float that is whole, like 1e4, is one."""
    if isinstance(value, mx.array):
        return _scalar(name, value, mx.uint64)
    number = whole(name, value)
    if not at_least <= number <= _COUNT_MAX:
        raise ValueError(f"{name} must be from {at_least} to 2**63 - 1, but got {shown(value)}.")
    return number


def whole(name: str, value: Any) -> int:
    """``value`` as an int; a float next to a whole number, as arithmetic with fractions leaves it, is that number."""
    if _is_no_number(value) or not (hasattr(value, "__index__") or hasattr(value, "__float__")):
        raise TypeError(f"{name} must be a whole number, but got {shown(value)}.")
    if not is_fractional(value):
        return operator.index(value)
    number = float(value)
    if not math.isfinite(number) or abs(number - round(number)) > _ULPS * math.ulp(number):
        raise ValueError(f"{name} must be a whole number, but got {shown(value)}.")
    return round(number)


def is_fractional(value: Any) -> bool:
    """Whether ``value`` is a number of a kind that need not be whole: a float, NumPy's too, a fraction."""
    if hasattr(value, "dtype"):
        return getattr(value.dtype, "kind", None) == "f"
    return hasattr(value, "__float__") and not hasattr(value, "__index__")


def not_decreasing(name: str, values: Any) -> list[Count]:
    """``values`` as counts from 0, none below the one before."""
    counts = [count(f"{name}[{i}]", value, at_least=0) for i, value in enumerate(listed(name, values))]
    known = [c for c in counts if isinstance(c, int)]
    if known != sorted(known):
        raise ValueError(f"{name} must not decrease, but got {shown(known)}.")
    return counts


def static(name: str, value: T | mx.array) -> T:
    """``value``, checked before, if it is a Python number: where it decides what is compiled."""
    if isinstance(value, mx.array):
        raise TypeError(f"{name} must be a Python number, not an array: what is compiled depends on it.")
    return value


def listed(name: str, values: Any) -> list[Any]:
    """``values`` as a list, of whatever kind the sequence is; NumPy's numbers as Python's."""
    if not is_sequence(values):
        raise TypeError(f"{name} must be a list, but got {shown(values)}.")
    if isinstance(values, mx.array):
        return list(values)
    return [v.item() if _is_from_numpy(v) else v for v in (values.tolist() if hasattr(values, "tolist") else values)]


def is_sequence(value: Any) -> bool:
    """Whether ``value`` has elements in an order: a list or what is like one, of NumPy and pandas too."""
    if isinstance(value, (str, bytes, set, frozenset)) or is_mapping(value):
        return False
    try:
        iter(value)
    except TypeError:
        return False
    return True


def is_mapping(value: Any) -> bool:
    """Whether ``value`` has keys. So has a Series of pandas, which is a sequence all the same."""
    is_like_one = hasattr(value, "keys") and hasattr(value, "__getitem__") and not hasattr(value, "__array__")
    return isinstance(value, Mapping) or is_like_one


def one_of(name: str, value: Any, known: Collection[str]) -> str:
    """``value`` if it is among the ``known`` words."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, but got {shown(value)}.")
    return value


def flag(name: str, value: Any) -> bool:
    """``value`` if it is True or False: a text such as ``"no"`` would be taken for True."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, but got {shown(value)}.")
    return value


def nearest(word: str, known: Collection[str]) -> str:
    """A question, if a known word is like this one: almost the same, longer or shorter by words, or else alike."""
    if len(word) > _LONGEST:
        return ""
    from difflib import get_close_matches  # seldom needed, and slow to import

    similar = get_close_matches(word, known, 1, cutoff=0.8)
    similar += [k for k in known if k.startswith(f"{word}_") or word.startswith(f"{k}_")]
    similar += get_close_matches(word, known, 1)
    return f" Did you mean {similar[0]!r}?" if similar else ""


def in_float32(number: float) -> float:
    """The float32 number that is nearest to it."""
    rounded: float
    (rounded,) = struct.unpack("f", struct.pack("f", number))
    return rounded


def _is_from_numpy(value: Any) -> bool:
    return hasattr(value, "dtype") and getattr(value, "ndim", None) == 0 and not isinstance(value, mx.array)


def _is_no_number(value: Any) -> bool:
    """Whether ``value`` is a bool, a text (NumPy's too) or an array, which Python would or might take for numbers."""
    if isinstance(value, (bool, str, bytes)) or getattr(value, "ndim", 0) > 0:
        return True
    return getattr(getattr(value, "dtype", None), "kind", "f") not in "fiu"


def _scalar(name: str, value: mx.array, dtype: mx.Dtype) -> mx.array:
    if value.ndim != 0:
        raise ValueError(f"{name} must be a number or a 0-d array, but got shape {value.shape}.")
    if mx.issubdtype(value.dtype, mx.complexfloating):
        raise TypeError(f"{name} must be a real number, but got {shown(value)}.")
    return value.astype(dtype)
