"""Curves drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.checks import count, static
from ..core.extras import missing
from ..core.schedule import Schedule
from .axes import shortened, span
from .curve import Curve

# Characters of a label.
_LONGEST = 80


def plot(schedule: Schedule, steps: int | None, ax: Any) -> Any:
    """Draws so many steps of a schedule."""
    curve = Curve(schedule, None if steps is None else static("steps", count("steps", steps)))
    ax = new_axes() if ax is None else ax
    draw(curve, repr(schedule), ax)
    return ax


def save(curves: Sequence[Curve], labels: Sequence[str], file: str) -> None:
    """Writes a picture of the curves, in the format that the file's ending names.

    Raises:
        ImportError: If there is no matplotlib.
        ValueError: If the ending is missing or not known.
        OSError: If the file cannot be written.
    """
    try:
        import matplotlib.figure
    except ImportError as error:
        raise missing("matplotlib", "plot", "A picture") from error
    if not Path(file).suffix:
        raise ValueError(f"{file} needs an ending that names the format: .png, .svg or .pdf.")
    figure = matplotlib.figure.Figure(figsize=(8, 4), layout="constrained")
    ax = figure.subplots()
    for curve, label in zip(curves, labels, strict=True):
        draw(curve, label, ax)
    figure.legend(frameon=False, loc="outside upper left")
    figure.savefig(file, dpi=150)


def new_axes() -> Any:
    """Axes in a new figure of pyplot."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise missing("matplotlib", "plot", "plot()") from error
    return pyplot.subplots()[1]


def draw(curve: Curve, label: str, ax: Any) -> None:
    """Adds a curve to axes, which afterwards show all that is on them."""
    ax.plot(*zip(*curve.points, strict=True), label=shortened(label, _LONGEST))
    if ax.get_yscale() == "linear":
        low, high = span([ax.dataLim.y0, ax.dataLim.y1])
        margin = (high - low) / 20
        ax.set_ylim(low - (margin if low != 0 else 0), high + (margin if high != 0 else 0))
    ax.set_xlim(ax.dataLim.x0, max(ax.dataLim.x1, 1))
    ax.set_xlabel("step")
    ax.set_ylabel("learning rate")
