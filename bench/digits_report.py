"""What came out of the runs of ``train_digits.py``: two tables and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from digits_runs import BASE, CYCLE, Batch, Run, first_step
from measure import Times, markdown


def print_tables(runs: dict[str, Run], test: Batch) -> None:
    """What each run brought and cost, and what it worked with."""
    steps = len(runs[BASE].losses)
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
    print(markdown(["run", "test accuracy", "µs per step", "over constant", "first step, s", "kernels"], rows))
    print(f"\nOne of the {len(test[1])} test digits is {1 / len(test[1]):.2%}.\n")
    shown = sorted({0, steps // 20, steps // 10, steps * 3 // 10, steps // 2, steps * 9 // 10, steps - 1})
    curves = {f"{name}, {what}": curve for name, run in runs.items() for what, curve in run.values.items()}
    rows = [[name, *(f"{curve[step]:.4g}" for step in shown)] for name, curve in curves.items()]
    print(markdown(["at step", *map(str, shown)], rows))


def draw(runs: dict[str, Run], steps_per_epoch: int, out: Path) -> None:
    """The rates, the other hyperparameters of the cycle, and the losses, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (rates, others, losses) = plt.subplots(3, sharex=True, figsize=(8, 8), layout="constrained")
    for (name, run), style in zip(runs.items(), ["-", "-", "--", "-"], strict=True):
        means = np.reshape(run.losses, (-1, steps_per_epoch)).mean(axis=1)
        rates.plot(run.values["learning rate"], style, label=name)
        losses.plot(np.arange(1, len(means) + 1) * steps_per_epoch, means, style, label=name)
    rates.set_ylabel("learning rate")
    rates.legend()
    losses.set_ylabel("training loss, mean of an epoch")
    losses.set_yscale("log")
    losses.set_xlabel("step")

    decay, beta = others, others.twinx()
    for axis, name, color in [(decay, "weight decay", "tab:purple"), (beta, "first beta", "tab:brown")]:
        axis.plot(runs[CYCLE].values[name], color=color)
        axis.set_ylabel(f"{name} of {CYCLE}", color=color)
        axis.tick_params(axis="y", colors=color)

    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    plt.close(figure)
