r"""Schedules one after the other.

A few segments are each computed and the right one selected. Of many segments, those of one rate differ
only in their coefficients: these stand in a table, one row is gathered for the step, and the rate is computed once. So
the cost does not grow with the number of segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import mlx.core as mx

from ._bound import Bound, composite
from ._checks import Count
from ._rates import Compound, Part, RateFunction, Structure, Types, own_kernel

_FEW = 4
"""The most segments that are all computed: in fewer kernels than the gathered form has, and without a table."""


def joined(parts: Sequence[Bound], starts: Sequence[Count]) -> Bound:
    """Each part from its start on, counting its steps from there; the first from step 0 on."""
    return _switched(parts, starts) if len(parts) <= _FEW else _gathered(parts, starts)


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


class _Family(Structure):
    """Segments of one rate, and where their start and each coefficient stands.

    That is in a column of the table of its type or, for a coefficient that is itself a table, among the arrays that
    stay whole. Each family has its start to itself, or MLX would compute the difference to it once, in one more kernel.
    """

    def __init__(self, rate: RateFunction, places: Sequence[tuple[mx.Dtype | None, int]]) -> None:
        self.rate = rate
        self.places = tuple(places)


class _Gathered(Compound):
    """The rate of a join by table: where segments start, one table per type of coefficient, and what stays whole."""

    def __init__(self, families: list[_Family], dtypes: Iterable[mx.Dtype]) -> None:
        self.families = tuple(families)
        self.dtypes = tuple(dtypes)

    @property
    def parts(self) -> tuple[RateFunction, ...]:
        return tuple(family.rate for family in self.families)

    def part_types(self, types: Types) -> list[Types]:
        whole = types[1 + len(self.dtypes) :]
        return [
            tuple(whole[at] if dtype is None else ((), dtype) for dtype, at in family.places[1:])
            for family in self.families
        ]

    def with_parts(self, parts: Sequence[RateFunction]) -> _Gathered:
        families = [_Family(rate, family.places) for rate, family in zip(parts, self.families, strict=True)]
        return _Gathered(families, self.dtypes)

    def __call__(self, step: mx.array, starts: mx.array, *arrays: mx.array) -> mx.array:
        step = mx.expand_dims(step, -1)
        row = mx.sum(step >= starts, axis=-1)
        found: dict[mx.Dtype | None, Sequence[mx.array]] = {None: arrays[len(self.dtypes) :]}
        for dtype, table in zip(self.dtypes, arrays, strict=False):
            found[dtype] = list(mx.split(mx.take(table, mx.stop_gradient(row), axis=0), table.shape[1], axis=-1))
        rates = []
        for family in self.families:
            start, *coefficients = (found[dtype][column] for dtype, column in family.places)
            rates.append(family.rate(step - start, *coefficients))
        kind = found[mx.uint64][0]
        rate = _of_kind(kind, rates)
        return mx.squeeze(mx.broadcast_to(rate, step.shape), -1)


def _of_kind(kind: mx.array, rates: list[mx.array], first: int = 0) -> mx.array:
    """The rate of this kind, two rates to a kernel and the choice in another: more may not fit into one."""
    if len(rates) == 1:
        return rates[0]
    pair = mx.where(kind == first, rates[0], rates[1])
    if len(rates) == 2:
        return pair
    rest = _of_kind(kind, rates[2:], first + 2)
    return mx.where(kind < first + 2, own_kernel(pair), own_kernel(rest) if len(rates) == 4 else rest)


def _gathered(parts: Sequence[Bound], starts: Sequence[Count]) -> Bound:
    kinds: dict[Any, int] = {}
    kind_of = []
    for i, part in enumerate(parts):
        alone = any(c.ndim > 0 for c in part.state)
        kind_of.append(kinds.setdefault((part.structure, part.types, alone and i), len(kinds)))

    columns = {mx.uint64: [_counts(kind_of)]}
    whole: list[mx.array] = []
    families = []
    for kind in range(len(kinds)):
        # A row of another kind repeats the first of this one, so that the rate not selected is finite too.
        first = parts[kind_of.index(kind)]
        members = [part if k == kind else first for part, k in zip(parts, kind_of, strict=True)]
        places: list[tuple[mx.Dtype | None, int]] = [(mx.uint64, len(columns[mx.uint64]))]
        columns[mx.uint64].append(_counts([0, *starts]))
        for k, coefficient in enumerate(first.state):
            if coefficient.ndim > 0:
                places.append((None, len(whole)))
                whole.append(coefficient)
            else:
                table = columns.setdefault(coefficient.dtype, [])
                places.append((coefficient.dtype, len(table)))
                table.append(mx.stack([member.state[k] for member in members]))
        families.append(_Family(first.structure, places))

    tables = (mx.stack(table, axis=-1) for table in columns.values())
    functions = [function for part in parts for function in part.functions]
    return Bound(_Gathered(families, columns), [_counts(starts), *tables, *whole], functions)


def _counts(values: Sequence[Count]) -> mx.array:
    return mx.stack([mx.array(v, mx.uint64) if isinstance(v, int) else v.astype(mx.uint64) for v in values])
