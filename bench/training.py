"""Training to be timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {"SGD": optim.SGD, "AdamW": optim.AdamW}

Call = Callable[[Any], Any]
"""A step, called with a batch, or an update, called with gradients."""


def whole_step(loss_fn: Callable[..., mx.array], model: nn.Module, update: Call) -> Call:
    """Loss, gradients and update, not compiled."""
    loss_and_gradients = nn.value_and_grad(model, loss_fn)

    def step(batch: Any) -> mx.array:
        loss: mx.array
        loss, gradients = loss_and_gradients(model, batch)
        update(gradients)
        return loss

    return step


def by_hand(
    call: Call,
    model: nn.Module,
    optimizer: optim.Optimizer,
    captured: Sequence[mx.array] = (),
    *,
    model_first: bool = False,
) -> Call:
    """Compiles a step or an update as MLX's documentation does, with ``captured`` among its inputs.

    Outputs are the states of optimizer and model, in this order or as mlx-lm and MLX's documentation have it.
    """
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state] if model_first else [optimizer.state, model.state]
    compiled: Call = mx.compile(call, inputs=[*state, captured], outputs=state)
    return compiled


def queue(call: Call, given: Any, model: nn.Module, optimizer: optim.Optimizer, times: int) -> list[Any]:
    """So many calls, and all that is to be evaluated after them."""
    return [[call(given) for _ in range(times)], model.state, optimizer.state]
