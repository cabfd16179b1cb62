"""Laws that hold whatever the hyperparameters."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import mlxsched_compiled as ours

from . import oracle
from .cases import Case
from .strategies import counts, joins, ramps, rates, schedules, singles, steps

many_steps = st.lists(steps, min_size=1, max_size=20)


def _rates(schedule: ours.Schedule, at: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(schedule(mx.array(at, mx.uint64)))


@given(schedules, many_steps)
def test_rates_are_true(case: Case, at: list[int]) -> None:
    errors = oracle.ulps(_rates(case.schedule, at), case.truth(np.array(at, np.uint64)))
    assert errors.max() <= case.ulps


@given(rates, rates, counts, st.integers(0, 2**40))
def test_ramps_start_and_end_exactly(init: float, end: float, count: int, later: int) -> None:
    for schedule in (ours.linear_schedule(init, end, count), ours.cosine_decay(init, count, end)):
        first, last, past = _rates(schedule, [0, count, count + later])
        assert first == np.float32(init)
        assert last == past == np.float32(end)


@given(ramps, many_steps)
def test_ramps_are_monotone_as_far_as_float32_can_tell(case: Case, at: list[int]) -> None:
    at.sort()
    got, truth = _rates(case.schedule, at), case.truth(np.array(at, np.uint64))
    slack = 2 * case.ulps * oracle.ulp(truth[:-1])
    falls = truth[0] >= truth[-1]
    risen = np.diff(got.astype(np.float64))
    assert (risen <= slack).all() if falls else (risen >= -slack).all()


@given(singles, many_steps)
def test_decays_keep_their_sign(case: Case, at: list[int]) -> None:
    assert (_rates(case.schedule, at) >= 0).all()


@given(joins())
def test_a_join_is_its_parts(join: tuple[Case, list[Case], list[int]]) -> None:
    case, parts, boundaries = join
    for k, boundary in enumerate(boundaries):
        start = boundaries[k - 1] if k else 0
        before, after = _rates(case.schedule, [boundary - 1, boundary])
        for got, part, step in ((before, parts[k], boundary - 1 - start), (after, parts[k + 1], 0)):
            truth = part.truth(np.array([step], np.uint64))
            assert oracle.ulps(np.array([got]), truth)[0] <= part.ulps


@given(schedules, st.lists(steps, min_size=6, max_size=6))
def test_elementwise(case: Case, at: list[int]) -> None:
    schedule = case.schedule
    curve = schedule(mx.array(at, mx.uint64))
    square = schedule(mx.array(at, mx.uint64).reshape(2, 3))
    assert square.shape == (2, 3)
    assert mx.array_equal(square.reshape(6), curve)
    assert [schedule(step).item() for step in at] == curve.tolist()
