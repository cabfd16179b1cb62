"""Pictures of schedules: in characters, in a notebook, with matplotlib."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import mlx.core as mx
import numpy as np
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled.plotting.axes import number, span, step_ticks, summary, ticks
from mlxsched_compiled.plotting.curve import Curve
from mlxsched_compiled.plotting.terminal import mark, picture

from .measuring import requires_compile
from .schedules import TYPICAL, Row, each
from .test_docs import DOCS

_SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("rates", "spanned"),
    [
        ([0.1, 0.02], (0, 0.1)),
        ([0.85, 0.95], (0.85, 0.95)),
        ([-1.0, -0.1], (-1, 0)),
        ([-1.0, 2.0], (-1, 2)),
        ([0.1], (0, 0.1)),
        ([-0.1], (-0.1, 0)),
        ([0.0], (0, 1)),
    ],
)
def test_a_picture_shows_zero_unless_all_is_far_from_it(rates: list[float], spanned: tuple[float, float]) -> None:
    assert span(rates) == spanned


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1e-3, ["0", "0.00025", "0.0005", "0.00075", "0.001"]),
        (0, mx.array(0.01).item(), ["0", "0.0025", "0.005", "0.0075", "0.01"]),
        (0, 3e-4, ["0", "0.0001", "0.0002", "0.0003"]),
        (0.85, 0.95, ["0.85", "0.875", "0.9", "0.925", "0.95"]),
        (-2, 2, ["-2", "-1", "0", "1", "2"]),
        (0, 1e-38, ["0", "2.5e-39", "5e-39", "7.5e-39", "1e-38"]),
    ],
)
def test_labels_are_round(low: float, high: float, labels: list[str]) -> None:
    assert [number(tick) for tick in ticks(low, high, 4)] == labels


@pytest.mark.parametrize(("last", "labels"), [(1, [0, 1]), (3, [0, 1, 2, 3]), (10, [0, 2, 4, 6, 8, 10]), (1100, None)])
def test_steps_are_whole(last: int, labels: list[int] | None) -> None:
    assert step_ticks(last, 5) == (labels or [0, 250, 500, 750, 1000])


@each(TYPICAL)
@pytest.mark.parametrize("steps", [None, 2, 50, 200_000])
def test_the_numbers_of_a_summary(row: Row, steps: int | None) -> None:
    text = summary(Curve(row.schedule, steps))
    if text.endswith("at every step"):
        found = [(text.split()[0], 0), (text.split()[0], 100)]
    else:
        shown = re.fullmatch(r"first (\S+), highest (\S+) at step (\S+), (\S+) (?:from|at) step (\S+)(?: on)?", text)
        assert shown is not None
        numbers = [part.replace(",", "") for part in shown.groups()]
        found = [(numbers[0], 0), (numbers[1], int(numbers[2])), (numbers[3], int(numbers[4]))]
    for rate, step in found:
        assert float(rate) == pytest.approx(row.truth(np.array([step], np.uint64))[0], rel=1e-4, abs=1e-44)


_LINE = r"""
   1 +**
     |  *
 0.8 +   **
     |     **
 0.6 +       **
     |         *
     |          **
 0.4 +            **
     |              **
 0.2 +                *
     |                 **
   0 +                   *
     ++-------------------
      0
