"""What the tests of ``scheduled`` make: every optimizer of MLX, and classes such as users write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_flatten

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule, scheduled

from .training import (
    WAYS,
    Training,
    batches,
    mlp,
)

RATE = 0.01


def up(low: float, high: float) -> Schedule:
    return ours.linear_schedule(low, high, 10)


Case: TypeAlias = tuple[Callable[..., optim.Optimizer], dict[str, Any]]


CASES: dict[str, Case] = {
    "SGD": (optim.SGD, {"momentum": up(0.5, 0.9), "weight_decay": up(0, 0.1), "dampening": up(0.1, 0.4)}),
    "SGD, nesterov": (optim.SGD, {"momentum": up(0.1, 0.9), "nesterov": True}),
    "RMSprop": (optim.RMSprop, {"alpha": up(0.9, 0.99), "eps": up(1e-8, 1e-3)}),
    "Adagrad": (optim.Adagrad, {"eps": up(1e-8, 1e-3)}),
    "AdaDelta": (optim.AdaDelta, {"rho": up(0.8, 0.9), "eps": up(1e-6, 1e-3)}),
    "Adam": (optim.Adam, {"betas": [up(0.8, 0.9), up(0.9, 0.999)], "eps": up(1e-8, 1e-3)}),
    "Adam, one of betas": (optim.Adam, {"betas": [0.9, up(0.9, 0.999)], "bias_correction": True}),
    "AdamW": (optim.AdamW, {"weight_decay": ours.cosine_decay(0.1, 10), "betas": (up(0.8, 0.9), 0.99)}),
    "Adamax": (optim.Adamax, {"betas": [up(0.8, 0.9), up(0.9, 0.999)], "eps": up(1e-8, 1e-3)}),
    "Lion": (optim.Lion, {"weight_decay": up(0.1, 0.2), "betas": [up(0.8, 0.9), 0.99]}),
    "Muon": (optim.Muon, {"momentum": up(0.85, 0.95), "weight_decay": up(0.1, 0.2), "ns_steps": 3}),
    "Adafactor": (
        optim.Adafactor,
        {
            "relative_step": False,
            "eps": (1e-30, up(1e-3, 0.1)),
            "clip_threshold": up(0.5, 1),
            "decay_rate": up(-0.8, -0.5),
            "beta_1": up(0.8, 0.9),
            "weight_decay": up(0.01, 0.1),
        },
    ),
}


"""For each optimizer of MLX all that can be scheduled."""


with_all_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def make(case: Case, rate: Any = RATE) -> Any:
    optimizer_class: Any = case[0]
    return scheduled(optimizer_class, learning_rate=rate, **case[1])


def model_of(dtype: mx.Dtype = mx.float32) -> nn.Module:
    model = mlp()
    model.set_dtype(dtype)
    return model


def at(value: Any, step: int) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(at(element, step) for element in value)
    return value(step).item() if isinstance(value, Schedule) else value


def attributes_set(case: Case, dtype: mx.Dtype, count: int) -> Training:
    """What users of MLX write: an eager loop that sets the attributes before each step."""
    first = {n: at(v, 1) for n, v in case[1].items()}
    training = Training(WAYS["eager"], model_of(dtype), case[0](learning_rate=RATE, **first))
    for step, batch in enumerate(batches(count, dtype=dtype)):
        for name, value in case[1].items():
            setattr(training.optimizer, name, at(value, step))
        training.train([batch])
    return training


def without_values(optimizer: Any, case: Case) -> dict[str, Any]:
    """The state that the optimizer has without ``scheduled``."""
    return {n: v for n, v in optimizer.state.items() if n not in case[1] and n != "schedules"}


class Signed(optim.Optimizer):
    """A user's optimizer."""

    def __init__(self, learning_rate: Any, strength: float = 1.0, *, power=2, times: int = 1, name: str = "") -> None:  # type: ignore[no-untyped-def]
        super().__init__()  # type: ignore[no-untyped-call]
        self._maybe_schedule("learning_rate", learning_rate)
        self.strength = strength
        self.power = power
        self._times = times
        self.name = name

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        state["sum"] = mx.full(parameter.shape, self.strength, parameter.dtype)  # of an array, full takes the type

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        state["sum"] = state["sum"] * (1 - self.strength / 2) + gradient
        scale = self.learning_rate.astype(gradient.dtype) / mx.maximum(self.power**2, 1)
        updated: mx.array = parameter - scale * mx.sign(state["sum"])
        return updated


class Renamed(Signed):
    """Passes arguments on, and keeps one under another name."""

    def __init__(self, learning_rate: Any, hidden: float = 0.5, **others: Any) -> None:
        super().__init__(learning_rate, **others)
        self._hidden = hidden


class Owned(optim.SGD):
    """Has a property in the place of an attribute, which checks a number, and reads what that keeps."""

    @property
    def momentum(self) -> float:
        """The number."""
        return self._kept

    @momentum.setter
    def momentum(self, value: float) -> None:
        if not 0 <= value < 1:
            raise ValueError(f"momentum must be from 0 to below 1, but got {value}.")
        self._kept = float(value)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        updated: mx.array = super().apply_single((1 - self._kept) * gradient, parameter, state)
        return updated


