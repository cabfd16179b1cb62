"""How a schedule goes: its rates, where they end, and how far a picture of them reaches. Nothing here compiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import mlx.core as mx

from ._graph import applied
from .schedule import Schedule

_FAR = 2**62
"""As good as for ever..."""
_FAR_FOR_OTHERS = 2**20
"""...where a function that somebody else wrote is asked, which need not be made for steps that no training reaches."""
_SAMPLES = 2**16
"""The most rates that are computed at once."""
_ROUNDED = 2**-22
"""The part of a rate that may be rounding."""
_CYCLES = 4
"""Of what repeats itself..."""
_MANY = 4
"""...where what happens besides takes so many times longer."""
_VISIBLE = 0.01
"""The part of a curve's height that an eye still sees."""
_HALF_LIVES = 6
"""Of a decay that goes on for ever."""
_UNKNOWN = 1000
"""Steps that are drawn of what neither ends nor repeats nor slows down."""


class Curve:
    """The rates of a schedule at its first steps, all of them or evenly sampled.

    Args:
        schedule: The schedule.
        steps: How many steps; as many as show how it goes if None.

    Raises:
        ValueError: If there is no finite rate.
    """

    def __init__(self, schedule: Schedule, steps: int | None = None) -> None:
        self.ends = end(schedule)
        """The step from which on the rate stays what it is, whether or not it is among the first ``count``."""
        self.count = _horizon(schedule, self.ends) if steps is None else steps
        self.steps = _evenly(0, self.count - 1, _SAMPLES)
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
            found += sorted({points[0], min(points, key=_rate), max(points, key=_rate), points[-1]})
        return found


def rates_at(schedule: Schedule, steps: Sequence[int]) -> list[float]:
    """The rates at these steps."""
    rates: Any = applied(schedule.structure, mx.array([*steps], mx.uint64), *schedule.state).tolist()
    return [*rates]


def end(schedule: Schedule) -> int | None:
    """The step from which on the rate stays what it is.

    None if it never does, or only because float32 has no more digits for it. The step is found by looking: an excursion
    shorter than a hundredth of the steps before it may be missed.
    """
    far = _far(schedule)
    steps = _ever_rarer(far)
    *rates, last = rates_at(schedule, steps)
    if not math.isfinite(last):
        return None
    before = _last_other(rates, last)
    if before is None:
        return 0
    first, after = steps[before], steps[before + 1]
    if after > far // 2:
        return None
    while after - first > 1:
        steps = _evenly(first, after, 1000)
        *rates, _ = rates_at(schedule, steps)
        before = _last_other(rates, last) or 0
        first, after = steps[before], steps[before + 1]
    return None if _fades(schedule, after) else after


def _fades(schedule: Schedule, ends: int) -> bool:
    """Whether it still moves, but was as good as there at half of the steps."""
    early, late = (rates_at(schedule, _evenly(*part, 1000)) for part in ((0, ends // 2), (ends // 2, ends - 1)))
    return 0 < max(late) - min(late) < (max(early) - min(early)) * _VISIBLE / 10


def _horizon(schedule: Schedule, ends: int | None) -> int:
    """How many steps show how a schedule goes.

    All until it ends and a tenth more; several cycles of one that repeats itself; a few half-lives of one that decays
    for ever; of one that grows for ever, until it has grown a hundredfold.
    """
    if ends is not None:
        return ends + max(ends // 10, 1) + 1 if ends > 0 else _UNKNOWN
    decay, cycles = _decay(schedule), _cycles(schedule)
    if cycles is not None and (decay is None or decay > _MANY * cycles):
        return cycles + 1
    return (decay or _growth(schedule) or _UNKNOWN) + 1


def _cycles(schedule: Schedule) -> int | None:
    """The step at which a few cycles are over."""
    far = _far(schedule)
    for steps in (_evenly(0, 2**k, 1024) for k in range(4, far.bit_length())):
        lows = _low_points(rates_at(schedule, steps))
        if len(lows) >= _CYCLES:
            return steps[lows[_CYCLES - 1]]
    return None


def _low_points(rates: Sequence[float]) -> list[int]:
    """Where the rate turns from a visible fall to a visible rise."""
    visible = (max(rates) - min(rates)) * _VISIBLE
    found, falls = [], False
    top = bottom = 0
    for i, rate in enumerate(rates):
        if falls and rate > rates[bottom] + visible:
            found.append(bottom)
            falls, top = False, i
        elif not falls and rate < rates[top] - visible:
            falls, bottom = True, i
        if rate > rates[top]:
            top = i
        if rate <= rates[bottom]:
            bottom = i
    return found


def _decay(schedule: Schedule) -> int | None:
    """The step at which a decay has come to where it goes to, or to a few times its half-life."""
    steps = _ever_rarer(_far(schedule))
    *rates, last = rates_at(schedule, steps)
    away = [abs(rate - last) for rate in rates]
    height = max(away)
    if not math.isfinite(height):
        return None
    half, most = (max(i for i, a in enumerate(away) if a > height * part) for part in (0.5, _VISIBLE))
    reached = min(steps[most + 1], _HALF_LIVES * steps[half + 1])
    return reached if reached < _far(schedule) // 4 else None


def _growth(schedule: Schedule) -> int | None:
    """The step at which the rate has grown a hundredfold."""
    steps = _ever_rarer(_far(schedule))
    rates = [abs(rate) for rate in rates_at(schedule, steps)]
    start = next((rate for rate in rates if rate > 0), math.inf)
    return next((step for step, rate in zip(steps, rates, strict=True) if rate * _VISIBLE >= start), None)


def _highest(schedule: Schedule, first: int, last: int) -> tuple[int, float]:
    """The step of the highest rate between two, and that rate."""
    steps = _evenly(first, last, _SAMPLES)
    rates = [rate if math.isfinite(rate) else -math.inf for rate in rates_at(schedule, steps)]
    top = max(rates)
    if len(steps) == last - first + 1:
        return next(step for step, rate in zip(steps, rates, strict=True) if rate >= top - _ROUNDED * abs(top)), top
    i = rates.index(top)
    return _highest(schedule, steps[max(i - 1, 0)], steps[min(i + 1, len(steps) - 1)])


def _far(schedule: Schedule) -> int:
    return _FAR_FOR_OTHERS if schedule._functions else _FAR


def _ever_rarer(far: int) -> list[int]:
    """Steps from 0 to ``far``, each a hundredth further than the one before: odd ones, that no period divides."""
    steps = [0]
    while steps[-1] < far:
        steps.append(steps[-1] * 101 // 100 + 1)
    return steps


def _evenly(first: int, last: int, most: int) -> list[int]:
    """All steps from ``first`` to ``last``, or ``most`` of them with both."""
    if last - first < most:
        return list(range(first, last + 1))
    return [first + i * (last - first) // (most - 1) for i in range(most)]


def _last_other(rates: Sequence[float], value: float) -> int | None:
    """Where the last rate is that is not ``value``."""
    return next((i for i in reversed(range(len(rates))) if rates[i] != value), None)


def _rate(point: tuple[int, float]) -> float:
    return point[1]
