"""A small compiled training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten


class Trainer:
    """A linear model under SGD, its training step compiled, with a learning rate or a schedule."""

    def __init__(self, learning_rate: Any, *, captured: list[Any] | None = None) -> None:
        self.weights: Any = {"w": mx.ones((3, 2)), "b": mx.zeros(2)}
        self.optimizer = optim.SGD(learning_rate=learning_rate)
        self.optimizer.init(self.weights)
        self.state = [self.weights, self.optimizer.state]
        mx.eval(self.state)  # else what initializes it would be counted with the first step
        self.step: Callable[[mx.array], mx.array] = mx.compile(
            self._step, inputs=[*self.state, *(captured or [])], outputs=self.state
        )

    def _step(self, x: mx.array) -> mx.array:
        loss, gradients = mx.value_and_grad(_loss)(self.weights, x)
        self.optimizer.update(self.weights, gradients)
        return loss

    def outputs(self) -> list[mx.array]:
        """Everything that one step returns and changes, not evaluated."""
        loss = self.step(mx.ones((4, 3)))
        return [loss, *dict(tree_flatten(self.state)).values()]

    def rates(self, count: int) -> list[float]:
        """The learning rates of the next steps."""
        rates = []
        for _ in range(count):
            mx.eval(self.outputs())
            rates.append(self.optimizer.learning_rate.item())
        return rates


def _loss(weights: dict[str, mx.array], x: mx.array) -> mx.array:
    return mx.mean(mx.square(x @ weights["w"] + weights["b"]))
