"""How a rate is laid out in kernels, decided by counting them.

MLX fuses 11 operations deep and 24 arrays wide, and splits what is larger wherever the limit happens to fall, often
into many kernels. A view in the right place avoids that. Graphs are traced for this, but nothing is built or run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import mlx.core as mx

from ..optimizers.weak import Expression, evaluated
from .kernels import launching, nodes
from .rates import Compound, RateFunction, Structure, Types, fitted, functions_in, own_kernel


def laid_out(
    rate: RateFunction,
    types: Types,
    *,
    counts: bool = True,
    dtype: mx.Dtype = mx.float32,
    corrects: bool = False,
) -> RateFunction:
    """``rate`` in the fewest kernels found, alone and in an optimizer's update.

    An optimizer computes step + 1. Where that is in the graph of the rate too, and MLX finds the two equal, it computes
    rate and step in one kernel, and the schedule costs none. ``counts`` says whether the step may be that one. The
    update goes on in the kernel of the rate: it takes the rate in the type ``dtype``, and may correct the bias of Adam.
    """
    if functions_in(rate):  # not ours to call more often than needed
        return _Late(rate) if counts else rate
    return _laid_out(rate, types, dtype, corrects) if counts else _cut(rate, types)


@lru_cache(maxsize=1024)
def _laid_out(rate: RateFunction, types: Types, dtype: mx.Dtype, corrects: bool) -> RateFunction:
    def cast(*arguments: Any) -> Any:
        following, value = _in_update(*arguments)
        return following, value, value.astype(dtype)

    def corrected(*arguments: Any) -> Any:
        """A factor from both, as Adam corrects its bias."""
        *both, value = cast(*arguments)
        return *both, (value / (1 - 0.9 ** both[0])).astype(dtype)

    def costs(way: RateFunction) -> list[int]:
        return [_kernels(way, types), *(len(_nodes(use, way, types)) for use in uses)]

    cut = _cut(rate, types)
    ways: list[RateFunction] = [cut, _Early(cut), _Late(cut)]
    uses = [cast, corrected]
    if dtype != mx.float32:  # a kernel that has room for one operation more may have none for the cast, or for three
        ways.append(_Ended(cut))
        uses = [corrected if corrects else cast, _in_update]
    return min(ways, key=costs)


@lru_cache(maxsize=1024)
def _cut(rate: RateFunction, types: Types) -> RateFunction:
    """``rate`` with those parts in kernels of their own that make it fewer kernels."""
    if not isinstance(rate, Compound):
        return rate
    parts = zip(rate.parts, rate.part_types(types), strict=True)
    rate = rate.with_parts([_cut(part, part_types) for part, part_types in parts])
    fewest = _kernels(rate, types)
    for i in range(len(rate.parts)):
        if fewest == 1:
            break
        cut = rate.with_apart(i)
        if (number := _kernels(cut, types)) < fewest:
            rate, fewest = cut, number
    return rate


class _Early(Structure):
    """A rate with step + 1 where it begins..."""

    def __init__(self, rate: RateFunction) -> None:
        self.rate = rate

    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        return self.rate((step + 1) - 1, *coefficients)


class _Late(Structure):
    """...and one where it ends."""

    def __init__(self, rate: RateFunction) -> None:
        self.rate = rate

    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        rate = fitted(self.rate, step, *coefficients)
        return mx.where(step + 1 > 0, rate, rate)


class _Ended(Structure):
    """A rate in a kernel that ends with it: computed in a shape of its own, of which the rate of the step is a view.

    A view alone would not do: what MLX computes in one shape, here with the step, it may still put into one kernel.
    """

    def __init__(self, rate: RateFunction) -> None:
        self.rate = rate

    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        return mx.squeeze(fitted(self.rate, mx.broadcast_to(step, (1,)), *coefficients))


def takes_several(rate: RateFunction, types: Types) -> bool:
    """Whether a rate takes several steps at once. A function of somebody else may be made for one, as in MLX."""
    if not functions_in(rate):
        return True
    try:
        found = _nodes(lambda rate, step, *inputs: rate(mx.broadcast_to(step, (2,)), *inputs), rate, types)
    except Exception:  # whatever is wrong with it, it is not called in this way
        return False
    return all(node.startswith("Compiled") for node in found)


def in_lanes(rate: mx.array, expressions: Sequence[Expression]) -> mx.array:
    """A rate, given in as many equal lanes as there are expressions, and in each of them an expression of it."""
    lanes = rate
    for i, expression in enumerate(expressions):
        if expression:
            its_lane = mx.array([lane == i for lane in range(len(expressions))])
            lanes = mx.where(its_lane, evaluated(expression, rate), lanes)
    return lanes


@lru_cache(maxsize=1024)
def lanes_fit(rate: RateFunction, types: Types, expressions: tuple[Expression, ...]) -> bool:
    """Whether that takes no more kernels than the rate alone."""
    if functions_in(rate):  # not ours to call more often than needed
        return True
    cut = _cut(rate, types)
    lanes = _kernels(cut, types, lambda rate, *inputs: in_lanes(rate(*inputs), expressions))
    return lanes <= _kernels(cut, types)


@lru_cache(maxsize=1024)
def cast_fits(rate: RateFunction, types: Types, dtype: mx.Dtype, following: int, *, counts: bool) -> bool:
    """Whether a cast of the rate, and as many operations that follow, take no more kernels than the rate alone.

    ``counts`` says whether the rate is in the kernel that counts the step.
    """
    if functions_in(rate):  # taken to have room for the cast, and for no more
        return not following
    use = _in_update if counts else _alone

    def cast(rate: RateFunction, step: mx.array, *coefficients: mx.array) -> Any:
        *others, value = use(rate, step, *coefficients)
        reading = value.astype(dtype)
        for _ in range(following):
            reading = 1 - reading
        return *others, value, own_kernel(reading)

    way = laid_out(rate, types, counts=counts)
    return _kernels(way, types, cast) <= _kernels(way, types, use)


def _alone(rate: RateFunction, step: mx.array, *coefficients: mx.array) -> Any:
    return (rate(step, *coefficients),)


def _in_update(rate: RateFunction, step: mx.array, *coefficients: mx.array) -> Any:
    """What an optimizer makes of a rate: itself and its next step."""
    return step + 1, rate(step, *coefficients)


def _kernels(rate: RateFunction, types: Types, use: Callable[..., Any] = _alone) -> int:
    """How many kernels ``use`` of ``rate`` takes."""
    return len(launching(_nodes(use, rate, types)))


def _nodes(use: Callable[..., Any], rate: RateFunction, types: Types) -> list[str]:
    """The nodes of ``use`` of ``rate``, compiled, with a scalar step and coefficients of these types."""
    arrays = [mx.array(0, mx.uint64), *(mx.zeros(shape, dtype) for shape, dtype in types)]
    mx.eval(arrays)
    return nodes(mx.compile(lambda *inputs: use(rate, *inputs))(*arrays))
