"""Random schedules, each as a function of the module that its factories come from (see ``cases.Make``)."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from .cases import Case, Make

rates = st.one_of(st.sampled_from([0.0, 1e-3, 0.1, 1.0]), st.floats(1e-9, 10, allow_subnormal=False))
counts = st.one_of(st.integers(1, 50), st.integers(1, 1_000_000))
bases = st.one_of(st.floats(0.05, 1.0), st.floats(0.99, 1.001), st.just(1.0))
steps = st.one_of(st.integers(0, 100), st.integers(0, 2_000_000), st.integers(2**24 - 9, 2**24 + 9))


def _exponential(init: float, base: float) -> Case:
    return Case(3, lambda m: m.exponential_decay(init, base))


def _stepped(init: float, base: float, size: int) -> Case:
    return Case(3, lambda m: m.step_decay(init, base, size))


def _linear(init: float, end: float, count: int) -> Case:
    return Case(3, lambda m: m.linear_schedule(init, end, count))


def _cosine(init: float, count: int, end: float) -> Case:
    return Case(6, lambda m: m.cosine_decay(init, count, end))


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
def joins(draw: st.DrawFn) -> tuple[Case, list[Case], list[int]]:
    """A join, its parts and its boundaries."""
    parts = [draw(part) for part in draw(st.sampled_from(_JOINS))]
    size = len(parts) - 1
    boundaries = sorted(draw(st.lists(counts, min_size=size, max_size=size, unique=True)))
    makes: list[Make] = [part.make for part in parts]

    def make(module: Any) -> Any:
        return module.join_schedules([part(module) for part in makes], boundaries)

    return Case(max(part.ulps for part in parts), make), parts, boundaries


schedules = st.one_of(singles, joins().map(lambda join: join[0]))
