"""Where a rate becomes a compiled graph: the only call of ``mx.compile`` on a rate.

A *rate* is a hashable, pure function ``rate(step, *coefficients)``. Equal rates share one graph whatever their
coefficients, because the coefficients are inputs of the graph. Two facts of MLX shape this file:

* Called while something else is being traced, a compiled function is inlined: its body runs again, and arrays that
  are not inputs of the outer function are *known*. MLX writes a known array of size 1 into the text of the outer kernel
  and names the kernel after a hash of such values, so two schedules can come to share one kernel and one of
  them returns the other's rates. An array of two equal lanes is data. So a known scalar goes in as two lanes, and one
  lane of the result comes out: two views, no extra kernel, right under ``vmap``.
* MLX keeps its traces per thread, under the address of the traced function, and forgets them only in the thread that
  called last. A graph is therefore never shared between threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import mlx.core as mx

Rate = Callable[..., mx.array]

UNTYPED_KERNELS = tuple(map(int, mx.__version__.split(".")[:3])) < (0, 31, 2)  # type: ignore[attr-defined]
"""MLX named kernels without the types of their inputs: one for another type of step could be taken for this one's."""

_LANES = 2


class Structure:
    """A rate made of parts, or a part of one: equal to another of its class whose attributes are equal."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))


@lru_cache(maxsize=256)
def compiled(rate: Rate, thread: int) -> Rate:
    """The compiled form of ``rate`` for one thread, the same object each time it is asked for."""

    def schedule(step: mx.array, *coefficients: mx.array) -> mx.array:
        step_is_known, *known = (is_known(array) for array in (step, *coefficients))
        if (step_is_known and all(known)) or (not step_is_known and not any(known)):
            return applied(rate, step, *coefficients)
        lanes = (*step.shape, _LANES)
        if step_is_known and step.size == 1:
            step = _two_lanes(step)
        elif step.ndim > 0:
            step = mx.expand_dims(step, -1)
        wide = [_two_lanes(c) if k else c for c, k in zip(coefficients, known, strict=True)]
        return _rate_of(rate(whole_steps(step), *wide), lanes, rate)[..., 0]

    return mx.compile(schedule)


def applied(rate: Rate, step: mx.array, *coefficients: mx.array) -> mx.array:
    """``rate`` as it is, not compiled."""
    return _rate_of(rate(whole_steps(step), *coefficients), step.shape, rate)


def whole_steps(step: mx.array) -> mx.array:
    """``step`` as uint64, in which every step up to 2**64 is a different one. Below 0 counts as 0."""
    return step if step.dtype == mx.uint64 else mx.maximum(step, 0).astype(mx.uint64)


def _rate_of(value: mx.array, shape: tuple[int, ...], rate: Rate) -> mx.array:
    """``value`` as float32 of the step's shape."""
    if value.shape != shape:
        try:
            value = mx.broadcast_to(value, shape)
        except ValueError:
            raise ValueError(f"{rate} returned shape {value.shape} for steps of shape {shape}") from None
    return value.astype(mx.float32)


def is_known(array: mx.array) -> bool:
    """Whether ``array`` has a value now, rather than stand for one inside a trace."""
    try:
        mx.eval(array)
    except (ValueError, RuntimeError):
        return False
    return True


def _two_lanes(array: mx.array) -> mx.array:
    if array.size != 1:  # data already
        return array
    lanes = mx.stack([array] * _LANES, axis=-1)
    mx.eval(lanes)
    return lanes
