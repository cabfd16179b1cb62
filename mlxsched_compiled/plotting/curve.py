"""The curve of a schedule, as pictures need it."""

from __future__ import annotations

import math
from itertools import groupby
from operator import itemgetter

from ..core.schedule import Schedule
from .horizon import end, horizon
from .samples import evenly, rates_at

# The most rates that are computed at once.
_SAMPLES = 2**16
# The part of a rate that may be rounding.
_ROUNDED = 2**-22


class Curve:
    """The rates of a schedule at its first steps, all of them or evenly sampled.

    Args:
        schedule: The schedule.
        steps: How many steps; as many as show how it goes if None.

    Raises:
        ValueError: If there is no finite rate.
    """

    def __init__(self, schedule: Schedule, steps: int | None = None) -> None:
        # The step from which on the rate stays what it is, whether or not it is among the first ``count``.
        self.ends = end(schedule)
        self.count = horizon(schedule, self.ends) if steps is None else steps
        self.steps = evenly(0, self.count - 1, _SAMPLES)
        self.rates = rates_at(schedule, self.steps)
        if not any(map(math.isfinite, self.rates)):
            raise ValueError(f"{schedule} has no finite rate at its first {self.count:,} steps.")
        self.first, self.last = self.rates[0], self.rates[-1]
        self.highest_at, self.highest = _highest(schedule, 0, self.count - 1)

    @property
    def points(self) -> list[tuple[int, float]]:
        """Steps and their rates, where these are finite."""
        return [point for point in zip(self.steps, self.rates, strict=True) if math.isfinite(point[1])]

    def outline(self, columns: int, last: int) -> list[tuple[int, float]]:
        """The points that a picture needs whose columns span the steps to ``last``.

        Of each column these are the first and the last, the lowest and the highest.
        """
        found = []
        for _, column in groupby(self.points, lambda point: round(point[0] / last * (columns - 1))):
            points = [*column]
            found += sorted({points[0], min(points, key=itemgetter(1)), max(points, key=itemgetter(1)), points[-1]})
        return found


def _highest(schedule: Schedule, first: int, last: int) -> tuple[int, float]:
    """The step of the highest rate between two, and that rate."""
    steps = evenly(first, last, _SAMPLES)
    rates = [rate if math.isfinite(rate) else -math.inf for rate in rates_at(schedule, steps)]
    top = max(rates)
    if len(steps) == last - first + 1:
        return next(step for step, rate in zip(steps, rates, strict=True) if rate >= top - _ROUNDED * abs(top)), top
    i = rates.index(top)
    return _highest(schedule, steps[max(i - 1, 0)], steps[min(i + 1, len(steps) - 1)])
