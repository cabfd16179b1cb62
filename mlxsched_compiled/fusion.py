"""Which parts of a composite rate should be kernels of their own, found by counting.

MLX fuses 11 operations deep and 24 arrays wide, and splits what is larger wherever the limit happens to fall, often
into many kernels. One view in the right place avoids that. Graphs are traced for this, but nothing is built or run.
"""

from __future__ import annotations

import io
import re
from dataclasses import replace
from functools import lru_cache

import mlx.core as mx

from .graph import Rate
from .rates import Composite, Function

Shapes = tuple[tuple[tuple[int, ...], mx.Dtype], ...]

_VIEWS = {"Broadcast", "ExpandDims", "Reshape", "Slice", "Split", "Squeeze"}


@lru_cache(maxsize=1024)
def fused(rate: Composite, shapes: Shapes) -> Composite:
    """``rate`` with those parts apart that make it fewer kernels, for coefficients of these shapes and types."""
    if _is_foreign(rate):  # not ours to call more often than needed
        return rate
    fewest = kernels(rate, shapes)
    for i in range(len(rate.parts)):
        if fewest == 1:
            break
        apart = replace(rate, apart=tuple(a or k == i for k, a in enumerate(rate.apart)))
        if (number := kernels(apart, shapes)) < fewest:
            rate, fewest = apart, number
    return rate


def kernels(rate: Rate, shapes: Shapes) -> int:
    """How many kernels one call of the compiled ``rate`` takes, with a scalar step."""
    graph = io.StringIO()
    coefficients = [mx.zeros(shape, dtype) for shape, dtype in shapes]
    mx.export_to_dot(graph, mx.compile(lambda *arrays: rate(*arrays))(mx.array(0, mx.uint64), *coefficients))
    nodes = re.findall(r'label ="(\w+)", shape=rectangle', graph.getvalue())
    return sum(node not in _VIEWS for node in nodes)


def _is_foreign(rate: Rate) -> bool:
    return isinstance(rate, Function) or (isinstance(rate, Composite) and any(map(_is_foreign, rate.parts)))
