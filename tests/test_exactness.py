"""Every rate against the truth."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

import mlxsched_compiled as ours

from . import oracle
from .cases import CASES, COSINE, LINEAR, Case, each

STEPS = np.concatenate(
    [
        np.arange(1_000_001, dtype=np.uint64),
        np.array([2**power + k for power in (24, 31, 40) for k in range(-3, 6)], np.uint64),
        np.array([10**7, 2**53, 2**63 - 1], np.uint64),
    ]
)


@each(CASES)
def test_every_rate_is_within_ulps_of_the_truth(case: Case) -> None:
    rates = np.array(case.schedule(mx.array(STEPS)))
    assert not np.isnan(rates).any()
    errors = oracle.ulps(rates, case.truth(STEPS))
    worst = int(errors.argmax())
    assert errors[worst] <= case.ulps, f"{errors[worst]:.2f} ulp at step {STEPS[worst]}"


@each(CASES)
def test_the_first_rate_is_the_true_one_to_the_bit(case: Case) -> None:
    first = np.array([0], np.uint64)
    assert np.array(case.schedule(0)) == case.truth(first).astype(np.float32)[0]


@each([*LINEAR, *COSINE])
def test_from_the_last_step_on_the_rate_is_the_end_to_the_bit(case: Case) -> None:
    schedule = case.schedule
    steps = eval(repr(schedule), {"linear_schedule": _steps_and_end, "cosine_decay": _steps_and_end})
    last, end = steps
    past = np.array([last, last + 1, last + 2, 2 * last, last + 2**24 + 1, 2**53, 2**63, 2**64 - 1], np.uint64)
    rates = np.array(schedule(mx.array(past)))
    np.testing.assert_array_equal(rates.view(np.uint32), np.float32(end).view(np.uint32))


def _steps_and_end(*, end: float, steps: int = 0, decay_steps: int = 0, init: float = 0) -> tuple[int, float]:
    return steps or decay_steps, end


@pytest.mark.parametrize("steps", range(1, 400))
def test_a_ramp_of_any_length_has_exact_ends(steps: int) -> None:
    at = mx.array([0, steps - 1, steps, steps + 1], mx.uint64)
    for schedule in (ours.linear_schedule(0.3, 1e-3, steps), ours.cosine_decay(0.3, steps, 1e-3)):
        first, before_last, last, past = np.array(schedule(at))
        assert first == np.float32(0.3)
        assert last == past == np.float32(1e-3)
        assert before_last > last


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


def test_a_join_may_switch_at_once() -> None:
    decay = ours.exponential_decay(0.1, 0.5)
    assert mx.array_equal(ours.join_schedules([3.0, decay], [0])(mx.arange(9)), decay(mx.arange(9)))


def test_rates_underflow_and_overflow_as_float32_does() -> None:
    steps = np.arange(300, dtype=np.uint64)
    falling = np.array(ours.exponential_decay(1, 0.5)(mx.array(steps)))
    np.testing.assert_array_equal(falling, np.ldexp(np.float32(1), -steps.astype(np.int64)))
    with np.errstate(over="ignore"):
        doubled = np.ldexp(np.float32(1), steps.astype(np.int64))
    np.testing.assert_array_equal(np.array(ours.exponential_decay(1, 2)(mx.array(steps))), doubled)
