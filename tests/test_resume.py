"""A stopped run goes on in a new process, by the lines of docs/training.md, with the bits of one not stopped.

The new process is ``python -m tests.test_resume SETUP FOLDER``.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_flatten, tree_unflatten

import mlxsched_compiled as ours

from .measuring import ROOT, start
from .training import Training, batches, warm_cosine

CALLS = 24
SETUPS: dict[str, tuple[Callable[[], Any], dict[str, Any], list[int]]] = {
    # Stopped before the first step, inside the warmup, at its end, later, and after the decay.
    "warmup": (lambda: optim.AdamW(ours.warmup_cosine_decay(0.05, 6, 16, end=1e-3)), {}, [0, 3, 6, 11, 16, 20]),
    # At a restart, and one step before and after.
    "restarts": (lambda: optim.SGD(ours.cosine_restarts(0.1, 5), momentum=0.9), {}, [9, 10, 11]),
    # On the boundary of a join, under an optimizer that counts steps itself.
    "join": (
        lambda: optim.Adam(ours.join_schedules([0.01, ours.linear_schedule(0.1, 0, 9)], [7]), bias_correction=True),
        {"max_grad_norm": 0.5},
        [7],
    ),
    "two groups": (
        lambda: optim.MultiOptimizer([optim.AdamW(warm_cosine()), optim.SGD(0.1)], [lambda name, w: w.ndim > 1]),
        {},
        [5],
    ),
    "hyperparameters": (
        lambda: ours.scheduled(
            optim.AdamW,
            learning_rate=ours.warmup(ours.reduce_on_plateau(0.05), 6),
            weight_decay=ours.cosine_decay(0.1, 20, 0.2),
            betas=[0.9, ours.linear_schedule(0.9, 0.99, 15)],
        ),
        {},
        [5, 17],
    ),
    # What metrics have done, under plain optimizers.
    "plateau": (lambda: optim.SGD(ours.reduce_on_plateau(0.05, factor=0.5, patience=1), momentum=0.9), {}, [2, 5, 17]),
    "plateau after a warmup": (
        lambda: optim.AdamW(2 * ours.warmup(ours.reduce_on_plateau(0.05, patience=0), 6)),
        {"accumulate": 2},
        [5, 17],
    ),
    # With what is to be restored if the third call is not finite.
    "skipped": (lambda: optim.AdamW(warm_cosine()), {"accumulate": 3, "skip_nonfinite": True}, [4, 5]),
    # Between two calls of one update, twice, and after the update.
    "accumulation": (lambda: optim.AdamW(warm_cosine()), {"accumulate": 3}, [4, 5, 6]),
}
"""An optimizer, options of the step, and after which calls to stop."""


def _model() -> nn.Module:
    """With dropout, a frozen layer and, in its state, what is no parameter."""
    fixed = nn.Linear(8, 8)
    fixed.freeze()
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm(8), fixed, nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 2))


def documented() -> str:
    """The lines of docs/training.md that save and load."""
    text = (ROOT / "docs" / "training.md").read_text()
    found = re.search(r"tests/test_resume.py runs this block -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def _run(setup: str, folder: Path, begin: int | None = None) -> dict[int, str]:
    """Trains, from the checkpoint at call ``begin``. What there was after each call, as a hash.

    Without ``begin`` it is a run from the beginning, which saves checkpoints on its way.
    """
    make_optimizer, options, stops = SETUPS[setup]
    mx.random.seed(0 if begin is None else 100 + begin)  # what is loaded must not depend on it
    training = Training(ours.compiled_step, _model(), make_optimizer(), **options)
    names = {"model": training.model, "optimizer": training.optimizer, "step": training.step, "mx": mx}
    optimizer: Any = training.optimizer
    schedule = getattr(optimizer, "optimizers", [optimizer])[0]._schedulers["learning_rate"]
    names |= {"schedule": schedule, "tree_flatten": tree_flatten, "tree_unflatten": tree_unflatten}
    exec(documented(), names)
    save: Any = names["save"]
    load: Any = names["load"]

    def file(call: int) -> str:
        return str(folder / f"{setup} {call}.safetensors")

    if begin is not None:
        load(file(begin))
    elif 0 in stops:
        save(file(0))
    hashes = {}
    for call, batch in list(enumerate(batches(CALLS)))[begin or 0 :]:
        if setup == "skipped" and call in (5, 13):
            batch = (batch[0] * float("inf"), batch[1])
        found = training.train([batch]).bits(training.losses[-1])
        if "plateau" in setup:
            schedule.observe(float(call % 5))
        hashes[call + 1] = hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:16]
        if begin is None and call + 1 in stops:
            save(file(call + 1))
    return hashes


@pytest.mark.parametrize("setup", SETUPS)
def test_a_resumed_run_is_the_uninterrupted_one(setup: str, tmp_path: Path) -> None:
    uninterrupted = _run(setup, tmp_path)
    assert len(set(uninterrupted.values())) == len(uninterrupted), "each call changes something"
    lines = [line.split() for line in start("-m", "tests.test_resume", setup, str(tmp_path)).splitlines()]
    assert [int(stop) for stop, *_ in lines] == SETUPS[setup][2]
    for stop, *hashes in lines:
        assert hashes == [value for call, value in uninterrupted.items() if call > int(stop)], f"stopped after {stop}"


def test_the_documented_lines_are_ten() -> None:
    assert len([line for line in documented().splitlines() if line]) <= 10


if __name__ == "__main__":
    name, where = sys.argv[1:]
    for stop in SETUPS[name][2]:
        print(stop, *_run(name, Path(where), stop).values())
