"""Warmup and cosine beside PyTorch and Optax: the schedule alone, and the SGD update of an 8x8 layer under it.

They come with the extra ``peers``, and are imported where they are used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import formulas
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from formulas import INIT, LIFE
from measure import Row, Turns
from training import queue

from mlxsched_compiled import compiled_update, warmup_cosine_decay

CALLS = 100
WARMUP = LIFE // 10
ALONE, CONSTANT, SCHEDULED = "schedule alone", "SGD update, constant", "SGD update, scheduled"

Run = Callable[[], Any]
"""So many steps, on from where the last run ended; all done when it has returned and what it returned is evaluated:
the last rate, and the step that this is the rate of."""


@pytest.mark.parametrize("kind", [ALONE, CONSTANT, SCHEDULED])
def test_peers(kind: str, turns: Turns, row: Row) -> None:
    """Beside ``lr_scheduler.step()`` and what ``jax.jit`` makes of Optax."""
    makers = {"torch": _torch, "optax": _optax, "ours": _ours}
    runs = {name: make(kind) for name, make in makers.items() if name == "ours" or find_spec(name)}
    if len(runs) == 1:
        pytest.skip("the extra `peers` is not installed")
    found = turns(f"peers: {kind}", runs, CALLS)

    truth = formulas.join_schedules(
        [formulas.linear_schedule(0, INIT, WARMUP), formulas.cosine_decay(INIT, LIFE - WARMUP)], [WARMUP]
    )
    for name, times in found.items():
        rate, step = map(float, times.result[0])
        assert rate == pytest.approx(INIT if kind == CONSTANT else truth(step), rel=1e-3), name
    row({"µs per step": kind, **{name: f"{found[name].us:.1f}" if name in found else "" for name in makers}})


def _torch(kind: str) -> Run:
    torch: Any = import_module("torch")
    schedulers: Any = import_module("torch.optim.lr_scheduler")
    torch.set_num_threads(1)
    layer = torch.nn.Linear(8, 8)
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.SGD(layer.parameters(), INIT)
    if kind != CONSTANT:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SequentialLR passes an argument that LinearLR warns of
            up = schedulers.LinearLR(optimizer, 1e-8, 1.0, WARMUP)  # it cannot start from 0
            down = schedulers.CosineAnnealingLR(optimizer, LIFE - WARMUP)
            scheduler = schedulers.SequentialLR(optimizer, [up, down], [WARMUP])
    optimizer.step()  # PyTorch warns if there was none

    def run() -> Any:
        for _ in range(CALLS):
            if kind != ALONE:
                optimizer.step()
            if kind != CONSTANT:
                scheduler.step()
        return [(optimizer.param_groups[0]["lr"], 0 if kind == CONSTANT else scheduler.last_epoch)]

    return run


def _optax(kind: str) -> Run:
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    optax: Any = import_module("optax")
    schedule = optax.warmup_cosine_decay_schedule(0.0, INIT, WARMUP, LIFE)
    if kind == ALONE:
        rate = jax.jit(schedule)
        steps = [jnp.array(step) for step in range(CALLS)]
        return lambda: [(jax.block_until_ready([rate(step) for step in steps])[-1], CALLS - 1)]

    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=INIT if kind == CONSTANT else schedule)
    gradients = {"weight": jnp.ones((8, 8)), "bias": jnp.ones(8)}
    held = [(gradients, optimizer.init(gradients))]

    def update(parameters: Any, state: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state

    step = jax.jit(update)

    def run() -> Any:
        for _ in range(CALLS):
            held[0] = step(*held[0])
        state = jax.block_until_ready(held[0])[1]
        return [(state.hyperparams["learning_rate"], state.count - 1)]

    return run


def _ours(kind: str) -> Run:
    schedule = warmup_cosine_decay(INIT, WARMUP, LIFE)
    if kind == ALONE:
        steps = [mx.array(step, mx.uint64) for step in range(CALLS)]

        def rates() -> Any:
            found = [schedule(step) for step in steps]
            return [(found[-1], CALLS - 1), found]

        return rates

    model = nn.Linear(8, 8)
    optimizer = optim.SGD(INIT if kind == CONSTANT else schedule)
    update, gradients = compiled_update(model, optimizer), model.parameters()

    def run() -> Any:
        states = queue(update, gradients, model, optimizer, CALLS)
        return [(optimizer.learning_rate, optimizer.step - 1), states]

    return run
