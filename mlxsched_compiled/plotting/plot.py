"""Curves drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.checks import count, static
from ..core.extras import needed
from ..core.schedule import Schedule
from .axes import span
from .curve import Curve


def plot(schedule: Schedule, steps: int | None, ax: Any) -> Any:
    """Draws so many steps of a schedule."""
    curve = Curve(schedule, None if steps is None else static("steps", count("steps", steps)))
    ax = new_axes() if ax is None else ax
    draw(curve, str(schedule), ax)
    return ax


def save(curves: Sequence[Curve], labels: Sequence[str], file: str) -> None:
    """Writes a picture of the curves, in the format that the file's ending names.

    Raises:
        ImportError: If there is no matplotlib.
        ValueError: If the ending is not known.
        OSError: If the file cannot be written.
    """
    figure = needed("matplotlib.figure", "plot", "A picture").Figure(figsize=(8, 4), layout="constrained")
    ax = figure.subplots()
    for curve, label in zip(curves, labels, strict=True):
        draw(curve, label, ax)
    figure.legend(frameon=False, loc="outside upper left")
    figure.savefig(file, dpi=150)


def new_axes() -> Any:
    """Axes in a new figure of pyplot."""
    return needed("matplotlib.pyplot", "plot", "plot()").subplots()[1]


def draw(curve: Curve, label: str, ax: Any) -> None:
    """Adds a curve to axes, which afterwards show all that is on them."""
    ax.plot(*zip(*curve.points, strict=True), label=label)
    if ax.get_yscale() == "linear":
        low, high = span([ax.dataLim.y0, ax.dataLim.y1])
        margin = (high - low) / 20
        ax.set_ylim(low - (margin if low != 0 else 0), high + (margin if high != 0 else 0))
    ax.set_xlim(ax.dataLim.x0, max(ax.dataLim.x1, 1))
    ax.set_xlabel("step")
    ax.set_ylabel("learning rate")
