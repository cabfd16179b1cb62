"""The runs that ``train_digits.py`` compares. Run as a program, this file is the first step of one of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from measure import fresh

import mlxsched_compiled
from mlxsched_compiled import compiled_step, cosine_decay, one_cycle, one_cycle_momentum, scheduled
from mlxsched_compiled._kernels import kernels

PEAK, END = 2e-2, 1e-5
"""So high a rate trains well after a warmup, if it falls in the end; held, it does not."""
BATCH = 32
SEED = 0
BASE, MLX, OURS, CYCLE = "constant", "mlx", "ours", "one cycle"

Batch = tuple[mx.array, mx.array]  # images (BATCH, 64) float32 from 0 to 1, digits (BATCH,) int32


def warmup_cosine(schedules: Any, steps: int) -> optim.Optimizer:
    """The schedule, by ``mlx.optimizers`` or by ``mlxsched_compiled``: the same names."""
    warmup = max(steps // 10, 1)
    up = schedules.linear_schedule(0, PEAK, warmup)
    down = schedules.cosine_decay(PEAK, steps - warmup, END)
    return optim.AdamW(schedules.join_schedules([up, down], [warmup]))


def cycle(steps: int, peak: float = PEAK) -> optim.Optimizer:
    """The rate goes up and down, the first beta down and up, and weight decay up from AdamW's default to 0.1."""
    return scheduled(
        optim.AdamW,
        learning_rate=one_cycle(peak, steps),
        weight_decay=cosine_decay(0.01, steps, 0.1),
        betas=[one_cycle_momentum(steps), 0.999],
    )


OPTIMIZERS: dict[str, Callable[[int], optim.Optimizer]] = {
    BASE: lambda steps: optim.AdamW(PEAK),
    MLX: partial(warmup_cosine, optim),
    OURS: partial(warmup_cosine, mlxsched_compiled),
    CYCLE: cycle,
}


def loss_fn(model: nn.Module, images: mx.array, digits: mx.array) -> mx.array:
    """Mean cross entropy of a batch."""
    return nn.losses.cross_entropy(model(images), digits, reduction="mean")


def network() -> nn.Module:
    """The network to be trained, with the weights that every run starts from."""
    mx.random.seed(SEED)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def scheduled_values(optimizer: optim.Optimizer) -> dict[str, mx.array]:
    """What the optimizer worked with in the last step: what ``scheduled`` was given stands in its state."""
    state = optimizer.state
    values = {"learning rate": state["learning_rate"]}
    if "betas" in state:
        values |= {"weight decay": state["weight_decay"], "first beta": state["betas"][0]}
    return values


class Run:
    """One training, and what was seen of it."""

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self.model = network()
        self.optimizer = optimizer
        self.optimizer.init(self.model.trainable_parameters())
        self.step = compiled_step(loss_fn, self.model, self.optimizer)
        self.losses: list[float] = []
        self.seconds: list[float] = []  # per step, one entry for each epoch
        self.values: dict[str, list[float]] = {name: [] for name in scheduled_values(optimizer)}

    def epoch(self, batches: list[Batch]) -> None:
        """One pass over the batches, all its steps queued before anything is waited for."""
        losses, values = [], []
        start = perf_counter()
        for batch in batches:
            losses.append(self.step(*batch))
            values.append(scheduled_values(self.optimizer))
        mx.eval(losses, values, self.model.state, self.optimizer.state)
        self.seconds.append((perf_counter() - start) / len(batches))
        self.losses += [float(loss) for loss in losses]
        for name, seen in self.values.items():
            seen += [float(value[name]) for value in values]

    def accuracy(self, images: mx.array, digits: mx.array) -> float:
        """The share of digits that the network reads right."""
        return float(mx.mean(mx.argmax(self.model(images), axis=1) == digits))


def first_step(name: str, steps: int) -> tuple[float, int]:
    """Seconds from nothing to the first trained step where no kernel is built yet, and kernels in a step's graph."""
    seconds, count = fresh(__file__, name, str(steps))
    return float(seconds), int(count)


if __name__ == "__main__":
    name, steps = sys.argv[1], int(sys.argv[2])
    batch = (mx.zeros((BATCH, 64)), mx.zeros(BATCH, mx.int32))
    mx.eval(batch)
    start = perf_counter()
    run = Run(OPTIMIZERS[name](steps))
    run.epoch([batch])
    seconds = perf_counter() - start
    print(seconds, len(kernels(run.step(*batch), run.model.state, run.optimizer.state)))
