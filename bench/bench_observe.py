"""A step whose loss may lower the rate: ``observe``, beside what waits for the loss.

PyTorch comes with the extra ``peers``, and is imported where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from formulas import INIT
from measure import Row, Turns

from mlxsched_compiled import compiled_step, constant, reduce_on_plateau

CALLS = 100
FACTOR, PATIENCE = 0.99, 20
BATCHES = np.random.default_rng(0).normal(size=(CALLS, 4, 8)).astype(np.float32)
"""Losses differ from batch to batch, so that most are no better than the best."""
OBSERVE, WAIT, TORCH = "observe(loss)", "loss.item(), MLX by hand", "scheduler.step(loss.item()), PyTorch"


class _ByHand:
    """PyTorch's rules in Python: what one would write, and the truth."""

    def __init__(self) -> None:
        self.rate, self._best, self._waited = INIT, math.inf, 0

    def step(self, metric: float) -> None:
        self._waited += 1
        if metric < self._best * (1 - 1e-4):
            self._best, self._waited = metric, 0
        if self._waited > PATIENCE:
            self.rate, self._waited = self.rate * FACTOR, 0


class _Mlx:
    """SGD on the mean square of an 8x8 layer, in one graph."""

    def __init__(self, rate: Any = INIT) -> None:
        mx.random.seed(0)
        self.model = nn.Linear(8, 8)
        self.optimizer = optim.SGD(rate)
        self.losses: list[mx.array] = []
        self._step = compiled_step(lambda model, x: mx.mean(mx.square(model(x))), self.model, self.optimizer)
        self._batches = [mx.array(batch) for batch in BATCHES]
        mx.eval(self._batches)

    def __call__(self) -> list[Any]:
        """A round."""
        for batch in self._batches:
            loss = self._step(batch)
            self._tell(loss)
            self.losses.append(loss)
        return [self.losses[-CALLS:], self.model.state, self.optimizer.state]

    def _tell(self, loss: mx.array) -> None:
        pass


class _Observing(_Mlx):
    def __init__(self) -> None:
        self._plateau = reduce_on_plateau(constant(INIT), factor=FACTOR, patience=PATIENCE)
        super().__init__(self._plateau)

    def __call__(self) -> list[Any]:
        """A round."""
        return [*super().__call__(), self._plateau.state]

    def _tell(self, loss: mx.array) -> None:
        self._plateau.observe(loss)

    def rate(self) -> float:
        return float(self._plateau(0))


class _Waiting(_Mlx):
    def __init__(self) -> None:
        super().__init__()
        self._plateau = _ByHand()

    def _tell(self, loss: mx.array) -> None:
        self._plateau.step(float(loss))  # waits
        self.optimizer.learning_rate = self._plateau.rate

    def rate(self) -> float:
        return self._plateau.rate


class _Torch:
    """The same by PyTorch, whose steps are done when they return."""

    def __init__(self, *, is_told: bool) -> None:
        torch: Any = import_module("torch")
        torch.set_num_threads(1)
        torch.manual_seed(0)
        layer = torch.nn.Linear(8, 8)
        self._optimizer = torch.optim.SGD(layer.parameters(), INIT)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
        self._scheduler = plateau(self._optimizer, factor=FACTOR, patience=PATIENCE, eps=0) if is_told else None
        self._loss: Callable[[Any], Any] = lambda x: layer(x).square().mean()
        self._batches = [torch.tensor(batch) for batch in BATCHES]
        self.losses: list[Any] = []

    def __call__(self) -> list[Any]:
        """A round."""
        for batch in self._batches:
            self._optimizer.zero_grad()
            loss = self._loss(batch)
            loss.backward()
            self._optimizer.step()
            if self._scheduler:
                self._scheduler.step(loss.item())
            self.losses.append(loss.detach())
        return []  # nothing that MLX has to evaluate

    def rate(self) -> float:
        found: float = self._optimizer.param_groups[0]["lr"]
        return found


def test_observe(turns: Turns, row: Row) -> None:
    """Each told its losses, beside the same not told."""
    told: dict[str, Any] = {OBSERVE: _Observing(), WAIT: _Waiting()}
    constants: dict[str, Any] = {"MLX": _Mlx()}
    bases = {OBSERVE: "MLX", WAIT: "MLX"}
    if find_spec("torch"):
        told[TORCH], constants["PyTorch"], bases[TORCH] = _Torch(is_told=True), _Torch(is_told=False), "PyTorch"
    found = turns("told the loss of each step", told | constants, CALLS, 61)

    for name, run in told.items():
        truth = _ByHand()
        for loss in run.losses:
            truth.step(float(loss))
        assert truth.rate < INIT
        assert run.rate() == pytest.approx(truth.rate, rel=1e-4), name
        base = found[bases[name]]
        row(
            {
                "µs per step": name,
                "constant": f"{base.us:.1f}",
                "told its loss": f"{found[name].us:.1f}",
                "added": f"{found[name].extra(base):+.1f}",
                "ratio": f"{found[name].ratio(base):.2f}x",
            }
        )
