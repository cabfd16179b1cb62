"""What a schedule adds to a compiled update, above all to one that somebody else compiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import formulas
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers
import pytest
from cases import CASES
from formulas import INIT, LIFE
from measure import Row, Turns
from training import OPTIMIZERS, by_hand, queue

import mlxsched_compiled
from mlxsched_compiled import compiled_update
from tests.kernels import nodes

CALLS = 100
START = mx.array(6 * LIFE // 10, mx.uint64)
"""The step that each round starts at, where every schedule is on its way down."""
CONSTANT, MLX, OURS, CAPTURED, TOOL = "constant", "mlx", "ours", "ours, captured", "compiled_update"


class Update:
    """An update of one 8x8 layer, so that the schedule is as large a part of it as it can be."""

    def __init__(self, optimizer: str, rate: Any, compiler: Callable[..., Any]) -> None:
        model = nn.Linear(8, 8)
        self.optimizer = OPTIMIZERS[optimizer](rate)
        update = compiler(partial(self.optimizer.update, model), model, self.optimizer)
        gradients = model.parameters()
        mx.eval(gradients)
        self.queue = partial(queue, update, gradients, model, self.optimizer)
        mx.eval(self.queue(1))
        _, *states = self.queue(1)
        self.nodes = len(nodes(states))
        mx.eval(states)

    def __call__(self) -> list[Any]:
        """A round."""
        self.optimizer.state["step"] = START
        return self.queue(CALLS)


@pytest.mark.parametrize("model_first", [False, True], ids=["optimizer first", "model first"])
@pytest.mark.parametrize("schedule", ["exponential", "linear", "cosine", "warmup + cosine", "join of 4, 3 kinds"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_update(optimizer: str, schedule: str, model_first: bool, turns: Turns, row: Row) -> None:
    """Compiled by hand but for the last; in both orders of outputs, since MLX merges nodes into earlier ones only."""
    theirs, own, truth = (CASES[schedule](m, INIT) for m in (mlx.optimizers, mlxsched_compiled, formulas))
    compiler = partial(by_hand, model_first=model_first)
    updates = {
        CONSTANT: Update(optimizer, INIT, compiler),
        MLX: Update(optimizer, theirs, compiler),
        OURS: Update(optimizer, own, compiler),
        CAPTURED: Update(optimizer, own, partial(compiler, captured=own.state)),
        TOOL: Update(optimizer, own, lambda _, *trained: compiled_update(*trained)),
    }
    first = "model.state" if model_first else "optimizer.state"
    found = turns(f"update, {first} first: {optimizer}, {schedule}", updates, CALLS, 91)

    for name, update in updates.items():
        expected = INIT if name == CONSTANT else truth(START.item() + CALLS - 1)
        assert float(update.optimizer.learning_rate) == pytest.approx(expected, rel=1e-3), name
        found[name].info["nodes"] = update.nodes
    base = found[CONSTANT]
    added = {name: times.extra(base) for name, times in found.items()}
    row(
        {
            f"µs per update (nodes), {first} first": f"{optimizer}, {schedule}",
            CONSTANT: f"{base.us:.1f} ({updates[CONSTANT].nodes})",
            **{name: f"{added[name]:+.1f} ({updates[name].nodes})" for name in (MLX, OURS, CAPTURED, TOOL)},
            "ours / mlx": f"{added[OURS] / added[MLX]:.2f}x",
        }
    )
