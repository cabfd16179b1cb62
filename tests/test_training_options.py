"""Accumulation, clipping, what comes back from a step, and what the tools refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_map

import mlxsched_compiled as ours

from .training import (
    Batch,
    Training,
    assert_close,
    batches,
    bits,
    by_hand,
    eager,
    mlp,
    mse,
    warm_cosine,
    with_both_tools,
)


def _mean(gradients: list[Any]) -> Any:
    return tree_map(lambda *each: sum(each) / len(each), *gradients)


def _by_mean(
    data: list[Batch], accumulate: int, optimizer: optim.Optimizer, change: Callable[[Any], Any] = lambda mean: mean
) -> list[Any]:
    """Eager steps with what ``change`` makes of the mean of the gradients of every ``accumulate`` batches."""
    model = mlp()
    losses, gradients = [], []
    for batch in data:
        loss, gradient = nn.value_and_grad(model, mse)(model, *batch)
        losses.append(loss)
        gradients.append(gradient)
        if len(gradients) == accumulate:
            optimizer.update(model, change(_mean(gradients)))
            gradients = []
        mx.eval(loss, model.parameters(), optimizer.state)
    return [losses, model.parameters(), optimizer.state]


@pytest.mark.parametrize("accumulate", [2, 3, 5])
def test_accumulated_gradients_are_averaged(accumulate: int) -> None:
    """The schedule counts updates; between them only the sum of the gradients changes."""
    training = Training(ours.compiled_step, accumulate=accumulate)
    schedule, optimizer = warm_cosine(), training.optimizer
    data = batches(4 * accumulate)
    for i, batch in enumerate(data):
        before = bits(training.model.state, optimizer.state)
        training.train([batch])
        updates = (i + 1) // accumulate
        assert optimizer.step.item() == updates
        assert bits(optimizer.learning_rate) == bits(schedule(max(updates - 1, 0)))
        assert (bits(training.model.state, optimizer.state) == before) == ((i + 1) % accumulate != 0)
    assert_close(training.arrays(), _by_mean(data, accumulate, optim.AdamW(warm_cosine())))


def test_accumulation_of_equal_parts_is_one_large_batch() -> None:
    data = batches(12)
    training = Training(ours.compiled_step, accumulate=3).train(data)
    parts = [data[i : i + 3] for i in range(0, 12, 3)]
    whole = Training(ours.compiled_step).train(
        [[mx.concatenate([*arrays]) for arrays in zip(*part, strict=True)] for part in parts]
    )
    assert_close(training.model.parameters(), whole.model.parameters(), rtol=1e-4, atol=1e-5)


def test_accumulation_with_batches_of_other_shapes_and_frozen_layers() -> None:
    """Each call its own shape; a layer frozen and unfrozen between two calls of one update."""
    training = Training(ours.compiled_step, optimizer=optim.SGD(warm_cosine()), accumulate=2)
    data = [batches(1, size=size)[0] for size in (3, 5, 4, 2, 6, 6)]
    for batch in data:
        training.model.layers[0].freeze()
        training.model.layers[0].unfreeze()
        training.train([batch])
    assert_close(training.arrays(), _by_mean(data, 2, optim.SGD(warm_cosine())))


@pytest.mark.parametrize("norm", [0.01, 0.3, 100])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_clipping_is_that_of_mlx(norm: float, accumulate: int) -> None:
    training = Training(ours.compiled_step, max_grad_norm=norm, accumulate=accumulate).train(8)
    by_clipping = _by_mean(
        batches(8), accumulate, optim.AdamW(warm_cosine()), lambda mean: optim.clip_grad_norm(mean, norm)[0]
    )
    assert_close(training.arrays(), by_clipping)


def test_clipping_has_the_bits_of_a_step_by_hand() -> None:
    class Clipping(optim.SGD):
        """An optimizer that clips first."""

        def update(self, model: nn.Module, gradients: Any) -> None:
            super().update(model, optim.clip_grad_norm(gradients, 0.2)[0])

    step = Training(ours.compiled_step, mlp(), optim.SGD(warm_cosine(), momentum=0.9), max_grad_norm=0.2).train(10)
    hand = Training(by_hand, mlp(), Clipping(warm_cosine(), momentum=0.9)).train(10)
    assert step.bits(step.losses) == hand.bits(hand.losses)


@with_both_tools
def test_what_the_loss_returns_comes_back(tool: Callable[..., Any]) -> None:
    """A tuple that starts with the loss, with trees of arrays and plain constants in it."""

    def loss_fn(model: nn.Module, x: mx.array, y: mx.array) -> Any:
        prediction = model(x)
        return mx.mean(mx.square(prediction - y)), {"prediction": prediction, "sizes": [3, "three"]}, mx.array(3)

    losses = (Training(way, loss_fn=loss_fn).train(4).losses for way in (tool, eager))
    for own, plain in zip(*losses, strict=True):
        assert isinstance(own, tuple)
        assert own[1]["sizes"] == [3, "three"]
        assert_close(list(own), list(plain))


def test_batches_are_trees_and_constants() -> None:
    """A dict of arrays, a list, a number and a word; another word is another trace."""

    def loss_fn(model: nn.Module, batch: dict[str, mx.array], scales: list[Any], mode: str) -> mx.array:
        loss: mx.array = mse(model, batch["x"], batch["y"]) * scales[0] * scales[1]
        return loss if mode == "plain" else 2 * loss

    data = [({"x": x, "y": y}, [mx.array(0.5), 3], mode) for x, y in batches(3) for mode in ("plain", "twice")]
    own, plain = (Training(way, loss_fn=loss_fn).train(data) for way in (ours.compiled_step, eager))
    assert_close(own.arrays(), plain.arrays())


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        *(("max_grad_norm", norm, ValueError) for norm in (0, -1.0, float("nan"), float("inf"), 0.0)),
        *(("max_grad_norm", norm, TypeError) for norm in ("1", [1.0], mx.array(1.0))),
        *(("accumulate", calls, ValueError) for calls in (0, -1, 1.5)),
    ],
    ids=str,
)
def test_options_that_are_refused(option: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=option):
        ours.compiled_step(mse, mlp(), optim.SGD(0.1), **{option: value})


def test_the_step_has_no_state_where_each_call_is_an_update() -> None:
    step = ours.compiled_step(mse, mlp(), optim.SGD(0.1))
    assert step.state == {}
    step.state = {}


def test_a_state_of_another_model_is_refused() -> None:
    step = ours.compiled_step(mse, mlp(), optim.SGD(0.1), accumulate=2)
    other = ours.compiled_step(mse, mlp(16), optim.SGD(0.1), accumulate=2)
    with pytest.raises(ValueError, match="state"):
        step.state = other.state
