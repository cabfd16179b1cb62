"""Data-parallel training: two processes that talk over loopback end with one model.

Each of the two is ``python in_own_temp_folder.py KERNELS tests.test_distributed FOLDER``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours

from .launching import can_launch, launch
from .measuring import ROOT
from .training import Training, assert_close, batches, bits, by_update, flat, mse, warm_cosine

pytestmark = can_launch


def _by_rows(model: nn.Module, x: mx.array, y: mx.array) -> tuple[mx.array, mx.array]:
    return mse(model, x, y), mx.array(x.shape[0])


def _by_finite_rows(model: nn.Module, x: mx.array, y: mx.array) -> tuple[mx.array, mx.array]:
    """The mean over the rows that are finite: 0/0 of none."""
    finite = mx.isfinite(x[:, :1])
    losses = mx.where(finite, mx.square(model(mx.where(finite, x, 0)) - y), 0).mean(axis=1)
    count = finite.sum()
    return losses.sum() / count, count


RUNS: dict[str, Callable[[], Training]] = {
    # Clipped after the average: each process by the same factor.
    "step": lambda: Training(ours.compiled_step, max_grad_norm=0.3, accumulate=2),
    "update": lambda: Training(by_update),
    "weighted": lambda: Training(ours.compiled_step, loss_fn=_by_rows, weighted=True),
    "weighted, accumulated": lambda: Training(ours.compiled_step, loss_fn=_by_rows, weighted=True, accumulate=2),
    # One of the two has nothing in some batches, and in some neither has.
    "weight 0": lambda: Training(ours.compiled_step, loss_fn=_by_finite_rows, weighted=True),
    "weight 0, accumulated": lambda: Training(
        ours.compiled_step, loss_fn=_by_finite_rows, weighted=True, accumulate=2, skip_nonfinite=True
    ),
    "hyperparameters": lambda: Training(
        ours.compiled_step,
        optimizer=ours.scheduled(
            optim.AdamW, learning_rate=warm_cosine(), weight_decay=warm_cosine(0.1), betas=[0.9, warm_cosine(0.9)]
        ),
    ),
}


def _share(rank: int, size: int, rows: mx.array, weighted: bool) -> mx.array:
    """What a process gets: as many rows as the other, or if that is to be weighed out, fewer."""
    if size == 1 or not weighted:
        return rows[rank::size]
    return rows[:2] if rank == 0 else rows[2:]


def _trained(rank: int, size: int) -> dict[str, mx.array]:
    """Weights, optimizer state and the rate of each step of all runs, by name, on the rows of a process."""
    found = {}
    for name, make in RUNS.items():
        # What differs between the others is not what is compiled, and each process would build its kernels.
        (mx.enable_compile if name in ("step", "update") else mx.disable_compile)()
        training, rates = make(), []
        for number, (x, y) in enumerate(batches(12)):
            if "weight 0" in name:
                empty = [0, 0, 2, 8, 8, 2][number % 6]  # rows at the beginning: none, those of one process, all
                x = mx.where(mx.arange(8)[:, None] < empty, float("nan"), x)
            batch = tuple(_share(rank, size, rows, "weight" in name) for rows in (x, y))
            rates.append(training.train([batch]).optimizer.learning_rate)
        state = {"arrays": training.arrays()[1:], "rates": mx.stack(rates)}
        found.update({f"{name}: {key}": array for key, array in flat(state)})
    mx.enable_compile()
    return found


def test_two_processes_train_one_model(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same bits on both, and what one process makes of whole batches, but for rounding."""
    alone, halves = _trained(0, 1), _trained(0, 2)  # first: the processes do not build those kernels again
    kernels = tmp_path_factory.mktemp("kernels")
    printed = launch(kernels, "tests.test_distributed", str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2, printed
    ranks: list[Any] = [mx.load(str(tmp_path / f"{rank} of 2.safetensors")) for rank in range(2)]
    assert bits(ranks[0]) == bits(ranks[1])
    assert_close(ranks[0], alone, rtol=1e-4, atol=1e-5)
    for name in RUNS:
        assert bits(ranks[0][f"{name}: rates"]) == bits(alone[f"{name}: rates"])
    assert bits(halves) != bits(ranks[0]), "each has kept to its own gradients"


def test_the_documented_example(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    example = re.search(r"tests/test_distributed.py runs this block -->\n```python\n(.*?)```", text, re.DOTALL)
    assert example is not None
    (tmp_path / "train.py").write_text(example[1])
    printed = launch(tmp_path, str(tmp_path / "train.py"))
    lines = sorted(re.findall(r"^([01]) (\S+ \S+)$", printed, re.MULTILINE))
    assert [rank for rank, _ in lines] == ["0", "1"], printed
    assert lines[0][1] == lines[1][1]


if __name__ == "__main__":
    group = mx.distributed.init()
    own = f"{group.rank()} of {group.size()}.safetensors"
    mx.save_safetensors(str(Path(sys.argv[1], own)), _trained(group.rank(), group.size()))
