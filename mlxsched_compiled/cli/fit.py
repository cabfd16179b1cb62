"""Whether a schedule fits its number of updates: it may not reach its end, or reach it long before the last."""

from __future__ import annotations

from collections.abc import Iterator

from ..plotting.axes import number, whole
from ..plotting.curve import Curve
from ..plotting.horizon import end
from ..plotting.samples import rates_at
from .training_file import Training

_NEAR = 0.02
"""The part of a curve's height that the last rate may be away from its end..."""
_JUMP = 0.05
"""...by which a staircase comes down at least in its last step..."""
_IDLE = 0.1
"""...and the part of the updates that may come after the end."""


def misfits(training: Training) -> Iterator[str]:
    """What does not fit, in words."""
    updates, ends = training.updates, end(training.schedule)
    if updates is None or not ends:
        return
    curve = Curve(training.schedule, ends + 1)
    low = min(rate for _, rate in curve.points)
    height = max(rate for _, rate in curve.points) - low
    # An update too many is nobody's mistake: mlx-lm's own warmup takes one.
    before_end, at_end, last, past_last = rates_at(training.schedule, [ends - 1, ends, updates - 1, updates + 1])
    warmup = _warmup_beside(training, curve)  # a mistake however near to the end it leads
    if ends > updates and abs(past_last - at_end) > (0 if warmup else _NEAR * height):
        where = f"does not reach its end, {number(at_end)} from step {whole(ends)} on"
        yield f"it {where}: the last of {training.length} is made at {number(last)}.{_reason(training, warmup)}"
    if updates - ends > _IDLE * updates:
        late = f"it ends early: {whole(updates - ends)} of {training.length} are made at"
        if at_end == 0:
            yield f"{late} a rate of 0, from step {whole(ends)} on, and change nothing."
        elif at_end < low + height / 2 and abs(before_end - at_end) < _JUMP * height:
            yield f"{late} {number(at_end)}, from step {whole(ends)} on."


def _reason(training: Training, warmup: int) -> str:
    """Why a schedule is too long, as far as its numbers tell."""
    reason = " A step is an update, not an iteration." if training.accumulation > 1 else ""
    if warmup:
        reason += f" The warmup of {whole(warmup)} steps is not part of the decay's."
    return reason


def _warmup_beside(training: Training, curve: Curve) -> int:
    """The steps of a warmup whose decay alone is as long as the training; 0 if there is none."""
    ends, warmup = curve.count - 1, curve.highest_at
    totals = training.iters or 0, training.updates or 0
    return warmup if warmup > 1 and any(abs(ends - warmup - total) <= 1 for total in totals) else 0
