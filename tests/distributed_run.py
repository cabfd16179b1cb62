"""What each process of test_distributed.py runs: the same training by both tools, on its own part of the batches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim

sys.path.insert(0, str(Path(__file__).parents[1]))  # it is started as a file

import mlxsched_compiled as ours
from tests.training_loops import Step, batches, by_update, flat, mlp, mse, warm_cosine

RUNS: dict[str, Callable[[Any, Any], Step]] = {
    # Clipped after the average: each process by the same factor.
    "step": lambda model, optimizer: ours.compiled_step(mse, model, optimizer, max_grad_norm=0.3, accumulate=2),
    "update": lambda model, optimizer: by_update(mse, model, optimizer),
}


def trained(rank: int, size: int) -> dict[str, mx.array]:
    """Weights, optimizer state and the rate of each step of all runs, by name, on every ``size``-th row."""
    found = {}
    for name, make in RUNS.items():
        model, optimizer = mlp(), optim.AdamW(warm_cosine())
        step = make(model, optimizer)
        rates = []
        for x, y in batches(12):
            loss = step(x[rank::size], y[rank::size])
            mx.eval(loss, model.state, optimizer.state)
            rates.append(optimizer.learning_rate)
        state = {"model": model.parameters(), "optimizer": optimizer.state, "rates": mx.stack(rates)}
        found.update({f"{name}: {key}": array for key, array in flat(state)})
    return found


if __name__ == "__main__":
    group = mx.distributed.init()
    mx.save_safetensors(
        str(Path(sys.argv[1], f"{group.rank()} of {group.size()}.safetensors")), trained(group.rank(), group.size())
    )
