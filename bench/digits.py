"""Handwritten digits, a small network, and the runs that are compared on them.

What only the extra ``demo`` installs is imported where it is used: ``pytest bench`` looks into this file without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

import mlxsched_compiled
from mlxsched_compiled import compiled_step, cosine_decay, one_cycle, one_cycle_momentum, range_test, scheduled

PEAK, END = 2e-2, 1e-5
"""So high a rate trains well after a warmup, if it falls in the end; held, it does not."""
BATCH = 32
SEED = 0
BASE, MLX, OURS, ALL = "constant", "mlx", "ours", "all scheduled"

Batch = tuple[mx.array, mx.array]  # images (BATCH, 64) float32 from 0 to 1, digits (BATCH,) int32


def load() -> tuple[Batch, Batch]:
    """Handwritten digits to train on and others to test on."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, digits = load_digits(return_X_y=True)
    arrays = train_test_split(images / 16, digits, test_size=0.2, random_state=SEED, stratify=digits)
    train_images, test_images = (mx.array(a, mx.float32) for a in arrays[:2])
    train_digits, test_digits = (mx.array(a, mx.int32) for a in arrays[2:])
    return (train_images, train_digits), (test_images, test_digits)


def shuffled(images: mx.array, digits: mx.array, epochs: int) -> Iterator[list[Batch]]:
    """For each epoch its batches, in a new order; what does not fill a batch is left out."""
    generator = np.random.default_rng(SEED)
    for _ in range(epochs):
        order = generator.permutation(len(digits))[: len(digits) // BATCH * BATCH].reshape(-1, BATCH)
        batches = [(images[mx.array(rows)], digits[mx.array(rows)]) for rows in order]
        mx.eval(batches)
        yield batches


def network() -> nn.Module:
    """The network, with the same weights each time."""
    mx.random.seed(SEED)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def loss_fn(model: nn.Module, images: mx.array, digits: mx.array) -> mx.array:
    """Mean cross entropy of a batch."""
    return nn.losses.cross_entropy(model(images), digits, reduction="mean")


def suggested_peak(batches: list[Batch]) -> float:
    """The rate at which the loss falls fastest, by a step with each of the batches; prints what it saw of them."""
    steps = len(batches)
    optimizer = everything_scheduled(steps, peak=1.0)
    test = range_test(loss_fn, network(), optimizer, batches, steps=steps)
    if test.suggestion is None:
        raise ValueError(f"The loss falls at no rate: {test}.")
    print(
        f"A range test over an epoch suggests {test.suggestion:.2g}, the peak of {ALL!r}.\n"
        f"The three others have {PEAK:g}, chosen by hand, so that they differ in the schedule alone.\n{test}\n"
    )
    return test.suggestion


def warmup_cosine(schedules: Any, steps: int, peak: float) -> optim.Optimizer:
    """AdamW under a schedule by ``mlx.optimizers`` or by ``mlxsched_compiled``: the same names."""
    warmup = max(steps // 10, 1)
    up = schedules.linear_schedule(0, PEAK, warmup)
    down = schedules.cosine_decay(PEAK, steps - warmup, END)
    return optim.AdamW(schedules.join_schedules([up, down], [warmup]))


def everything_scheduled(steps: int, peak: float) -> optim.Optimizer:
    """AdamW whose rate rises and falls once, the first beta against it, and whose weight decay rises."""
    return scheduled(
        optim.AdamW,
        learning_rate=one_cycle(peak, steps),
        betas=[one_cycle_momentum(steps), 0.999],
        weight_decay=cosine_decay(0.01, steps, 0.1),
    )


OPTIMIZERS: dict[str, Callable[[int, float], optim.Optimizer]] = {
    BASE: lambda steps, peak: optim.AdamW(PEAK),
    MLX: partial(warmup_cosine, optim),
    OURS: partial(warmup_cosine, mlxsched_compiled),
    ALL: everything_scheduled,
}
"""What makes the optimizer of a run of so many steps. The suggested peak is for the last."""


@dataclass
class Run:
    """One training, and what was seen of it."""

    optimizer: optim.Optimizer
    losses: list[float] = field(default_factory=list)
    hyperparameters: dict[str, list[float]] = field(default_factory=dict)  # one of each per step
    seconds: list[float] = field(default_factory=list)  # per step, one entry for each epoch

    def __post_init__(self) -> None:
        self.model = network()
        self.optimizer.init(self.model.trainable_parameters())
        self.step = compiled_step(loss_fn, self.model, self.optimizer)

    def epoch(self, batches: list[Batch]) -> None:
        """One pass over the batches, all its steps queued before anything is waited for."""
        losses, hyperparameters = [], []
        start = perf_counter()
        for batch in batches:
            losses.append(self.step(*batch))
            hyperparameters.append(_hyperparameters(self.optimizer.state))
        mx.eval(losses, hyperparameters, self.model.state, self.optimizer.state)
        self.seconds.append((perf_counter() - start) / len(batches))
        self.losses += [float(loss) for loss in losses]
        for values in hyperparameters:
            for name, value in values.items():
                self.hyperparameters.setdefault(name, []).append(float(value))

    def accuracy(self, images: mx.array, digits: mx.array) -> float:
        """The share of digits that the network reads right."""
        return float(mx.mean(mx.argmax(self.model(images), axis=1) == digits))


def _hyperparameters(state: dict[str, Any]) -> dict[str, mx.array]:
    """The values of the step, which stand in an optimizer's state."""
    values = {"learning rate": state["learning_rate"]}
    if "betas" in state:
        values |= {"first beta": state["betas"][0], "weight decay": state["weight_decay"]}
    return values
