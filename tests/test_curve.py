"""How far a schedule is drawn, and where it ends: on the whole catalogue, and on what users make of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlxsched_compiled as ours
from mlxsched_compiled.plotting.curve import Curve
from mlxsched_compiled.plotting.horizon import end
from mlxsched_compiled.plotting.samples import rates_at

from .schedules import FACTORIES, TABLE, TYPICAL, call_of


def test_the_whole_catalogue_is_tried() -> None:
    assert {call_of(row.make, 0.1)[0] for row in TYPICAL.values()} >= {*FACTORIES} - {"from_config"}


@pytest.mark.parametrize("name", TYPICAL)
def test_a_schedule_is_drawn_until_its_end_or_as_far_as_shows_how_it_goes(name: str) -> None:
    truth, schedule = TYPICAL[name].truth, TYPICAL[name].schedule
    curve = Curve(schedule)
    ends = curve.ends
    if ends is None:
        later, latest = truth(np.array([2, 3], np.uint64) * np.uint64(curve.count))
        assert later != latest
        assert curve.count == pytest.approx(_enough(truth), rel=0.12)
        return
    after = truth(np.linspace(ends, 20 * ends + 10, 10**5).astype(np.uint64))
    assert after == pytest.approx(after[-1], rel=1e-6)
    if ends > 0:
        before, at, later = rates_at(schedule, [ends - 1, ends, 10**9])
        assert before != at == later
        assert 1.05 * ends < curve.count < 1.15 * ends + 3


def _enough(truth: Callable[[Any], Any]) -> int:
    """Steps until a curve is at its highest, and from there six times as far as until it has come down to the half."""
    steps = np.unique(np.geomspace(1, 2**40, 10**6).astype(np.uint64)) - np.uint64(1)
    rates = truth(steps)
    low, high = rates.min(), rates.max()
    top = int(np.argmax(rates >= high - 0.01 * (high - low)))
    half = top + int(np.argmax(rates[top:] <= (low + high) / 2))
    return int(steps[top]) + 6 * (int(steps[half]) - int(steps[top]))


@pytest.mark.parametrize("name", TABLE)
def test_a_curve_has_the_rates_of_the_schedule(name: str) -> None:
    curve, truth = Curve(TABLE[name].schedule), TABLE[name].truth
    rates = truth(np.array([0, curve.highest_at, curve.count - 1]))
    rates[rates > mx.finfo(mx.float32).max] = math.inf
    assert [curve.first, curve.highest, curve.last] == pytest.approx(rates, rel=3e-6, abs=2**-126)
    assert max(filter(math.isfinite, curve.rates)) <= curve.highest
    assert 0 < len(curve.outline(100, curve.count - 1)) <= 400


def _power_law(step: mx.array, peak: mx.array, steps: mx.array) -> mx.array:
    return peak * (1 + step / steps) ** -0.5


@pytest.mark.parametrize(
    ("make", "ends", "count"),
    [
        (lambda: ours.constant(0.1), 0, 1000),
        (lambda: ours.table([1, 2, 3]), 2, 4),
        (lambda: ours.delay(ours.cosine_decay(1, 10), 10**6), 10**6 + 10, 1_100_012),
        (lambda: ours.cosine_decay(1, 2**38), 2**38, 2**38 + 2**38 // 10 + 1),
        (lambda: ours.piecewise_constant([1, 0.1, 1e-2, 1e-3, 1e-4], [10, 100, 1000, 10**4]), 10**4, 11_001),
        (lambda: ours.cooldown(ours.cosine_restarts(1, 100), 10**4, 1000), 11_000, 12_101),
        (lambda: ours.cosine_decay(1, 10**4) * ours.cyclic(0, 1, 50), 10**4, 11_001),
        (lambda: -ours.cosine_decay(1, 100), 100, 111),
        (lambda: ours.exponential_decay(1.0, 0.99) + 0.1, None, 415),
        (lambda: ours.constant(1) / ours.exponential_decay(1, 0.99), None, 1000),
        (lambda: ours.cosine_restarts(1e-3, 100, 1e-5, decay=0.9), None, 301),
        (lambda: ours.cyclic(0, 1, 1, 2), None, 8),
        (lambda: ours.cyclic(0, 1, 32), None, 129),
        (lambda: ours.warmup(ours.cosine_restarts(1, 100), 10**4), None, 10_400),
        (lambda: ours.Schedule(_power_law, 0.1, 100), None, 1801),
        (lambda: ours.Schedule(lambda step: 1 + mx.cos(step / 50)), None, 475),
        (lambda: ours.Schedule(lambda step: step * 1e-6), None, 1000),
    ],
)
def test_where_it_ends_and_how_far_it_is_drawn(make: Callable[[], Any], ends: int | None, count: int) -> None:
    curve = Curve(make())
    assert curve.ends == ends
    assert curve.count == pytest.approx(count, rel=0.03)


@given(lengths=st.lists(st.integers(1, 10**6), min_size=1, max_size=5), data=st.data())
def test_phases_end_where_the_last_one_ends(lengths: list[int], data: st.DataObject) -> None:
    peaks = data.draw(st.lists(st.integers(1, 9), min_size=len(lengths), max_size=len(lengths)))
    ramps = [ours.linear_schedule(peak, 0, length) for peak, length in zip(peaks, lengths, strict=True)]
    starts = [sum(lengths[:k]) for k in range(1, len(lengths))]
    if lengths[-1] * 100 > sum(lengths):
        assert end(ours.join_schedules(ramps, starts)) == sum(lengths)


def test_the_highest_rate_is_found_among_any_number_of_steps() -> None:
    top = 123_456_789
    curve = Curve(ours.warmup(ours.linear_schedule(1, 0, 10**9), top))
    assert curve.highest == 1
    assert curve.highest_at == pytest.approx(top, rel=1e-6)


def test_a_curve_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError

    schedule = ours.warmup_cosine_decay(1, 10, 100)
    monkeypatch.setattr("mlxsched_compiled.core.graph.Graph.__init__", fail)
    assert Curve(schedule).highest == 1


def test_what_is_not_finite_is_left_out() -> None:
    curve = Curve(ours.constant(1) / ours.linear_schedule(1, 0, 10))
    assert math.isinf(curve.last)
    assert curve.highest == pytest.approx(10)
    assert [step for step, _ in curve.points] == [*range(10)]
    holes = Curve(ours.Schedule(lambda step: mx.where(step % 2 == 0, 0.1, math.nan)))
    assert {rate for _, rate in holes.points} == {mx.array(0.1).item()}
    with pytest.raises(ValueError, match="no finite rate"):
        Curve(ours.Schedule(lambda step: step * math.nan))


def test_many_steps_keep_their_extremes() -> None:
    curve = Curve(ours.cosine_decay(1, 10**4) * ours.cyclic(0, 1, 50))
    outline = curve.outline(100, curve.count - 1)
    assert len(outline) <= 400
    assert {0.0, max(curve.rates)} <= {rate for _, rate in outline}


def test_a_picture_begins_with_the_first_rate_and_ends_with_the_last() -> None:
    points = Curve(ours.cosine_decay(1, 10**6) * ours.cyclic(1, 2, 50), 20_075).points
    outline = Curve(ours.cosine_decay(1, 10**6) * ours.cyclic(1, 2, 50), 20_075).outline(50, 20_074)
    assert (outline[0], outline[-1]) == (points[0], points[-1])
