"""Small models, every optimizer of MLX, and four ways to train them: the two tools, and what they stand in for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

import mlxsched_compiled as ours

Batch: TypeAlias = tuple[mx.array, ...]
Step: TypeAlias = Callable[..., Any]
Rate: TypeAlias = Any
Optimizer: TypeAlias = Callable[[Rate], optim.Optimizer]


def eager(loss_fn: Step, model: nn.Module, optimizer: optim.Optimizer) -> Step:
    """Nothing compiled: what MLX does with a model as it is now."""

    def step(*batch: Any) -> Any:
        value, gradients = nn.value_and_grad(model, loss_fn)(model, *batch)
        optimizer.update(model, gradients)
        return value

    return step


def by_hand(loss_fn: Step, model: nn.Module, optimizer: optim.Optimizer, captured: Sequence[Any] = ()) -> Step:
    """The step of MLX's documentation, compiled by its user; ``captured`` are further inputs."""
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state, mx.random.state]
    compiled: Step = partial(mx.compile, inputs=[*state, list(captured)], outputs=state)(
        eager(loss_fn, model, optimizer)
    )
    return compiled


def by_update(loss_fn: Step, model: nn.Module, optimizer: optim.Optimizer) -> Step:
    """The loss as it is, its update by ``compiled_update``."""
    update = ours.compiled_update(model, optimizer)

    def step(*batch: Any) -> Any:
        value, gradients = nn.value_and_grad(model, loss_fn)(model, *batch)
        update(gradients)
        return value

    return step


TOOLS: dict[str, Callable[..., Step]] = {"compiled_step": ours.compiled_step, "compiled_update": by_update}

with_both_tools = pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS.keys())


def _two_groups(rate: Rate) -> optim.Optimizer:
    """Matrices under a schedule of their own."""
    matrices = warm_cosine(0.02) if callable(rate) else rate
    return optim.MultiOptimizer([optim.AdamW(matrices), optim.SGD(rate)], [lambda name, w: w.ndim > 1])


OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": optim.SGD,
    "SGD, momentum": lambda rate: optim.SGD(rate, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "RMSprop": optim.RMSprop,
    "Adagrad": optim.Adagrad,
    "AdaDelta": optim.AdaDelta,
    "Adam": optim.Adam,
    "Adam, bias correction": lambda rate: optim.Adam(rate, bias_correction=True),
    "AdamW": optim.AdamW,
    "Adamax": optim.Adamax,
    "Lion": optim.Lion,
    "Muon": optim.Muon,
    "Adafactor": lambda rate: optim.Adafactor(rate, relative_step=False),
    "MultiOptimizer": _two_groups,
}


def warm_cosine(peak: float = 0.05) -> ours.Schedule:
    """A schedule that warms up for 5 steps and ends after 40."""
    return ours.warmup_cosine_decay(peak, 5, 40, end=1e-3)


def mse(model: nn.Module, x: mx.array, y: mx.array) -> mx.array:
    """Mean squared error of a model with two outputs."""
    return mx.mean(mx.square(model(x).astype(mx.float32) - y))


def batches(count: int, *, size: int = 8, dtype: mx.Dtype = mx.float32) -> list[Batch]:
    """Two functions of four numbers, at other points in each batch."""
    generator = np.random.default_rng(7)
    made: list[Batch] = []
    for _ in range(count):
        x = generator.normal(size=(size, 4))
        y = np.stack([np.sin(x.sum(axis=1)), x[:, 0] * x[:, 1]], axis=1)
        made.append((mx.array(x, mx.float32).astype(dtype), mx.array(y, mx.float32)))
    mx.eval(made)
    return made


def mlp(width: int = 8) -> nn.Module:
    """Two layers, from 4 numbers to 2; the same weights each time.

    Not to 1: the gradient of a layer of one output is a product of vectors, and its last bits depend, on the CPU, on
    where in memory they lie, so on the run, with MLX alone as well.
    """
    mx.random.seed(3)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 2))


def train(step: Step, data: Sequence[Batch], model: nn.Module, optimizer: optim.Optimizer) -> list[Any]:
    """Steps over the batches. What each returned."""
    values = []
    for batch in data:
        values.append(step(*batch))
        mx.eval(values[-1], model.parameters(), optimizer.state, mx.random.state)
    return values


def flat(tree: Any) -> list[tuple[str, mx.array]]:
    """The leaves of a tree, by name."""
    leaves: Any = tree_flatten(tree)
    return list(leaves)


def bits(*trees: Any) -> dict[str, tuple[str, bytes]]:
    """Type, shape and bytes of every array of the trees, by name: a copy, to be compared later."""
    found = {}
    for name, array in flat(list(trees)):
        if isinstance(array, mx.array):
            width = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}[array.dtype.size]
            found[name] = (f"{array.dtype} {array.shape}", np.array(array.reshape(-1).view(width)).tobytes())
    return found


def random_key() -> mx.array:
    """What the next random numbers come from."""
    state: Any = mx.random.state
    key: mx.array = state[0]
    return key


def everything(model: nn.Module, optimizer: optim.Optimizer, *more: Any) -> dict[str, tuple[str, bytes]]:
    """The bits of all that a step may change."""
    return bits(model.state, optimizer.state, random_key(), *more)


def assert_close(a: Any, b: Any, *, rtol: float = 2e-5, atol: float = 2e-6) -> None:
    """The same arrays within the rounding of float32."""
    ours_flat, theirs_flat = dict(flat(a)), dict(flat(b))
    assert ours_flat.keys() == theirs_flat.keys()
    for name, array in ours_flat.items():
        if isinstance(array, mx.array):
            assert array.dtype == theirs_flat[name].dtype, name
            np.testing.assert_allclose(
                np.array(array.astype(mx.float32)),
                np.array(theirs_flat[name].astype(mx.float32)),
                rtol=rtol,
                atol=atol,
                err_msg=name,
            )
