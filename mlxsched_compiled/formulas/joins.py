r"""Schedules one after the other.

A few segments are each computed and the right one selected. Of many, those of one rate differ only in their
coefficients. So each coefficient is a vector with a lane for each segment, and one kernel computes all lanes at once.
The step is in one lane, the others give 0, and the sum, another kernel, is the rate to the bit. A lane more costs
next to nothing, so the cost does not grow with the number of segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from ..core.bound import Bound, bind, composite
from ..core.checks import Count
from ..core.rates import (
    Composite,
    Compound,
    Function,
    Part,
    RateFunction,
    Types,
    constant_rate,
    functions_in,
    own_kernel,
)
from .powers import per_period

_FEW = 4
"""The most segments that are computed one by one..."""
_ONE_KERNEL = 17
"""...and the most coefficients of these and starts, for what has more does not fit a kernel."""


def joined(parts: Sequence[Bound], starts: Sequence[Count]) -> Bound:
    """Each part from its start on, counting its steps from there; the first from step 0 on."""
    coefficients = len(starts) + sum(len(part.state) for part in parts)
    if len(parts) <= _FEW and coefficients <= _ONE_KERNEL:
        return _switched(parts, starts)
    return _in_lanes(parts, starts)


def _switched(parts: Sequence[Bound], starts: Sequence[Count]) -> Bound:
    """Of more than two, a join of joins, so that each can be a kernel of its own."""
    if len(parts) == 1:
        return parts[0]
    half = (len(parts) + 1) // 2
    start = starts[half - 1]
    before = _switched(parts[:half], starts[: half - 1])
    after = _switched(parts[half:], [later - start for later in starts[half:]])
    return composite(_switch, [before, after], start)


def _switch(step: mx.array, parts: list[Part], start: mx.array) -> mx.array:
    return mx.where(step < start, parts[0](step), parts[1](step - start))


class _Lanes(Compound):
    """The rate of a join of many segments, of ``kinds`` that are each a rate and the number of its coefficients.

    The coefficients are the starts of all segments, and for each kind the lengths of its segments, 0 in the lanes of
    others, and its own coefficients. A kind that is ``apart`` begins another kernel.
    """

    def __init__(self, kinds: Sequence[tuple[RateFunction, int]], apart: Sequence[bool]) -> None:
        self.kinds = tuple(kinds)
        self.apart = tuple(apart)

    @property
    def parts(self) -> tuple[RateFunction, ...]:
        return tuple(rate for rate, _ in self.kinds)

    def part_types(self, types: Types) -> list[Types]:
        return [tuple(types[at + 1 : at + 1 + size]) for at, size in self._places()]

    def with_parts(self, parts: Sequence[RateFunction]) -> _Lanes:
        return _Lanes([(rate, size) for rate, (_, size) in zip(parts, self.kinds, strict=True)], self.apart)

    def with_apart(self, index: int) -> _Lanes:
        return _Lanes(self.kinds, [a or i == index for i, a in enumerate(self.apart)])

    def _places(self) -> list[tuple[int, int]]:
        """Where the coefficients of each kind begin, with its lengths, and how many there are besides."""
        places, at = [], 1
        for _, size in self.kinds:
            places.append((at, size))
            at += 1 + size
        return places

    def __call__(self, step: mx.array, *columns: mx.array) -> mx.array:
        if step.ndim > 0:
            step = mx.expand_dims(step, -1)
        if step.size > columns[0].size:  # for each step the lane that it is in, rather than all of them
            lane = mx.sum(step >= columns[0], axis=-1, keepdims=True) - 1
            columns = tuple(mx.take(column, lane, axis=0) for column in columns)
        starts = columns[0]
        since = step - starts
        rate = (since < since).astype(mx.float32)  # 0 in every lane, without a view of one
        for (own, _), (at, size), apart in zip(self.kinds, self._places(), self.apart, strict=True):
            if apart:  # with a difference of its own: what kernels share, MLX computes in one more
                rate, since = own_kernel(rate), step - own_kernel(starts)
            rate = _in_its_segment(since, columns[at], rate, own, *columns[at + 1 : at + 1 + size])
        return mx.sum(rate, axis=-1)


def _in_its_segment(
    since: mx.array, length: mx.array, elsewhere: mx.array, rate: RateFunction, *coefficients: mx.array
) -> mx.array:
    """``rate`` within a segment, and ``elsewhere``.

    There ``since``, the steps since its start, counts more than any length, before the start because it wraps. The rate
    that is not wanted is that of step 0: it has to be finite, for the gradient of ``where`` multiplies it by 0.
    """
    within = since < length
    return mx.where(within, rate(mx.where(within, since, 0), *coefficients), elsewhere)


def _in_lanes(parts: Sequence[Bound], starts: Sequence[Count]) -> Bound:
    starts = [0, *starts]
    end_of_time = mx.array(0, mx.uint64)  # 2**64, modulo 2**64 as all counts of steps
    lengths = [end - start for start, end in zip(starts, [*starts[1:], end_of_time], strict=True)]
    parts = _of_fewer_rates(parts)
    kinds: dict[tuple[RateFunction, Types], list[int]] = {}
    single = []
    for i, part in enumerate(parts):
        # A function without hyperparameters may be made for one step, as MLX calls it.
        is_plain = bool(functions_in(part.structure)) and not (isinstance(part.structure, Function) and part.state)
        if is_plain or any(c.ndim > 0 for c in part.state):  # a vector already
            single.append(i)
        else:
            kinds.setdefault((part.structure, part._types), []).append(i)
    if not kinds:
        laned = bind(constant_rate, 0.0)
    else:
        # The deepest last: MLX comes to it first.
        ordered = sorted(kinds, key=lambda kind: len(kind[1]))
        columns = [_counts(starts)]
        for kind in ordered:
            first = parts[kinds[kind][0]]  # whose coefficients stand in the lanes of others too
            here = set(kinds[kind])
            members = [part if i in here else first for i, part in enumerate(parts)]
            columns.append(_counts([length if i in here else 0 for i, length in enumerate(lengths)]))
            columns.extend(mx.stack(list(lanes)) for lanes in zip(*(m.state for m in members), strict=True))
        apart = [bool(functions_in(rate)) for rate, _ in ordered]  # which nobody counts the kernels of
        rate = _Lanes([(rate, len(types)) for rate, types in ordered], apart)
        laned = Bound(rate, columns, [function for part in parts for function in part._functions])
    if not single:
        return laned
    ranges = [count for i in single for count in (starts[i], lengths[i])]
    return composite(_replaced, [laned, *(parts[i] for i in single)], *ranges)


def _replaced(step: mx.array, parts: list[Part], *ranges: mx.array) -> mx.array:
    """The first part, and each other within its range, which is a start and a length."""
    rate = parts[0](step)
    for part, start, length in zip(parts[1:], ranges[::2], ranges[1::2], strict=True):
        rate = _in_its_segment(step - start, length, rate, part)
    return rate


def _of_fewer_rates(parts: Sequence[Bound]) -> list[Bound]:
    """``parts``, an exponential decay beside a step decay as one too, of period 1, so that one rate does for both."""
    rates = [part.structure for part in parts]
    exponentials = {r.parts[0] for r in rates if isinstance(r, Composite) and r.combine is per_period}
    return [composite(per_period, [part], 1) if part.structure in exponentials else part for part in parts]


def _counts(values: Sequence[Any]) -> mx.array:
    return mx.stack([mx.array(v, mx.uint64) if isinstance(v, int) else v.astype(mx.uint64) for v in values])
