"""The table of schedules that the tests go through. To add a schedule, add a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

import mlxsched_compiled as ours

from . import oracle

Make: TypeAlias = Callable[[Any], Any]
"""A schedule as a function of the module that its factories come from: the package, the oracle, or mlx.optimizers."""


@dataclass(frozen=True)
class Case:
    """A schedule, and the ulps by which its rates may miss the truth."""

    ulps: int
    make: Make

    @property
    def schedule(self) -> ours.Schedule:
        """The schedule under test, new each time."""
        made: ours.Schedule = self.make(ours)
        return made

    @property
    def truth(self) -> oracle.Curve:
        """Its true curve."""
        curve: oracle.Curve = self.make(oracle)
        return curve


EXPONENTIAL = [
    Case(3, lambda m: m.exponential_decay(1e-1, 0.9)),
    Case(3, lambda m: m.exponential_decay(1e-1, 0.9999)),
    Case(3, lambda m: m.exponential_decay(3e-4, 0.9999999)),
    Case(3, lambda m: m.exponential_decay(1e-1, 1 - 2**-40)),
    Case(3, lambda m: m.exponential_decay(0.7, 1.0)),
    Case(3, lambda m: m.exponential_decay(1, 0.5)),
    Case(3, lambda m: m.exponential_decay(0.3, 0)),
    Case(3, lambda m: m.exponential_decay(3.4e38, 1e-30)),
    Case(3, lambda m: m.exponential_decay(3e38, 0.999)),
    Case(3, lambda m: m.exponential_decay(1, 1e-38)),
    Case(3, lambda m: m.exponential_decay(1e-40, 0.99)),
    Case(3, lambda m: m.exponential_decay(-0.1, 0.999)),
    Case(3, lambda m: m.exponential_decay(0, 0.9)),
    Case(3, lambda m: m.exponential_decay(0, 1.5)),
    Case(3, lambda m: m.exponential_decay(1e-7, 1.00001)),
    Case(3, lambda m: m.exponential_decay(1e-45, 1.0002)),
    Case(3, lambda m: m.exponential_decay(1e-30, 1e20)),
    Case(3, lambda m: m.exponential_decay(1e-3, 0.9, decay_steps=1000)),
    Case(3, lambda m: m.exponential_decay(1e-3, 1.1, decay_steps=777)),
    Case(3, lambda m: m.exponential_decay(1e-3, 0.99, decay_steps=10, end=1e-6)),
    Case(3, lambda m: m.exponential_decay(1e-3, 1.01, decay_steps=10, end=0.5)),
]
STEP = [
    Case(3, lambda m: m.step_decay(1e-1, 0.9, 10)),
    Case(3, lambda m: m.step_decay(1e-1, 0.999, 10)),
    Case(3, lambda m: m.step_decay(1e-1, 0.99999, 1)),
    Case(3, lambda m: m.step_decay(1e-3, 0.1, 333_333)),
    Case(3, lambda m: m.step_decay(1e-3, 1.1, 1000)),
    Case(3, lambda m: m.step_decay(0.2, 0, 7)),
    Case(3, lambda m: m.step_decay(0.2, 0.5, 2**33)),
]
LINEAR = [
    Case(3, lambda m: m.linear_schedule(1e-3, 0, 1_000_000)),
    Case(3, lambda m: m.linear_schedule(0, 1e-3, 999_983)),
    Case(3, lambda m: m.linear_schedule(0, 0.1, 100)),
    Case(3, lambda m: m.linear_schedule(1e-3, 1e-9, 777_777)),
    Case(3, lambda m: m.linear_schedule(0.3, 0.2999, 1_000_000)),
    Case(3, lambda m: m.linear_schedule(-1e-3, -1e-5, 5000)),
    Case(3, lambda m: m.linear_schedule(1e-38, 1e-45, 1000)),
    Case(3, lambda m: m.linear_schedule(3.4e38, 1e38, 1000)),
    Case(3, lambda m: m.linear_schedule(1, 0, 1)),
    Case(3, lambda m: m.linear_schedule(1e-3, 1e-5, 2**24 + 3)),
    Case(3, lambda m: m.linear_schedule(1e-3, 0, 2**31 + 1)),
    Case(3, lambda m: m.linear_schedule(1e-3, 0, 2**40 + 1)),
]
COSINE = [
    Case(6, lambda m: m.cosine_decay(1e-3, 1_000_000)),
    Case(6, lambda m: m.cosine_decay(1e-3, 1_000_000, 1e-5)),
    Case(6, lambda m: m.cosine_decay(1e-6, 999_983, 1e-1)),
    Case(6, lambda m: m.cosine_decay(0, 1_000_000, 3e-4)),
    Case(6, lambda m: m.cosine_decay(1e-1, 1000)),
    Case(6, lambda m: m.cosine_decay(-1e-1, 1000, -1e-4)),
    Case(6, lambda m: m.cosine_decay(1e-38, 1000, 1e-42)),
    Case(6, lambda m: m.cosine_decay(1, 1)),
    Case(6, lambda m: m.cosine_decay(1e-3, 2**24 + 3)),
    Case(6, lambda m: m.cosine_decay(1e-3, 2**31 + 1, 1e-9)),
    Case(6, lambda m: m.cosine_decay(1e-3, 2**40 + 1)),
]
POWERED = [
    # A power multiplies the relative error of its base.
    Case(12, lambda m: m.cosine_decay(1e-3, 1_000_000, power=2.0)),
    Case(6, lambda m: m.cosine_decay(1e-3, 100_000, 1e-5, power=0.5)),
    Case(18, lambda m: m.cosine_decay(0, 100_000, 1e-3, power=3.0)),
]
JOINED = [
    Case(6, lambda m: m.join_schedules([m.linear_schedule(0, 1e-3, 1000), m.cosine_decay(1e-3, 99_000)], [1000])),
    Case(3, lambda m: m.join_schedules([m.linear_schedule(0, 0.1, 17), m.exponential_decay(0.1, 0.9999)], [17])),
    Case(3, lambda m: m.join_schedules([m.step_decay(0.1, 0.5, 100), m.step_decay(0.7, 0.9, 30)], [100_001])),
    Case(3, lambda m: m.join_schedules([m.exponential_decay(1, 0.9), m.linear_schedule(1, 0, 10)], [2**24 + 1])),
    Case(0, lambda m: m.join_schedules([lambda _: 3, lambda _: 4, lambda _: 5], [2, 4])),
    Case(3, lambda m: m.join_schedules([0.25, m.linear_schedule(0.25, 0.1, 50), 0.1], [1, 70])),
    Case(
        6,
        lambda m: m.join_schedules(
            [
                m.linear_schedule(0, 1e-2, 100),
                m.exponential_decay(1e-2, 0.9999),
                m.cosine_decay(5e-3, 10_000, 1e-4),
                m.step_decay(1e-4, 0.5, 1000),
            ],
            [100, 5000, 20_000],
        ),
    ),
    Case(
        6,
        lambda m: m.join_schedules(
            [m.cosine_decay(10.0**-k, 1000 + k, 0.1**k / 7) for k in range(1, 9)], [1500 * k for k in range(1, 8)]
        ),
    ),
    Case(
        6,
        lambda m: m.join_schedules(
            [
                make
                for k in range(16)
                for make in (
                    m.linear_schedule(0, 1 / (k + 1), 100),
                    m.cosine_decay(1 / (k + 1), 300, 0.1),
                    m.step_decay(0.3, 0.9, k + 5),
                    m.exponential_decay(0.3, 0.99 + k / 1000),
                )
            ],
            [200 * k + 3 for k in range(1, 64)],
        ),
    ),
]
CASES = [*EXPONENTIAL, *STEP, *LINEAR, *COSINE, *POWERED, *JOINED]


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """Runs a test once for each of the ``cases``, under the name of its schedule."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: repr(case.schedule)[:90])


