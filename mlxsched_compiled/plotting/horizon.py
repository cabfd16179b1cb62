"""How far a schedule goes: where it ends, and how many of its steps show the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..core.schedule import Schedule
from .samples import evenly, ever_rarer, rates_at

_FAR = 2**62
"""As good as for ever..."""
_FAR_FOR_OTHERS = 2**20
"""...where a function that somebody else wrote is asked, which need not be made for steps that no training reaches."""
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


def end(schedule: Schedule) -> int | None:
    """The step from which on the rate stays what it is.

    None if it never does, or only because float32 has no more digits for it. The step is found by looking: an excursion
    shorter than a hundredth of the steps before it may be missed.
    """
    far, after = _far(schedule), 0
    steps = ever_rarer(far)
    (last,) = rates_at(schedule, steps[-1:])
    if not math.isfinite(last):
        return None
    while steps:  # ever closer around the last change
        before = max((i for i, rate in enumerate(rates_at(schedule, steps)) if rate != last), default=None)
        if before is None:
            return 0
        after = steps[before + 1]
        if after > far // 2:
            return None
        steps = evenly(steps[before], after, 1000) if after - steps[before] > 1 else []
    return None if _fades(schedule, after) else after


def _fades(schedule: Schedule, ends: int) -> bool:
    """Whether it still moves, but was as good as there at half of the steps."""
    early, late = (rates_at(schedule, evenly(*part, 1000)) for part in ((0, ends // 2), (ends // 2, ends - 1)))
    return 0 < max(late) - min(late) < (max(early) - min(early)) * _VISIBLE / 10


def horizon(schedule: Schedule, ends: int | None) -> int:
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
    for steps in (evenly(0, 2**k, 1024) for k in range(4, _far(schedule).bit_length())):
        lows = _low_points(rates_at(schedule, steps))
        if len(lows) >= _CYCLES:
            return steps[lows[_CYCLES - 1]]
    return None


def _low_points(rates: Sequence[float]) -> list[int]:
    """Where the rate turns from a visible fall to a visible rise."""
    visible = (max(rates) - min(rates)) * _VISIBLE
    found = []
    top = bottom = 0  # the highest since the last low point, and the lowest after it
    for i, rate in enumerate(rates):
        if rates[bottom] < rates[top] - visible and rate > rates[bottom] + visible:
            found.append(bottom)
            top = bottom = i
        if rate > rates[top]:
            top = bottom = i
        if rate <= rates[bottom]:
            bottom = i
    return found


def _decay(schedule: Schedule) -> int | None:
    """The step at which a decay has come to where it goes to, or to a few times its half-life."""
    steps = ever_rarer(_far(schedule))
    *rates, last = rates_at(schedule, steps)
    away = [abs(rate - last) for rate in rates]
    height = max(away)
    if not (math.isfinite(height) and height > 0):
        return None
    half, most = (max(i for i, a in enumerate(away) if a > height * part) for part in (0.5, _VISIBLE))
    reached = min(steps[most + 1], _HALF_LIVES * steps[half + 1])
    return reached if reached < _far(schedule) // 4 else None


def _growth(schedule: Schedule) -> int | None:
    """The step at which the rate has grown a hundredfold."""
    steps = ever_rarer(_far(schedule))
    rates = [abs(rate) for rate in rates_at(schedule, steps)]
    start = next((rate for rate in rates if rate > 0), math.inf)
    return next((step for step, rate in zip(steps, rates, strict=True) if rate * _VISIBLE >= start), None)


def _far(schedule: Schedule) -> int:
    return _FAR_FOR_OTHERS if _has_a_function(schedule) else _FAR


def _has_a_function(schedule: Schedule) -> bool:
    """Whether it is made of a function that somebody else wrote."""
    return any(
        _has_a_function(operand) if isinstance(operand, Schedule) else callable(operand)
        for operand in schedule._call.operands()
    )
