"""Trains a small network on handwritten digits under four optimizers, and shows what schedules cost and bring.

``python bench/train_digits.py`` needs the extra ``demo``. The same training, from the same weights on the same batches,
runs under a constant rate, under the warmup and cosine decay of MLX, under those of this package, and in one cycle of
rate, beta and weight decay, whose highest rate a range test chooses. The four take turns epoch by epoch, so that their
times can be compared on a machine that has other things to do.

What only the extra installs is imported where it is used: ``pytest bench`` looks into this file without it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import numpy as np
from digits_report import draw, print_tables
from digits_runs import BATCH, CYCLE, OPTIMIZERS, SEED, Batch, Run, cycle, loss_fn, network

from mlxsched_compiled import range_test


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


def choose_peak(batches: list[Batch], steps: int) -> float:
    """The highest rate for the cycle: what a range test suggests that sees each batch once."""
    test = range_test(loss_fn, network(), cycle(steps), batches, steps=len(batches))
    if test.suggestion is None:
        raise RuntimeError(f"The range test suggests no rate: {test}")
    print(f"Peak of the cycle: {test.suggestion:.2g}, where the loss of the range test fell fastest.\n{test}\n")
    return test.suggestion


def train(runs: dict[str, Run], images: mx.array, digits: mx.array, epochs: int) -> None:
    """Trains all of them, in turns."""
    from tqdm import tqdm

    with tqdm(shuffled(images, digits, epochs), total=epochs, unit="epoch", mininterval=0.5) as bar:
        for batches in bar:
            for run in runs.values():
                run.epoch(batches)
            bar.set_postfix({name: f"loss {run.losses[-1]:.4f}" for name, run in runs.items()}, refresh=False)


def main(epochs: int, out: Path) -> None:
    """The whole job."""
    train_data, test_data = load()
    (batches,) = shuffled(*train_data, epochs=1)
    steps = epochs * len(batches)
    peak = choose_peak(batches, steps)
    optimizers = {name: make(steps) for name, make in OPTIMIZERS.items()} | {CYCLE: cycle(steps, peak)}
    runs = {name: Run(optimizer) for name, optimizer in optimizers.items()}
    train(runs, *train_data, epochs)
    print(f"\n{steps} steps of {BATCH} digits, AdamW, {mx.default_device()}, MLX {version('mlx')}\n")
    print_tables(runs, test_data)
    draw(runs, len(batches), out)
    print(f"\nCurves: {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training digits (default: 40)")
    parser.add_argument(
        "--out", type=Path, default=Path("digits.png"), help="where the picture goes (default: digits.png)"
    )
    options = parser.parse_args()
    main(options.epochs, options.out)
