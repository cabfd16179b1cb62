"""Whether a schedule fits its number of updates: it may not reach its end, or reach it long before the last."""

from __future__ import annotations

from collections.abc import Iterator

from ..plotting.axes import number, whole
from ..plotting.curve import Curve
from ..plotting.horizon import end
from ..plotting.samples import rates_at
from .training_file import Training

_NEAR = 0.02  # the part of a curve's height that the last rate may be away from its end
_JUMP = 0.05  # the part of it by which a staircase comes down at least in its last step
_IDLE = 0.1  # the part of the updates that may come after the end


def warnings(training: Training) -> list[str]:
    """What is not as it may seem, in the configuration and in the length of the schedule."""
    return [*training.notes, *misfits(training)]


def misfits(training: Training) -> Iterator[str]:
    """What does not fit, in words."""
    updates, ends = training.updates, end(training.schedule)
    if updates is None or not ends:
        return
    rates = [rate for _, rate in Curve(training.schedule, ends + 1).points]
    low, height = min(rates), max(rates) - min(rates)
    # An update too many is nobody's mistake: mlx-lm's own warmup takes one.
    before_end, at_end, last, past_last = rates_at(training.schedule, [ends - 1, ends, updates - 1, updates + 1])
    if ends > updates and abs(past_last - at_end) > _NEAR * height:
        where = f"does not reach its end, {number(at_end)} from step {whole(ends)} on"
        yield f"it {where}: the last of {training.length} is made at {number(last)}. {_REASON}"
    if updates - ends > _IDLE * updates:
        late = f"it ends early: {whole(updates - ends)} of {training.length} are made at"
        if at_end == 0:
            yield f"{late} a rate of 0, from step {whole(ends)} on, and change nothing."
        elif at_end < low + height / 2 and abs(before_end - at_end) < _JUMP * height:
            yield f"{late} {number(at_end)}, from step {whole(ends)} on."


_REASON = "A step is an update, not an iteration, and a warmup comes before the steps of a decay."
