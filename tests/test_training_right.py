"""Both tools train as MLX does: bit-equal to a step compiled by hand, and as close to eager steps as float32 rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours

from .training_loops import (
    OPTIMIZERS,
    Batch,
    Optimizer,
    Step,
    assert_close,
    batches,
    bits,
    by_hand,
    by_update,
    eager,
    everything,
    mlp,
    mse,
    train,
    warm_cosine,
)
from .training_models import TASKS


class Run(NamedTuple):
    """A training that is over."""

    losses: list[Any]
    model: nn.Module
    optimizer: optim.Optimizer

    def bits(self) -> dict[str, tuple[str, bytes]]:
        """Of all that came out."""
        return everything(self.model, self.optimizer, self.losses)

    def arrays(self) -> list[Any]:
        """All that came out."""
        return [self.losses, self.model.parameters(), self.optimizer.state]


def _run(way: Callable[..., Step], model: nn.Module, optimizer: Optimizer, loss_fn: Step, data: Sequence[Batch]) -> Run:
    trained = optimizer(warm_cosine())
    mx.random.seed(1)  # of dropout
    return Run(train(way(loss_fn, model, trained), data, model, trained), model, trained)


def _by_hand(loss_fn: Step, model: nn.Module, optimizer: optim.Optimizer) -> Step:
    """With the state of the schedules captured, as it is by the tools."""
    parts = getattr(optimizer, "optimizers", [optimizer])
    return by_hand(loss_fn, model, optimizer, [s.state for part in parts for s in part._schedulers.values()])


def _skip_if_mlx_cannot(optimizer: Optimizer) -> None:
    if optimizer is OPTIMIZERS["MultiOptimizer"]:
        model = mlp()
        try:
            optimizer(0.1).update(model, model.parameters())
        except ValueError:
            pytest.skip("this MLX cannot split the layers of a list between optimizers")


def _compare(
    make: Callable[[], nn.Module], optimizer: Optimizer, loss_fn: Step, data: Sequence[Batch], rtol: float = 2e-5
) -> Run:
    """Trains in all four ways. Returns the compiled step's run."""
    _skip_if_mlx_cannot(optimizer)
    step, update, hand, plain = (
        _run(way, make(), optimizer, loss_fn, data) for way in (ours.compiled_step, by_update, _by_hand, eager)
    )
    assert step.bits() == hand.bits()
    assert_close(step.arrays(), plain.arrays(), rtol=rtol, atol=rtol / 10)
    assert_close(update.arrays(), plain.arrays(), rtol=rtol, atol=rtol / 10)
    return step


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW", "MultiOptimizer"])
def test_500_steps(optimizer: str) -> None:
    """The two loops compiled as a whole have the same bits to the end, and what is trained is trained."""
    _skip_if_mlx_cannot(OPTIMIZERS[optimizer])
    data = batches(25) * 20
    runs = [_run(way, mlp(), OPTIMIZERS[optimizer], mse, data) for way in (ours.compiled_step, _by_hand)]
    assert runs[0].bits() == runs[1].bits()
    assert sum(runs[0].losses[-25:]).item() < 0.9 * sum(runs[0].losses[:25]).item()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer: str) -> None:
    run = _compare(mlp, OPTIMIZERS[optimizer], mse, batches(45), rtol=2e-4 if optimizer == "Muon" else 2e-5)
    first = getattr(run.optimizer, "optimizers", [run.optimizer])[0]
    assert first.step.item() == 45
    assert bits(first.learning_rate) == bits(mx.array(1e-3, mx.float32)), "the schedule's end"


def _adds_bfloat16() -> bool:
    layer = nn.Linear(2, 2)
    layer.set_dtype(mx.bfloat16)
    try:
        mx.eval(layer(mx.zeros((1, 2), mx.bfloat16)))
    except RuntimeError:
        return False
    return True


@pytest.mark.skipif(not _adds_bfloat16(), reason="this MLX multiplies no bfloat16 matrices on this device")
@pytest.mark.parametrize("optimizer", ["AdamW"])
def test_bfloat16(optimizer: str) -> None:
    def make() -> nn.Module:
        model = mlp()
        model.set_dtype(mx.bfloat16)
        return model

    run = _compare(make, OPTIMIZERS[optimizer], mse, batches(20, dtype=mx.bfloat16), rtol=2e-2)
    assert run.model.layers[0].weight.dtype == mx.bfloat16
    assert run.optimizer.learning_rate.dtype == mx.float32


@pytest.mark.parametrize("task", TASKS)
def test_models(task: str) -> None:
    """What is frozen, shared, quantized or random comes out as it does in MLX, and so do the buffers."""
    make, loss_fn, data = TASKS[task].make, TASKS[task].loss_fn, TASKS[task].data(20)
    run = _compare(make, OPTIMIZERS["AdamW"], loss_fn, data)
    untrained = make()
    assert bits(run.model.trainable_parameters()) != bits(untrained.trainable_parameters())
    if task in ("frozen layer", "biases only", "quantized with adapter"):
        frozen = run.model.layers[0].weight, untrained.layers[0].weight
        assert bits(frozen[0]) == bits(frozen[1])
    if task == "counts its calls":
        assert run.model.calls.item() == 20


def test_a_rate_that_is_not_a_schedule() -> None:
    """A constant, a schedule of MLX and a plain function train as they do in MLX."""
    for rate in (0.05, optim.cosine_decay(0.05, 20), lambda step: 0.05 / (step + 1.0)):
        runs = []
        for way in (ours.compiled_step, by_update, eager):
            model, optimizer = mlp(), optim.SGD(rate, momentum=0.9)
            runs.append(Run(train(way(mse, model, optimizer), batches(10), model, optimizer), model, optimizer))
        assert_close(runs[0].arrays(), runs[2].arrays())
        assert_close(runs[1].arrays(), runs[2].arrays())
