"""Models with what real ones have: frozen layers, dropout, shared weights, quantized bases, buffers, odd containers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .training_loops import Batch, Step, batches, mlp, mse


@dataclass(frozen=True)
class Task:
    """What to train on what. ``make`` makes the same model each time."""

    make: Callable[[], nn.Module]
    loss_fn: Step = mse
    data: Callable[[int], list[Batch]] = batches


def _seeded(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        mx.random.seed(11)
        return make()

    return made


def _frozen() -> nn.Module:
    model = mlp()
    model.layers[0].freeze()
    return model


def _biases_only() -> nn.Module:
    model = mlp()
    model.freeze()
    model.unfreeze(keys="bias")
    return model


class _Tied(nn.Module):
    """An embedding that is also the output layer."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.embedding = nn.Embedding(7, 6)
        self.layer = nn.Linear(6, 6)

    def __call__(self, tokens: mx.array) -> mx.array:
        logits: mx.array = self.embedding.as_linear(mx.tanh(self.layer(self.embedding(tokens))))
        return logits


def _tokens(count: int) -> list[Batch]:
    mx.random.seed(5)
    made: list[Batch] = [(mx.random.randint(0, 7, (8,)), mx.random.randint(0, 7, (8,))) for _ in range(count)]
    mx.eval(made)
    return made


def _cross_entropy(model: nn.Module, tokens: mx.array, following: mx.array) -> mx.array:
    return nn.losses.cross_entropy(model(tokens), following, reduction="mean")


class _Shared(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.last = nn.Linear(4, 2)

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = self.last(mx.tanh(self.second(mx.tanh(self.first(x)))))
        return y


class _Adapter(nn.Module):
    """A quantized layer with a low-rank addition that is trained."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.base = nn.QuantizedLinear.from_linear(nn.Linear(64, 64), group_size=32, bits=4)
        self.base.freeze()
        self.a = 0.1 * mx.random.normal((64, 2))
        self.b = mx.zeros((2, 64))

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = self.base(x) + (x @ self.a) @ self.b
        return y


def _adapted() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 64), _Adapter(), nn.Tanh(), nn.Linear(64, 2))
    model.layers[0].freeze()
    return model


class _Containers(nn.Module):
    """Layers in a list, in a dict and in a list of dicts; in a tuple, where MLX does not train them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.listed = [nn.Linear(4, 4), nn.Linear(4, 4)]
        self.named = {"up": nn.Linear(4, 6), "down": nn.Linear(6, 4)}
        self.nested: list[dict[str, Any]] = [{"a": nn.Linear(4, 4)}, {"a": nn.Linear(4, 4), "scale": mx.array(2.0)}]
        self.fixed: tuple[Any, ...] = (nn.Linear(4, 4), "a name", 3)
        self.last = nn.Linear(4, 2)

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.listed:
            x = mx.tanh(layer(x))
        x = x + self.named["down"](mx.tanh(self.named["up"](x)))
        x = self.nested[0]["a"](x) + self.nested[1]["scale"] * self.nested[1]["a"](x)
        y: mx.array = self.last(mx.tanh(self.fixed[0](x)))
        return y


def _with(layer: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(4, 8), layer(), nn.Tanh(), nn.Linear(8, 2))


class _Counts(nn.Module):
    """Has an array that its forward pass counts up in, but does not train."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layer = nn.Linear(4, 2)
        self.calls = mx.array(0)
        self.freeze(keys=["calls"], recurse=False)

    def __call__(self, x: mx.array) -> mx.array:
        self.calls = self.calls + 1
        y: mx.array = self.layer(x)
        return y


TASKS: dict[str, Task] = {
    "frozen layer": Task(_frozen),
    "biases only": Task(_biases_only),
    "dropout": Task(_seeded(_with(lambda: nn.Dropout(0.5)))),
    "tied embedding": Task(_seeded(_Tied), _cross_entropy, _tokens),
    "layer under two names": Task(_seeded(_Shared)),
    "quantized with adapter": Task(_seeded(_adapted)),
    "batch norm": Task(_seeded(_with(lambda: nn.BatchNorm(8)))),
    "containers": Task(_seeded(_Containers)),
    "counts its calls": Task(_seeded(_Counts)),
}
