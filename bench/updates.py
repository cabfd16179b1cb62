"""The smallest scheduled update: one 8x8 layer, so that the schedule is as large a part of it as it can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from cases import CASES, INIT

from mlxsched_compiled import compiled_update

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {"SGD": optim.SGD, "AdamW": optim.AdamW}
SCHEDULES = ["exponential", "cosine", "warmup + cosine", "join of 4"]
CONSTANT = "constant"


class Update:
    """A compiled update of one layer under ``rate``: by this package's tool, or by hand with ``captured`` as inputs."""

    def __init__(self, optimizer: str, rate: Any, captured: Sequence[mx.array] = (), *, by_tool: bool = False) -> None:
        self.model = nn.Linear(8, 8)
        self.optimizer = OPTIMIZERS[optimizer](rate)
        self.optimizer.init(self.model.trainable_parameters())
        self.state = [self.model.state, self.optimizer.state]
        self.gradients = self.model.parameters()
        mx.eval(self.state, self.gradients)

        @partial(mx.compile, inputs=[*self.state, captured], outputs=self.state)
        def update(gradients: Any) -> None:
            self.optimizer.update(self.model, gradients)

        self.update = compiled_update(self.model, self.optimizer) if by_tool else update

    def __call__(self, times: int) -> None:
        """So many updates, evaluated at once."""
        for _ in range(times):
            self.update(self.gradients)
        mx.eval(self.state)


def updates(optimizer: str, schedule: str) -> dict[str, Update]:
    """What is timed, by name: the same update under a constant rate, MLX's own schedule and ours."""
    theirs, ours = CASES[schedule].theirs(INIT), CASES[schedule].ours(INIT)
    return {
        CONSTANT: Update(optimizer, INIT),
        "mlx": Update(optimizer, theirs),
        "ours": Update(optimizer, ours),
        "ours, captured": Update(optimizer, ours, ours.state),
        "compiled_update": Update(optimizer, ours, by_tool=True),
    }