class Doubled(Owned):
    """Keeps something else in its property."""

    @property
    def momentum(self) -> float:
        """The number."""
        return self._kept / 2

    @momentum.setter
    def momentum(self, value: float) -> None:
        self._kept = 2 * value


class Annotated(Signed):
    """Says of its numbers what one can say."""

    def __init__(  # type: ignore[no-untyped-def]
        self,
        learning_rate: Any,
        strength: "Strength" = 1.0,  # type: ignore[name-defined]  # noqa: F821, UP037
        betas: tuple = (0.1, 0.2),  # type: ignore[type-arg]
        names=("a", "b"),
        combine=max,
    ) -> None:
        super().__init__(learning_rate, strength)
        self.betas, self.names, self.combine = betas, names, combine


class PassesOn(optim.AdamW):
    """Has names of its own for what it passes on, and takes a function."""

    def __init__(self, lr, decay: float = 0.1, transform=None, group=None, **others: Any) -> None:  # type: ignore[no-untyped-def]
        super().__init__(lr, weight_decay=decay, **others)
        self.transform = transform
        self.group = group


class TakesFunctions(optim.SGD):
    """Says of its arguments which are functions, and that one is either."""

    def __init__(
        self,
        learning_rate: float | Callable[[mx.array], mx.array],
        momentum: float | Callable[[mx.array], mx.array] = 0.5,
        transform: Callable[[mx.array], mx.array] | None = None,
        wants: Callable[[str, mx.array], bool] = lambda name, weight: True,
        times: int = 1,
    ) -> None:
        super().__init__(learning_rate, momentum=momentum)  # type: ignore[arg-type]
        self.transform = transform
        self.wants = wants
        self.times = times


class KeepsInverse(optim.SGD):
    """Computes with what it is given once, and never again."""

    def __init__(self, learning_rate: float, scale: float = 1.0) -> None:
        super().__init__(learning_rate)
        self.scale = scale
        self.inverse = 1 / scale

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        updated: mx.array = super().apply_single(gradient * self.inverse, parameter, state)
        return updated


class ReadsAtFirst(optim.SGD):
    """Reads its number where the state of a parameter is made, and never again."""

    def __init__(self, learning_rate: float, begin: float = 1.0) -> None:
        super().__init__(learning_rate)
        self.begin = begin

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        super().init_single(parameter, state)
        state["begin"] = mx.ones_like(parameter) * self.begin


class ReadsState(optim.SGD):
    """Takes its rate from where it stands."""

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        updated: mx.array = parameter - self.state["learning_rate"] * gradient
        return updated


class KeepsFirst(optim.SGD):
    """Fills its state with what it is given, and with the first gradients: from the second update on, it goes on."""

    def __init__(self, learning_rate: Any, start: float = 1.0, decay: float = 0.9) -> None:
        super().__init__(learning_rate)
        self.start = start
        self.decay = decay

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        state["sum"] = mx.full(parameter.shape, self.start, parameter.dtype)
        state["updates"] = 0

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        kept = self.decay * state["sum"] if state["updates"] else state["sum"]
        state["sum"] = kept + gradient
        state["updates"] += 1
        updated: mx.array = super().apply_single(state["sum"], parameter, state)
        return updated


class Prepares(optim.AdamW):
    """Prepares an update where all gradients are at hand, and counts what it does."""

    def __init__(self, learning_rate, weight_decay: float = 0.1, **others: Any) -> None:  # type: ignore[no-untyped-def]
        super().__init__(learning_rate, weight_decay=weight_decay, **others)
        self.updates = 0
        self.shapes: list[Any] = []
        self.kinds: set[Any] = set()

    def apply_gradients(self, gradients: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
        self.updates += 1
        leaves: Any = tree_flatten(gradients)
        self.largest = mx.max(mx.stack([mx.max(mx.abs(gradient)) for _, gradient in leaves]))
        updated: dict[str, Any] = super().apply_gradients(gradients, parameters)
        return updated

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        self.shapes.append(gradient.shape)
        self.kinds.add(gradient.dtype)
        updated: mx.array = super().apply_single(gradient / self.largest.astype(gradient.dtype), parameter, state)
        return updated


class InPlace(optim.Optimizer):
    """Works in place on all that it is given, as MLX's SGD did up to 0.32.1 on gradients."""

    def __init__(self, learning_rate: Any, weight_decay: float = 0.1, momentum: float = 0.9) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._maybe_schedule("learning_rate", learning_rate)
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.total = mx.array(0.0)
        self.totals = [mx.array(0.0)]

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        gradient += self.weight_decay * parameter
        state["v"] *= self.momentum
        state["v"] += gradient
        self.total += mx.sum(gradient).astype(mx.float32)
        self.totals[0] += 1
        parameter -= self.learning_rate.astype(gradient.dtype) * state["v"]
        return parameter


class Noisy(optim.AdamW):
    """Draws random numbers."""

    def __init__(self, learning_rate, noise: float = 0.1, **others: Any) -> None:  # type: ignore[no-untyped-def]
        super().__init__(learning_rate, **others)
        self.noise = noise

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        noise = mx.random.uniform(shape=gradient.shape, dtype=gradient.dtype)
        updated: mx.array = super().apply_single(gradient + self.noise * noise, parameter, state)
        return updated
