"""What a schedule adds to a compiled update: ``pytest bench``."""

from __future__ import annotations

import pytest
from cases import CASES, INIT
from measure import CALLS
from pytest_benchmark.fixture import BenchmarkFixture
from updates import CONSTANT, OPTIMIZERS, SCHEDULES, updates


@pytest.mark.parametrize("variant", [CONSTANT, "mlx", "ours", "ours, captured"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates(optimizer: str, schedule: str, variant: str, benchmark: BenchmarkFixture) -> None:
    """The update alone, so that nothing else hides the schedule."""
    benchmark.group = f"{CALLS} updates: {optimizer}, {schedule}"
    update = updates(optimizer, schedule)[variant]
    update(1)  # builds what has to be built
    benchmark(update, CALLS)
    trained = update.optimizer
    expected = INIT if variant == CONSTANT else float(CASES[schedule].theirs(INIT)(trained.step - 1))
    assert float(trained.learning_rate) == pytest.approx(expected, rel=1e-2)  # MLX's own error after so many steps
