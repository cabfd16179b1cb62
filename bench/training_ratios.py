"""Prints what the docs say of the cost of training: ``python bench/training_ratios.py``, in about six minutes."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from time import perf_counter

from fresh_training import stopped_before
from measure import extra, in_turns, print_table, ratio
from peers import OPTAX, OURS, TORCH, Run, schedule_alone, update
from training import (
    CONSTANT,
    CONSTANT_TOOL,
    EAGER,
    EAGER_STEP,
    FLOAT,
    FLOAT_UPDATE,
    HAND,
    HAND_UPDATE,
    MLX,
    MLX_TOOL,
    OPTIMIZERS,
    SCHEDULES,
    SHAPES,
    STEPS,
    TOOL,
    UPDATE,
    UPDATE_STEP,
    VARIANTS,
    WHOLE_STEP,
    Lengths,
    Training,
    Update,
)


def steps(rounds: int) -> None:
    """Of the smallest model, by schedule and optimizer."""
    rows = []
    for optimizer in OPTIMIZERS:
        for schedule in SCHEDULES:
            times = in_turns({name: Training(optimizer, schedule, name) for name in VARIANTS}, rounds)
            rows.append(
                [
                    f"{optimizer}, {schedule}",
                    *(f"{statistics.median(times[name]) / STEPS * 1e6:.1f}" for name in VARIANTS),
                    f"{ratio(times[TOOL], times[CONSTANT]):.2f}x",
                    f"{ratio(times[TOOL], times[CONSTANT_TOOL]):.2f}x",
                    f"{ratio(times[HAND], times[MLX]):.2f}x",
                    f"{ratio(times[TOOL], times[MLX_TOOL]):.2f}x",
                    f"{ratio(times[TOOL], times[MLX]):.2f}x",
                    f"{ratio(times[TOOL], times[FLOAT]):.2f}x",
                ]
            )
    ratios = ["tool / constant", "both by tool", "ours / mlx", "both by tool", "tool / mlx", "tool / float"]
    print_table(["µs per step", *VARIANTS, *ratios], rows)


def updates(rounds: int) -> None:
    """AdamW over 100 tensors."""
    times = in_turns({name: Update(name) for name in (EAGER, HAND_UPDATE, FLOAT_UPDATE, UPDATE)}, rounds)
    print_table(
        ["AdamW over 100 tensors", "ms per update", f"{EAGER} / it"],
        [[name, f"{statistics.median(t) * 100:.2f}", f"{ratio(times[EAGER], t):.1f}x"] for name, t in times.items()],
    )


def lengths(rounds: int) -> None:
    """First and later epochs of batches of many lengths."""
    rows = []
    trainings = {name: Lengths(name) for name in (EAGER_STEP, UPDATE_STEP, WHOLE_STEP)}
    times = in_turns({name: training.epoch for name, training in trainings.items()}, rounds)
    for name in trainings:
        first, second = _fresh_epochs(name), statistics.median(times[name])
        rows.append([name, f"{first:.2f}", f"{second:.3f}", f"{ratio(times[EAGER_STEP], times[name]):.2f}x"])
    print_table([f"epoch of {len(SHAPES)} lengths, s", "first", "later", "eager / it, later"], rows)


def _fresh_epochs(variant: str) -> float:
    with stopped_before("epochs", variant) as go:
        start = perf_counter()
        go()
        return perf_counter() - start


def first_steps(sweep: int) -> None:
    """Where no kernel is built yet."""
    rows = []
    for variant in (CONSTANT, MLX, TOOL):
        firsts = []
        for _ in range(3):
            with stopped_before("first step", variant) as go:
                start = perf_counter()
                go()
                firsts.append(perf_counter() - start)
        swept = ""
        if variant != CONSTANT:
            with stopped_before("sweep", variant, sweep) as go:
                start = perf_counter()
                go()
                swept = f"{perf_counter() - start:.2f}"
        rows.append([variant, f"{statistics.median(firsts):.2f}", swept])
    print_table(["nothing built, s", "first step", f"sweep of {sweep} rates"], rows)


def retune(rounds: int) -> None:
    """What other hyperparameters before each step add to it."""
    training, joined = Training("AdamW", "cosine", TOOL), Training("AdamW", "warmup + cosine", TOOL)
    live, parts = (t.optimizer._schedulers["learning_rate"] for t in (training, joined))
    assigned = Training("AdamW", "cosine", FLOAT)

    def run(t: Training, change: Callable[[], object]) -> None:
        for _ in range(STEPS):
            change()
            t(1)

    nothing = partial(int)
    times = in_turns(
        {
            "nothing": partial(run, training, nothing),
            "retune(init=...)": partial(run, training, partial(live.retune, init=1e-3)),
            "nothing, join": partial(run, joined, nothing),
            "retune(boundaries=[...])": partial(run, joined, partial(parts.retune, boundaries=[5000])),
            "optimizer.learning_rate = ...": partial(run, assigned, nothing),
        },
        rounds,
    )
    bases = ["nothing", "nothing", "nothing, join", "nothing, join", "nothing"]
    rows = [
        [name, f"{extra(times[name], times[base]) / STEPS * 1e6:+.1f}"]
        for name, base in zip(times, bases, strict=True)
        if name != base
    ]
    print_table(["before each step (evaluated one by one)", "µs more"], rows)


def peers(rounds: int) -> None:
    """The same warmup and cosine elsewhere."""
    rows = []
    found = [peer for peer in (TORCH, OPTAX, OURS) if peer == OURS or find_spec(peer)]
    kinds: dict[str, Callable[[str], Run]] = {
        "schedule": schedule_alone,
        "constant": partial(update, scheduled=False),
        "scheduled": partial(update, scheduled=True),
    }
    runs = {f"{peer} {kind}": make(peer) for peer in found for kind, make in kinds.items()}
    times = in_turns(runs, rounds)
    for peer in found:
        rows.append([peer, *(f"{statistics.median(times[f'{peer} {kind}']) / STEPS * 1e6:.1f}" for kind in kinds)])
    print_table(["µs per step", "schedule alone", "SGD update, constant", "scheduled"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="turns that every variant gets (default: 31)")
    parser.add_argument("--sweep", type=int, default=20, help="rates of the sweep (default: 20)")
    options = parser.parse_args()
    for part in (steps, updates, lengths, retune, peers):
        part(options.rounds)
        print(flush=True)
    first_steps(options.sweep)