KINDS: dict[str, Callable[[Any, float], Any]] = {
    "exponential": lambda m, peak: m.exponential_decay(peak, 1 - peak / 10),
    "step": lambda m, peak: m.step_decay(peak, 0.9 - peak / 100, 7 + int(100 * peak)),
    "cosine": lambda m, peak: m.cosine_decay(peak, 100 + int(1000 * peak), peak / 9),
    "linear": lambda m, peak: m.linear_schedule(peak / 3, peak, 100 + int(1000 * peak)),
}
"""One schedule of each kind that has no parts, all of its hyperparameters different for each peak."""


@dataclass(frozen=True)
class Family:
    """A kind of schedule, as a function of the module and of a number that all of its hyperparameters depend on."""

    make: Callable[[Any, float], Any]
    kernels: int = 1
    ulps: int = 8

    def case(self, peak: float = 0.1) -> Case:
        """One of its schedules."""
        return Case(self.ulps, lambda m: self.make(m, peak))


def _n(peak: float, times: int = 1000) -> int:
    return times + int(times * peak)


def product(a: Any, b: Any) -> Any:
    """``a * b``, of schedules or of true curves."""
    return a * b if isinstance(a, ours.Schedule) else lambda step: a(step) * b(step)


def total(a: Any, b: Any) -> Any:
    """``a + b``, likewise."""
    return a + b if isinstance(a, ours.Schedule) else lambda step: a(step) + b(step)


