r"""Schedules one after the other.

Of up to four segments each is computed and the right one selected. Of more, those of one structure are batched: each
of their leaves is a vector with a lane for each segment, and one kernel computes all lanes at once. A lane gives 0
outside of its segment, so the sum of the lanes, another kernel, is the rate to the bit. A lane more costs next to
nothing, so the cost does not grow with the number of segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from ..core.checks import Count
from ..core.node import Child, Node, ParametricRate, State, Structure, constant_rate, fusion_barrier, mutable_nodes
from ..core.user_rate import UserRate

_FEW = 4
"""The most segments that are computed one by one."""


def joined(parts: Sequence[Node], starts: Sequence[Count]) -> Node:
    """Each part from its start on, counting its steps from there; the first from step 0 on."""
    return _switched(parts, starts) if len(parts) <= _FEW else _in_lanes(parts, starts)


def _switched(parts: Sequence[Node], starts: Sequence[Count]) -> Node:
    """Selects the right part; of more than two, by a join of joins."""
    if len(parts) == 1:
        return Node(unchanged, parts[0])
    if len(parts) == 2:
        return Node(switch, *parts, *starts)
    start = starts[1]
    after = _switched(parts[2:], [later - start for later in starts[2:]]) if len(parts) > 3 else parts[2]
    return Node(switch_apart, Node(switch, *parts[:2], starts[0]), after, start)


def unchanged(step: mx.array, child: Child) -> mx.array:
    """The child as it is."""
    return child(step)


def switch(step: mx.array, before: Child, after: Child, start: mx.array) -> mx.array:
    """One child before a step, and from there on the other, which counts its steps from there."""
    return mx.where(step < start, before(step), after(step - start))


def switch_apart(step: mx.array, before: Child, after: Child, start: mx.array) -> mx.array:
    """The same, with a fusion barrier: more than two segments are too deep for one kernel."""
    return mx.where(step < start, before.apart(step), after(step - start))


class Lanes(ParametricRate):
    """The rate of a join of many segments, of so many ``kinds``, each a child whose leaves are lanes."""

    kinds: int

    def __call__(self, step: mx.array, starts: mx.array, *lengths_and_kinds: Any) -> mx.array:
        """The rate.

        Args:
            step: The step.
            starts: Of all segments.
            *lengths_and_kinds: For each kind the lengths of its segments, 0 in the lanes of others; then the kinds.
        """
        lengths, kinds = [*lengths_and_kinds[: self.kinds]], [*lengths_and_kinds[self.kinds :]]
        if step.ndim > 0:
            step = mx.expand_dims(step, -1)
        if step.size > starts.size:  # of many steps: gather the lane of each, rather than compute all lanes
            lane = mx.sum(step >= starts, axis=-1, keepdims=True) - 1
            starts, lengths = _taken(starts, lane), [_taken(length, lane) for length in lengths]
            kinds = [kind.taking(lane) for kind in kinds]
        since = step - starts
        rate = (since < since).astype(mx.float32)  # 0 in every lane, without a view of one
        for i, (length, kind) in enumerate(zip(lengths, kinds, strict=True)):
            if i >= 2:  # a barrier; and ``since`` again, since what two kernels share would be a third one
                rate, since = fusion_barrier(rate), step - fusion_barrier(starts)
            rate = _in_its_segment(since, length, rate, kind)
        return mx.sum(rate, axis=-1)


def _taken(array: mx.array, lanes: mx.array) -> mx.array:
    return mx.take(array, lanes, axis=0)


def _in_its_segment(since: mx.array, length: mx.array, elsewhere: mx.array, child: Child) -> mx.array:
    """``child`` within a segment, and ``elsewhere`` outside.

    Before the start ``since``, the steps since then, wraps around, and so exceeds any length. Outside, the child is
    computed at step 0: whatever it gives has to be finite, for the gradient of ``where`` multiplies it by 0.
    """
    within = since < length
    return mx.where(within, child(mx.where(within, since, 0)), elsewhere)


def _in_lanes(parts: Sequence[Node], starts: Sequence[Count]) -> Node:
    starts = [0, *starts]
    end_of_time = mx.array(0, mx.uint64)  # 2**64, modulo 2**64 as all counts of steps
    lengths = [end - start for start, end in zip(starts, [*starts[1:], end_of_time], strict=True)]
    kinds: dict[tuple[Structure, str], list[int]] = {}
    single = []
    for i, part in enumerate(parts):
        if _fits_a_lane(part):
            kinds.setdefault((part.structure, str(_dtypes(part.state))), []).append(i)
        else:
            single.append(i)
    if not kinds:
        laned = Node(constant_rate, 0.0)
    else:
        # The deepest last, where MLX begins to fuse. A guess: the more whole numbers a structure has, the deeper it is.
        ordered = [kinds[kind] for kind in sorted(kinds, key=lambda kind: kind[1].count("int"))]
        of_kinds = [_counts([length if i in kind else 0 for i, length in enumerate(lengths)]) for kind in ordered]
        laned = Node(Lanes(len(ordered)), _counts(starts), *of_kinds, *(_stacked(parts, kind) for kind in ordered))
        for kind in ordered:
            for i in kind:
                parts[i].freeze(
                    "A schedule cannot be retuned that is part of a join of many, which holds its numbers beside each "
                    "other: retune the join, join.retune(schedules=[...])."
                )
    if not single:
        return laned
    ranges = [number for i in single for number in (starts[i], lengths[i])]
    return Node(replaced, laned, *(parts[i] for i in single), *ranges)


def _fits_a_lane(part: Node) -> bool:
    """Whether its leaves can be batched with those of others.

    Not the vector of a table, and not leaves that metrics change. A plain function of the user cannot be batched: it
    may be written for a single step (``mx.sum(step < milestones)``).
    """
    rates = [*part.structure.rates()]
    is_plain = any(isinstance(rate, UserRate) for rate in rates) and not (len(rates) == 1 and part.state)
    return not (is_plain or mutable_nodes(part) or _has_vectors(part.state))


def _has_vectors(state: State) -> bool:
    return any(each.ndim > 0 if isinstance(each, mx.array) else _has_vectors(each) for each in state)


def _dtypes(state: State) -> list[Any]:
    return [each.dtype if isinstance(each, mx.array) else _dtypes(each) for each in state]


def _stacked(parts: Sequence[Node], kind: Sequence[int]) -> Node:
    """A node whose leaves are vectors: of the parts of a kind, and in the lanes of others of the first of the kind."""
    its = set(kind)
    members = [part if i in its else parts[kind[0]] for i, part in enumerate(parts)]
    return _stacked_nodes(members)


def _stacked_nodes(nodes: Sequence[Node]) -> Node:
    first = nodes[0]
    arguments: list[Any] = []
    children = 0
    for i, child in enumerate(first.structure.children):
        if child is None:
            arguments.append(mx.stack([node.state[i] for node in nodes]))
        else:
            arguments.append(_stacked_nodes([node.children[children] for node in nodes]))
            children += 1
    return Node(first.structure.rate, *arguments)


def replaced(step: mx.array, laned: Child, *parts_and_ranges: Any) -> mx.array:
    """``laned``, but within the range of each other child that child. A range is a start and a length."""
    rate = laned(step)
    count = len(parts_and_ranges) // 3
    parts, ranges = parts_and_ranges[:count], parts_and_ranges[count:]
    for part, start, length in zip(parts, ranges[::2], ranges[1::2], strict=True):
        rate = _in_its_segment(step - start, length, rate, part)
    return rate


def _counts(values: Sequence[Any]) -> mx.array:
    return mx.stack([mx.array(v, mx.uint64) if isinstance(v, int) else v.astype(mx.uint64) for v in values])
