"""Rates of a schedule at chosen steps. Nothing is compiled for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from ..core.schedule import Schedule, uncompiled


def rates_at(schedule: Schedule, steps: Sequence[int]) -> list[float]:
    """The rates at these steps."""
    rates: Any = uncompiled(schedule, mx.array([*steps], mx.uint64)).tolist()
    return [*rates]


def evenly(first: int, last: int, most: int) -> list[int]:
    """All steps from ``first`` to ``last``, or ``most`` of them with both."""
    if last - first < most:
        return list(range(first, last + 1))
    return [first + i * (last - first) // (most - 1) for i in range(most)]


def ever_rarer(last: int) -> list[int]:
    """Steps from 0 to ``last``, each a hundredth further than the one before: odd ones, that no period divides."""
    steps = [0]
    while steps[-1] < last:
        steps.append(steps[-1] * 101 // 100 + 1)
    return steps
