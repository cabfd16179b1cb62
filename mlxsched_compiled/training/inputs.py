"""Arrays of models and optimizers within a trace, and which of them were written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx

from .layout import Layout


class Inputs:
    """Puts the tracers of a layout's arrays into their places.

    Args:
        layout: Where arrays stand.
        arrays: The tracers.
        records: Whether it is asked what was written. It then has to see writes in place, too.
    """

    def __init__(self, layout: Layout, arrays: list[mx.array], records: bool) -> None:
        self._layout = layout
        self._arrays = arrays
        self._records = records
        self.by_loss: dict[str, mx.array] = {}
        """What the loss has written, by name, as it was before."""
        layout.arrays.put(arrays)
        self._record()

    def recorded(self, loss_fn: Callable[..., Any]) -> Callable[..., Any]:
        """``loss_fn``, of which it is recorded what it writes. (Weights are other tracers inside of a gradient.)"""

        def recorded(*batch: Any, **named: Any) -> Any:
            self._record()
            value = loss_fn(*batch, **named)
            self.by_loss = self.written()
            return value

        return recorded if self._records else loss_fn

    def written(self) -> dict[str, mx.array]:
        """The arrays that were written, by name, as they were before."""
        self._layout.find_arrays_again()
        places = self._layout.arrays
        every = zip(places.names, self._arrays, self.placed, places.present(), strict=True)
        return {name: before for name, before, placed, now in every if now is not placed or placed.is_written}

    def _record(self) -> None:
        places = self._layout.arrays
        self.placed = [*map(_Recorded.of, places.present())] if self._records else self._arrays
        """What was put into the places."""
        places.put(self.placed)

    def restore_unless(self, condition: mx.array, before: Mapping[str, mx.array]) -> None:
        """Has arrays be as ``before``, by name, unless ``condition`` holds."""
        places = self._layout.arrays
        named = zip(places.names, places.present(), strict=True)
        places.put([mx.where(condition, now, before[name]) if name in before else now for name, now in named])


class _Recorded(mx.array):
    """An array that knows whether it was written in place."""

    is_written = False

    @classmethod
    def of(cls, array: mx.array) -> Any:
        """``array`` itself, as an object of this class."""
        recorded = cls(mx.zeros(array.shape, array.dtype))
        mx.array.__setitem__(recorded, (), array)
        return recorded


def _recording(name: str) -> Any:
    def write(self: _Recorded, *arguments: Any) -> Any:
        self.is_written = True
        return getattr(mx.array, name)(self, *arguments)

    return write


_IN_PLACE = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"]
for _name in ("__setitem__", *(f"__i{_operator}__" for _operator in _IN_PLACE)):
    setattr(_Recorded, _name, _recording(_name))
