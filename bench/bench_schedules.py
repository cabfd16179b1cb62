"""What a call of a schedule costs, group by group: ``pytest bench``."""

from __future__ import annotations

import pytest
from cases import CASES, FAMILIES, FLOOR, INIT, STEPS
from measure import CALLS, queued
from pytest_benchmark.fixture import BenchmarkFixture

ALL = {**CASES, **FAMILIES}


@pytest.mark.parametrize(("case", "variant"), [(c.name, v) for c in ALL.values() for v in c.variants()])
def test_calls(case: str, variant: str, benchmark: BenchmarkFixture) -> None:
    """A training loop's way to call it: step by step, evaluated later."""
    benchmark.group = f"{CALLS} calls: {case}"
    rate, steps = ALL[case].variants()[variant], ALL[case].steps(variant)
    queued(rate, steps)  # builds what has to be built
    last = benchmark(queued, rate, steps)
    expected = STEPS[-1] + 1 if variant == FLOOR else ALL[case].theirs(INIT)(STEPS[-1])
    assert last.item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-6 * INIT)  # MLX's own error
