"""Training so small that its numbers can be done in one's head."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

from .training import bits, random_key


class Weight(nn.Module):
    """A single weight, 0 at first."""

    def __init__(self, dtype: mx.Dtype = mx.float32) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.w = mx.array(0.0, dtype)

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = self.w * x
        return y


def linear(model: nn.Module, x: mx.array) -> mx.array:
    """A loss whose gradient is the sum of the batch."""
    return mx.sum(model(x))


def weight(model: nn.Module) -> float:
    """The weight, as a number."""
    w: float = model.w.astype(mx.float32).item()
    return w


ONE = mx.array([1.0])


class Scaled(optim.Optimizer):
    """Gradient descent, by ``scales``: anything whose numbers and arrays are all factors."""

    def __init__(self, rate: Any, scales: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._maybe_schedule("learning_rate", rate)
        self.scales = scales

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """Keeps the last gradient."""
        state["last"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        """One step."""
        state["last"] = gradient
        for factor in factors(self.scales):
            gradient = gradient * factor
        updated: mx.array = parameter - self.learning_rate.astype(gradient.dtype) * gradient
        return updated


def factors(node: Any) -> list[Any]:
    """All numbers and arrays in nested containers."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, (list, tuple, set)):
        return [factor for child in node for factor in factors(child)]
    return [mx.prod(node) if isinstance(node, mx.array) and node.ndim > 0 else node]


def everything(model: nn.Module, optimizer: optim.Optimizer, *more: Any) -> dict[str, tuple[str, bytes]]:
    """The bits of all that a step may change."""
    return bits(model.state, optimizer.state, random_key(), *more)
