"""Every rate against the truth, and what each schedule means at its edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlxsched_compiled as ours

from . import oracle
from .schedules import NAMES, TABLE, Row, call_of, each

STEPS = np.unique(
    [
        *range(1_000_001),
        *(2**power + k for power in (24, 31, 40) for k in range(-3, 6)),
        *(10**7, 2**53, 2**63 - 1),
    ]
).astype(np.uint64)
FAR = [2**24 + 1, 2**31, 2**40, 2**53]

without_compiler = pytest.mark.usefixtures("uncompiled")


def _rates(schedule: Any, steps: Any) -> Any:
    return np.array(schedule(mx.array(np.asarray(steps, np.uint64))))


def _assert_true(make: Callable[[Any], Any], steps: Any, ulps: float = 8) -> None:
    steps = np.asarray(steps, np.uint64)
    errors = oracle.ulps(_rates(make(ours), steps), make(oracle)(steps))
    worst = int(errors.argmax())
    assert errors[worst] <= ulps, f"{errors[worst]:.2f} ulp at step {steps[worst]} of {make(ours)}"


@each(TABLE)
def test_every_rate_is_within_ulps_of_the_truth(row: Row) -> None:
    for p in (0.1,) if row.extreme else (0.1, 0.37):
        _assert_true(lambda m, p=p: row.make(m, p), STEPS[: np.searchsorted(STEPS, row.until)], row.ulps)  # type: ignore[misc]


@without_compiler
@each(TABLE)
def test_the_first_rate_is_the_true_one_to_the_bit(row: Row) -> None:
    truth = row.truth(np.array([0], np.uint64)).astype(np.float32)
    assert oracle.ulps(_rates(row.schedule, [0]), truth.astype(np.float64))[0] <= row.first


@each({name: row for name, row in TABLE.items() if name.startswith(("linear_schedule", "cosine_decay, extreme"))})
def test_from_the_last_step_on_the_rate_is_the_end_to_the_bit(row: Row) -> None:
    _, arguments = call_of(row.make, 0.1)
    last = arguments.get("steps") or arguments["decay_steps"]
    past = [last, last + 1, last + 2, 2 * last, last + 2**24 + 1, 2**53, 2**63, 2**64 - 1]
    rates = _rates(row.schedule, past)
    np.testing.assert_array_equal(rates.view(np.uint32), np.float32(arguments.get("end", 0)).view(np.uint32))


@without_compiler
@pytest.mark.parametrize(
    "make",
    [
        lambda n: ours.linear_schedule(0.3, 1e-3, n),
        lambda n: ours.cosine_decay(0.3, n, 1e-3),
        lambda n: ours.cosine_decay(0.3, n, 1e-3, power=2.5),
        lambda n: ours.cosine_decay(0.3, n, 1e-3, power=0.5),
        lambda n: ours.linear_schedule(0.3, 1e-3, n, k=2.1),
        lambda n: ours.cosine_decay(0.3, n, 1e-3, k=0.1),
        lambda n: ours.cosine_decay(0.3, n, 1e-3, power=1.5, k=1.5),
        lambda n: ours.sqrt_decay(0.3, n, 1e-3, k=3),
        lambda n: ours.rex_decay(0.3, n, 1e-3, k=2),
        lambda n: ours.hyperbolic_decay(0.3, n, n, 1e-3),
        lambda n: ours.exp_hyperbolic_decay(0.3, n, n, 1e-3),
        lambda n: ours.polynomial_decay(0.3, n, 1e-3),
        lambda n: ours.polynomial_decay(0.3, n, 1e-3, power=3),
        lambda n: ours.sqrt_decay(0.3, n, 1e-3),
        lambda n: ours.rex_decay(0.3, n, 1e-3),
        lambda n: ours.tanh_decay(0.3, n, 1e-3, lower=-40),
        lambda n: ours.piecewise_interpolate([0.3, 1e-3], [0, n]),
        lambda n: ours.cooldown(0.3, 0, n, 1e-3),
        lambda n: ours.cooldown(0.3, 0, n, 1e-3, shape="exponential"),
        lambda n: ours.warmup_stable_decay(0.3, 0, 0, n, end=1e-3),
        lambda n: ours.warmup_cosine_decay(0.3, 0, n, end=1e-3),
        lambda n: ours.warmup_linear_decay(0.3, 0, n, end=1e-3),
        lambda n: ours.clip(ours.linear_schedule(0.3, 0, n), low=1e-3),
        lambda n: ours.delay(ours.linear_schedule(0.3, 1e-3, n), 0),
    ],
)
def test_ends_are_exact_for_any_length(make: Callable[[int], ours.Schedule]) -> None:
    for n in (*range(1, 400), 770, 2**24 + 3, 2**40 + 1):
        first, before, *last = _rates(make(n), [0, n - 1, n, n + 1, 2 * n, *(n + far for far in FAR)])
        assert first == np.float32(0.3)
        assert (np.array(last) == np.float32(1e-3)).all()
        assert before >= np.float32(1e-3)
        if n < 400 and repr(make(1)).startswith(("linear_schedule", "cosine_decay")) and "power" not in repr(make(1)):
            assert before > np.float32(1e-3)


MEANING: dict[str, dict[int, float]] = {
    "constant(0.3)": {0: 0.3, 1: 0.3, 2**40: 0.3},
    "polynomial_decay(1, 1)": {0: 1, 1: 0, 2: 0},
    "polynomial_decay(1, 4, 0.5, power=2)": {0: 1, 1: 0.78125, 3: 0.53125, 4: 0.5, 5: 0.5, 2**40: 0.5},
    "sqrt_decay(1, 4)": {0: 1, 1: 0.5, 3: 1 - math.sqrt(0.75), 4: 0, 5: 0},
    "rex_decay(1, 4)": {0: 1, 1: 6 / 7, 3: 0.4, 4: 0, 5: 0},
    "tanh_decay(2, 2, 0.25, lower=-1, upper=1)": {0: 0.25 + 1.75 / (1 + math.exp(-2)), 1: 1.125, 2: 0.25, 3: 0.25},
    "tanh_decay(0, 2, 1, lower=-40, upper=40)": {0: math.exp(-80), 1: 0.5, 2: 1},
    "inverse_time_decay(1, 0)": {0: 1, 2**40: 1},
    "inverse_time_decay(1, 1, decay_steps=4)": {0: 1, 4: 0.5, 12: 0.25},
    "inverse_sqrt_decay(1, 1)": {0: 1, 3: 0.5, 99: 0.1, 2**40 - 1: 2**-20},
    "power_law_decay(1, 1, 2)": {0: 1, 1: 0.25, 9: 0.01, 2**40 - 1: 2.0**-80},
    "power_law_decay(1, 100, 0.5)": {0: 1, 300: 0.5},
    "hyperbolic_decay(1, 4, 4)": {0: 1, 1: 0.75, 2: 0.5, 4: 0, 5: 0, 2**40: 0},
    "hyperbolic_decay(1, 40, 100, 0.5)": {0: 1, 40: 0.6, 41: 0.6, 2**40: 0.6},
    "exp_hyperbolic_decay(1, 4, 4, 1e-4)": {0: 1, 1: 0.1, 2: 0.01, 4: 1e-4, 5: 1e-4},
    "exp_hyperbolic_decay(1, 40, 100, 1e-5)": {0: 1, 40: 1e-4, 41: 1e-4},
    "linear_schedule(1, 0, 4, k=2)": {0: 1, 1: 0.9375, 2: 0.75, 4: 0, 5: 0},
    "linear_schedule(0, 1, 4, k=0.5)": {0: 0, 1: 0.5, 4: 1, 5: 1},
    "cosine_decay(1, 4, k=2)": {0: 1, 2: 0.5 + 0.5 * math.cos(math.pi / 4), 4: 0},
    "polynomial_decay(1, 2, power=2, k=2)": {0: 1, 1: 0.5625, 2: 0},
    "rex_decay(1, 2, k=2)": {0: 1, 1: 6 / 7, 2: 0},
    "sqrt_decay(1, 4, k=2)": {0: 1, 1: 0.75, 3: 0.25, 4: 0},
    "piecewise_constant([0.3], [])": {0: 0.3, 2**40: 0.3},
    "piecewise_constant([1, 2], [1])": {0: 1, 1: 2, 2: 2},
    "piecewise_constant([1, 2, 3], [2**24 + 1, 2**40])": {2**24: 1, 2**24 + 1: 2, 2**40 - 1: 2, 2**40: 3},
    "piecewise_interpolate([0.3], [5])": {0: 0.3, 5: 0.3, 6: 0.3},
    "piecewise_interpolate([1, 2], [0, 1])": {0: 1, 1: 2, 2: 2},
    "piecewise_interpolate([1, 2, 0], [3, 5, 9])": {0: 1, 2: 1, 3: 1, 4: 1.5, 5: 2, 6: 1.5, 9: 0, 10: 0, 2**40: 0},
    'piecewise_interpolate([0, 1], [1, 5], "sqrt")': {0: 0, 1: 0, 2: 0.5, 5: 1, 6: 1},
    "table([0.3])": {0: 0.3, 1: 0.3, 2**40: 0.3},
    "table([1, 2, 3])": {0: 1, 1: 2, 2: 3, 3: 3, 2**32: 3, 2**40: 3},
    "tabulate(lambda step: 1 / (step + 1), 1)": {0: 1, 1: 1},
    "tabulate(lambda step: 1 if step < 2 else 0.5, 4)": {0: 1, 1: 1, 2: 0.5, 3: 0.5, 4: 0.5},
    "cosine_restarts(1, 1)": {0: 1, 1: 1, 2**40: 1},
    "cosine_restarts(1, 1, decay=0.5)": {0: 1, 1: 0.5, 2: 0.25, 30: 2**-30, 200: 0},
    "cosine_restarts(1, 1, period_factor=2)": {0: 1, 1: 1, 2: 0.5, 3: 1, 5: 0.5, 7: 1, 15: 1, 23: 0.5},
    "cosine_restarts(1, 2, 0.5, decay=0)": {0: 1, 1: 0.75, 2: 0, 3: 0.25, 4: 0},
    "cosine_restarts(1, 2, period_factor=1.5)": {0: 1, 1: 0.5, 2: 1, 5: 1, 10: math.cos(math.pi / 2 * 0.5 / 6.75) ** 2},
    "cyclic(0.25, 1, 1)": {0: 0.25, 1: 1, 2: 0.25, 3: 1},
    "cyclic(0, 1, 2)": {0: 0, 1: 0.5, 2: 1, 3: 0.5, 4: 0, 5: 0.5},
    'cyclic(0, 1, 1, 3, mode="triangular2")': {0: 0, 1: 1, 2: 2 / 3, 4: 0, 5: 0.5, 8: 0, 9: 0.25, 4 * 200 + 1: 0},
    'cyclic(0.5, 1, 1, mode="exp_range", gamma=0.5)': {0: 0.5, 1: 0.75, 2: 0.5, 3: 0.5625, 10**6 + 1: 0.5},
    'cyclic(1, 0, 2, mode="exp_range", gamma=1)': {0: 1, 1: 0.5, 2: 0, 4: 1},
    "one_cycle(1, 1)": {0: 4e-6, 1: 4e-6},
    'one_cycle(1, 101, warmup_fraction=0, shape="linear")': {0: (100 + 4e-6) / 101, 100: 4e-6, 101: 4e-6},
    'one_cycle(1, 10, warmup_fraction=1, shape="linear")': {0: 0.04, 9: 1, 10: 1, 2**40: 1},
    'one_cycle(1, 100, warmup_fraction=0.31, shape="linear")': {0: 0.04, 15: 0.52, 30: 1, 99: 4e-6, 100: 4e-6},
    'one_cycle(1, 99, shape="linear")': {28: 0.04 + 0.96 * 28 / 28.7, 29: 1 - 0.3 / 69.3, 98: 4e-6, 2**40: 4e-6},
    'one_cycle(1, 100, three_phase=True, shape="linear", div_factor=4, final_div_factor=2)': {
        0: 0.25,
        29: 1,
        58: 0.25,
        99: 0.125,
        100: 0.125,
    },
    "warmup(HALF, 0)": {0: 0.5, 1: 0.45, 10: 0},
    "warmup(HALF, 1)": {0: 0, 1: 0.5, 2: 0.45, 11: 0},
    'warmup(HALF, 4, 0.1, shape="cosine")': {0: 0.1, 2: 0.3, 4: 0.5, 5: 0.45, 14: 0},
    "warmup(0.5, 2**40)": {0: 0, 2**39: 0.25, 2**40: 0.5, 2**40 + 1: 0.5},
    "warmup_cosine_decay(1, 0, 2, end=0.5)": {0: 1, 1: 0.75, 2: 0.5},
    "warmup_cosine_decay(1, 1, 2, init=0.25)": {0: 0.25, 1: 1, 2: 0},
    "warmup_linear_decay(1, 2, 6, init=0.5, end=0.2)": {0: 0.5, 1: 0.75, 2: 1, 3: 0.8, 5: 0.4, 6: 0.2, 7: 0.2},
    "warmup_stable_decay(1, 0, 0, 4)": {0: 1, 1: 0.5, 4: 0},
    'warmup_stable_decay(1, 2, 0, 4, decay_shape="linear")': {0: 0, 1: 0.5, 2: 1, 3: 0.75, 6: 0, 7: 0},
    "warmup_stable_decay(1, 0, 3, 4, end=0.2)": {0: 1, 3: 1, 4: 0.6, 7: 0.2, 8: 0.2},
    'warmup_stable_decay(1, 2, 3, 4, init=0.5, warmup_shape="sqrt")': {0: 0.5, 1: 0.8535534, 2: 1, 5: 1, 6: 0.5, 9: 0},
    "noam(4, 0)": {0: 0.5, 1: 0.5, 4: 0.25},
    "noam(4, 1, 2)": {0: 1, 1: 1, 4: 0.5},
    "noam(4, 4)": {0: 0.0625, 1: 0.0625, 2: 0.125, 4: 0.25, 16: 0.125},
    "2 * HALF + 1": {0: 2, 5: 1.5, 10: 1},
    "HALF * HALF": {0: 0.25, 5: 0.0625, 10: 0},
    "clip(HALF)": {0: 0.5, 10: 0},
    "clip(HALF, high=0.4)": {0: 0.4, 5: 0.25, 10: 0},
    "clip(HALF, 0.3, 0.3)": {0: 0.3, 10: 0.3},
    "delay(HALF, 0)": {0: 0.5, 1: 0.45},
    "delay(HALF, 2**40)": {0: 0.5, 2**40: 0.5, 2**40 + 1: 0.45, 2**40 + 10: 0},
    "skip(HALF, 0)": {0: 0.5, 1: 0.45, 10: 0},
    "skip(HALF, 3)": {0: 0.35, 1: 0.3, 7: 0, 8: 0, 2**64 - 1: 0},
    "skip(delay(HALF, 2**40), 2**40 - 1)": {0: 0.5, 1: 0.5, 2: 0.45, 11: 0},
    "skip(HALF, 2**63 - 1)": {0: 0, 2**63 + 1: 0, 2**64 - 1: 0},
    "skip(skip(HALF, 2), 3)": {0: 0.25, 5: 0},
    "skip(delay(HALF, 5), 5)": {0: 0.5, 1: 0.45, 10: 0},
    "staircase(HALF, 1)": {0: 0.5, 1: 0.45},
    "staircase(HALF, 4)": {0: 0.5, 3: 0.5, 4: 0.3, 7: 0.3, 8: 0.1, 11: 0.1, 12: 0},
    "staircase(linear_schedule(0, 2, 2**41), 2**40)": {2**40 - 1: 0, 2**40: 1, 2**41 - 1: 1, 2**41: 2},
    "repeat(HALF, 1)": {0: 0.5, 1: 0.5, 2**40 + 1: 0.5},
    "repeat(HALF, 3)": {0: 0.5, 2: 0.4, 3: 0.5, 3 * 2**40 - 1: 0.4, 3 * 2**40: 0.5},
    "cooldown(HALF, 0, 4)": {0: 0.5, 1: 0.25, 4: 0},
    'cooldown(HALF, 2, 2, 0.1, shape="linear")': {0: 0.5, 1: 0.45, 2: 0.4, 3: 0.25, 4: 0.1, 5: 0.1},
    'cooldown(1, 0, 2, shape="exponential")': {0: 1, 1: math.sqrt(2) - 1, 2: 0, 3: 0},
    'warmup(1, 2, shape="exponential")': {0: 0, 1: 2 - math.sqrt(2), 2: 1},
    "cooldown(HALF, 20, 2)": {0: 0.5, 10: 0, 20: 0, 23: 0},
    "join_schedules([0.1, constant(0.2)], [1])": {0: 0.1, 1: 0.2},
    "join_schedules([3.0, exponential_decay(0.1, 0.5)], [0])": {0: 0.1, 1: 0.05, 2: 0.025, 8: 0.1 / 256},
}


@without_compiler
@pytest.mark.parametrize("call", MEANING)
def test_meaning(call: str) -> None:
    schedule = eval(call, {**NAMES, "HALF": ours.linear_schedule(0.5, 0, 10), "math": math})
    expected = MEANING[call]
    np.testing.assert_allclose(_rates(schedule, [*expected]), [*expected.values()], rtol=5e-7, atol=1e-38)


@without_compiler
@pytest.mark.parametrize("period", [1, 2, 3, 7, 100, 12345])
@pytest.mark.parametrize("factor", [1, 2, 3, 10])
@pytest.mark.parametrize("decay", [1.0, 0.9])
def test_restarts_are_on_the_right_steps(period: int, factor: int, decay: float) -> None:
    if factor == 1:
        cycles = [1, 2, 3, 10**3, *((2**power + k) // period for power in (24, 31, 40) for k in (0, period))]
        starts = np.array([cycle * period for cycle in cycles])
    else:
        lengths = [period * factor**k for k in range(60) if period * factor**k < 2**41]
        starts, cycles = np.cumsum(lengths), list(range(1, len(lengths) + 1))

    def make(m: Any) -> Any:
        return m.cosine_restarts(0.3, period, 1e-3, period_factor=factor, decay=decay)

    steps = np.concatenate([starts + k for k in (-1, 0, 1)])
    _assert_true(make, steps)
    tops = np.float32(0.3) * decay ** np.array(cycles, np.float64)
    assert oracle.ulps(_rates(make(ours), starts), tops).max() <= (0 if decay == 1 else 3)
    if period > 2 and decay == 1:
        before = _rates(make(ours), starts - 1)
        assert (before < 0.3 * (0.76 if period < 10 else 0.01)).all()


@without_compiler
@pytest.mark.parametrize(("up", "down"), [(1, 1), (1, 6), (50, 50), (40, 60), (12345, 7)])
@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_cycles_keep_their_period(up: int, down: int, mode: str) -> None:
    def make(m: Any) -> Any:
        return m.cyclic(1e-3, 0.3, up, down, mode=mode, gamma=1 - 2**-41)

    period = up + down
    starts = np.array([2**power // period * period for power in (10, 24, 31, 40)])
    _assert_true(make, np.concatenate([starts + k for k in (-1, 0, 1, up - 1, up, up + 1)]))
    assert (_rates(make(ours), starts) == np.float32(1e-3)).all()
    if mode == "triangular":
        assert (_rates(make(ours), starts + up) == np.float32(0.3)).all()


@without_compiler
@pytest.mark.parametrize("size", [1, 2, 7, 1000, 2**20 + 1, 2**33])
def test_steps_are_divided_as_integers(size: int) -> None:
    edges = np.array([2**power // size * size for power in (24, 31, 40)] + [size, 3 * size], np.uint64)
    steps = np.unique(np.concatenate([edges + np.uint64(k) for k in range(3)] + [edges - np.uint64(1)]))
    for make in (
        lambda m: m.staircase(m.linear_schedule(0, 1, 2**50), size),
        lambda m: m.repeat(m.linear_schedule(1e-3, 1, size), size),
        lambda m: m.delay(m.linear_schedule(0, 1, size), int(edges[2])),
        lambda m: m.step_decay(1, 0.999, size),
    ):
        _assert_true(make, steps)


@without_compiler
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt", "rex", "exponential"])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.1, 0.25, 0.3, 1 / 3, 0.45, 0.5])
def test_one_cycle_with_its_top_between_two_steps(three_phase: bool, shape: str, fraction: float) -> None:
    # Of what is left before the end only the last bits of the truth's own knots matter, so it stops short of 10**5.
    for total_steps in (2, 3, 4, 5, 7, 10, 33, 99, 100, 101, 1234):

        def make(m: Any, total_steps: int = total_steps) -> Any:
            return m.one_cycle(
                0.3, total_steps, warmup_fraction=fraction, shape=shape, three_phase=three_phase, final_div_factor=50
            )

        _assert_true(make, [*range(total_steps + 3), *FAR])


@without_compiler
@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt", "rex", "exponential"])
def test_shapes_are_the_same_everywhere(shape: str) -> None:
    steps = np.arange(60)
    decays = {
        "linear": ours.polynomial_decay,
        "cosine": ours.cosine_decay,
        "sqrt": ours.sqrt_decay,
        "rex": ours.rex_decay,
    }
    ramp = _rates(
        decays[shape](0.3, 50, 0.1) if shape in decays else ours.cooldown(0.3, 0, 50, 0.1, shape=shape), steps
    )
    for same in (
        ours.cooldown(0.3, 0, 50, 0.1, shape=shape),
        ours.warmup(0.1, 50, 0.3, shape=shape),
        ours.piecewise_interpolate([0.3, 0.1], [0, 50], shape),
        ours.warmup_stable_decay(0.3, 0, 0, 50, end=0.1, decay_shape=shape),
        ours.warmup_stable_decay(0.1, 50, 9, 9, init=0.3, end=0.1, warmup_shape=shape),
    ):
        np.testing.assert_array_equal(_rates(same, steps), ramp)


@without_compiler
def test_nothing_rebounds_or_goes_below_zero() -> None:
    steps = np.array([*range(300), *FAR, 2**63 - 1, 2**64 - 1], np.uint64)
    for schedule in (
        ours.polynomial_decay(0.1, 100, power=0.3),
        ours.cosine_decay(0.1, 100, power=3),
        ours.sqrt_decay(0.1, 100),
        ours.rex_decay(0.1, 100),
        ours.tanh_decay(0.1, 100),
        ours.inverse_time_decay(0.1, 0.1),
        ours.inverse_sqrt_decay(0.1, 100),
        ours.power_law_decay(0.1, 100, 0.7),
        ours.hyperbolic_decay(0.1, 100, 200),
        ours.exp_hyperbolic_decay(0.1, 100, 200, 1e-6),
        ours.cosine_decay(0.1, 100, k=2),
        ours.linear_schedule(0.1, 0, 100, k=0.3),
        ours.one_cycle(0.1, 100, warmup_fraction=0),
        ours.step_decay(0.1, 0.5, 10),
        ours.exponential_decay(0.1, 0.5),
        ours.warmup_stable_decay(0.1, 0, 10, 100),
        ours.noam(512, 1),
    ):
        rates = _rates(schedule, steps)
        assert (rates >= 0).all()
        assert (np.diff(rates) <= 0).all(), schedule


def test_steps_past_float32_are_different_steps() -> None:
    boundary = 2**24 + 1
    schedule = ours.join_schedules([1.0, 2.0], [boundary])
    np.testing.assert_array_equal(np.array(schedule(mx.array([boundary - 1, boundary], mx.uint64))), [1, 2])
    np.testing.assert_array_equal(np.array(schedule(mx.array([boundary - 1, boundary], mx.int32))), [1, 2])
    assert [schedule(boundary - 1).item(), schedule(boundary).item()] == [1, 2]


@pytest.mark.parametrize("boundary", [1, 2, 1000, 2**24 + 1, 2**31, 2**40 + 1])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 9, 64])
def test_joins_switch_at_the_boundary(boundary: int, count: int) -> None:
    boundaries = [boundary + 10 * k for k in range(count - 1)]
    schedule = ours.join_schedules([ours.linear_schedule(k + 1, k + 1.5, 9) for k in range(count)], boundaries)
    at = np.array([b + k for b in boundaries for k in (-1, 0)], np.uint64)
    segments = [s for k in range(count - 1) for s in (k, k + 1)]
    starts = np.array([0, *boundaries], np.uint64)[segments]
    expected = [s + 1 + 0.5 * min(int(t), 9) / 9 for s, t in zip(segments, at - starts, strict=True)]
    np.testing.assert_allclose(np.array(schedule(mx.array(at))), expected, rtol=3e-7)


def test_rates_underflow_and_overflow_as_float32_does() -> None:
    steps = np.arange(300, dtype=np.uint64)
    falling = np.array(ours.exponential_decay(1, 0.5)(mx.array(steps)))
    np.testing.assert_array_equal(falling, np.ldexp(np.float32(1), -steps.astype(np.int64)))
    with np.errstate(over="ignore"):
        doubled = np.ldexp(np.float32(1), steps.astype(np.int64))
    np.testing.assert_array_equal(np.array(ours.exponential_decay(1, 2)(mx.array(steps))), doubled)
