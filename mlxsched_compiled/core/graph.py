"""From a structure to a graph: the one place where ``mx.compile`` meets a rate.

Schedules of equal structure share one graph whatever their numbers, because these are inputs of the graph. MLX keeps
traces per thread, so a graph is never shared between threads.
"""

from __future__ import annotations

import threading
from collections import deque
from weakref import WeakValueDictionary

import mlx.core as mx
from mlx.utils import tree_map

from .node import State, Structure, constant_rate, leaves
from .runtime_inputs import runtime_inputs
from .tracing import is_concrete, is_tracing
from .user_rate import UserRate

_RECENT = 64
"""Graphs that a thread keeps besides those in use: a sweep makes schedules of one structure again and again."""


class Inlined(Exception):
    """A graph was called within another trace, and not all of its arguments are tracers."""


class Graph:
    """The compiled form of a structure: ``graph.rate(step, state, tracer)``.

    The old tracer (see ``tracing``) has it notice that it is called within another trace.
    """

    def __init__(self, structure: Structure) -> None:
        def rate(step: mx.array, state: State, tracer: mx.array) -> mx.array:
            concrete = [is_concrete(leaf) for leaf in leaves([step, state])]
            if any(concrete) and (not all(concrete) or is_tracing()):
                raise Inlined
            return rate_of(structure, step, state)

        self.rate = mx.compile(rate)


class _Graphs(threading.local):
    """The graphs of a thread."""

    def __init__(self) -> None:
        self.in_use: WeakValueDictionary[Structure, Graph] = WeakValueDictionary()
        self.recent: deque[Graph] = deque(maxlen=_RECENT)


_graphs = _Graphs()


def graph_of(structure: Structure) -> Graph:
    """The graph of a structure on this thread."""
    graph = _graphs.in_use.get(structure)
    if graph is None:
        graph = _graphs.in_use[structure] = Graph(structure)
        if not any(isinstance(rate, UserRate) for rate in structure.rates()):  # which may hold on to anything
            _graphs.recent.append(graph)
    return graph


def rate_of(structure: Structure, step: mx.array, state: State) -> mx.array:
    """The rate, as float32 of the shape of ``step``."""
    step = whole_steps(step)
    if step.ndim == 0 and structure.rate is not constant_rate:
        state = _counting(structure, step, state) or state
    value = structure.compute(step, state)
    if value.shape != step.shape:
        try:
            value = mx.broadcast_to(value, step.shape)
        except ValueError:
            rate = structure.rate
            raise ValueError(f"{rate} returned shape {value.shape} for steps of shape {step.shape}.") from None
    return value.astype(mx.float32)


def inlined(structure: Structure, step: mx.array, state: State) -> mx.array:
    """The rate inside a foreign trace, whose inputs its leaves are not."""
    inputs = iter(runtime_inputs(leaves([step, state])))
    step, state = tree_map(lambda _: next(inputs), [step, state])
    return rate_of(structure, step, state)


def whole_steps(step: mx.array) -> mx.array:
    """``step`` as uint64, in which every step up to 2**64 is a different one. Below 0 counts as 0."""
    return step if step.dtype == mx.uint64 else mx.maximum(step, 0).astype(mx.uint64)


def _counting(structure: Structure, step: mx.array, state: State) -> State | None:
    """``state``, its first float made to depend on ``step + 1``, with the same value; None if there is no float.

    An optimizer computes ``step + 1`` as well. MLX finds the two equal, and computes rate and step in one kernel. The
    first float of a tree is used late, near its root, so the longest chain of operations grows no longer.
    """
    for i, (child, leaf) in enumerate(zip(structure.children, state, strict=True)):
        if child is None and leaf.dtype == mx.float32 and leaf.ndim == 0:
            return [*state[:i], mx.where(step + 1 > 0, leaf, leaf), *state[i + 1 :]]
    for i, (child, its) in enumerate(zip(structure.children, state, strict=True)):
        if child is not None and (counting := _counting(child, step, its)):
            return [*state[:i], counting, *state[i + 1 :]]
    return None
