"""Both tools compute a schedule in the kernel that counts the optimizer's step: it costs no kernel."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_flatten, tree_unflatten

import mlxsched_compiled as ours

from .kernels import kernels
from .measuring import requires_compile
from .schedules import TYPICAL, join
from .test_graphs import JOINED
from .training import OPTIMIZERS, Step, by_hand, warm_cosine

pytestmark = requires_compile

FULL = {"cooldown", *(name for name in TYPICAL if ", k" in name)}
"""Schedules that fill a kernel when called, and take more than one with what an update adds: rare ones."""
ONE_KERNEL = {name: row for name, row in TYPICAL.items() if row.kernels == 1 and name not in FULL}
"""The schedules that are one kernel when called; test_graphs.py counts them."""

READS_STEP = {"Adam, bias correction": 2, "Adafactor": 2}
"""Optimizers that compute with the step themselves, from which MLX makes one or two kernels more."""


def _initialized(optimizer: optim.Optimizer, dtype: mx.Dtype = mx.float32) -> tuple[nn.Module, optim.Optimizer]:
    """With a model, as after a first update, at a rate that nothing has to be built for."""
    model = nn.Linear(8, 8)
    model.set_dtype(dtype)
    optimizer.init(model.trainable_parameters())
    optimizer.learning_rate = 0.1
    mx.eval(model.state, optimizer.state)  # else what makes them would be counted with the step
    return model, optimizer


def _in_step(
    optimizer: optim.Optimizer, way: Callable[..., Step] = ours.compiled_step, dtype: mx.Dtype = mx.float32
) -> int:
    """Kernels of what a step returns and changes."""
    model, optimizer = _initialized(optimizer, dtype)
    batch = mx.ones((2, 8), dtype)
    mx.eval(batch)
    loss = way(lambda model, x: mx.mean(mx.square(model(x))), model, optimizer)(batch)
    return len(kernels(loss, model.state, optimizer.state))


def _in_update(optimizer: optim.Optimizer) -> int:
    """Kernels of what ``compiled_update`` changes."""
    model, optimizer = _initialized(optimizer)
    gradients = model.parameters()
    mx.eval(gradients)
    ours.compiled_update(model, optimizer)(gradients)
    return len(kernels(model.state, optimizer.state))


Count = Callable[[optim.Optimizer], int]


@lru_cache
def _constant(count: Count, optimizer: str) -> int:
    return count(OPTIMIZERS[optimizer](0.1))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("count", [_in_step, _in_update])
def test_a_schedule_of_one_kernel_costs_none(count: Count, optimizer: str) -> None:
    wrong = {}
    for name, row in ONE_KERNEL.items():
        added = count(OPTIMIZERS[optimizer](row.schedule)) - _constant(count, optimizer)
        if not 0 <= added <= READS_STEP.get(optimizer, 0):
            wrong[name] = added
    assert wrong == {}
    assert count(OPTIMIZERS[optimizer](ours.constant(0.1))) == _constant(count, optimizer)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name not in READS_STEP])
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=str)
@pytest.mark.parametrize("way", [ours.compiled_step, by_hand], ids=["compiled_step", "by hand"])
def test_in_half_precision_too(way: Callable[..., Step], dtype: mx.Dtype, optimizer: str) -> None:
    """No more than it takes alone: an update goes on with a cast of the rate, which may have filled its kernel."""
    make, wrong = OPTIMIZERS[optimizer], {}
    most = 2 if optimizer == "MultiOptimizer" else 1  # which has two schedules
    constant = _in_step(make(0.1), way, dtype)
    for name, row in {name: row for name, row in TYPICAL.items() if name not in FULL}.items():
        added = _in_step(make(row.schedule), way, dtype) - constant
        if added > most * max(row.kernels, 1):
            wrong[name] = added
    assert wrong == {}


def test_the_count_sees_a_kernel() -> None:
    """A schedule of MLX is a kernel of its own, as is a look-up in a table: else nothing above would say anything."""
    for rate in (optim.cosine_decay(0.1, 100), ours.table([0.1, 0.2])):
        assert _in_step(optim.SGD(rate)) > _constant(_in_step, "SGD")
        assert _in_update(optim.AdamW(rate)) > _constant(_in_update, "AdamW")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("count", [_in_step, _in_update])
def test_a_state_in_other_order_costs_none(count: Count, reverse: bool) -> None:
    """As it comes from a checkpoint, whose names are sorted."""
    for schedule in (warm_cosine(), ours.cosine_decay(0.1, 100)):
        _, optimizer = _initialized(optim.AdamW(schedule))
        names: Any = tree_flatten(optimizer.state)
        optimizer.state = tree_unflatten(sorted(names, reverse=reverse))
        assert count(optimizer) == _constant(count, "AdamW")


@pytest.mark.parametrize("names", [*((name,) for name in JOINED), *itertools.product(JOINED, repeat=2)], ids="-".join)
def test_a_step_compiled_by_hand_has_at_most_one_kernel_more(names: tuple[str, ...]) -> None:
    constant, scheduled = (_in_step(optim.SGD(rate), by_hand) for rate in (0.1, join(ours, names)))
    assert scheduled <= constant + 1
