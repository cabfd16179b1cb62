"""Both tools compute a schedule in the kernel that counts the optimizer's step: it costs no kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_flatten, tree_unflatten

import mlxsched_compiled as ours

from .counting import kernels, requires_compile
from .training_loops import OPTIMIZERS, Optimizer, Rate, warm_cosine

pytestmark = requires_compile

ONE_KERNEL: dict[str, Callable[[], ours.Schedule]] = {
    "exponential_decay": lambda: ours.exponential_decay(0.1, 0.9),
    "exponential_decay to an end": lambda: ours.exponential_decay(0.1, 0.9, decay_steps=3, end=0.01),
    "step_decay": lambda: ours.step_decay(0.1, 0.9, 10),
    "cosine_decay": lambda: ours.cosine_decay(0.1, 100, 0.01),
    "linear_schedule": lambda: ours.linear_schedule(0.1, 0.01, 100),
    "join_schedules": lambda: ours.join_schedules([ours.linear_schedule(0, 1, 10), ours.cosine_decay(1, 90)], [10]),
    "polynomial_decay": lambda: ours.polynomial_decay(0.1, 100, power=2.0),
    "sqrt_decay": lambda: ours.sqrt_decay(0.1, 100),
    "rex_decay": lambda: ours.rex_decay(0.1, 100),
    "tanh_decay": lambda: ours.tanh_decay(0.1, 100),
    "inverse_time_decay": lambda: ours.inverse_time_decay(0.1, 0.5),
    "inverse_sqrt_decay": lambda: ours.inverse_sqrt_decay(0.1, 100),
    "piecewise_constant": lambda: ours.piecewise_constant([0.1, 0.2], [10]),
    "piecewise_interpolate": lambda: ours.piecewise_interpolate([0.1, 0.2], [0, 10]),
    "cosine_restarts": lambda: ours.cosine_restarts(0.1, 10),
    "cosine_restarts that decay": lambda: ours.cosine_restarts(0.1, 10, decay=0.5),
    "cyclic": lambda: ours.cyclic(0.01, 0.1, 10),
    "cyclic, triangular2": lambda: ours.cyclic(0.01, 0.1, 10, mode="triangular2"),
    "cyclic, exp_range": lambda: ours.cyclic(0.01, 0.1, 10, mode="exp_range", gamma=0.9),
    "one_cycle, linear": lambda: ours.one_cycle(0.1, 100, shape="linear"),
    "warmup": lambda: ours.warmup(ours.cosine_decay(0.1, 100), 10),
    "warmup_cosine_decay": warm_cosine,
    "warmup_linear_decay": lambda: ours.warmup_linear_decay(0.1, 10, 100),
    "warmup_stable_decay": lambda: ours.warmup_stable_decay(0.1, 10, 20, 30),
    "noam": lambda: ours.noam(512, 100),
    "product": lambda: 2 * ours.warmup(ours.cosine_decay(0.1, 100), 10),
    "sum": lambda: ours.constant(0.2) + ours.linear_schedule(0.1, 0.01, 100),
    "clip": lambda: ours.clip(ours.cosine_decay(0.1, 100), low=0.01),
    "delay": lambda: ours.delay(ours.cosine_decay(0.1, 100), 10),
    "staircase": lambda: ours.staircase(ours.exponential_decay(0.1, 0.9, decay_steps=5), 5),
    "repeat": lambda: ours.repeat(ours.linear_schedule(0.1, 0, 10), 10),
    "cooldown": lambda: ours.cooldown(ours.constant(0.1), 50, 10),
}
"""The schedules of the catalogue that are one kernel when called."""

READS_STEP = {"Adam, bias correction": 2, "Adafactor": 2}
"""Optimizers that compute with the step themselves, from which MLX makes one or two kernels more."""


@pytest.mark.parametrize("schedule", ONE_KERNEL)
def test_called_alone_it_is_one_kernel(schedule: str) -> None:
    """So the list above is of the right schedules."""
    assert len(kernels(ONE_KERNEL[schedule]()(mx.array(3, mx.uint64)))) == 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_schedule_of_one_kernel_costs_none(optimizer: str) -> None:
    wrong = {}
    for name, make in ONE_KERNEL.items():
        for count in (_in_step, _in_update):
            added = count(optimizer, make()) - _constant(count, optimizer)
            if not 0 <= added <= READS_STEP.get(optimizer, 0):
                wrong[name, count.__name__] = added
    assert wrong == {}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_constant_costs_none(optimizer: str) -> None:
    for count in (_in_step, _in_update):
        assert count(optimizer, ours.constant(0.1)) == _constant(count, optimizer)


def test_the_count_sees_a_kernel() -> None:
    """A schedule of MLX is a kernel of its own, as is a look-up in a table: else nothing above would say anything."""
    for rate in (optim.cosine_decay(0.1, 100), ours.table([0.1, 0.2])):
        assert _in_step("SGD", rate) > _constant(_in_step, "SGD")
        assert _in_update("AdamW", rate) > _constant(_in_update, "AdamW")


def test_a_state_in_other_order_costs_none() -> None:
    """As it comes from a checkpoint, whose names are sorted."""
    for schedule in (warm_cosine(), ours.cosine_decay(0.1, 100)):
        for order in (sorted, lambda names: sorted(names, reverse=True)):

            def loaded(rate: Rate, order: Callable[[Any], Any] = order) -> optim.Optimizer:
                optimizer = optim.AdamW(rate)
                optimizer.init(nn.Linear(8, 8).trainable_parameters())
                optimizer.state = tree_unflatten(order(tree_flatten(optimizer.state)))
                return optimizer

            assert _in_step("", schedule, loaded) == _constant(_in_step, "AdamW")
            assert _in_update("", schedule, loaded) == _constant(_in_update, "AdamW")


@lru_cache
def _constant(count: Callable[[str, Rate], int], optimizer: str) -> int:
    return count(optimizer, 0.1)


def _initialize(optimizer: optim.Optimizer, model: nn.Module) -> None:
    """As a first update does, with a rate that nothing has to be built for."""
    optimizer.init(model.trainable_parameters())
    optimizer.learning_rate = 0.1


def _in_step(optimizer: str, rate: Rate, make: Optimizer | None = None) -> int:
    """Kernels of what ``compiled_step`` returns and changes."""
    model = nn.Linear(8, 8)
    trained = (make or OPTIMIZERS[optimizer])(rate)
    _initialize(trained, model)
    batch = mx.ones((2, 8))
    mx.eval(model.state, trained.state, batch)  # else what makes them would be counted with the step
    loss = ours.compiled_step(lambda model, x: mx.mean(mx.square(model(x))), model, trained)(batch)
    return len(kernels(loss, *dict(tree_flatten([model.state, trained.state])).values()))


def _in_update(optimizer: str, rate: Rate, make: Optimizer | None = None) -> int:
    """Kernels of what ``compiled_update`` changes."""
    model = nn.Linear(8, 8)
    trained = (make or OPTIMIZERS[optimizer])(rate)
    _initialize(trained, model)
    gradients = model.parameters()
    mx.eval(model.state, trained.state, gradients)
    ours.compiled_update(model, trained)(gradients)
    return len(kernels(*dict(tree_flatten([model.state, trained.state])).values()))