def _warm(m: Any, p: float) -> Any:
    return m.warmup(m.cosine_decay(p, _n(p), p / 9), _n(p, 100), p / 7)


def _warm_restarts(m: Any, p: float) -> Any:
    return m.warmup(m.cosine_restarts(p, _n(p, 100), p / 9, decay=0.9 - p / 9), _n(p, 50), p / 7)


FAMILIES: dict[str, Family] = {
    "constant": Family(lambda m, p: m.constant(p), 0),
    "polynomial_decay": Family(lambda m, p: m.polynomial_decay(p, _n(p), p / 9)),
    "polynomial_decay, power": Family(lambda m, p: m.polynomial_decay(p, _n(p), p / 9, power=1.5 + p)),
    # A power multiplies the error of its base, and the cosine's base is a square already: 4.5 ulp times 2 and more.
    "cosine_decay, power": Family(lambda m, p: m.cosine_decay(p, _n(p), p / 9, power=1.5 + p), 4, 12),
    "sqrt_decay": Family(lambda m, p: m.sqrt_decay(p, _n(p), p / 9)),
    # To 0, so that nothing hides what is lost near the end.
    "sqrt_decay, to 0": Family(lambda m, p: m.sqrt_decay(p, _n(p, 500_000))),
    "rex_decay, to 0": Family(lambda m, p: m.rex_decay(p, _n(p, 500_000))),
    "polynomial_decay, power, to 0": Family(lambda m, p: m.polynomial_decay(p, _n(p, 500_000), power=1.5 + p)),
    "cosine_restarts, to 0": Family(
        lambda m, p: m.cosine_restarts(p, _n(p, 1000), period_factor=2 + int(3 * p), decay=0.9), 5
    ),
    "rex_decay": Family(lambda m, p: m.rex_decay(p, _n(p), p / 9)),
    "tanh_decay": Family(lambda m, p: m.tanh_decay(p, _n(p), p / 9, lower=-6 - p, upper=3 + p)),
    "inverse_time_decay": Family(lambda m, p: m.inverse_time_decay(p, p * 3, decay_steps=_n(p, 10))),
    "inverse_sqrt_decay": Family(lambda m, p: m.inverse_sqrt_decay(p, _n(p))),
    "piecewise_constant, 3": Family(lambda m, p: m.piecewise_constant([p, p / 2, p / 3], [_n(p, 9), _n(p, 90)]), 2),
    "piecewise_constant, 12": Family(
        lambda m, p: m.piecewise_constant([p / k for k in range(1, 13)], [_n(p, 100 * k) for k in range(1, 12)]), 3
    ),
    "piecewise_interpolate, 3": Family(
        lambda m, p: m.piecewise_interpolate([p / 3, p, p / 9], [_n(p, k) for k in (10, 50, 900)])
    ),
    "piecewise_interpolate, 12": Family(
        lambda m, p: m.piecewise_interpolate(
            [p / (1 + 5 * k % 12) for k in range(12)], [_n(p, 100 * k) for k in range(12)], "cosine"
        ),
        6,
    ),
    "table": Family(lambda m, p: m.table([p / (1 + 5 * k % 12) for k in range(12)]), 2),
    "tabulate": Family(lambda m, p: m.tabulate(lambda step: p / (step + 1), _n(p, 10)), 2),
    "cosine_restarts": Family(lambda m, p: m.cosine_restarts(p, _n(p, 100), p / 9, decay=0.9 - p / 9)),
    "cosine_restarts, longer": Family(
        lambda m, p: m.cosine_restarts(p, _n(p, 100), p / 9, period_factor=2 + int(3 * p), decay=0.9 - p / 9), 5
    ),
    "cyclic": Family(lambda m, p: m.cyclic(p / 9, p, _n(p, 100), _n(p, 200))),
    "cyclic, triangular2": Family(lambda m, p: m.cyclic(p / 9, p, _n(p, 100), mode="triangular2")),
    "cyclic, exp_range": Family(
        lambda m, p: m.cyclic(p / 9, p, _n(p, 100), _n(p, 30), mode="exp_range", gamma=1 - p / 1000)
    ),
    "one_cycle": Family(
        lambda m, p: m.one_cycle(p, _n(p), warmup_fraction=0.3 + p / 9, div_factor=25 + p, final_div_factor=9 + p), 2
    ),
    "one_cycle, linear": Family(
        lambda m, p: m.one_cycle(p, _n(p), warmup_fraction=0.3 + p / 9, final_div_factor=9 + p, shape="linear")
    ),
    "one_cycle, three phases": Family(
        lambda m, p: m.one_cycle(p, _n(p), warmup_fraction=0.3 + p / 9, final_div_factor=9 + p, three_phase=True), 3
    ),
    "warmup": Family(_warm),
    "warmup, rex": Family(lambda m, p: m.warmup(m.inverse_sqrt_decay(p, _n(p)), _n(p, 50), p / 7, shape="rex")),
    "warmup_cosine_decay": Family(
        lambda m, p: m.warmup_cosine_decay(p, _n(p, 10), _n(p), init=p / 9, end=p / 8),
    ),
    "warmup_linear_decay": Family(lambda m, p: m.warmup_linear_decay(p, _n(p, 10), _n(p))),
    "warmup_stable_decay": Family(
        lambda m, p: m.warmup_stable_decay(p, _n(p, 10), _n(p, 50), _n(p), init=p / 9, end=p / 8)
    ),
    "noam": Family(lambda m, p: m.noam(512 + p, _n(p), 1 + p)),
    "product": Family(lambda m, p: product(_warm(m, p), m.constant(2 + p))),
    # Each factor has its own few ulps.
    "product of decays": Family(
        lambda m, p: product(m.cosine_decay(p, _n(p)), m.exponential_decay(p, 1 - p / 1000)), 1, 12
    ),
    "sum": Family(lambda m, p: total(_warm(m, p), m.constant(2 + p))),
    "clip": Family(lambda m, p: m.clip(m.linear_schedule(p, 0, _n(p)), p / 5, p / 2)),
    "clip of a product": Family(lambda m, p: m.clip(product(_warm_restarts(m, p), m.constant(2 + p)), low=p / 3), 2),
    "delay": Family(lambda m, p: m.delay(m.exponential_decay(p, 1 - p / 1000), _n(p, 30))),
    "staircase": Family(lambda m, p: m.staircase(m.exponential_decay(p, 0.9 - p / 9, decay_steps=_n(p, 30)), _n(p, 7))),
    "repeat": Family(lambda m, p: m.repeat(m.linear_schedule(p, 0, _n(p, 100)), _n(p, 70))),
    "cooldown": Family(lambda m, p: m.cooldown(_warm(m, p), _n(p, 500), _n(p, 200), p / 9, shape="linear")),
}
"""The catalogue beyond the first five: at least one row for each of its factories and combinators."""
each_family = pytest.mark.parametrize("name", FAMILIES)
