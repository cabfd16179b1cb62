"""How far a schedule goes: where it ends, and how many of its steps show the rest."""

from __future__ import annotations

import math

from ..core.schedule import Schedule
from .samples import evenly, ever_rarer, rates_at

_FAR = 2**40  # as good as for ever
_VISIBLE = 0.01  # the part of a curve's height that an eye still sees
_HALVES = 6  # so many times as far as to the first half
_UNKNOWN = 1000  # steps of what neither ends nor comes down


def end(schedule: Schedule) -> int | None:
    """The step from which on the rate stays what it is.

    None if it never does, or only because float32 has no more digits for it. The step is found by looking: an excursion
    shorter than a hundredth of the steps before it may be missed.
    """
    steps, after = ever_rarer(_FAR), 0
    (last,) = rates_at(schedule, steps[-1:])
    if not math.isfinite(last):
        return None
    while steps:  # ever closer around the last change
        before = max((i for i, rate in enumerate(rates_at(schedule, steps)) if rate != last), default=None)
        if before is None:
            return 0
        after = steps[before + 1]
        if after > _FAR // 2:
            return None
        steps = evenly(steps[before], after, 1000) if after - steps[before] > 1 else []
    return None if _fades(schedule, after) else after


def _fades(schedule: Schedule, ends: int) -> bool:
    """Whether it still moves, but was as good as there at half of the steps."""
    early, late = (rates_at(schedule, evenly(*part, 1000)) for part in ((0, ends // 2), (ends // 2, ends - 1)))
    return 0 < max(late) - min(late) < (max(early) - min(early)) * _VISIBLE / 10


def horizon(schedule: Schedule, ends: int | None) -> int:
    """How many steps show how a schedule goes.

    All until it ends, and a tenth more. Of one that never ends: all until it is at its highest, and from there a few
    times as far as until it has come down to the half.
    """
    if ends:
        return ends + max(ends // 10, 1) + 1
    steps = ever_rarer(_FAR)
    rates = rates_at(schedule, steps)
    low, high = min(filter(math.isfinite, rates), default=0), max(filter(math.isfinite, rates), default=0)
    top = next((i for i, rate in enumerate(rates) if rate >= high - (high - low) * _VISIBLE), 0)
    half = next((step for step, rate in zip(steps[top:], rates[top:], strict=True) if rate <= (low + high) / 2), 0)
    return steps[top] + _HALVES * (half - steps[top]) + 1 if half else _UNKNOWN
