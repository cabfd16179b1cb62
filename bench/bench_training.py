"""Training steps: what a schedule costs in one, what compiling the update saves, first steps: ``pytest bench``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import mlx.core as mx
import pytest
from cases import CASES, INIT
from fresh_training import stopped_before
from pytest_benchmark.fixture import BenchmarkFixture
from training import (
    CONSTANT,
    CONSTANT_TOOL,
    EAGER,
    EAGER_STEP,
    FLOAT_UPDATE,
    HAND_UPDATE,
    MLX,
    OPTIMIZERS,
    SCHEDULES,
    STEPS,
    TOOL,
    UPDATE,
    UPDATE_STEP,
    VARIANTS,
    WHOLE_STEP,
    Lengths,
    Training,
    Update,
)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps(optimizer: str, schedule: str, variant: str, benchmark: BenchmarkFixture) -> None:
    """Of the smallest model."""
    benchmark.group = f"{STEPS} steps: {optimizer}, {schedule}"
    training = Training(optimizer, schedule, variant)
    benchmark(training)
    training.check()


@pytest.mark.parametrize("variant", [EAGER, HAND_UPDATE, FLOAT_UPDATE, UPDATE])
def test_update_of_100_tensors(variant: str, benchmark: BenchmarkFixture) -> None:
    """AdamW, warmup and cosine."""
    benchmark.group = "10 updates: AdamW over 100 tensors"
    update = Update(variant)
    benchmark(update)
    rate = float(CASES["warmup + cosine"].ours(INIT)(update.taken - 1))
    assert float(update.optimizer.learning_rate) == pytest.approx(rate)


@pytest.mark.parametrize("variant", [EAGER_STEP, UPDATE_STEP, WHOLE_STEP])
def test_later_epochs_of_many_lengths(variant: str, benchmark: BenchmarkFixture) -> None:
    """20 lengths, seen before."""
    benchmark.group = "epoch: 20 lengths, later"
    lengths = Lengths(variant)
    lengths.epoch()
    assert 0 < benchmark(lengths.epoch) < 5


@pytest.mark.parametrize("variant", [EAGER_STEP, UPDATE_STEP, WHOLE_STEP])
def test_first_epoch_of_many_lengths(variant: str, benchmark: BenchmarkFixture) -> None:
    """20 lengths never seen, in a new interpreter with no kernel built."""
    benchmark.group = "epoch: 20 lengths, first"
    assert 0 < _fresh(benchmark, "epochs", variant, rounds=1) < 5


@pytest.mark.parametrize("variant", [CONSTANT, MLX, TOOL])
def test_first_step(variant: str, benchmark: BenchmarkFixture) -> None:
    """AdamW, warmup and cosine, in a new interpreter with no kernel built."""
    benchmark.group = "first step"
    assert _fresh(benchmark, "first step", variant, rounds=3) == 1


@pytest.mark.parametrize("variant", [MLX, TOOL])
def test_sweep(variant: str, benchmark: BenchmarkFixture) -> None:
    """20 peaks of a warmup and cosine, AdamW, two steps each, in a new interpreter with no kernel built."""
    count = 20 if benchmark.enabled else 2  # once, as a smoke test, two do
    benchmark.group = f"sweep of {count} rates"
    peak = INIT * (1 + (count - 1) / 7)
    assert _fresh(benchmark, "sweep", variant, rounds=1, count=count) == pytest.approx(
        float(CASES["warmup + cosine"].ours(peak)(1)), rel=1e-4
    )


@pytest.mark.parametrize("variant", ["the step alone", "retune", "retune of a join", "learning_rate ="])
def test_retune(variant: str, benchmark: BenchmarkFixture) -> None:
    """Before each step: other hyperparameters, or another constant rate."""
    benchmark.group = f"{STEPS} retuned steps"
    schedule = "warmup + cosine" if variant == "retune of a join" else "cosine"
    training = Training("AdamW", schedule, CONSTANT_TOOL if "=" in variant else TOOL)
    live: Any = training.optimizer._schedulers.get("learning_rate")

    def change() -> None:
        if variant == "retune":
            live.retune(init=INIT)
        elif variant == "retune of a join":
            live.retune(boundaries=[5000])
        elif variant == "learning_rate =":
            training.optimizer.learning_rate = INIT

    def run() -> None:
        loss = None
        for _ in range(STEPS):
            change()
            loss = training.step(training.batch)
            training.taken += 1
        mx.eval(loss, training.model.state, training.optimizer.state)

    benchmark(run)
    training.check()


def _fresh(benchmark: BenchmarkFixture, what: str, variant: str, rounds: int, count: int = 1) -> float:
    with ExitStack() as stack:

        def start() -> tuple[tuple[Callable[[], str]], dict[str, Any]]:
            return (stack.enter_context(stopped_before(what, variant, count)),), {}

        return float(benchmark.pedantic(lambda go: go(), setup=start, rounds=rounds))
