"""How a rate is cut into kernels, decided by counting them.

MLX fuses 11 operations deep and 24 arrays wide, and splits what is larger wherever the limit happens to fall, often
into many kernels. A view in the right place avoids that. Graphs are traced for this, but nothing is built or run.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache

import mlx.core as mx

from .graph import Rate, Structure
from .rates import Composite, Function, own_kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
        apart = tuple(a or k == i for k, a in enumerate(rate.apart))
        cut = Composite(rate.combine, rate.own, rate.parts, rate.sizes, apart)
        if (number := kernels(cut, shapes)) < fewest:
            rate, fewest = cut, number
    return rate


@lru_cache(maxsize=1024)
def beside_step(rate: Rate, shapes: Shapes) -> Rate:
    """``rate`` with step + 1 in its graph, where MLX finds it equal to an optimizer's and computes both at once."""
    if _is_foreign(rate):
        return _Late(rate)
    ways: list[Rate] = [_Early(rate), _Late(rate), _Apart(_Early(rate)), _Apart(_Late(rate))]
    return min(ways, key=lambda way: [kernels(_Update(way, reads_step), shapes) for reads_step in (False, True)])


class _Update(Structure):
    """What an optimizer makes of a rate: its next step and, if it ``reads_step``, a factor from both, as Adam does."""

    def __init__(self, rate: Rate, reads_step: bool) -> None:
        self.rate = rate
        self.reads_step = reads_step

    def __call__(self, step: mx.array, *coefficients: mx.array) -> tuple[mx.array, ...]:
        following = step + 1
        rate = self.rate(step, *coefficients)
        return (following, rate, rate / (1 - 0.9**following)) if self.reads_step else (following, rate)


class _Early(Structure):
    def __init__(self, rate: Rate) -> None:
        self.rate = rate

    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        return self.rate((step + 1) - 1, *coefficients)


class _Late(Structure):
    def __init__(self, rate: Rate) -> None:
        self.rate = rate

    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        rate = self.rate(step, *coefficients)
        return mx.where(step + 1 > 0, rate, rate)


class _Apart(Structure):
    def __init__(self, rate: Rate) -> None:
        self.rate = rate

    def __call__(self, step: mx.array, *coefficients: mx.array) -> mx.array:
        return own_kernel(self.rate(step, *coefficients))


def kernels(function: Callable[..., Any], shapes: Shapes) -> int:
    """How many kernels a call of ``function``, compiled, takes, with a scalar step and coefficients like these."""
    arrays = [mx.array(0, mx.uint64), *(mx.zeros(shape, dtype) for shape, dtype in shapes)]
    mx.eval(arrays)
    graph = io.StringIO()
    outputs = mx.compile(lambda *inputs: function(*inputs))(*arrays)
    mx.export_to_dot(graph, *(outputs if isinstance(outputs, tuple) else (outputs,)))
    nodes = (line.split('"')[1] for line in graph.getvalue().splitlines() if "shape=rectangle" in line)
    return sum(node not in _VIEWS for node in nodes)


def _is_foreign(rate: Rate) -> bool:
    return isinstance(rate, Function) or (isinstance(rate, Composite) and any(map(_is_foreign, rate.parts)))
