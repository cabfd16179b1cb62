"""Curves in a terminal: one in dots of Braille, several in marks, and all in ASCII where nothing else is known."""

from __future__ import annotations

from collections.abc import Sequence

from .axes import number, shared, step_ticks, ticks, whole
from .curve import Curve

_HEIGHT = 12
"""Lines of a picture, without its lower axis..."""
_NARROWEST = 6
"""...and the fewest characters of one."""
_MARKS = "*o+x#@%&"
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a character of Braille, two beside each other in four lines."""
_UNICODE = {"|": "│", "+": "┤", "-": "─", "corner": "└", "tick": "┬"}
_ASCII = {"|": "|", "+": "+", "-": "-", "corner": "+", "tick": "+"}

Pixels = set[tuple[int, int]]
"""The column and the line of each, from the upper left."""


def picture(curves: Sequence[Curve], width: int, encoding: str) -> str:
    """The curves over shared axes, in so many characters a line, of those that the encoding has."""
    signs, is_ascii = _signs(encoding)
    low, high, last = shared(curves)
    labels = {_row(tick, low, high, _HEIGHT): number(tick) for tick in ticks(low, high, 5)}
    margin = max(map(len, labels.values())) + 2
    columns = max(width - margin - 1, _NARROWEST)
    if len(curves) > 1 or is_ascii:
        lines = _marked([_pixels(curve, low, high, last, columns, _HEIGHT) for curve in curves], columns)
    else:
        lines = _dotted(_pixels(curves[0], low, high, last, 2 * columns, 4 * _HEIGHT), columns)
    rows = [
        f"{labels.get(row, ''):>{margin - 1}} {signs['+' if row in labels else '|']}{line}".rstrip()
        for row, line in enumerate(lines)
    ]
    return "\n".join([*rows, *_lower_axis(last, columns, margin, signs)])


def mark(index: int) -> str:
    """What the curve of this number is drawn with, among several."""
    return _MARKS[index % len(_MARKS)]


def _signs(encoding: str) -> tuple[dict[str, str], bool]:
    try:
        "".join([chr(_BRAILLE), *_UNICODE.values()]).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return _ASCII, True
    return _UNICODE, False


def _row(rate: float, low: float, high: float, rows: int) -> int:
    return round((high - rate) / (high - low) * (rows - 1))


def _pixels(curve: Curve, low: float, high: float, last: int, columns: int, rows: int) -> Pixels:
    """The pixels on the curve, without a gap."""
    points = [
        (round(step / last * (columns - 1)), _row(rate, low, high, rows)) for step, rate in curve.outline(columns, last)
    ]
    pixels = {points[0]}
    for (x, y), (to_x, to_y) in zip(points, points[1:], strict=False):
        length = max(abs(to_x - x), abs(to_y - y), 1)
        parts = (i / length for i in range(length + 1))
        pixels.update((x + round(part * (to_x - x)), y + round(part * (to_y - y))) for part in parts)
    return pixels


def _marked(drawn: Sequence[Pixels], columns: int) -> list[str]:
    """A character for each pixel; where curves meet, the mark of the first."""
    cells = {pixel: mark(i) for i, pixels in reversed([*enumerate(drawn)]) for pixel in pixels}
    return ["".join(cells.get((x, y), " ") for x in range(columns)) for y in range(_HEIGHT)]


def _dotted(pixels: Pixels, columns: int) -> list[str]:
    """Eight pixels in a character."""
    cells: dict[tuple[int, int], int] = {}
    for x, y in pixels:
        cell = (x // 2, y // 4)
        cells[cell] = cells.get(cell, _BRAILLE) | _DOTS[y % 4][x % 2]
    return ["".join(chr(cells.get((x, y), ord(" "))) for x in range(columns)) for y in range(_HEIGHT)]


def _lower_axis(last: int, columns: int, margin: int, signs: dict[str, str]) -> list[str]:
    line, labels = [signs["-"]] * columns, [" "] * (margin + 1 + columns)
    free = 0
    for tick in step_ticks(last, max(columns // 14, 1)):
        at, text = round(tick / last * (columns - 1)), whole(tick)
        start = min(max(margin + 1 + at - len(text) // 2, free), len(labels) - len(text))
        if start >= free:
            line[at] = signs["tick"]
            labels[start : start + len(text)] = text
            free = start + len(text) + 1
    return [" " * margin + signs["corner"] + "".join(line), "".join(labels).rstrip()]
