"""What stands around a curve: axes and their labels, and a line of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .curve import Curve

# The distances of labels, times a power of ten.
_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)


def span(rates: Iterable[float]) -> tuple[float, float]:
    """The lowest and the highest rate that a picture of these shows: it shows 0 unless all are far from it."""
    rates = list(rates)
    low, high = min(rates), max(rates)
    if low == high or 0 <= 2 * low <= high:
        low = min(low, 0.0)
    if low == high or 0 >= 2 * high >= low:
        high = max(high, 0.0)
    return low, high if high > low else low + 1.0


def shared(curves: Iterable[Curve]) -> tuple[float, float, int]:
    """What a picture of these curves spans: the lowest and the highest rate, and the last step."""
    curves = list(curves)
    low, high = span(rate for curve in curves for _, rate in curve.points)
    return low, high, max(max(curve.count for curve in curves) - 1, 1)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from ``low`` to ``high``, evenly spaced: two at least, and no more than ``most`` if that can be."""
    scale = 10.0 ** math.floor(math.log10((high - low) / most))
    distance = next(d * scale for d in _ROUND if (high - low) / (d * scale) <= most)
    # 0.01 is a little less in float32, and a label all the same.
    first, last = math.ceil(low / distance - 1e-6), math.floor(high / distance + 1e-6)
    return [float(f"{i * distance:.12g}") for i in range(first, last + 1)]


def step_ticks(last: int, most: int) -> list[int]:
    """Round steps from 0 to ``last``."""
    return [int(tick) for tick in ticks(0, last, min(most, last)) if tick.is_integer()]


def summary(curve: Curve) -> str:
    """The first rate, the highest and the last, and where they are."""
    if curve.ends == 0:
        return f"{number(curve.first)} at every step"
    if curve.ends is not None and curve.ends < curve.count:
        last = f"from step {whole(curve.ends)} on"
    else:
        last = f"at step {whole(curve.count - 1)}"
    highest = f"highest {number(curve.highest)} at step {whole(curve.highest_at)}"
    return f"first {number(curve.first)}, {highest}, {number(curve.last)} {last}"


def number(value: float) -> str:
    """A rate in a few digits."""
    mantissa, e, exponent = f"{value + 0.0:.5g}".partition("e")  # of -0.0, 0.0
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def whole(step: int) -> str:
    """A step, its thousands apart."""
    return f"{step:,}"
