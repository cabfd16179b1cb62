"""Draws range_test.png of training.md: ``python docs/draw_range_test.py [file]``, which needs the extra ``demo``."""

from __future__ import annotations

import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

from mlxsched_compiled import range_test

BATCH = 32


def loss_fn(model: nn.Module, images: mx.array, digits: mx.array) -> mx.array:
    """Mean cross entropy of a batch."""
    return nn.losses.cross_entropy(model(images), digits, reduction="mean")


def draw(file: Path) -> None:
    """Tests the rates of a small network on the handwritten digits of scikit-learn, under two optimizers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    x, y = mx.array(images / 16, mx.float32), mx.array(digits, mx.int32)
    batches = [(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, len(digits) - BATCH + 1, BATCH)]
    mx.random.seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
    for ax, optimizer in zip(axes, [optim.AdamW(1e-3), optim.SGD(0.1, momentum=0.9)], strict=True):
        test = range_test(loss_fn, model, optimizer, batches)
        ax.set_title(type(optimizer).__name__)
        test.plot(ax)
        print(type(optimizer).__name__, test)
    figure.savefig(file, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("range_test.png"))
