"""What scheduled hyperparameters cost in an AdamW update of an 8x8 layer, over the same ones held constant.

Beside what Optax makes of it (the extra ``peers``), and beside setting the attributes of MLX's optimizer before each
update, so that each is traced and built again.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import formulas
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from formulas import INIT, LIFE
from measure import Row, Times, Turns, fresh
from training import by_hand, queue

from mlxsched_compiled import compiled_update, cosine_decay, linear_schedule, scheduled
from mlxsched_compiled._kernels import kernels

CALLS = 100
CONSTANT, HAND, TOOL = "constant", "by hand", "compiled_update"
OPTAX_CONSTANT, OPTAX = "optax, constant", "optax, jit"

CONSTANTS = {"weight_decay": 0.1, "b1": 0.9, "b2": 0.95}
SCHEDULES = {
    "weight_decay": cosine_decay(0.1, LIFE, 0.2),
    "b1": linear_schedule(0.9, 0.95, LIFE),
    "b2": linear_schedule(0.95, 0.999, LIFE),
}
TRUTH: dict[str, Callable[[int], Any]] = {
    "weight_decay": formulas.cosine_decay(0.1, LIFE, 0.2),
    "b1": formulas.linear_schedule(0.9, 0.95, LIFE),
    "b2": formulas.linear_schedule(0.95, 0.999, LIFE),
}
"""The first one, two or three are scheduled."""


class Updates:
    """By MLX, compiled by ``compiler``."""

    def __init__(self, names: list[str], compiler: Callable[..., Any]) -> None:
        values: dict[str, Any] = {**CONSTANTS, **{name: SCHEDULES[name] for name in names}}
        arguments = {"betas": [values["b1"], values["b2"]], "weight_decay": values["weight_decay"]}
        made_by = partial(scheduled, optim.AdamW) if names else optim.AdamW
        self.optimizer: Any = made_by(learning_rate=INIT, **arguments)
        model = nn.Linear(8, 8)
        update = compiler(partial(self.optimizer.update, model), model, self.optimizer)
        gradients = model.parameters()
        mx.eval(gradients)
        self.queue = partial(queue, update, gradients, model, self.optimizer)
        mx.eval(self.queue(1))
        _, *states = self.queue(1)
        self.kernels = len(kernels(states))
        mx.eval(states)

    def __call__(self) -> list[Any]:
        """A round."""
        return self.queue(CALLS)

    @property
    def updates(self) -> int:
        """How many there were."""
        return int(self.optimizer.step)

    @property
    def values(self) -> dict[str, float]:
        """Of the last update."""
        b1, b2 = map(float, self.optimizer.betas)
        return {"weight_decay": float(self.optimizer.weight_decay), "b1": b1, "b2": b2}


class OptaxUpdates:
    """By Optax, under ``jax.jit``."""

    def __init__(self, names: list[str]) -> None:
        jax, jnp, optax = map(import_module, ("jax", "jax.numpy", "optax"))
        schedules = {
            "weight_decay": optax.cosine_decay_schedule(0.1, LIFE, alpha=2.0),
            "b1": optax.linear_schedule(0.9, 0.95, LIFE),
            "b2": optax.linear_schedule(0.95, 0.999, LIFE),
        }
        values = {**CONSTANTS, **{name: schedules[name] for name in names}}
        optimizer = optax.inject_hyperparams(optax.adamw)(learning_rate=INIT, **values)
        gradients = {"weight": jnp.ones((8, 8)), "bias": jnp.ones(8)}
        self._block = jax.block_until_ready
        self._held = (gradients, optimizer.init(gradients))

        def update(parameters: Any, state: Any) -> tuple[Any, Any]:
            updates, state = optimizer.update(gradients, state, parameters)
            return optax.apply_updates(parameters, updates), state

        self._step = jax.jit(update)

    def __call__(self) -> list[Any]:
        """A round."""
        for _ in range(CALLS):
            self._held = self._step(*self._held)
        self._block(self._held)
        return []

    @property
    def updates(self) -> int:
        """How many there were."""
        return int(self._held[1].count)

    @property
    def values(self) -> dict[str, float]:
        """Of the last update."""
        return {name: float(self._held[1].hyperparams[name]) for name in CONSTANTS}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_scheduled(count: int, turns: Turns, row: Row) -> None:
    """Those that are constant are so in MLX's own optimizer; in Optax they are injected as well."""
    names = list(SCHEDULES)[:count]
    ours = {
        CONSTANT: Updates([], by_hand),
        HAND: Updates(names, by_hand),
        TOOL: Updates(names, lambda _, *trained: compiled_update(*trained)),
    }
    theirs = {OPTAX_CONSTANT: OptaxUpdates([]), OPTAX: OptaxUpdates(names)} if find_spec("optax") else {}
    runs: dict[str, Any] = {**ours, **theirs}
    found = turns(f"scheduled: {', '.join(names)}", runs, CALLS, 61)

    for name, run in runs.items():
        expected = {**CONSTANTS}
        if name not in (CONSTANT, OPTAX_CONSTANT):
            expected |= {each: float(TRUTH[each](run.updates - 1)) for each in names}
        assert run.values == pytest.approx(expected, rel=1e-5), name
    base = found[CONSTANT]
    cells = {
        "µs per AdamW update (kernels), scheduled": ", ".join(names),
        CONSTANT: f"{base.us:.1f} ({ours[CONSTANT].kernels})",
        **{name: f"{found[name].extra(base):+.1f} ({ours[name].kernels})" for name in (HAND, TOOL)},
        OPTAX_CONSTANT: "",
        OPTAX: "",
    }
    if theirs:
        base = found[OPTAX_CONSTANT]
        cells |= {OPTAX_CONSTANT: f"{base.us:.1f}", OPTAX: f"{found[OPTAX].extra(base):+.1f}"}
    row(cells)


def test_assigned(turns: Turns, row: Row) -> None:
    """Weight decay alone: each new number is text of a kernel, which is built where it has not been yet."""
    assigned = Times([float(word) for word in fresh(__file__, "5" if turns.enabled else "1")])
    turns.record("weight decay, assigned before each update", {"assigned": assigned})
    ours = Updates(["weight_decay"], by_hand)
    found = turns("weight decay, evaluated after each update", {"scheduled": partial(ours.queue, 1)})["scheduled"]
    cells = {"assigned": f"{assigned.us / 1e3:.2f}", "scheduled": f"{found.us / 1e3:.2f}"}
    row({"one AdamW update, ms": "weight decay", **cells})


def assign(times: int) -> None:
    """The other side of it: prints the seconds that each update takes."""
    run = Updates([], lambda _, *trained: compiled_update(*trained))
    warnings.simplefilter("ignore")  # which says just this
    for _ in range(times):
        start = perf_counter()
        run.optimizer.weight_decay = float(TRUTH["weight_decay"](run.updates))
        mx.eval(run.queue(1))
        print(perf_counter() - start)


if __name__ == "__main__":
    assign(int(sys.argv[1]))
