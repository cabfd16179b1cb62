"""Laws that hold whatever the hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import mlxsched_compiled as ours

from . import oracle
from .schedules import Row
from .test_drop_in import assert_agree

rates = st.one_of(st.sampled_from([0.0, 1e-3, 0.1, 1.0]), st.floats(1e-9, 10, allow_subnormal=False))
counts = st.one_of(st.integers(1, 50), st.integers(1, 1_000_000))
bases = st.one_of(st.floats(0.05, 1.0), st.floats(0.99, 1.001), st.just(1.0))
steps = st.one_of(st.integers(0, 100), st.integers(0, 2_000_000), st.integers(2**24 - 9, 2**24 + 9))


def _exponential(init: float, base: float) -> Row:
    return Row(lambda m, p: m.exponential_decay(init, base), 3)


def _stepped(init: float, base: float, size: int) -> Row:
    return Row(lambda m, p: m.step_decay(init, base, size), 3)


def _linear(init: float, end: float, count: int) -> Row:
    return Row(lambda m, p: m.linear_schedule(init, end, count), 3)


def _cosine(init: float, count: int, end: float) -> Row:
    return Row(lambda m, p: m.cosine_decay(init, count, end), 6)


exponentials = st.builds(_exponential, rates, bases)
stepped = st.builds(_stepped, rates, bases, counts)
linears = st.builds(_linear, rates, rates, counts)
cosines = st.builds(_cosine, rates, counts, rates)
ramps = st.one_of(linears, cosines)
singles = st.one_of(exponentials, stepped, linears, cosines)


_falling = st.builds(_exponential, rates, st.floats(0.05, 1.0))
_JOINS = [
    (linears, cosines),
    (linears, _falling),
    (cosines, linears, _falling),
    (_falling, linears, cosines, linears),
    (cosines,) * 6,
    (linears, _falling, cosines) * 3,
]
"""What random joins are made of: a few mixes, for each new one waits for a C++ compiler."""


@st.composite
def joins(draw: st.DrawFn) -> tuple[Row, list[Row], list[int]]:
    """A join, its parts and its boundaries."""
    parts = [draw(part) for part in draw(st.sampled_from(_JOINS))]
    size = len(parts) - 1
    boundaries = sorted(draw(st.lists(counts, min_size=size, max_size=size, unique=True)))

    def make(m: Any, p: float) -> Any:
        return m.join_schedules([part.make(m, p) for part in parts], boundaries)

    return Row(make, max(part.ulps for part in parts)), parts, boundaries


schedules = st.one_of(singles, joins().map(lambda join: join[0]))
many_steps = st.lists(steps, min_size=1, max_size=20)


def _rates(schedule: ours.Schedule, at: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(schedule(mx.array(at, mx.uint64)))


@given(schedules, many_steps)
def test_rates_are_true(row: Row, at: list[int]) -> None:
    errors = oracle.ulps(_rates(row.schedule, at), row.truth(np.array(at, np.uint64)))
    assert errors.max() <= row.ulps


@given(rates, rates, counts, st.integers(0, 2**40))
def test_ramps_start_and_end_exactly(init: float, end: float, count: int, later: int) -> None:
    for schedule in (ours.linear_schedule(init, end, count), ours.cosine_decay(init, count, end)):
        first, last, past = _rates(schedule, [0, count, count + later])
        assert first == np.float32(init)
        assert last == past == np.float32(end)


@given(ramps, many_steps)
def test_ramps_are_monotone_as_far_as_float32_can_tell(row: Row, at: list[int]) -> None:
    at.sort()
    got, truth = _rates(row.schedule, at), row.truth(np.array(at, np.uint64))
    slack = 2 * row.ulps * oracle.ulp(truth[:-1])
    falls = truth[0] >= truth[-1]
    risen = np.diff(got.astype(np.float64))
    assert (risen <= slack).all() if falls else (risen >= -slack).all()


@given(singles, many_steps)
def test_decays_keep_their_sign(row: Row, at: list[int]) -> None:
    assert (_rates(row.schedule, at) >= 0).all()


@given(joins())
def test_a_join_is_its_parts(join: tuple[Row, list[Row], list[int]]) -> None:
    row, parts, boundaries = join
    for k, boundary in enumerate(boundaries):
        start = boundaries[k - 1] if k else 0
        before, after = _rates(row.schedule, [boundary - 1, boundary])
        for got, part, step in ((before, parts[k], boundary - 1 - start), (after, parts[k + 1], 0)):
            truth = part.truth(np.array([step], np.uint64))
            assert oracle.ulps(np.array([got]), truth)[0] <= part.ulps


@given(schedules, st.lists(steps, min_size=6, max_size=6))
def test_elementwise(row: Row, at: list[int]) -> None:
    schedule = row.schedule
    curve = schedule(mx.array(at, mx.uint64))
    square = schedule(mx.array(at, mx.uint64).reshape(2, 3))
    assert square.shape == (2, 3)
    assert mx.array_equal(square.reshape(6), curve)
    assert [schedule(step).item() for step in at] == curve.tolist()


@given(schedules, st.lists(steps, min_size=1, max_size=5))
def test_any_schedule_agrees_with_mlx(row: Row, at: list[int]) -> None:
    assert_agree(row, at)


exponents = st.floats(0.1, 4)
BENT = [ours.polynomial_decay, ours.cosine_decay, ours.sqrt_decay, ours.rex_decay]


def _assert_same(a: ours.Schedule, b: ours.Schedule, at: list[int], ulps: float = 10) -> None:
    truth = _rates(b, at).astype(np.float64)
    assert (oracle.distance(_rates(a, at), truth) <= ulps * oracle.ulp(truth)).all(), (a, b)


@given(st.sampled_from(BENT), rates, counts, rates, many_steps)
def test_a_k_of_1_is_the_plain_ramp(
    decay: Callable[..., ours.Schedule], init: float, count: int, end: float, at: list[int]
) -> None:
    plain = decay(init, count, end)
    assert decay(init, count, end, k=1).structure == plain.structure
    _assert_same(decay(init, count, end, k=mx.array(1.0)), plain, at)


@given(rates, counts, rates, many_steps)
def test_a_root_is_a_straight_line_bent_by_a_half(init: float, count: int, end: float, at: list[int]) -> None:
    _assert_same(ours.linear_schedule(init, end, count, k=0.5), ours.sqrt_decay(init, count, end), at)


@given(st.sampled_from(BENT), counts, exponents, many_steps)
def test_bent_ramps_start_and_end_exactly_and_stay_between(
    decay: Callable[..., ours.Schedule], count: int, k: float, at: list[int]
) -> None:
    first, last, *between = _rates(decay(1.0, count, 0.25, k=k), [0, count, *at])
    assert (first, last) == (1, 0.25)
    assert all(0.25 <= rate <= 1 for rate in between)


@given(rates, counts, many_steps)
def test_power_laws_have_names_for_two_exponents(init: float, timescale: int, at: list[int]) -> None:
    root, inverse = (ours.power_law_decay(init, timescale, mx.array(power)) for power in (0.5, 1.0))
    _assert_same(root, ours.inverse_sqrt_decay(init, timescale), at)
    _assert_same(inverse, ours.inverse_time_decay(init, 1, decay_steps=timescale), at)
    assert ours.power_law_decay(init, timescale, 0.5).structure == ours.inverse_sqrt_decay(init, timescale).structure


@given(rates, counts, rates, many_steps)
def test_a_hyperbola_as_long_as_its_bound_is_a_straight_line(
    init: float, count: int, infimum: float, at: list[int]
) -> None:
    _assert_same(ours.hyperbolic_decay(init, count, count, infimum), ours.linear_schedule(init, infimum, count), at)


@given(st.integers(1, 10**6), st.integers(0, 10**6), many_steps)
def test_the_hyperbolas_are_one_the_logarithm_of_the_other(count: int, spare: int, at: list[int]) -> None:
    line = ours.hyperbolic_decay(math.log(0.1), count, count + spare, math.log(1e-3))
    factors = ours.exp_hyperbolic_decay(0.1, count, count + spare, 1e-3)
    np.testing.assert_allclose(np.exp(_rates(line, at).astype(np.float64)), _rates(factors, at), rtol=3e-6)
