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

from .training_loops import (
    Optimizer,
    Step,
    assert_close,
    batches,
    bits,
    eager,
    flat,
    mlp,
    mse,
    train,
    warm_cosine,
    with_both_tools,
)

Change = Callable[[nn.Module, optim.Optimizer], None]
CHANGES: dict[str, Change] = {}
"""What a user may do to a model or its optimizer while it trains."""


def _change(function: Change) -> Change:
    CHANGES[function.__name__.lstrip("_")] = function
    return function


@_change
def _loads_weights(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model.load_weights([(name, 2 * w) for name, w in flat(model.parameters())])


@_change
def _loads_weights_from_a_file(model: nn.Module, optimizer: optim.Optimizer) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "weights.safetensors"))
        model.save_weights(file)
        model.update(tree_map(mx.zeros_like, model.parameters()))
        model.load_weights(file)
        mx.eval(model.parameters())


@_change
def _updates_the_model(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model.update(tree_map(lambda w: 0.5 * w, model.parameters()))


@_change
def _assigns_a_weight(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model.layers[2].weight = mx.ones_like(model.layers[2].weight)


@_change
def _writes_into_a_weight(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model.layers[2].weight[0] = 0.25


@_change
def _assigns_the_state(model: nn.Module, optimizer: optim.Optimizer) -> None:
    optimizer.state = tree_map(lambda a: a + (0.5 if a.dtype == mx.float32 else 7), optimizer.state)


@_change
def _assigns_the_state_in_other_order(model: nn.Module, optimizer: optim.Optimizer) -> None:
    backwards = reversed(sorted(flat(optimizer.state)))
    optimizer.state = tree_unflatten([(name, a + 2) for name, a in backwards])


@_change
def _assigns_a_state_that_is_new(model: nn.Module, optimizer: optim.Optimizer) -> None:
    optimizer.state = {"step": mx.array(3, mx.uint64), "learning_rate": mx.array(0.01)}


@_change
def _writes_into_the_state(model: nn.Module, optimizer: optim.Optimizer) -> None:
    optimizer.state["step"] = mx.array(30, mx.uint64)
    optimizer.state["layers"] = tree_map(mx.zeros_like, optimizer.state["layers"])


@_change
def _initializes_again(model: nn.Module, optimizer: optim.Optimizer) -> None:
    optimizer.state = {"step": optimizer.step, "learning_rate": optimizer.learning_rate}
    optimizer.init(model.trainable_parameters())


@_change
def _freezes_a_layer(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model.layers[0].freeze()


@_change
def _freezes_biases(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model.freeze(keys="bias")


@_change
def _evaluates(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model.eval()


@_change
def _replaces_a_layer(model: nn.Module, optimizer: optim.Optimizer) -> None:
    mx.random.seed(9)
    model.layers[2] = nn.Linear(8, 2)


@_change
def _replaces_an_activation(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model.layers[1] = nn.ReLU()


@_change
def _replaces_a_layer_by_its_subclass(model: nn.Module, optimizer: optim.Optimizer) -> None:
    class Doubled(nn.Linear):
        def __call__(self, x: mx.array) -> mx.array:
            y: mx.array = 2 * super().__call__(x)
            return y

    doubled = Doubled(8, 2)
    doubled.update(model.layers[2].parameters())
    model.layers[2] = doubled


@_change
def _drops_a_bias(model: nn.Module, optimizer: optim.Optimizer) -> None:
    del model.layers[0].bias


@_change
def _swaps_layers(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model.layers[1], model.layers[3] = model.layers[3], model.layers[1]


@_change
def _changes_an_attribute(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model.layers[3].exponent = 3


@_change
def _changes_momentum(model: nn.Module, optimizer: optim.Optimizer) -> None:
    if isinstance(optimizer, optim.SGD):
        optimizer.momentum = 0.5
    elif isinstance(optimizer, optim.AdamW):
        optimizer.betas = [0.5, 0.9]


@_change
def _changes_an_element(model: nn.Module, optimizer: optim.Optimizer) -> None:
    if isinstance(optimizer, optim.SGD):
        optimizer.weight_decay = 0.1
    elif isinstance(optimizer, optim.AdamW):
        optimizer.betas[0] = 0.3  # in place


class _Power(nn.Module):
    """An activation with a number that is an attribute."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.exponent = 1

    def __call__(self, x: mx.array) -> mx.array:
        power: mx.array = x**self.exponent
        return power


def _model() -> nn.Module:
    mx.random.seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2), _Power(), nn.Dropout(0.2))


OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": lambda rate: optim.SGD(rate, momentum=0.9),
    "AdamW": lambda rate: optim.AdamW(rate, betas=[0.9, 0.999]),
}

with_both_optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def _trained(way: Callable[..., Step], optimizer: Optimizer, change: Change, before: int) -> list[Any]:
    model, trained = _model(), optimizer(warm_cosine())
    step = way(mse, model, trained)
    mx.random.seed(4)
    losses = train(step, batches(before), model, trained)
    change(model, trained)
    mx.random.seed(5)  # a change may draw numbers
    losses += train(step, batches(4), model, trained)
    return [losses, model.parameters(), trained.state]


@with_both_tools
@with_both_optimizers
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_next_step_follows(change: Change, optimizer: Optimizer, tool: Callable[..., Step]) -> None:
    changed = _trained(tool, optimizer, change, 3)
    assert_close(changed, _trained(eager, optimizer, change, 3))
    if change is not CHANGES["loads_weights_from_a_file"]:
        unchanged = _trained(tool, optimizer, lambda model, optimizer: None, 3)
        assert bits(changed) != bits(unchanged), "else there was nothing to follow"


@with_both_tools
def test_to_and_fro(tool: Callable[..., Step]) -> None:
    """Training and evaluation, frozen and not, over and over: each step as it should be then."""

    def loop(way: Callable[..., Step]) -> list[Any]:
        model, optimizer = _model(), optim.AdamW(warm_cosine())
        step = way(mse, model, optimizer)
        losses = []
        for i, batch in enumerate(batches(12)):
            model.train(i % 2 == 0)
            (model.layers[0].freeze if i % 3 == 1 else model.layers[0].unfreeze)()
            losses += train(step, [batch], model, optimizer)
        return [losses, model.parameters(), optimizer.state]

    assert_close(loop(tool), loop(eager))


@with_both_tools
def test_unfreezing_a_layer_that_the_optimizer_has_not_seen(tool: Callable[..., Step]) -> None:
    """It gets its state then. (Eager MLX has none for it, and raises.)"""
    model, optimizer = _model(), optim.AdamW(warm_cosine())
    model.layers[0].freeze()
    step = tool(mse, model, optimizer)
    train(step, batches(3), model, optimizer)
    frozen = bits(model.layers[0].parameters())
    model.layers[0].unfreeze()
    train(step, batches(3), model, optimizer)
    assert bits(model.layers[0].parameters()) != frozen
    assert optimizer.state["layers"][0]["weight"]["m"].shape == (8, 4)
    assert optimizer.step.item() == 6


@with_both_tools
def test_adding_a_layer(tool: Callable[..., Step]) -> None:
    """It trains with the rest. (Eager MLX has no state for it, and raises.)"""
    model, optimizer = _model(), optim.AdamW(warm_cosine())
    step = tool(mse, model, optimizer)
    train(step, batches(3), model, optimizer)
    model.layers.append(nn.Linear(2, 2))
    added = bits(model.layers[5].parameters())
    train(step, batches(3), model, optimizer)
    assert bits(model.layers[5].parameters()) != added
    assert optimizer.step.item() == 6


@with_both_tools
def test_a_learning_rate_set_by_hand(tool: Callable[..., Step]) -> None:
    """Without a schedule it is what was set last: a number, an array, another type of number."""

    def loop(way: Callable[..., Step]) -> list[Any]:
        model, optimizer = mlp(), optim.AdamW(0.01)
        step = way(mse, model, optimizer)
        losses = []
        for rate in (0.1, mx.array(0.02), 1e-3, 0, 0.05):
            optimizer.learning_rate = rate
            losses += train(step, batches(2), model, optimizer)
        return [losses, model.parameters(), optimizer.state]

    assert_close(loop(tool), loop(eager))


@with_both_tools
def test_a_schedule_put_in_place_of_another(tool: Callable[..., Step]) -> None:
    """By MLX's own means: the optimizer's dict of schedulers."""

    def loop(way: Callable[..., Step]) -> list[Any]:
        model, optimizer = mlp(), optim.AdamW(warm_cosine())
        step = way(mse, model, optimizer)
        losses = train(step, batches(2), model, optimizer)
        optimizer._schedulers["learning_rate"] = ours.linear_schedule(0.1, 0.0, 10)
        losses += train(step, batches(2), model, optimizer)
        optimizer._schedulers.clear()
        optimizer.learning_rate = 0.3
        losses += train(step, batches(2), model, optimizer)
        return [losses, model.parameters(), optimizer.state]

    assert_close(loop(tool), loop(eager))


@with_both_tools
def test_a_layer_of_another_shape(tool: Callable[..., Step]) -> None:
    """Trains where eager MLX does: with an optimizer that keeps nothing of it. Else there is an error, and no harm."""

    def loop(way: Callable[..., Step]) -> list[Any]:
        model, optimizer = mlp(), optim.SGD(warm_cosine())
        step = way(mse, model, optimizer)
        losses = train(step, batches(2), model, optimizer)
        mx.random.seed(8)
        model.layers[0], model.layers[2] = nn.Linear(4, 5), nn.Linear(5, 2)
        losses += train(step, batches(2), model, optimizer)
        return [losses, model.parameters(), optimizer.step, optimizer.learning_rate]

    assert_close(loop(tool), loop(eager))

    model, optimizer = mlp(), optim.SGD(warm_cosine(), momentum=0.9)
    step = tool(mse, model, optimizer)
    train(step, batches(2), model, optimizer)
    model.layers[0] = nn.Linear(4, 8, bias=False)
    model.layers[2] = nn.Linear(8, 2)
    train(step, batches(2), model, optimizer)
    model.layers[0], model.layers[2] = nn.Linear(4, 5), nn.Linear(5, 2)
    before = bits(model.state, optimizer.state)
    with pytest.raises(ValueError, match="broadcast"):
        step(*batches(1)[0])
    assert bits(model.state, optimizer.state) == before
    optimizer.state = {"step": optimizer.step, "learning_rate": optimizer.learning_rate}  # which helps
    train(step, batches(2), model, optimizer)
    assert optimizer.step.item() == 6


@pytest.mark.parametrize("calls_before", [2, 3])
def test_a_layer_of_another_shape_between_accumulated_calls(calls_before: int) -> None:
    """The sum of its gradients starts at 0."""
    model, optimizer = mlp(), optim.SGD(warm_cosine())
    step = ours.compiled_step(mse, model, optimizer, accumulate=2)
    train(step, batches(calls_before), model, optimizer)
    mx.random.seed(8)
    model.layers[0], model.layers[2] = nn.Linear(4, 5), nn.Linear(5, 2)
    losses = train(step, batches(4 - calls_before), model, optimizer)
    assert [loss.shape for loss in losses] == [()] * (4 - calls_before)
    assert optimizer.step.item() == 2
    assert model.layers[0].weight.shape == (5, 4)


def test_another_type_of_weights() -> None:
    """Float16 after ``set_dtype``, and float16 they stay."""
    model, optimizer = mlp(), optim.SGD(warm_cosine())

    def loss_fn(model: nn.Module, x: mx.array, y: mx.array) -> mx.array:
        """Of the weights alone: not every MLX multiplies matrices of float16 on the CPU."""
        return mx.mean(mx.square(model.layers[0].weight)) * mx.mean(x) ** 2

    step = ours.compiled_step(loss_fn, model, optimizer, accumulate=2)
    train(step, batches(2), model, optimizer)
    model.set_dtype(mx.float16)
    train(step, batches(4, dtype=mx.float16), model, optimizer)
    assert model.layers[0].weight.dtype == mx.float16
