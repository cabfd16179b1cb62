"""What a first call costs where no kernel is built yet, and in a sweep: ``pytest bench``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import mlx.core as mx
import pytest
from cases import CASES, COMPILED, INIT, OURS
from first_call import stopped_before_first_call
from pytest_benchmark.fixture import BenchmarkFixture


@pytest.mark.parametrize("sweep", [False, True], ids=["first", "second of its kind"])
@pytest.mark.parametrize("variant", [COMPILED, OURS])
@pytest.mark.parametrize("case", ["exponential", "cosine", "warmup + cosine", "join of 4"])
def test_first_call(case: str, variant: str, sweep: bool, benchmark: BenchmarkFixture) -> None:
    """Made in a new interpreter each time, and timed from outside: only the call."""
    benchmark.group = f"{'second' if sweep else 'first'} call: {case}"
    with ExitStack() as stack:

        def start() -> tuple[tuple[Callable[[], str]], dict[str, Any]]:
            return (stack.enter_context(stopped_before_first_call(case, variant, sweep)),), {}

        rate = benchmark.pedantic(lambda call: call(), setup=start, rounds=3)
    assert float(rate) == pytest.approx(float(CASES[case].theirs(INIT)(mx.array(7))), rel=1e-4)
