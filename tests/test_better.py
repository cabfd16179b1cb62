"""Which metrics are better: ``reduce_on_plateau`` against its rules in plain Python, negative metrics included."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mlxsched_compiled as ours

from .measuring import uncompiled

MODES = [(mode, threshold_mode) for mode in ("min", "max") for threshold_mode in ("rel", "abs")]
in_all_modes = pytest.mark.parametrize(("mode", "threshold_mode"), MODES)


class _Plateau:
    """The rules, a metric at a time: PyTorch's, with ``threshold * abs(best)`` for a relative threshold."""

    def __init__(self, mode: str, threshold_mode: str, threshold: float, patience: int, cooldown: int) -> None:
        self.sign = 1 if mode == "min" else -1
        self.relative = threshold_mode == "rel"
        self.threshold, self.patience, self.cooldown = threshold, patience, cooldown
        self.best: float | None = None
        self.bad = self.cooling = 0
        self.scale = 1.0

    def _is_better(self, metric: float) -> bool:
        if math.isnan(metric):
            return False
        if self.best is None:
            return True
        margin = self.threshold * (abs(self.best) if self.relative else 1)
        return self.sign * metric < self.sign * self.best - margin

    def observe(self, metric: float) -> None:
        """Takes one more."""
        if self._is_better(metric):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling, self.bad = self.cooling - 1, 0
        if self.bad > self.patience:
            self.scale, self.bad, self.cooling = self.scale / 2, 0, self.cooldown


# Exact in float32, as is all that follows from them: no metric is better by a rounding.
metrics = st.lists(st.one_of(st.integers(-8, 8).map(lambda k: k / 4), st.just(math.nan)), max_size=25)
thresholds = st.sampled_from([0.0, 0.25, 0.5])
few = st.integers(0, 2)


@in_all_modes
@given(metrics, thresholds, few, few)
@example([-1.0, -1.0, -1.0], 0.25, 0, 0)
@example([-1.0, -1.1, -1.2], 0.25, 1, 0)
@example([0.0, 0.0, -0.25, 0.25], 0.5, 0, 1)
def test_each_metric_does_what_the_rules_say(
    mode: str, threshold_mode: str, told: list[float], threshold: float, patience: int, cooldown: int
) -> None:
    rules = _Plateau(mode, threshold_mode, threshold, patience, cooldown)
    with uncompiled():
        schedule = ours.reduce_on_plateau(
            1.0,
            factor=0.5,
            patience=patience,
            threshold=threshold,
            threshold_mode=threshold_mode,
            mode=mode,
            cooldown=cooldown,
        )
        rates, expected = [], []
        for metric in told:
            schedule.observe(metric)
            rules.observe(metric)
            rates.append(schedule(0))
            expected.append(rules.scale)
        assert [rate.item() for rate in rates] == expected


@pytest.mark.parametrize("base", [-1000.0, -3.5, -1e-3, 1e-3, 3.5, 1000.0])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_negative_metric_that_stands_still_reduces_and_one_that_gets_better_does_not(mode: str, base: float) -> None:
    """A log-likelihood as well as a loss; with the default threshold, which is relative."""
    still, better = (ours.reduce_on_plateau(1.0, patience=2, mode=mode) for _ in range(2))
    sign = -1 if mode == "min" else 1
    for number in range(9):
        still.observe(base)
        better.observe(base + sign * abs(base) * number / 100)
    assert still(0).item() == pytest.approx(0.01)
    assert better(0).item() == 1.0


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_little_better_is_not_better(mode: str) -> None:
    """Less than the threshold, on both sides of 0."""
    sign = -1 if mode == "min" else 1
    for base in (-2.0, 2.0):
        schedule = ours.reduce_on_plateau(1.0, patience=0, mode=mode, threshold=0.1)
        schedule.observe(base)
        schedule.observe(base + sign * 0.19)
        assert schedule(0).item() == pytest.approx(0.1), base
        schedule.observe(base + sign * 0.21)
        assert schedule(0).item() == pytest.approx(0.1), base


@in_all_modes
def test_the_first_metric_is_the_best_so_far_whatever_it_is(mode: str, threshold_mode: str) -> None:
    for first in (0.0, -1e30, 1e30, 5, mx.array(-3), mx.array(2.0, mx.bfloat16)):
        schedule = ours.reduce_on_plateau(1.0, patience=0, mode=mode, threshold_mode=threshold_mode, threshold=0.25)
        schedule.observe(first)
        assert schedule(0).item() == 1.0, first
        schedule.observe(first)
        assert schedule(0).item() == pytest.approx(0.1), first


@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(
    ("mode", "metric", "later", "rate"),
    [
        # Less than every float32: nothing is lower, and nothing is higher than what is the highest.
        ("min", -(10**400), -3e38, 0.5),
        ("max", 10**400, 3e38, 0.5),
        ("min", -math.inf, -3e38, 0.5),
        # The worst there is: all that follows is better.
        ("min", 10**400, 3e38, 1.0),
        ("max", -(10**400), -3e38, 1.0),
        ("max", -math.inf, 0.0, 1.0),
        ("min", math.inf, 0.0, 1.0),
    ],
)
def test_metrics_beyond_float32_keep_their_sign(
    mode: str, metric: Any, later: float, rate: float, threshold_mode: str
) -> None:
    schedule = ours.reduce_on_plateau(1.0, factor=0.5, patience=1, mode=mode, threshold_mode=threshold_mode)
    schedule.observe(metric)
    schedule.observe(later)
    schedule.observe(later)
    assert schedule(0).item() == rate


@in_all_modes
def test_nan_is_never_better(mode: str, threshold_mode: str) -> None:
    schedule = ours.reduce_on_plateau(1.0, factor=0.5, patience=1, mode=mode, threshold_mode=threshold_mode)
    for metric in (math.nan, mx.array(math.nan)):
        schedule.observe(metric)
    assert schedule(0).item() == 0.5
    for metric in (1.0, 1.0, math.nan):
        schedule.observe(metric)
    assert schedule(0).item() == 0.25
