"""Trains a small network on handwritten digits under three learning rates, and shows what a schedule costs and brings.

``python bench/train_digits.py`` needs the extra ``demo``. The same training, from the same weights on the same batches,
runs under a constant rate, under the warmup and cosine decay of MLX, and under those of this package. The three take
turns epoch by epoch, so that their times can be compared on a machine that has other things to do.

What only the extra installs is imported where it is used: ``pytest bench`` looks into this file without it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from measure import Times, fresh, markdown

import mlxsched_compiled
from mlxsched_compiled import compiled_step
from mlxsched_compiled._kernels import kernels

PEAK, END = 2e-2, 1e-5
"""So high a rate trains well after a warmup, if it falls in the end; held, it does not."""
BATCH = 32
SEED = 0
BASE = "constant"

Batch = tuple[mx.array, mx.array]  # images (BATCH, 64) float32 from 0 to 1, digits (BATCH,) int32


def warmup_cosine(schedules: Any, steps: int) -> Callable[[mx.array], mx.array]:
    """The schedule, by ``mlx.optimizers`` or by ``mlxsched_compiled``: the same names."""
    warmup = max(steps // 10, 1)
    up = schedules.linear_schedule(0, PEAK, warmup)
    down = schedules.cosine_decay(PEAK, steps - warmup, END)
    return schedules.join_schedules([up, down], [warmup])  # type: ignore[no-any-return]


RATES: dict[str, Callable[[int], Any]] = {
    BASE: lambda steps: PEAK,
    "mlx": partial(warmup_cosine, optim),
    "ours": partial(warmup_cosine, mlxsched_compiled),
}


def loss_fn(model: nn.Module, images: mx.array, digits: mx.array) -> mx.array:
    """Mean cross entropy of a batch."""
    return nn.losses.cross_entropy(model(images), digits, reduction="mean")


@dataclass
class Run:
    """One training, and what was seen of it."""

    rate: Any
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # per step, one entry for each epoch

    def __post_init__(self) -> None:
        mx.random.seed(SEED)
        self.model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        self.optimizer = optim.AdamW(self.rate)
        self.optimizer.init(self.model.trainable_parameters())
        self.step = compiled_step(loss_fn, self.model, self.optimizer)

    def epoch(self, batches: list[Batch]) -> None:
        """One pass over the batches, all its steps queued before anything is waited for."""
        losses, rates = [], []
        start = perf_counter()
        for batch in batches:
            losses.append(self.step(*batch))
            rates.append(self.optimizer.learning_rate)
        mx.eval(losses, rates, self.model.state, self.optimizer.state)
        self.seconds.append((perf_counter() - start) / len(batches))
        self.losses += [float(loss) for loss in losses]
        self.rates += [float(rate) for rate in rates]

    def accuracy(self, images: mx.array, digits: mx.array) -> float:
        """The share of digits that the network reads right."""
        return float(mx.mean(mx.argmax(self.model(images), axis=1) == digits))


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


def train(runs: dict[str, Run], images: mx.array, digits: mx.array, epochs: int) -> None:
    """Trains all of them, in turns."""
    from tqdm import tqdm

    with tqdm(shuffled(images, digits, epochs), total=epochs, unit="epoch", mininterval=0.5) as bar:
        for batches in bar:
            for run in runs.values():
                run.epoch(batches)
            bar.set_postfix({name: f"loss {run.losses[-1]:.4f}" for name, run in runs.items()}, refresh=False)


def first_step(name: str, steps: int) -> tuple[float, int]:
    """Seconds from nothing to the first trained step where no kernel is built yet, and kernels in a step's graph."""
    seconds, count = fresh(__file__, "--first-step", name, "--steps", str(steps))
    return float(seconds), int(count)


def first_step_here(name: str, steps: int) -> None:
    """The other side of ``first_step``."""
    batch = (mx.zeros((BATCH, 64)), mx.zeros(BATCH, mx.int32))
    mx.eval(batch)
    start = perf_counter()
    run = Run(RATES[name](steps))
    run.epoch([batch])
    seconds = perf_counter() - start
    print(seconds, len(kernels(run.step(*batch), run.model.state, run.optimizer.state)))


def report(runs: dict[str, Run], test: Batch, steps: int) -> None:
    """Prints what came out."""
    base = Times(runs[BASE].seconds[1:])  # the first epoch builds kernels
    rows = []
    for name, run in runs.items():
        times = Times(run.seconds[1:])
        first, count = first_step(name, steps)
        rows.append(
            [
                name,
                f"{run.accuracy(*test):.2%}",
                f"{times.us:.0f}" if times.seconds else "",
                f"{times.extra(base):+.1f}" if times.seconds else "",
                f"{first:.1f}",
                f"{count}",
            ]
        )
    print(markdown(["rate", "test accuracy", "µs per step", "over constant", "first step, s", "kernels"], rows))
    print()
    shown = sorted({0, steps // 20, steps // 10, steps // 2, steps * 9 // 10, steps - 1})
    rates = [[name, *(f"{run.rates[step]:.4g}" for step in shown)] for name, run in runs.items()]
    print(markdown(["rate at step", *map(str, shown)], rates))


def draw(runs: dict[str, Run], steps_per_epoch: int, out: Path) -> None:
    """The rates and the losses, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(8, 6), layout="constrained")
    for (name, run), style in zip(runs.items(), ["-", "-", "--"], strict=True):
        losses = np.reshape(run.losses, (-1, steps_per_epoch)).mean(axis=1)
        top.plot(run.rates, style, label=name)
        bottom.plot(np.arange(1, len(losses) + 1) * steps_per_epoch, losses, style, label=name)
    top.set_ylabel("learning rate")
    top.legend()
    bottom.set_ylabel("training loss, mean of an epoch")
    bottom.set_yscale("log")
    bottom.set_xlabel("step")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def main(epochs: int, out: Path) -> None:
    """The whole job."""
    (images, digits), test = load()
    steps_per_epoch = len(digits) // BATCH
    steps = epochs * steps_per_epoch
    runs = {name: Run(rate(steps)) for name, rate in RATES.items()}
    train(runs, images, digits, epochs)
    print(f"\n{steps} steps of {BATCH} digits, AdamW, {mx.default_device()}, MLX {version('mlx')}\n")
    report(runs, test, steps)
    draw(runs, steps_per_epoch, out)
    print(f"\nCurves: {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training digits (default: 40)")
    parser.add_argument(
        "--out", type=Path, default=Path("digits.png"), help="where the picture goes (default: digits.png)"
    )
    parser.add_argument("--first-step", choices=RATES, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_step:
        first_step_here(options.first_step, options.steps)
    else:
        main(options.epochs, options.out)
