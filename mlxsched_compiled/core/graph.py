"""From a rate function to a graph: the one place where ``mx.compile`` meets a rate.

Equal rate functions share one graph whatever their coefficients, because these are inputs of the graph. MLX keeps
traces per thread, so a graph is never shared between threads.
"""

from __future__ import annotations

import threading
import weakref

import mlx.core as mx

from .data import as_data
from .fusion import laid_out
from .kernels import nodes
from .rates import Function, RateFunction, fitted, functions_in, types_of
from .traces import is_concrete, reading_of_rate

_MOST = 256
"""Graphs that a thread remembers. Schedules in use have theirs whatever happens here."""


class Inlined(Exception):
    """A graph is called inside somebody else's trace, where its coefficients are not inputs but constants."""


class Graph(threading.local):
    """The compiled form of a rate function, in each thread that asks for it: ``graph.call(step, *coefficients)``."""

    def __init__(self, rate: RateFunction) -> None:
        self.call = _graph_of(rate)


def inlined(rate: RateFunction, step: mx.array, *coefficients: mx.array) -> mx.array:
    """The rate inside somebody else's trace, with what are constants there as data."""
    return _traced(rate, *as_data([step, *coefficients]))


def applied(rate: RateFunction, step: mx.array, *coefficients: mx.array) -> mx.array:
    """The rate as it is, not compiled."""
    return fitted(rate, whole_steps(step), *coefficients)


def whole_steps(step: mx.array) -> mx.array:
    """``step`` as uint64, in which every step up to 2**64 is a different one. Below 0 counts as 0."""
    return step if step.dtype == mx.uint64 else mx.maximum(step, 0).astype(mx.uint64)


def _compiled(rate: RateFunction) -> RateFunction:
    def schedule(step: mx.array, *coefficients: mx.array) -> mx.array:
        concrete = {is_concrete(array) for array in (step, *coefficients)}
        if concrete == {True}:  # nothing is traced: compilation is disabled
            return applied(rate, step, *coefficients)
        if True in concrete:
            raise Inlined
        return _traced(rate, step, *coefficients)

    return mx.compile(schedule)


def _traced(rate: RateFunction, step: mx.array, *coefficients: mx.array) -> mx.array:
    counts = step.ndim == 0 and "Squeeze" not in nodes(step)  # behind a view it is not the one that is counted
    dtype, corrects = reading_of_rate()
    way = laid_out(rate, types_of(coefficients), counts=counts, dtype=dtype, corrects=corrects)
    return applied(way, step, *coefficients)


class _Remembered(threading.local):
    """The graphs of a thread, by their rate function."""

    def __init__(self) -> None:
        self.graphs = _Graphs()
        _every_thread.add(self.graphs)


class _Graphs(dict[RateFunction, RateFunction]):
    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__


_every_thread: weakref.WeakSet[_Graphs] = weakref.WeakSet()
_remembered = _Remembered()
_watched: set[Function] = set()


def _graph_of(rate: RateFunction) -> RateFunction:
    graphs = _remembered.graphs
    if not all(isinstance(function.owner, weakref.ref) for function in functions_in(rate)):
        return _compiled(rate)  # nobody would say when to forget it
    if rate not in graphs:
        while len(graphs) >= _MOST:
            del graphs[next(iter(graphs))]
        graphs[rate] = _compiled(rate)
        for function in functions_in(rate):
            _forget_with(function)
    return graphs[rate]


def _forget_with(function: Function) -> None:
    """Has the graphs of ``function`` go when it goes."""
    owner = function.owner()
    if function not in _watched:
        _watched.add(function)
        weakref.finalize(owner, _forget, function).atexit = False


def _forget(function: Function) -> None:
    _watched.discard(function)
    for graphs in list(_every_thread):
        for rate in list(graphs):  # a collection of garbage meanwhile may forget others
            if function in functions_in(rate):
                graphs.pop(rate, None)
