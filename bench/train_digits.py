"""Trains a small network on handwritten digits under four optimizers, and shows what schedules cost and bring.

``python bench/train_digits.py`` needs the extra ``demo``. The same training, from the same weights on the same batches,
runs under a constant rate, under the warmup and cosine decay of MLX, under those of this package, and with everything
on a schedule: rate, beta and weight decay. The first three have one rate, chosen by hand, so that they differ in the
schedule alone, and in what it costs; the peak of the last is the one that a range test suggests. The four take turns
epoch by epoch, so that their times can be compared on a machine that has other things to do.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import mlx.core as mx
import numpy as np
from digits import ALL, BASE, BATCH, OPTIMIZERS, Batch, Run, load, shuffled, suggested_peak
from measure import Times, fresh, markdown

from tests.kernels import kernels


def train(runs: dict[str, Run], images: mx.array, digits: mx.array, epochs: int) -> None:
    """Trains all of them, in turns."""
    from tqdm import tqdm

    with tqdm(shuffled(images, digits, epochs), total=epochs, unit="epoch", mininterval=0.5) as bar:
        for batches in bar:
            for run in runs.values():
                run.epoch(batches)
            bar.set_postfix({name: f"loss {run.losses[-1]:.4f}" for name, run in runs.items()}, refresh=False)


def first_step(name: str, steps: int, peak: float) -> tuple[float, int]:
    """Seconds from nothing to the first trained step where no kernel is built yet, and kernels in a step's graph."""
    seconds, count = fresh(__file__, "--first-step", name, "--steps", str(steps), "--peak", str(peak))
    return float(seconds), int(count)


def first_step_here(name: str, steps: int, peak: float) -> None:
    """The other side of ``first_step``."""
    batch = (mx.zeros((BATCH, 64)), mx.zeros(BATCH, mx.int32))
    mx.eval(batch)
    start = perf_counter()
    run = Run(OPTIMIZERS[name](steps, peak))
    run.epoch([batch])
    seconds = perf_counter() - start
    print(seconds, len(kernels(run.step(*batch), run.model.state, run.optimizer.state)))


def report(runs: dict[str, Run], test: Batch, steps: int, peak: float) -> None:
    """Prints what came out."""
    base = Times(runs[BASE].seconds[1:])  # the first epoch builds kernels
    rows = []
    for name, run in runs.items():
        times = Times(run.seconds[1:])
        first, count = first_step(name, steps, peak)
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
    print(markdown(["optimizer", "test accuracy", "µs per step", "over constant", "first step, s", "kernels"], rows))
    print(f"\nOne of the {len(test[1])} test digits is {1 / len(test[1]):.2%}.\n")
    shown = sorted({0, steps // 20, steps // 10, steps * 3 // 10, steps // 2, steps * 9 // 10, steps - 1})
    rows = []
    for name, run in runs.items():
        for what, values in run.hyperparameters.items():
            rows.append([f"{name}, {what}", *(f"{values[step]:.4g}" for step in shown)])
    print(markdown(["at step", *map(str, shown)], rows))


def draw(runs: dict[str, Run], steps_per_epoch: int, out: Path) -> None:
    """The rates, the other hyperparameters and the losses, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (top, middle, bottom) = plt.subplots(3, sharex=True, figsize=(8, 8), layout="constrained")
    for (name, run), style in zip(runs.items(), ["-", "-", "--", "-"], strict=True):
        losses = np.reshape(run.losses, (-1, steps_per_epoch)).mean(axis=1)
        top.plot(run.hyperparameters["learning rate"], style, label=name)
        bottom.plot(np.arange(1, len(losses) + 1) * steps_per_epoch, losses, style, label=name)
    top.set_ylabel("learning rate")
    top.legend()

    others = runs[ALL].hyperparameters
    (beta,) = middle.plot(others["first beta"], color="C3", label="first beta")
    middle.set_ylabel(f"first beta, {ALL}")
    right = middle.twinx()
    (decay,) = right.plot(others["weight decay"], color="C4", label="weight decay")
    right.set_ylabel("weight decay")
    middle.legend(handles=[beta, decay], loc="lower right")

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
    peak = suggested_peak(next(shuffled(images, digits, epochs=1)))
    runs = {name: Run(make(steps, peak)) for name, make in OPTIMIZERS.items()}
    train(runs, images, digits, epochs)
    print(f"\n{steps} steps of {BATCH} digits, AdamW, {mx.default_device()}, MLX {version('mlx')}\n")
    report(runs, test, steps, peak)
    draw(runs, steps_per_epoch, out)
    print(f"\nCurves: {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training digits (default: 40)")
    parser.add_argument(
        "--out", type=Path, default=Path("digits.png"), help="where the picture goes (default: digits.png)"
    )
    parser.add_argument("--first-step", choices=OPTIMIZERS, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--peak", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_step:
        first_step_here(options.first_step, options.steps, options.peak)
    else:
        main(options.epochs, options.out)
