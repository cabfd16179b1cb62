"""Warmup and cosine beside PyTorch and Optax, where the extra ``peers`` is installed: ``pytest bench``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cases import INIT
from peers import OPTAX, OURS, TORCH, WARMUP, Run, schedule_alone, update
from pytest_benchmark.fixture import BenchmarkFixture
from training import STEPS

LAST = INIT * (STEPS - 1) / WARMUP
"""The rate of the last step."""


@pytest.mark.parametrize("peer", [TORCH, OPTAX, OURS])
def test_schedule(peer: str, benchmark: BenchmarkFixture) -> None:
    """Alone: ``lr_scheduler.step()``, a jitted schedule, a schedule called with arrays."""
    _need(peer)
    benchmark.group = f"{STEPS} rates: warmup + cosine"
    _run(benchmark, lambda: schedule_alone(peer), LAST)


@pytest.mark.parametrize("scheduled", [False, True], ids=["constant", "warmup + cosine"])
@pytest.mark.parametrize("peer", [TORCH, OPTAX, OURS])
def test_update(peer: str, scheduled: bool, benchmark: BenchmarkFixture) -> None:
    """An SGD update of an 8x8 layer."""
    _need(peer)
    benchmark.group = f"{STEPS} SGD updates beside peers"
    _run(benchmark, lambda: update(peer, scheduled=scheduled), LAST if scheduled else INIT)


def _need(peer: str) -> None:
    if peer != OURS:
        pytest.importorskip(peer)


def _run(benchmark: BenchmarkFixture, make: Callable[[], Run], expected: float) -> None:
    """Each round from the first step of a new schedule on: some count their steps themselves."""
    rate = benchmark.pedantic(lambda run: run(), setup=lambda: ((make(),), {}), rounds=31)
    assert rate == pytest.approx(expected, rel=1e-4)
