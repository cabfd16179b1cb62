"""Whatever is changed between two steps, the next step uses it, as MLX does when nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_map, tree_unflatten

import mlxsched_compiled as ours

from .training import (
    Composed,
    Step,
    Training,
    assert_close,
    batches,
    bits,
    eager,
    flat,
    mlp,
    mse,
    warm_cosine,
    with_both_tools,
)


class Doubled(nn.Linear):
    """A layer of the same parameters that does something else."""

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = 2 * super().__call__(x)
        return y


TOOLBOX = {"mx": mx, "nn": nn, "flat": flat, "tree_map": tree_map, "tree_unflatten": tree_unflatten, "Doubled": Doubled}
FOLLOWED = [
    "model.load_weights([(name, 2 * w) for name, w in flat(model.parameters())])",
    "model.update(tree_map(lambda w: 0.5 * w, model.parameters()))",
    "model.layers[2].weight = mx.ones_like(model.layers[2].weight)",
    "model.layers[2].weight[0] = 0.25",
    "model.layers[2] = nn.Linear(8, 2)",
    "model.layers[1] = nn.ReLU()",
    "doubled = Doubled(8, 2); doubled.update(model.layers[2].parameters()); model.layers[2] = doubled",
    "del model.layers[0].bias",
    "model.layers[1], model.layers[4] = model.layers[4], model.layers[1]",
    "model.layers[3].exponent = 3",
    "model.layers[0].freeze()",
    "model.freeze(keys='bias')",
    "model.eval()",
    "optimizer.state = tree_map(lambda a: a + (0.5 if a.dtype == mx.float32 else 7), optimizer.state)",
    "optimizer.state = tree_unflatten([(name, a + 2) for name, a in sorted(flat(optimizer.state), reverse=True)])",
    "optimizer.state = {'step': mx.array(3, mx.uint64), 'learning_rate': mx.array(0.01)}",
    "optimizer.state['step'] = mx.array(30, mx.uint64)",
    "optimizer.state['layers'] = tree_map(mx.zeros_like, optimizer.state['layers'])",
    "optimizer.state = {k: optimizer.state[k] for k in ('step', 'learning_rate')}; optimizer.init(model.parameters())",
    "if adam: optimizer.betas = [0.5, 0.9]\nelse: optimizer.momentum = 0.5",
    "if adam: optimizer.betas[0] = 0.3\nelse: optimizer.weight_decay = 0.1",
]
"""What a user may do to a model or its optimizer while it trains."""
NEUTRAL = [
    "model.save_weights(file); model.update(tree_map(mx.zeros_like, model.parameters())); model.load_weights(file)",
    # In place, in another order, as the names in a checkpoint may come: arrays of one shape at each other's places.
    "s = optimizer.state['layers'][0]['weight']; s.update([(name, s.pop(name)) for name in sorted(s, reverse=True)])",
    "scales = model.layers[3].scales; scales['up'] = scales.pop('up')",
    "layer = model.layers[3]; first = layer.first; del layer.first; layer.first = first",
]
"""What changes nothing, once the step has followed."""


def _forward(odd: Any, x: mx.array) -> mx.array:
    y: mx.array = x**odd.exponent * odd.scales["up"] / odd.scales["down"] + odd.first - 2 * odd.second
    return y


def _model() -> nn.Module:
    """With, among its layers, one that has a number as attribute and parameters of one shape."""
    mx.random.seed(3)
    scales = {"up": mx.array(1.5), "down": mx.array(0.75)}
    odd = Composed(_forward, exponent=1, first=mx.array(0.5), second=mx.array(-0.25), scales=scales)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2), odd, nn.Dropout(0.2))


OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD": lambda rate: optim.SGD(rate, momentum=0.9),
    "AdamW": lambda rate: optim.AdamW(rate, betas=[0.9, 0.999]),
}


def _trained(way: Callable[..., Step], optimizer: str, change: str, folder: Path) -> list[Any]:
    training = Training(way, _model(), OPTIMIZERS[optimizer](warm_cosine())).train(3)
    mx.random.seed(9)
    names = {"model": training.model, "optimizer": training.optimizer, "adam": optimizer == "AdamW"}
    exec(change, {**TOOLBOX, **names, "file": str(folder / "weights.safetensors")})
    mx.eval(training.model.parameters())  # before the file goes
    mx.random.seed(5)
    return training.train(4).arrays()


@with_both_tools
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("change", [*FOLLOWED, *NEUTRAL])
def test_the_next_step_follows(change: str, optimizer: str, tool: Callable[..., Step], tmp_path: Path) -> None:
    changed = _trained(tool, optimizer, change, tmp_path)
    assert_close(changed, _trained(eager, optimizer, change, tmp_path))
    followed = bits(changed) != bits(_trained(tool, optimizer, "", tmp_path))
    assert followed or change in NEUTRAL, "else there was nothing to follow"


@with_both_tools
def test_to_and_fro(tool: Callable[..., Step]) -> None:
    """Training and evaluation, frozen and not, over and over: each step as it should be then."""

    def loop(way: Callable[..., Step]) -> list[Any]:
        training = Training(way, _model())
        for i, batch in enumerate(batches(12)):
            training.model.train(i % 2 == 0)
            (training.model.layers[0].freeze if i % 3 == 1 else training.model.layers[0].unfreeze)()
            training.train([batch])
        return training.arrays()

    assert_close(loop(tool), loop(eager))


@with_both_tools
def test_unfreezing_a_layer_that_the_optimizer_has_not_seen(tool: Callable[..., Step]) -> None:
    """It gets its state then. (Eager MLX has none for it, and raises.)"""
    training = Training(tool, _model())
    layer = training.model.layers[0]
    layer.freeze()
    frozen = bits(layer.parameters())
    training.train(3)
    assert bits(layer.parameters()) == frozen
    layer.unfreeze()
    training.train(3)
    assert bits(layer.parameters()) != frozen
    assert training.optimizer.state["layers"][0]["weight"]["m"].shape == (8, 4)
    assert training.optimizer.step.item() == 6


@with_both_tools
def test_adding_a_layer(tool: Callable[..., Step]) -> None:
    """It trains with the rest. (Eager MLX has no state for it, and raises.)"""
    training = Training(tool, _model()).train(3)
    added = nn.Linear(2, 2)
    training.model.layers.append(added)
    before = bits(added.parameters())
    training.train(3)
    assert bits(added.parameters()) != before
    assert training.optimizer.step.item() == 6


@with_both_tools
def test_a_learning_rate_set_by_hand(tool: Callable[..., Step]) -> None:
    """Without a schedule it is what was set last: a number, an array, another type of number."""

    def loop(way: Callable[..., Step]) -> list[Any]:
        training = Training(way, optimizer=optim.AdamW(0.01))
        for rate in (0.1, mx.array(0.02), 1e-3, 0, 0.05):
            training.optimizer.learning_rate = rate
            training.train(2)
        return training.arrays()

    assert_close(loop(tool), loop(eager))


@with_both_tools
def test_a_schedule_put_in_place_of_another(tool: Callable[..., Step]) -> None:
    """By MLX's own means: the optimizer's dict of schedulers."""

    def loop(way: Callable[..., Step]) -> list[Any]:
        training = Training(way).train(2)
        training.optimizer._schedulers["learning_rate"] = ours.linear_schedule(0.1, 0.0, 10)
        training.train(2)
        training.optimizer._schedulers.clear()
        training.optimizer.learning_rate = 0.3
        return training.train(2).arrays()

    assert_close(loop(tool), loop(eager))


def _replace_layers(model: Any) -> None:
    mx.random.seed(8)
    model.layers[0], model.layers[2] = nn.Linear(4, 5), nn.Linear(5, 2)


@with_both_tools
def test_a_layer_of_another_shape(tool: Callable[..., Step]) -> None:
    """Trains where eager MLX does: with an optimizer that keeps nothing of it. Else there is an error, and no harm."""

    def loop(way: Callable[..., Step]) -> list[Any]:
        training = Training(way, optimizer=optim.SGD(warm_cosine())).train(2)
        _replace_layers(training.model)
        training.train(2)
        return [*training.arrays()[:2], training.optimizer.step, training.optimizer.learning_rate]

    assert_close(loop(tool), loop(eager))

    training = Training(tool, optimizer=optim.SGD(warm_cosine(), momentum=0.9)).train(2)
    model, optimizer = training.model, training.optimizer
    model.layers[0], model.layers[2] = nn.Linear(4, 8, bias=False), nn.Linear(8, 2)
    training.train(2)
    _replace_layers(model)
    before = bits(model.state, optimizer.state)
    with pytest.raises(ValueError, match="broadcast"):
        training.train(1)
    assert bits(model.state, optimizer.state) == before
    optimizer.state = {"step": optimizer.step, "learning_rate": optimizer.learning_rate}  # which helps
    training.train(2)
    assert optimizer.step.item() == 6


@pytest.mark.parametrize("calls_before", [2, 3])
def test_a_layer_of_another_shape_between_accumulated_calls(calls_before: int) -> None:
    """The sum of its gradients starts at 0."""
    training = Training(ours.compiled_step, optimizer=optim.SGD(warm_cosine()), accumulate=2).train(calls_before)
    _replace_layers(training.model)
    training.train(4 - calls_before)
    assert [loss.shape for loss in training.losses] == [()] * 4
    assert training.optimizer.step.item() == 2
    assert training.model.layers[0].weight.shape == (5, 4)


def test_another_type_of_weights() -> None:
    """Float16 after ``set_dtype``, and float16 they stay."""
    training = Training(ours.compiled_step, mlp(), optim.SGD(warm_cosine()), mse, accumulate=2).train(2)
    training.model.set_dtype(mx.float16)
    training.train(batches(4, dtype=mx.float16))
    assert training.model.layers[0].weight.dtype == mx.float16
