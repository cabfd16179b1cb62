"""Warmup and cosine in PyTorch, in Optax and here: the schedule alone, and the SGD update of an 8x8 layer under it.

What only the extra ``peers`` installs is imported where it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from cases import INIT, LIFE
from training import STEPS

from mlxsched_compiled import compiled_update, warmup_cosine_decay

Run = Callable[[], float]
"""So many steps, all done when it returns; it returns the rate of the last. Each run starts at step 0, but for PyTorch:
there a second run goes on from the first."""

WARMUP = LIFE // 10
TORCH, OPTAX, OURS = "torch", "optax", "ours"


def schedule_alone(peer: str) -> Run:
    """A new schedule, ready to run."""
    return {TORCH: _torch_schedule, OPTAX: _optax_schedule, OURS: _our_schedule}[peer]()


def update(peer: str, *, scheduled: bool) -> Run:
    """A new optimizer of an 8x8 layer, ready to run, under the schedule or a constant rate."""
    return {TORCH: _torch_update, OPTAX: _optax_update, OURS: _our_update}[peer](scheduled)


def _torch_optimizer() -> tuple[Any, Any]:
    torch: Any = import_module("torch")
    schedulers: Any = import_module("torch.optim.lr_scheduler")

    torch.set_num_threads(1)
    layer = torch.nn.Linear(8, 8)
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.SGD(layer.parameters(), INIT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR passes an argument that LinearLR warns of
        up = schedulers.LinearLR(optimizer, 1e-8, 1.0, WARMUP)  # it cannot start from 0
        down = schedulers.CosineAnnealingLR(optimizer, LIFE - WARMUP)
        return optimizer, schedulers.SequentialLR(optimizer, [up, down], [WARMUP])


def _torch_schedule() -> Run:
    optimizer, scheduler = _torch_optimizer()
    optimizer.step()  # PyTorch warns if there was none

    def run() -> float:
        for _ in range(STEPS - 1):
            scheduler.step()
        return float(optimizer.param_groups[0]["lr"])

    return run


def _torch_update(scheduled: bool) -> Run:
    optimizer, scheduler = _torch_optimizer()
    if not scheduled:
        optimizer.param_groups[0]["lr"] = INIT

    def run() -> float:
        rate = 0.0
        for _ in range(STEPS):
            rate = optimizer.param_groups[0]["lr"]
            optimizer.step()
            if scheduled:
                scheduler.step()
        return rate

    return run


def _optax_schedule() -> Run:
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    optax: Any = import_module("optax")

    rate = jax.jit(optax.warmup_cosine_decay_schedule(0.0, INIT, WARMUP, LIFE))
    steps = [jnp.array(step) for step in range(STEPS)]
    rate(steps[0]).block_until_ready()

    def run() -> float:
        return float([rate(step) for step in steps][-1].block_until_ready())

    return run


def _optax_update(scheduled: bool) -> Run:
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    optax: Any = import_module("optax")

    rate: Any = optax.warmup_cosine_decay_schedule(0.0, INIT, WARMUP, LIFE) if scheduled else INIT
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=rate)
    start = {"weight": jnp.ones((8, 8)), "bias": jnp.ones(8)}

    def plain(parameters: Any, state: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(start, state, parameters)
        return optax.apply_updates(parameters, updates), state

    step = jax.jit(plain)
    jax.block_until_ready(step(start, optimizer.init(start)))

    def run() -> float:
        parameters, state = start, optimizer.init(start)
        for _ in range(STEPS):
            parameters, state = step(parameters, state)
        jax.block_until_ready((parameters, state))
        return float(state.hyperparams["learning_rate"])

    return run


def _our_schedule() -> Run:
    rate = warmup_cosine_decay(INIT, WARMUP, LIFE)
    steps = [mx.array(step, mx.uint64) for step in range(STEPS)]
    mx.eval(steps, rate(steps[0]))

    def run() -> float:
        rates = [rate(step) for step in steps]
        mx.eval(rates)
        return float(rates[-1])

    return run


def _our_update(scheduled: bool) -> Run:
    model = nn.Linear(8, 8)
    optimizer = optim.SGD(warmup_cosine_decay(INIT, WARMUP, LIFE) if scheduled else INIT)
    step = compiled_update(model, optimizer)
    gradients = model.parameters()
    step(gradients)
    mx.eval(model.state, optimizer.state)
    start = mx.array(0, mx.uint64)

    def run() -> float:
        optimizer.state["step"] = start
        for _ in range(STEPS):
            step(gradients)
        mx.eval(model.state, optimizer.state)
        return float(optimizer.learning_rate)

    return run
