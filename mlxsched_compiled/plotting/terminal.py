"""Curves in a terminal, each in a mark of its own, with axes in ASCII where nothing else is known."""

from __future__ import annotations

from collections.abc import Sequence

from .axes import number, shared, step_ticks, ticks, whole
from .curve import Curve

_HEIGHT = 12  # lines, without the lower axis
_NARROWEST = 6  # characters
_MARKS = "*o+x#@%&"
_ASCII = str.maketrans("│┤─└┬", "|+-++")


def picture(curves: Sequence[Curve], width: int, encoding: str) -> str:
    """The curves over shared axes, in so many characters a line, of those that the encoding has."""
    low, high, last = shared(curves)

    def row(rate: float) -> int:
        return round((high - rate) / (high - low) * (_HEIGHT - 1))

    labels = {row(tick): number(tick) for tick in ticks(low, high, 5)}
    margin = max(map(len, labels.values())) + 2
    columns = max(width - margin - 1, _NARROWEST)
    cells: dict[tuple[int, int], str] = {}
    for i, curve in reversed([*enumerate(curves)]):  # where curves meet, the mark of the first is seen
        points = [(round(step / last * (columns - 1)), row(rate)) for step, rate in curve.outline(columns, last)]
        cells.update(dict.fromkeys(_line(points), mark(i)))
    lines = []
    for y in range(_HEIGHT):
        axis = f"{labels.get(y, ''):>{margin - 1}} {'┤' if y in labels else '│'}"
        lines.append((axis + "".join(cells.get((x, y), " ") for x in range(columns))).rstrip())
    text = "\n".join([*lines, *_lower_axis(last, columns, margin)])
    return text if encoding.lower().startswith("utf") else text.translate(_ASCII)


def mark(index: int) -> str:
    """What the curve of this number is drawn with."""
    return _MARKS[index % len(_MARKS)]


def _line(points: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """The cells from point to point, without a gap."""
    cells = {points[0]}
    for (x, y), (to_x, to_y) in zip(points, points[1:], strict=False):
        length = max(abs(to_x - x), abs(to_y - y), 1)
        parts = [i / length for i in range(length + 1)]
        cells.update((x + round(part * (to_x - x)), y + round(part * (to_y - y))) for part in parts)
    return cells


def _lower_axis(last: int, columns: int, margin: int) -> list[str]:
    line, labels = ["─"] * columns, [" "] * (margin + 1 + columns)
    free = 0
    for tick in step_ticks(last, max(columns // 14, 1)):
        at, text = round(tick / last * (columns - 1)), whole(tick)
        start = min(max(margin + 1 + at - len(text) // 2, free), len(labels) - len(text))
        if start >= free:
            line[at] = "┬"
            labels[start : start + len(text)] = text
            free = start + len(text) + 1
    return [" " * margin + "└" + "".join(line), "".join(labels).rstrip()]