"""


def test_a_line_in_characters() -> None:
    assert picture([Curve(ours.linear_schedule(1, 0, 11), 12)], 26, "ascii") == _LINE.strip("\n")


@each(TYPICAL)
def test_a_picture_shows_the_rates(row: Row) -> None:
    curve = Curve(row.schedule)
    *rows, _, _ = picture([curve], 80, "ascii").splitlines()
    margin = max(row.find("+") for row in rows) + 1
    columns = 80 - margin
    low, high = span(curve.rates)
    marked = {(x, y) for y, row in enumerate(rows) for x, sign in enumerate(row[margin:]) if sign == "*"}
    heights: list[list[float]] = [[] for _ in range(columns)]
    for step, rate in curve.points:
        heights[round(step / (curve.count - 1) * (columns - 1))].append((high - rate) / (high - low) * (len(rows) - 1))
    for x in range(columns):
        here = [y for column, y in marked if column == x]
        assert here
        around = heights[max(x - 1, 0) : x + 2]
        if all(around):
            near = [height for each in around for height in each]
            assert min(near) - 1 <= min(here) <= max(here) <= max(near) + 1
        if heights[x]:
            assert min(here) <= min(heights[x]) + 1
            assert max(here) >= max(heights[x]) - 1


@each(TYPICAL)
@pytest.mark.parametrize("width", [1, 40])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_every_schedule_fits_the_terminal(row: Row, width: int, encoding: str) -> None:
    drawn = picture([Curve(row.schedule)], width, encoding)
    drawn.encode(encoding)
    assert max(map(len, drawn.splitlines())) <= max(width, 32)


def test_several_curves_have_their_marks() -> None:
    curves = [Curve(ours.linear_schedule(1, 0, 100)), Curve(ours.linear_schedule(0, 1, 100)), Curve(ours.constant(0.5))]
    drawn = picture(curves, 60, "utf-8")
    assert [mark(i) for i in range(3)] == ["*", "o", "+"]
    assert all(sign in drawn for sign in "*o+")


@each(TYPICAL)
def test_a_notebook_shows_the_curve_and_the_call(row: Row) -> None:
    schedule = row.schedule
    page = ElementTree.fromstring(str(schedule._repr_html_()))
    call = page.find("code")
    assert call is not None
    assert call.text == str(schedule)
    line = page.find(f".//{_SVG}polyline")
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert 2 <= len(points) <= 600
    assert all(0 <= x <= 480 and 0 <= y <= 180 for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert len(page.findall(f".//{_SVG}text")) >= 4


def test_a_call_is_escaped() -> None:
    def rate(step: mx.array) -> mx.array:
        return step * 0.1

    rate.__qualname__ = rate.__name__ = "<script>"
    html = str(ours.Schedule(rate)._repr_html_())
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_a_rate_that_fails_shows_as_its_call() -> None:
    def rate(step: mx.array) -> mx.array:
        raise ZeroDivisionError

    schedule = ours.Schedule(rate)
    assert schedule._repr_html_() is None
    assert ours.Schedule(lambda step: step * float("nan"))._repr_html_() is None


@requires_compile
def test_a_schedule_in_a_trace_shows_as_its_call() -> None:
    shown: list[Any] = []

    def step(peak: mx.array) -> mx.array:
        shown.append(ours.cosine_decay(peak, 10)._repr_html_())
        return peak

    mx.eval(mx.compile(step)(mx.array(0.1)))
    assert shown == [None]


def test_what_metrics_have_done_shows() -> None:
    schedule = ours.warmup(ours.reduce_on_plateau(ours.constant(0.1), patience=0), 10)
    for _ in range(2):
        schedule.observe(1.0)
    assert Curve(schedule).last == pytest.approx(0.01)


@pytest.fixture(name="pyplot")
def _pyplot() -> Iterator[Any]:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def test_plot_draws_the_rates(pyplot: Any) -> None:
    schedule = ours.warmup_cosine_decay(1e-3, 100, 1000)
    ax = schedule.plot()
    (line,) = ax.get_lines()
    assert line.get_xdata().tolist() == [*range(1101)]
    assert line.get_ydata().tolist() == schedule(mx.arange(1101)).tolist()
    assert line.get_label() == repr(schedule)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "learning rate")
    assert ax.get_ylim()[0] == 0


def test_schedules_share_axes(pyplot: Any) -> None:
    _, ax = pyplot.subplots()
    assert ours.cosine_decay(1, 100).plot(50, ax) is ax
    assert ours.linear_schedule(1, -1, 100).plot(ax=ax) is ax
    assert [len(line.get_xdata()) for line in ax.get_lines()] == [50, 111]
    assert ax.get_xlim() == (0, 110)
    assert ax.get_ylim()[0] < -1


def test_a_logarithmic_axis_stays_one(pyplot: Any) -> None:
    _, ax = pyplot.subplots()
    ax.set_yscale("log")
    ours.exponential_decay(1, 0.9).plot(ax=ax)
    assert ax.get_ylim()[0] > 0


def test_the_page_draws(pyplot: Any) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "pictures.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert [line.get_label()[:6] for line in names["ax"].get_lines()] == ["cosine", "warmup"]


@pytest.mark.parametrize("steps", [0, -1, 1.5, "ten", mx.array(3)])
def test_steps_must_be_a_whole_number(steps: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="steps must be"):
        ours.cosine_decay(1, 100).plot(steps)


def test_no_matplotlib_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'mlxsched_compiled\[plot\]'"):
        ours.cosine_decay(1, 100).plot()


def test_nothing_that_draws_is_loaded_before_it_is_used() -> None:
    code = "import sys, mlxsched_compiled; print({'matplotlib', 'yaml'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
