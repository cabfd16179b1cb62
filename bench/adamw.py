"""AdamW with none, one, two or three of its hyperparameters on a schedule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import formulas
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from formulas import INIT, LIFE
from mlx.utils import tree_map
from training import Call, by_hand, queue, whole_step

import mlxsched_compiled
from mlxsched_compiled import compiled_step, compiled_update, scheduled

COUNTS = {1: "weight decay", 2: "rate, weight decay", 3: "rate, weight decay, beta"}
"""What is on a schedule, by how many."""
CALLS, ROUNDS = 100, 61
"""Each round goes on where the one before ended, and the last ends before the schedules do."""
UPDATE, STEP = "update", "step"

Arguments = dict[str, Any]


def arguments(m: Any, count: int) -> Arguments:
    """So many of them schedules, two cosines and a line, of ``mlxsched_compiled`` or of ``formulas``, the truth."""
    return {
        "learning_rate": m.cosine_decay(INIT, LIFE, 1e-5) if count > 1 else INIT,
        "weight_decay": m.cosine_decay(0.04, LIFE, 0.4) if count > 0 else 0.04,
        "betas": [m.linear_schedule(0.85, 0.95, LIFE) if count > 2 else 0.85, 0.999],
    }


def numbers(count: int, step: int) -> Arguments:
    """What they are at a step."""

    def number(value: Any) -> Any:
        if isinstance(value, list):
            return [number(each) for each in value]
        return float(value(step)) if callable(value) else value

    return {name: number(value) for name, value in arguments(formulas, count).items()}


def layers(count: int) -> nn.Module:
    """A model of so many layers of 8x8."""
    mx.random.seed(0)
    return nn.Linear(8, 8) if count == 1 else nn.Sequential(*[nn.Linear(8, 8) for _ in range(count)])


def gradients(model: nn.Module) -> Any:
    """Those that an update of the model is given."""
    ones = tree_map(mx.ones_like, model.trainable_parameters())
    mx.eval(ones)
    return ones


def loss(model: nn.Module, x: mx.array) -> mx.array:
    """Without a target."""
    return mx.mean(mx.square(model(x)))


class Scheduled:
    """Updates, or whole steps, of 8x8 layers: of one, the schedules are as large a part as they can be."""

    def __init__(
        self,
        kind: str,
        count: int,
        *,
        is_by_hand: bool,
        depth: int = 1,
        make: Callable[..., Any] | None = None,
    ) -> None:
        self.model = layers(depth)
        given = arguments(mlxsched_compiled, count)
        make = make or partial(scheduled, optim.AdamW)
        self.optimizer: Any = make(**given) if count else optim.AdamW(**given)
        call: Call = partial(self.optimizer.update, self.model)
        if kind == STEP:
            call = whole_step(loss, self.model, call)
        if is_by_hand:
            call = by_hand(call, self.model, self.optimizer)
        elif kind == STEP:
            call = compiled_step(loss, self.model, self.optimizer)
        else:
            call = compiled_update(self.model, self.optimizer)
        batch = mx.ones((4, 8)) if kind == STEP else gradients(self.model)
        self._queue = partial(queue, call, batch, self.model, self.optimizer)
        for _ in range(2):
            mx.eval(self._queue(1))

    def __call__(self) -> list[Any]:
        """A round."""
        return self._queue(CALLS)

    def seen(self) -> tuple[int, Arguments]:
        """The last step, and what the optimizer worked with."""
        return int(self.optimizer.step) - 1, {name: getattr(self.optimizer, name) for name in numbers(0, 0)}
