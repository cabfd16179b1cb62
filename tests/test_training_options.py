"""Accumulation, clipping, what comes back from a step, and what the tools refuse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_map

import mlxsched_compiled as ours

from .counting import ROOT
from .training_loops import (
    Batch,
    assert_close,
    batches,
    bits,
    by_hand,
    eager,
    everything,
    mlp,
    mse,
    train,
    warm_cosine,
    with_both_tools,
)


def _with_gradients(
    change: Callable[[list[Any]], Any], data: list[Batch], accumulate: int, optimizer: optim.Optimizer
) -> list[Any]:
    """Eager steps with what ``change`` makes of the gradients of every ``accumulate`` batches."""
    model = mlp()
    losses, gradients = [], []
    for batch in data:
        loss, gradient = nn.value_and_grad(model, mse)(model, *batch)
        losses.append(loss)
        gradients.append(gradient)
        if len(gradients) == accumulate:
            optimizer.update(model, change(gradients))
            gradients = []
        mx.eval(loss, model.parameters(), optimizer.state)
    return [losses, model.parameters(), optimizer.state]


def _mean(gradients: list[Any]) -> Any:
    return tree_map(lambda *each: sum(each) / len(each), *gradients)


@pytest.mark.parametrize("accumulate", [2, 3, 5])
def test_accumulated_gradients_are_averaged(accumulate: int) -> None:
    """The schedule counts updates; between them only the sum of the gradients changes."""
    schedule = warm_cosine()
    model, optimizer = mlp(), optim.AdamW(schedule)
    step = ours.compiled_step(mse, model, optimizer, accumulate=accumulate)
    data = batches(4 * accumulate)
    losses = []
    for i, batch in enumerate(data):
        before = everything(model, optimizer)
        losses += train(step, [batch], model, optimizer)
        updates = (i + 1) // accumulate
        assert optimizer.step.item() == updates
        assert bits(optimizer.learning_rate) == bits(schedule(max(updates - 1, 0)))
        assert (everything(model, optimizer) == before) == ((i + 1) % accumulate != 0)
    by_mean = _with_gradients(_mean, data, accumulate, optim.AdamW(warm_cosine()))
    assert_close([losses, model.parameters(), optimizer.state], by_mean)


def test_accumulation_of_equal_parts_is_one_large_batch() -> None:
    data = batches(12)
    model, optimizer = mlp(), optim.AdamW(warm_cosine())
    train(ours.compiled_step(mse, model, optimizer, accumulate=3), data, model, optimizer)
    whole, its_optimizer = mlp(), optim.AdamW(warm_cosine())
    large: list[Batch] = [
        (mx.concatenate([x for x, _ in data[i : i + 3]]), mx.concatenate([y for _, y in data[i : i + 3]]))
        for i in range(0, 12, 3)
    ]
    train(ours.compiled_step(mse, whole, its_optimizer), large, whole, its_optimizer)
    assert_close(model.parameters(), whole.parameters(), rtol=1e-4, atol=1e-5)


def test_accumulation_with_batches_of_other_shapes_and_frozen_layers() -> None:
    """Each call its own shape; a layer frozen and unfrozen between two calls of one update."""
    model, optimizer = mlp(), optim.SGD(warm_cosine())
    step = ours.compiled_step(mse, model, optimizer, accumulate=2)
    for size in (3, 5, 4, 2, 6, 6):
        model.layers[0].freeze()
        model.layers[0].unfreeze()
        train(step, batches(1, size=size), model, optimizer)
    reference = mlp()
    gradients = []
    its_optimizer = optim.SGD(warm_cosine())
    for size in (3, 5, 4, 2, 6, 6):
        gradients.append(nn.value_and_grad(reference, mse)(reference, *batches(1, size=size)[0])[1])
        if len(gradients) == 2:
            its_optimizer.update(reference, _mean(gradients))
            gradients = []
    assert_close(model.parameters(), reference.parameters())


@pytest.mark.parametrize("norm", [0.01, 0.3, 100])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_clipping_is_that_of_mlx(norm: float, accumulate: int) -> None:
    data = batches(8)
    model, optimizer = mlp(), optim.AdamW(warm_cosine())
    step = ours.compiled_step(mse, model, optimizer, max_grad_norm=norm, accumulate=accumulate)
    losses = train(step, data, model, optimizer)
    by_clipping = _with_gradients(
        lambda gradients: optim.clip_grad_norm(_mean(gradients), norm)[0], data, accumulate, optim.AdamW(warm_cosine())
    )
    assert_close([losses, model.parameters(), optimizer.state], by_clipping)


def test_clipping_has_the_bits_of_a_step_by_hand() -> None:
    model, optimizer = mlp(), optim.SGD(warm_cosine(), momentum=0.9)
    losses = train(ours.compiled_step(mse, model, optimizer, max_grad_norm=0.2), batches(10), model, optimizer)
    own, its_optimizer = mlp(), optim.SGD(warm_cosine(), momentum=0.9)

    class Clipping:
        """An optimizer that clips first."""

        init, state = its_optimizer.init, its_optimizer.state

        def update(self, model: nn.Module, gradients: Any) -> None:
            its_optimizer.update(model, optim.clip_grad_norm(gradients, 0.2)[0])

    by_hand_losses = train(by_hand(mse, own, Clipping()), batches(10), own, its_optimizer)  # type: ignore[arg-type]
    assert bits(losses) == bits(by_hand_losses)
    assert everything(model, optimizer) == everything(own, its_optimizer)


@with_both_tools
def test_what_the_loss_returns_comes_back(tool: Callable[..., Any]) -> None:
    """A tuple that starts with the loss, with trees of arrays and plain constants in it."""

    def loss_fn(model: nn.Module, x: mx.array, y: mx.array) -> Any:
        prediction = model(x)
        return mx.mean(mx.square(prediction - y)), {"prediction": prediction, "sizes": [3, "three"]}, mx.array(3)

    runs = []
    for way in (tool, eager):
        model, optimizer = mlp(), optim.AdamW(warm_cosine())
        runs.append(train(way(loss_fn, model, optimizer), batches(4), model, optimizer))
    for own, plain in zip(*runs, strict=True):
        assert isinstance(own, tuple)
        assert own[1]["sizes"] == [3, "three"]
        assert_close(list(own), list(plain))


def test_batches_are_trees_and_constants() -> None:
    """A dict of arrays, a list, a number and a word; another word is another trace."""

    def loss_fn(model: nn.Module, batch: dict[str, mx.array], scales: list[Any], mode: str) -> mx.array:
        loss: mx.array = mse(model, batch["x"], batch["y"]) * scales[0] * scales[1]
        return loss if mode == "plain" else 2 * loss

    runs = []
    for way in (ours.compiled_step, eager):
        model, optimizer = mlp(), optim.AdamW(warm_cosine())
        data = [({"x": x, "y": y}, [mx.array(0.5), 3], mode) for x, y in batches(3) for mode in ("plain", "twice")]
        runs.append([train(way(loss_fn, model, optimizer), data, model, optimizer), model.parameters()])  # type: ignore[arg-type]
    assert_close(*runs)


@pytest.mark.parametrize("norm", [0, -1.0, float("nan"), float("inf"), 0.0])
def test_a_norm_must_be_above_0(norm: float) -> None:
    with pytest.raises(ValueError, match="max_grad_norm"):
        ours.compiled_step(mse, mlp(), optim.SGD(0.1), max_grad_norm=norm)


@pytest.mark.parametrize("norm", ["1", [1.0], mx.array(1.0)], ids=str)
def test_a_norm_must_be_a_number(norm: Any) -> None:
    with pytest.raises(TypeError, match="max_grad_norm"):
        ours.compiled_step(mse, mlp(), optim.SGD(0.1), max_grad_norm=norm)


@pytest.mark.parametrize("calls", [0, -1, 1.5])
def test_calls_must_be_a_count(calls: Any) -> None:
    with pytest.raises(ValueError, match="accumulate"):
        ours.compiled_step(mse, mlp(), optim.SGD(0.1), accumulate=calls)


def test_the_step_has_no_state_where_each_call_is_an_update() -> None:
    step = ours.compiled_step(mse, mlp(), optim.SGD(0.1))
    assert step.state == {}
    step.state = {}


def test_the_package_imports_nothing_of_training() -> None:
    """Neither ``mlx.nn`` nor ``mlx.optimizers``, until a tool is called."""
    code = """
import sys
import mlxsched_compiled
from mlxsched_compiled import compiled_step, compiled_update, cosine_decay
cosine_decay(0.1, 10)(3)
print([name for name in ("mlx.nn", "mlx.optimizers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
