"""What it costs to tell a schedule each loss: ``observe(loss)``, and ``scheduler.step(loss.item())`` of PyTorch.

PyTorch comes with the extra ``peers``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from formulas import INIT
from measure import Row, Times, Turns

from mlxsched_compiled import compiled_step, reduce_on_plateau

CALLS = 100
PATIENCE = 10
FACTOR = 0.999
"""Close to 1, so that all rounds train at about the same rate."""


class Training:
    """Of an 8x8 layer whose loss does not get better, by SGD."""

    def __init__(self, observes: bool) -> None:
        self.schedule = reduce_on_plateau(INIT, factor=FACTOR, patience=PATIENCE)
        self.model, self.observes = nn.Linear(8, 8), observes
        self.optimizer = optim.SGD(self.schedule)
        self.step = compiled_step(lambda model, x: mx.mean(model(x)) * 0 + 1, self.model, self.optimizer)
        self.batch = mx.ones((4, 8))
        self.metrics = 0

    def __call__(self) -> list[Any]:
        """A round."""
        for _ in range(CALLS):
            loss = self.step(self.batch)
            if self.observes:
                self.schedule.observe(loss)
                self.metrics += 1
        return [self.model.state, self.optimizer.state, self.schedule.state]

    @property
    def rate(self) -> float:
        """The present one."""
        return float(self.schedule(0))


class TorchTraining:
    """The same by PyTorch."""

    def __init__(self, observes: bool) -> None:
        torch: Any = import_module("torch")
        schedulers: Any = import_module("torch.optim.lr_scheduler")
        torch.set_num_threads(1)
        self.layer, self.observes = torch.nn.Linear(8, 8), observes
        self.optimizer = torch.optim.SGD(self.layer.parameters(), INIT)
        self.scheduler = schedulers.ReduceLROnPlateau(self.optimizer, factor=FACTOR, patience=PATIENCE, eps=0)
        self.batch = torch.ones((4, 8))
        self.metrics = 0

    def __call__(self) -> list[Any]:
        """A round."""
        for _ in range(CALLS):
            self.optimizer.zero_grad()
            loss = self.layer(self.batch).mean() * 0 + 1
            loss.backward()
            self.optimizer.step()
            if self.observes:
                self.scheduler.step(loss.item())
                self.metrics += 1
        return []

    @property
    def rate(self) -> float:
        """The present one."""
        return float(self.optimizer.param_groups[0]["lr"])


def test_observe(turns: Turns, row: Row) -> None:
    """A training step with and without; the rates are what so many metrics, none of them better, make of them."""
    kinds: dict[str, Any] = {"ours": Training}
    if find_spec("torch"):
        kinds["torch"] = TorchTraining
    runs = {
        f"{kind}{', observed' * observes}": make(observes) for kind, make in kinds.items() for observes in (False, True)
    }
    found = turns("observe", runs, CALLS, 31)

    for name, run in runs.items():
        lowered = max(run.metrics - 1, 0) // (PATIENCE + 1)
        assert run.rate == pytest.approx(INIT * FACTOR**lowered, rel=1e-5), name
    for kind in kinds:
        alone, observed = found[kind], found[f"{kind}, observed"]
        row(_cells(kind, alone, observed))


def _cells(kind: str, alone: Times, observed: Times) -> dict[str, str]:
    return {
        "µs per SGD step": {"ours": "`observe(loss)`", "torch": "PyTorch's `step(loss.item())`"}[kind],
        "without": f"{alone.us:.1f}",
        "with": f"{observed.us:.1f}",
        "more": f"{observed.extra(alone):+.1f}",
    }
