"""The table of schedules that the tests go through. To add a schedule, add a row here and its truth to oracle.py."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

import mlxsched_compiled as ours

from . import oracle

NAMES: dict[str, Any] = {}
"""All that the package exports, by name."""
exec("from mlxsched_compiled import *", NAMES)

FACTORIES: dict[str, Callable[..., ours.Schedule]] = {
    name: value
    for name, value in NAMES.items()
    if inspect.isfunction(value) and str(inspect.signature(value).return_annotation).endswith("Schedule")
    if name != "from_config"
}
"""Those that make schedules of arguments."""


@dataclass(frozen=True)
class Row:
    """A schedule, and what is expected of it.

    ``make(m, p)`` makes it of the factories of the module ``m``, which is the package, the oracle or mlx.optimizers.
    All of its hyperparameters depend on the number ``p``, unless it is ``extreme``: then they are odd and fixed.
    """

    make: Callable[[Any, float], Any]
    ulps: float = 8
    """By how much its rates may miss the truth."""
    kernels: int = 1
    """The most that a call of it may launch."""
    extreme: bool = False
    first: int = 0
    """By how many ulps the first rate may miss the nearest number to the truth."""
    until: int = 2**63
    """Steps beyond this one may have any rate."""
    zero: str = ""
    """Names of its counts that may be 0."""
    fixed: str = ""
    """Names of its parameters that decide what is compiled, and so may not be arrays."""
    bad: dict[str, list[Any]] = field(default_factory=dict)
    """Values that its parameters refuse, besides those that none accepts."""

    alone: bool = False
    """Whether docs/coming-from.md may leave it out, because no other library has it."""

    @property
    def schedule(self) -> ours.Schedule:
        """The schedule under test, new each time."""
        return self.of(0.1)

    @property
    def truth(self) -> oracle.Curve:
        """Its true curve."""
        return self.truth_of(0.1)

    def of(self, p: float) -> ours.Schedule:
        """The schedule for another ``p``."""
        made: ours.Schedule = self.make(ours, p)
        return made

    def truth_of(self, p: float) -> oracle.Curve:
        """The truth for another ``p``."""
        curve: oracle.Curve = self.make(oracle, p)
        return curve


def _n(p: float, times: int = 1000) -> int:
    return times + int(times * p)


def _extreme(name: str, ulps: float, *makes: Callable[[Any], Any], kernels: int = 1) -> dict[str, Row]:
    def row(make: Callable[[Any], Any]) -> Row:
        return Row(lambda m, p: make(m), ulps, kernels, extreme=True)

    return {f"{name}, extreme {i}": row(make) for i, make in enumerate(makes)}


def product(a: Any, b: Any) -> Any:
    """``a * b``, of schedules or of true curves."""
    return a * b if isinstance(a, ours.Schedule) else lambda step: a(step) * b(step)


def total(a: Any, b: Any) -> Any:
    """``a + b``, likewise."""
    return a + b if isinstance(a, ours.Schedule) else lambda step: a(step) + b(step)


def join(m: Any, names: Iterable[str], p: float = 0.1, length: int = 50) -> Any:
    """Rows of the table one after the other, each another ``p``."""
    parts = [TABLE[name].make(m, p / (k + 1)) for k, name in enumerate(names)]
    return m.join_schedules(parts, [length * k for k in range(1, len(parts))])


def _warm(m: Any, p: float) -> Any:
    return m.warmup(m.cosine_decay(p, _n(p), p / 9), _n(p, 100), p / 7)


def _warm_restarts(m: Any, p: float) -> Any:
    return m.warmup(m.cosine_restarts(p, _n(p, 100), p / 9, decay=0.9 - p / 9), _n(p, 50), p / 7)


_STEEP = ["steep"]
_NEGATIVE = [-0.1, -1e-9]

TABLE: dict[str, Row] = {
    "constant": Row(lambda m, p: m.constant(p), kernels=0),
    "linear_schedule": Row(lambda m, p: m.linear_schedule(p / 3, p, _n(p, 100)), 3),
    **_extreme(
        "linear_schedule",
        3,
        lambda m: m.linear_schedule(1e-3, 0, 1_000_000),
        lambda m: m.linear_schedule(0, 1e-3, 999_983),
        lambda m: m.linear_schedule(0, 0.1, 100),
        lambda m: m.linear_schedule(1e-3, 1e-9, 777_777),
        lambda m: m.linear_schedule(0.3, 0.2999, 1_000_000),
        lambda m: m.linear_schedule(-1e-3, -1e-5, 5000),
        lambda m: m.linear_schedule(1e-38, 1e-45, 1000),
        lambda m: m.linear_schedule(3.4e38, 1e38, 1000),
        lambda m: m.linear_schedule(1, 0, 1),
        lambda m: m.linear_schedule(1e-3, 1e-5, 2**24 + 3),
        lambda m: m.linear_schedule(1e-3, 0, 2**31 + 1),
        lambda m: m.linear_schedule(1e-3, 0, 2**40 + 1),
    ),
    "linear_schedule, k": Row(lambda m, p: m.linear_schedule(p / 3, p, _n(p, 100), k=1.5 + p), bad={"k": [0, -1]}),
    "linear_schedule, k, to 0": Row(lambda m, p: m.linear_schedule(p, 0, _n(p, 500_000), k=1.5 + p)),
    "linear_schedule, k, from 0": Row(lambda m, p: m.linear_schedule(0, p, _n(p, 500_000), k=1.5 + p)),
    "polynomial_decay": Row(lambda m, p: m.polynomial_decay(p, _n(p), p / 9)),
    "polynomial_decay, power": Row(
        lambda m, p: m.polynomial_decay(p, _n(p), p / 9, power=1.5 + p), bad={"power": [0, -1]}
    ),
    "polynomial_decay, power and k": Row(
        lambda m, p: m.polynomial_decay(p, _n(p), p / 9, power=1.5 + p, k=0.5 + p), kernels=3, bad={"k": [0, -1]}
    ),
    # To 0, so that nothing hides what is lost near the end.
    "polynomial_decay, power, to 0": Row(lambda m, p: m.polynomial_decay(p, _n(p, 500_000), power=1.5 + p)),
    "cosine_decay": Row(lambda m, p: m.cosine_decay(p, _n(p, 100), p / 9), 6),
    **_extreme(
        "cosine_decay",
        6,
        lambda m: m.cosine_decay(1e-3, 1_000_000),
        lambda m: m.cosine_decay(1e-3, 1_000_000, 1e-5),
        lambda m: m.cosine_decay(1e-6, 999_983, 1e-1),
        lambda m: m.cosine_decay(0, 1_000_000, 3e-4),
        lambda m: m.cosine_decay(1e-1, 1000),
        lambda m: m.cosine_decay(-1e-1, 1000, -1e-4),
        lambda m: m.cosine_decay(1e-38, 1000, 1e-42),
        lambda m: m.cosine_decay(1, 1),
        lambda m: m.cosine_decay(1e-3, 2**24 + 3),
        lambda m: m.cosine_decay(1e-3, 2**31 + 1, 1e-9),
        lambda m: m.cosine_decay(1e-3, 2**40 + 1),
    ),
    # A power multiplies the error of its base, and the cosine's base is a square already: 4.5 ulp times 2 and more.
    "cosine_decay, power": Row(
        lambda m, p: m.cosine_decay(p, _n(p), p / 9, power=1.5 + p), 12, 4, bad={"power": [0, -1.5]}
    ),
    **_extreme("cosine_decay, power 2", 12, lambda m: m.cosine_decay(1e-3, 1_000_000, power=2.0), kernels=4),
    **_extreme("cosine_decay, power 1/2", 6, lambda m: m.cosine_decay(1e-3, 100_000, 1e-5, power=0.5), kernels=4),
    **_extreme("cosine_decay, power 3", 18, lambda m: m.cosine_decay(0, 100_000, 1e-3, power=3.0), kernels=4),
    "cosine_decay, k": Row(lambda m, p: m.cosine_decay(p, _n(p), p / 9, k=1.5 + p), kernels=3, bad={"k": [0, -1.5]}),
    "cosine_decay, power and k": Row(
        lambda m, p: m.cosine_decay(p, _n(p), p / 9, power=1.5 + p, k=0.5 + p), 14, kernels=3
    ),
    # The root of a k has its error, and the cosine's weight is a square: twice that of a straight line, and its own.
    **_extreme(
        "cosine_decay, k",
        10,
        lambda m: m.cosine_decay(1e-3, 1_000_000, k=2),
        lambda m: m.cosine_decay(0, 1_000_000, 3e-4, k=1.5),
        lambda m: m.cosine_decay(1e-3, 999_983, 1e-5, k=0.1),
        lambda m: m.cosine_decay(1e-3, 2**40 + 1, 1e-5, k=3),
        lambda m: m.cosine_decay(1, 1, k=2.1),
        kernels=3,
    ),
    "sqrt_decay": Row(lambda m, p: m.sqrt_decay(p, _n(p), p / 9), alone=True),
    "sqrt_decay, to 0": Row(lambda m, p: m.sqrt_decay(p, _n(p, 500_000))),
    "sqrt_decay, k": Row(lambda m, p: m.sqrt_decay(p, _n(p), p / 9, k=1.5 + p), bad={"k": [0, -1]}),
    "rex_decay": Row(lambda m, p: m.rex_decay(p, _n(p), p / 9)),
    "rex_decay, to 0": Row(lambda m, p: m.rex_decay(p, _n(p, 500_000))),
    "rex_decay, k": Row(lambda m, p: m.rex_decay(p, _n(p), p / 9, k=1.5 + p), kernels=3, bad={"k": [0, -1]}),
    # It has a formula at step 0, not a number that was given.
    "tanh_decay": Row(
        lambda m, p: m.tanh_decay(p, _n(p), p / 9, lower=-6 - p, upper=3 + p),
        first=1,
        bad={"lower": [-41], "upper": [41.0]},
    ),
    "exponential_decay": Row(lambda m, p: m.exponential_decay(p, 1 - p / 10), 3, bad={"decay_rate": _NEGATIVE}),
    "exponential_decay, to an end": Row(
        lambda m, p: m.exponential_decay(p, 1 - p / 10, decay_steps=_n(p, 3), end=p / 9), 3
    ),
    **_extreme(
        "exponential_decay",
        3,
        lambda m: m.exponential_decay(1e-1, 0.9),
        lambda m: m.exponential_decay(1e-1, 0.9999),
        lambda m: m.exponential_decay(3e-4, 0.9999999),
        lambda m: m.exponential_decay(1e-1, 1 - 2**-40),
        lambda m: m.exponential_decay(0.7, 1.0),
        lambda m: m.exponential_decay(1, 0.5),
        lambda m: m.exponential_decay(0.3, 0),
        lambda m: m.exponential_decay(3.4e38, 1e-30),
        lambda m: m.exponential_decay(3e38, 0.999),
        lambda m: m.exponential_decay(1, 1e-38),
        lambda m: m.exponential_decay(1e-40, 0.99),
        lambda m: m.exponential_decay(-0.1, 0.999),
        lambda m: m.exponential_decay(0, 0.9),
        lambda m: m.exponential_decay(0, 1.5),
        lambda m: m.exponential_decay(1e-7, 1.00001),
        lambda m: m.exponential_decay(2e-38, 1.0002),
        lambda m: m.exponential_decay(1e-30, 1e20),
        lambda m: m.exponential_decay(1e-3, 0.9, decay_steps=1000),
        lambda m: m.exponential_decay(1e-3, 1.1, decay_steps=777),
        lambda m: m.exponential_decay(1e-3, 0.99, decay_steps=10, end=1e-6),
        lambda m: m.exponential_decay(1e-3, 1.01, decay_steps=10, end=0.5),
    ),
    "step_decay": Row(lambda m, p: m.step_decay(p, 0.9 - p / 100, _n(p, 7)), 3, bad={"decay_rate": _NEGATIVE}),
    **_extreme(
        "step_decay",
        3,
        lambda m: m.step_decay(1e-1, 0.9, 10),
        lambda m: m.step_decay(1e-1, 0.999, 10),
        lambda m: m.step_decay(1e-1, 0.99999, 1),
        lambda m: m.step_decay(1e-3, 0.1, 333_333),
        lambda m: m.step_decay(1e-3, 1.1, 1000),
        lambda m: m.step_decay(0.2, 0, 7),
        lambda m: m.step_decay(0.2, 0.5, 2**33),
    ),
    "inverse_time_decay": Row(
        lambda m, p: m.inverse_time_decay(p, p * 3, decay_steps=_n(p, 10)), bad={"decay_rate": _NEGATIVE}
    ),
    "inverse_sqrt_decay": Row(lambda m, p: m.inverse_sqrt_decay(p, _n(p))),
    "power_law_decay": Row(lambda m, p: m.power_law_decay(p, _n(p), 0.6 + p), bad={"power": [0, -1]}),
    # An exponent multiplies the error of its base: an ulp for each.
    **_extreme(
        "power_law_decay",
        6,
        lambda m: m.power_law_decay(1e-3, 1, 1 / 3),
        lambda m: m.power_law_decay(1e-3, 100, 1),
        lambda m: m.power_law_decay(-1e-3, 1, 1.1),
        lambda m: m.power_law_decay(1e-3, 2**40 + 1, 3),
        lambda m: m.power_law_decay(1e-3, 10_000, 1e-6),
        lambda m: m.power_law_decay(1, 100, 0.5),
    ),
    "hyperbolic_decay": Row(
        lambda m, p: m.hyperbolic_decay(p, _n(p), _n(p, 3000), p / 9), 4, bad={"upper_bound": [1000]}
    ),
    **_extreme(
        "hyperbolic_decay",
        4,
        lambda m: m.hyperbolic_decay(1e-3, 1_000_000, 1_000_000),
        lambda m: m.hyperbolic_decay(1e-3, 1_000_000, 1_000_001, 1e-6),
        lambda m: m.hyperbolic_decay(1e-3, 999_983, 2**40),
        lambda m: m.hyperbolic_decay(1e-6, 1000, 4000, 1e-2),
        lambda m: m.hyperbolic_decay(1e-3, 2**40 + 1, 2**41, 1e-5),
        lambda m: m.hyperbolic_decay(1, 1, 1),
    ),
    "exp_hyperbolic_decay": Row(
        lambda m, p: m.exp_hyperbolic_decay(p, _n(p), _n(p, 3000), p / 9),
        bad={"upper_bound": [1000], "init": [0, -0.1], "infimum": [0, -1e-6]},
    ),
    # Two ulps for each factor of e from the first rate to the last.
    **_extreme(
        "exp_hyperbolic_decay",
        16,
        lambda m: m.exp_hyperbolic_decay(1e-3, 1_000_000, 1_000_000, 1e-6),
        lambda m: m.exp_hyperbolic_decay(1e-2, 1000, 4000, 1e-6),
        lambda m: m.exp_hyperbolic_decay(1e-6, 1000, 4000, 1e-2),
        lambda m: m.exp_hyperbolic_decay(1e-2, 2**40 + 1, 2**41, 1e-6),
        lambda m: m.exp_hyperbolic_decay(1, 1, 1, 1e-3),
    ),
    "piecewise_constant, 3": Row(
        lambda m, p: m.piecewise_constant([p, p / 2, p / 3], [_n(p, 9), _n(p, 90)]),
        kernels=2,
        zero="boundaries",
        bad={"boundaries": [[5, 4]]},
    ),
    "piecewise_constant, 12": Row(
        lambda m, p: m.piecewise_constant([p / k for k in range(1, 13)], [_n(p, 100 * k) for k in range(1, 12)]),
        kernels=3,
    ),
    "piecewise_interpolate, 3": Row(
        lambda m, p: m.piecewise_interpolate([p / 3, p, p / 9], [_n(p, k) for k in (10, 50, 900)], "linear"),
        kernels=2,
        zero="steps",
        bad={"steps": [[7, 5, 0]], "shape": _STEEP},
    ),
    "piecewise_interpolate, 12": Row(
        lambda m, p: m.piecewise_interpolate(
            [p / (1 + 5 * k % 12) for k in range(12)], [_n(p, 100 * k) for k in range(12)], "cosine"
        ),
        kernels=6,
    ),
    "table": Row(lambda m, p: m.table([p / (1 + 5 * k % 12) for k in range(12)]), kernels=2, alone=True),
    "tabulate": Row(lambda m, p: m.tabulate(lambda step: p / (step + 1), _n(p, 10)), kernels=2, fixed="steps"),
    "cosine_restarts": Row(lambda m, p: m.cosine_restarts(p, _n(p, 100), p / 9, decay=0.9 - p / 9)),
    "cosine_restarts, longer": Row(
        lambda m, p: m.cosine_restarts(p, _n(p, 100), p / 9, period_factor=2.0 + int(3 * p), decay=0.9 - p / 9),
        kernels=5,
        until=2**62,
        fixed="period_factor",
        bad={"period_factor": [0.5, 0], "decay": _NEGATIVE},
    ),
    "cosine_restarts, to 0": Row(
        lambda m, p: m.cosine_restarts(p, _n(p, 1000), period_factor=2 + int(3 * p), decay=0.9), kernels=5, until=2**62
    ),
    "cyclic": Row(lambda m, p: m.cyclic(p / 9, p, _n(p, 100), _n(p, 200))),
    "cyclic, triangular2": Row(
        lambda m, p: m.cyclic(p / 9, p, _n(p, 100), mode="triangular2"), bad={"mode": ["square"]}
    ),
    "cyclic, exp_range": Row(
        lambda m, p: m.cyclic(p / 9, p, _n(p, 100), _n(p, 30), mode="exp_range", gamma=1 - p / 1000),
        bad={"gamma": _NEGATIVE},
    ),
    "one_cycle": Row(
        lambda m, p: m.one_cycle(p, _n(p), warmup_fraction=0.3 + p / 9, div_factor=25 + p, final_div_factor=9 + p),
        kernels=2,
        fixed="total_steps warmup_fraction",
        bad={"warmup_fraction": [-0.1, 1.1], "div_factor": [0], "final_div_factor": [-1]},
    ),
    "one_cycle, linear": Row(
        lambda m, p: m.one_cycle(p, _n(p), warmup_fraction=0.3 + p / 9, final_div_factor=9 + p, shape="linear"),
        bad={"shape": _STEEP},
    ),
    "one_cycle, three phases": Row(
        lambda m, p: m.one_cycle(p, _n(p), warmup_fraction=0.3 + p / 9, final_div_factor=9 + p, three_phase=True),
        kernels=3,
        bad={"warmup_fraction": [0.6]},
    ),
    "one_cycle_momentum": Row(
        lambda m, p: m.one_cycle_momentum(_n(p), low=0.8 + p / 9, high=0.9 + p / 9, warmup_fraction=0.3 + p / 9),
        kernels=2,
        fixed="total_steps warmup_fraction",
        bad={"warmup_fraction": [-0.1, 1.1]},
    ),
    "one_cycle_momentum, linear": Row(
        lambda m, p: m.one_cycle_momentum(_n(p), low=0.8 + p / 9, shape="linear"), bad={"shape": _STEEP}
    ),
    "one_cycle_momentum, three phases": Row(
        lambda m, p: m.one_cycle_momentum(_n(p), high=0.9 + p / 9, warmup_fraction=0.3 + p / 9, three_phase=True),
        kernels=3,
        bad={"warmup_fraction": [0.6]},
    ),
    "warmup": Row(_warm, zero="steps"),
    "warmup, rex": Row(
        lambda m, p: m.warmup(m.inverse_sqrt_decay(p, _n(p)), _n(p, 50), p / 7, shape="rex"), bad={"shape": _STEEP}
    ),
    "warmup, k": Row(
        lambda m, p: m.warmup(m.inverse_sqrt_decay(p, _n(p)), _n(p, 50), p / 7, k=1.5 + p),
        kernels=3,
        bad={"k": [0, -1]},
    ),
    "warmup, shape and k": Row(
        lambda m, p: m.warmup(m.linear_schedule(p, p / 9, _n(p)), _n(p, 50), p / 7, shape="rex", k=1.5 + p),
        kernels=5,
        bad={"k": [0, -1], "shape": _STEEP},
    ),
    "warmup_cosine_decay": Row(
        lambda m, p: m.warmup_cosine_decay(p, _n(p, 10), _n(p), init=p / 9, end=p / 8),
        zero="warmup_steps",
        bad={"total_steps": [10], "warmup_steps": [1101]},
    ),
    "warmup_linear_decay": Row(
        lambda m, p: m.warmup_linear_decay(p, _n(p, 10), _n(p), init=p / 9, end=p / 8),
        zero="warmup_steps",
        bad={"total_steps": [10], "warmup_steps": [1101]},
    ),
    "warmup_stable_decay": Row(
        lambda m, p: m.warmup_stable_decay(p, _n(p, 10), _n(p, 50), _n(p), init=p / 9, end=p / 8),
        zero="warmup_steps stable_steps decay_steps",
    ),
    "warmup_stable_decay, shapes": Row(
        lambda m, p: m.warmup_stable_decay(
            p, _n(p, 10), _n(p, 50), _n(p), init=p / 9, warmup_shape="cosine", decay_shape="linear"
        ),
        bad={"warmup_shape": _STEEP, "decay_shape": _STEEP},
    ),
    "noam": Row(
        lambda m, p: m.noam(512 + p, _n(p), 1 + p),
        first=1,
        zero="warmup_steps",
        bad={"model_size": [0, -64]},
        alone=True,
    ),
    # A product rounds once more.
    "product": Row(lambda m, p: product(_warm(m, p), m.constant(2 + p)), first=1),
    # Each factor has its own few ulps.
    "product of decays": Row(lambda m, p: product(m.cosine_decay(p, _n(p)), m.exponential_decay(p, 1 - p / 1000)), 12),
    "sum": Row(lambda m, p: total(_warm(m, p), m.constant(2 + p))),
    "clip": Row(lambda m, p: m.clip(m.linear_schedule(p, 0, _n(p)), p / 5, 0.9 * p)),
    "clip of a product": Row(
        lambda m, p: m.clip(product(_warm_restarts(m, p), m.constant(2 + p)), low=p / 3), kernels=3
    ),
    "reduce_on_plateau": Row(
        lambda m, p: m.reduce_on_plateau(
            m.cosine_decay(p, _n(p)),
            factor=0.5 + p,
            patience=_n(p, 10),
            threshold=p / 100,
            threshold_mode="abs",
            mode="max",
            cooldown=_n(p, 20),
            min_rate=p / 9,
        ),
        zero="patience cooldown",
        fixed="threshold_mode mode",
        bad={"factor": [1, -0.1], "threshold": _NEGATIVE, "threshold_mode": ["relative"], "mode": ["low"]},
    ),
    "delay": Row(lambda m, p: m.delay(m.exponential_decay(p, 1 - p / 1000), _n(p, 30)), zero="steps"),
    "skip": Row(lambda m, p: m.skip(m.cosine_decay(p, _n(p), p / 9), _n(p, 30)), 6, zero="steps"),
    "staircase": Row(lambda m, p: m.staircase(m.exponential_decay(p, 0.9 - p / 9, decay_steps=_n(p, 30)), _n(p, 7))),
    "repeat": Row(lambda m, p: m.repeat(m.linear_schedule(p, 0, _n(p, 100)), _n(p, 70))),
    "cooldown": Row(
        lambda m, p: m.cooldown(_warm(m, p), _n(p, 500), _n(p, 200), p / 9, shape="linear"),
        zero="start",
        bad={"shape": _STEEP},
    ),
    "cooldown, k": Row(
        lambda m, p: m.cooldown(p, _n(p, 500), _n(p), p / 9, shape="cosine", k=1.5 + p), 10, 4, bad={"k": [0, -1]}
    ),
    "cooldown, exponential": Row(
        lambda m, p: m.cooldown(p, _n(p, 500), _n(p, 500_000), shape="exponential"), zero="start", bad={"shape": _STEEP}
    ),
    "join_schedules": Row(
        lambda m, p: join(m, ["linear_schedule", "cosine_decay"], p, _n(p, 50)), 6, zero="boundaries"
    ),
    "join_schedules, 3": Row(
        lambda m, p: join(m, ["linear_schedule", "cosine_decay", "step_decay"], p, _n(p, 50)),
        6,
        4,
        bad={"boundaries": [[10, 5], [3, 2]]},
    ),
    "join_schedules, 9": Row(
        lambda m, p: join(m, ["linear_schedule", "cosine_decay", "step_decay"] * 3, p, _n(p, 50)), 6, 8
    ),
    **_extreme(
        "join_schedules",
        6,
        lambda m: m.join_schedules([m.linear_schedule(0, 1e-3, 1000), m.cosine_decay(1e-3, 99_000)], [1000]),
        lambda m: m.join_schedules(
            [
                m.linear_schedule(0, 1e-2, 100),
                m.exponential_decay(1e-2, 0.9999),
                m.cosine_decay(5e-3, 10_000, 1e-4),
                m.step_decay(1e-4, 0.5, 1000),
            ],
            [100, 5000, 20_000],
        ),
        lambda m: m.join_schedules(
            [m.cosine_decay(10.0**-k, 1000 + k, 0.1**k / 7) for k in range(1, 9)], [1500 * k for k in range(1, 8)]
        ),
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
        kernels=8,
    ),
    **_extreme(
        "join_schedules of lines",
        3,
        lambda m: m.join_schedules([m.linear_schedule(0, 0.1, 17), m.exponential_decay(0.1, 0.9999)], [17]),
        lambda m: m.join_schedules([m.step_decay(0.1, 0.5, 100), m.step_decay(0.7, 0.9, 30)], [100_001]),
        lambda m: m.join_schedules([m.exponential_decay(1, 0.9), m.linear_schedule(1, 0, 10)], [2**24 + 1]),
        lambda m: m.join_schedules([0.25, m.linear_schedule(0.25, 0.1, 50), 0.1], [1, 70]),
        kernels=4,
    ),
    **_extreme(
        "join_schedules of functions",
        0,
        lambda m: m.join_schedules([lambda _: 3, lambda _: 4, lambda _: 5], [2, 4]),
        kernels=4,
    ),
}
TYPICAL = {name: row for name, row in TABLE.items() if not row.extreme}
"""The rows that depend on ``p``: at least one for each factory, and all of its parameters in them."""
INLINED = {
    name: TABLE[name]
    for name in (
        *("exponential_decay", "step_decay", "linear_schedule", "cosine_decay", "cosine_decay, power"),
        *("join_schedules", "join_schedules of functions, extreme 0", "join_schedules, extreme 1"),
        "join_schedules, extreme 3",
    )
}
"""One of each kind, for tests that wait for a C++ compiler for each."""


def each(rows: dict[str, Row]) -> pytest.MarkDecorator:
    """Runs a test once for each of the ``rows``."""
    return pytest.mark.parametrize("row", rows.values(), ids=rows.keys())


@dataclass(frozen=True)
class Parameter:
    """A parameter of a factory, with all arguments of a call in which it is given."""

    factory: str
    name: str
    arguments: dict[str, Any]
    zero: bool
    """Whether it is a count that may be 0."""
    fixed: bool
    """Whether it decides what is compiled."""

    @property
    def value(self) -> Any:
        """What it is in that call."""
        return self.arguments[self.name]

    def make(self, value: Any, m: Any = ours) -> Any:
        """The call with another value."""
        return getattr(m, self.factory)(**{**self.arguments, self.name: value})


class _Recorder:
    """In place of the package: makes schedules, and remembers the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., ours.Schedule]:
        def call(*args: Any, **kwargs: Any) -> ours.Schedule:
            self.calls.append((name, inspect.signature(FACTORIES[name]).bind(*args, **kwargs).arguments))
            return FACTORIES[name](*args, **kwargs)

        return call


def call_of(make: Callable[..., Any], *arguments: Any) -> tuple[str, dict[str, Any]]:
    """The outermost call in ``make(m, *arguments)``: the name of the factory, and what it is given, by name."""
    recorder = _Recorder()
    make(recorder, *arguments)
    return recorder.calls[-1]


def _parameters() -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for row in TYPICAL.values():
        factory, arguments = call_of(row.make, 0.1)
        if repr(row.schedule).startswith(f"{factory}("):  # else an operator is the outermost call
            for name in arguments:
                known = found.setdefault(f"{factory}: {name}", Parameter(factory, name, arguments, False, False))
                zero, fixed = name in row.zero.split(), name in row.fixed.split()
                found[f"{factory}: {name}"] = replace(known, zero=known.zero or zero, fixed=known.fixed or fixed)
    return found


PARAMETERS = _parameters()
"""Every parameter of every factory, in the call of the first row that gives it."""


def each_parameter(*kinds: type) -> pytest.MarkDecorator:
    """Runs a test once for each parameter that takes values of these kinds."""
    chosen = {key: p for key, p in PARAMETERS.items() if type(p.value) in kinds}
    return pytest.mark.parametrize("parameter", chosen.values(), ids=chosen.keys())
