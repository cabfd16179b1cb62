"""A schedule in a notebook: its curve, in SVG, above its call."""

from __future__ import annotations

from html import escape

from ..core.schedule import Schedule
from .axes import number, shared, step_ticks, summary, ticks, whole
from .curve import Curve

_WIDTH, _HEIGHT = 480, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 10, 24
"""What surrounds the curve, and holds the labels of the axes."""
_COLUMNS = 150
# Seen on white as well as on black. All else has the colour of the text around.
_LINE = "#5b7fe0"


def html(schedule: Schedule) -> str | None:
    """The picture and the call; None where there is no curve."""
    try:
        curve, call = Curve(schedule), str(schedule)
    except Exception:  # somebody else's rate may raise anything, and what is being traced has no value
        return None
    return (
        f'<div style="max-width: {_WIDTH}px">{_svg(curve)}<div>{summary(curve)}</div>'
        f'<code style="overflow-wrap: anywhere">{escape(call)}</code></div>'
    )


def _svg(curve: Curve) -> str:
    """The curve with its axes."""
    low, high, last = shared([curve])

    def across(step: float) -> str:
        return f"{_LEFT + step / last * (_WIDTH - _LEFT - _RIGHT):.1f}"

    def down(rate: float) -> str:
        return f"{_TOP + (high - rate) / (high - low) * (_HEIGHT - _TOP - _BOTTOM):.1f}"

    left, right, bottom = across(0), across(last), down(low)
    parts = []
    for rate in ticks(low, high, 4):
        y = down(rate)
        parts.append(f'<line x1="{left}" y1="{y}" x2="{right}" y2="{y}" stroke="currentColor" stroke-opacity="0.15"/>')
        parts.append(_text(f"{_LEFT - 8}", y, "end", number(rate), 'dominant-baseline="middle"'))
    for step in step_ticks(last, 4):
        parts.append(_text(across(step), f"{_HEIGHT - 6}", "middle", whole(step)))
    parts.append(f'<path d="M{left} {_TOP}V{bottom}H{right}" stroke="currentColor" stroke-opacity="0.5" fill="none"/>')
    points = " ".join(f"{across(step)},{down(rate)}" for step, rate in curve.outline(_COLUMNS, last))
    parts.append(f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="2" stroke-linejoin="round"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'style="max-width: 100%; height: auto" font-family="sans-serif" font-size="11">'
        f"<title>{summary(curve)}</title>{''.join(parts)}</svg>"
    )


def _text(x: str, y: str, anchor: str, text: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="currentColor" {more}>{text}</text>'
