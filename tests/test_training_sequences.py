"""Random sequences of what a user may do between two steps: after each, all is as it is when nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mlx.utils import tree_map

import mlxsched_compiled as ours

from .measuring import EMPTY_GROUPS
from .tiny import Scaled, Weight, linear, weight
from .training import assert_close, bits, flat


class _Gate(nn.Module):
    """Multiplies by an array or a module, which is not trained."""

    def __init__(self, value: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gate: Any = mx.array(value)
        self.freeze()

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = self.gate(x) if isinstance(self.gate, nn.Module) else x * self.gate
        return y


def _two_groups(schedule: ours.Schedule) -> Any:
    other = optim.SGD(lambda step: 0.5 * schedule(step), momentum=0.75)
    return optim.MultiOptimizer([optim.AdamW(2 * schedule, betas=[0.75, 0.875]), other], [lambda name, w: w.ndim > 1])


OPTIMIZERS: dict[str, Callable[[ours.Schedule], Any]] = {
    "SGD": lambda schedule: optim.SGD(schedule, momentum=0.75),
    "AdamW": lambda schedule: optim.AdamW(lambda step: 0.25 * schedule(step), betas=[0.75, 0.875]),
    "Lion": lambda schedule: optim.Lion(schedule, betas=[0.75, 0.875]),
    **({"MultiOptimizer": _two_groups} if EMPTY_GROUPS else {}),  # as one is when it is frozen
    "custom": lambda schedule: Scaled(schedule, {"all": {"scale": 0.5}, "array": mx.array([1.0, 0.5])}),
}
MODELS: dict[str, Callable[[], list[Any]]] = {
    "two layers": lambda: [nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)],
    "dropout": lambda: [nn.Linear(3, 2), nn.Dropout(0.5)],
    "gate": lambda: [nn.Linear(3, 2), _Gate(0.75)],
    "layer norm": lambda: [nn.LayerNorm(3), nn.Linear(3, 2)],
}


FAILING = 5
"""The size of batches that the loss does not like."""


class _Shift(nn.Module):
    """Has an array like that of a gate, and adds it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shift = mx.array(0.625)
        self.freeze()

    def __call__(self, x: mx.array) -> mx.array:
        return x + self.shift


class Side:
    """One of the two loops: a model, its optimizer, its schedules, its step."""

    def __init__(self, model: str, optimizer: str, accumulate: int, in_loss: bool, is_compiled: bool) -> None:
        mx.random.seed(1)
        self.model = nn.Sequential(*MODELS[model]())
        self.parts = [ours.linear_schedule(0.05, 0.2, 4), ours.constant(0.125)]
        self.schedule = ours.join_schedules(self.parts, [6])
        self.loss_scale = ours.linear_schedule(1.0, 0.5, 8)
        self.traced: Any = None
        self.changes = 0
        self.optimizer = OPTIMIZERS[optimizer](self.schedule)
        self.accumulate, self.in_loss, self.is_compiled = accumulate, in_loss, is_compiled
        self.optimizer.init(self.model.trainable_parameters())
        self.gradients: list[Any] = []
        self.step: Any = None
        self.make_step()

    def make_step(self) -> None:
        """The step, anew; what it had accumulated goes on."""
        if self.is_compiled:
            state = self.step.state if self.step is not None else {}
            self.step = ours.compiled_step(self.loss, self.model, self.optimizer, accumulate=self.accumulate)
            self.step.state = state
        else:
            self.step = self.eager_step

    def loss(self, model: nn.Module, x: mx.array, y: mx.array) -> mx.array:
        """Mean squared error, by a schedule if there is one in the loss."""
        loss = mx.mean(mx.square(model(x) - y))
        if x.shape[0] == FAILING:
            model.layers[0].bias = mx.zeros_like(model.layers[0].bias)
            raise RuntimeError("by the user's loss")
        return loss * self.loss_scale(self.first.step) if self.in_loss else loss

    @property
    def first(self) -> Any:
        """An optimizer that counts."""
        return self.optimizer.optimizers[0] if isinstance(self.optimizer, optim.MultiOptimizer) else self.optimizer

    @property
    def groups(self) -> list[Any]:
        """All optimizers."""
        return getattr(self.optimizer, "optimizers", [self.optimizer])

    def eager_step(self, x: mx.array, y: mx.array) -> mx.array:
        """What MLX does when nothing is compiled; a step that fails is undone by hand."""
        weights = tree_map(lambda w: w, self.model.parameters())
        try:
            value, gradients = nn.value_and_grad(self.model, self.loss)(self.model, x, y)
        except RuntimeError:
            self.model.update(weights)
            raise
        self.gradients.append(gradients)
        if len(self.gradients) == self.accumulate:
            mean = tree_map(lambda *g: sum(g[1:], g[0]) / len(g), *self.gradients)
            self.gradients.clear()
            self.optimizer.update(self.model, mean)
        loss: mx.array = value
        return loss

    def rate(self, step: mx.array) -> mx.array:
        """The schedule, as a function of its own."""
        return self.schedule(step)

    def retune(self, schedule: ours.Schedule, **hyperparameters: Any) -> None:
        """What is refused because the schedule was traced elsewhere is not done."""
        self.changes += 1
        try:
            schedule.retune(**hyperparameters)
        except ValueError:
            assert self.traced is not None

    def flush(self) -> None:
        """Makes an update of what is left over."""
        if self.is_compiled:
            self.step.flush()
        elif self.gradients:
            mean = tree_map(lambda *g: sum(g[1:], g[0]) / len(g), *self.gradients)
            self.gradients.clear()
            self.optimizer.update(self.model, mean)

    def everything(self) -> list[Any]:
        """What is compared."""
        states = [{**group.state, "step": mx.array(int(group.step))} for group in self.groups]
        return [self.model.parameters(), states, [self.attributes(group) for group in self.groups]]

    def rates(self) -> Any:
        """What is compared in bits."""
        return bits([group.learning_rate for group in self.groups], self.schedule(mx.arange(9)))

    @staticmethod
    def attributes(optimizer: Any) -> Any:
        """The arrays in an optimizer's attributes."""
        own = {name: value for name, value in vars(optimizer).items() if name not in ("_state", "_schedulers")}
        return {name: leaf for name, leaf in flat(own) if isinstance(leaf, mx.array)}


Action = Callable[[Side], None]
ACTIONS: dict[str, Action] = {}


def _action(function: Action) -> Action:
    ACTIONS[function.__name__.lstrip("_")] = function
    return function


def _layer(side: Side) -> Any:
    return next(layer for layer in reversed(side.model.layers) if isinstance(layer, nn.Linear))


def _multiply(array: mx.array, factor: float) -> None:
    array *= factor


@_action
def _assign_an_attribute(side: Side) -> None:
    optimizer = side.first
    if isinstance(optimizer, Scaled):
        optimizer.scales["all"]["scale"] = 0.25 if optimizer.scales["all"]["scale"] == 0.5 else 0.5
    elif isinstance(optimizer, optim.SGD):
        optimizer.momentum = 0.5 if optimizer.momentum == 0.75 else 0.75
    else:
        optimizer.betas[0] = 0.5 if optimizer.betas[0] == 0.75 else 0.75


@_action
def _assign_an_array(side: Side) -> None:
    optimizer = side.first
    if isinstance(optimizer, Scaled):
        optimizer.scales["array"] = optimizer.scales["array"] * 0.75
    elif not isinstance(optimizer, optim.SGD):
        optimizer.weight_decay = mx.array(0.25)


@_action
def _change_an_array_in_place(side: Side) -> None:
    optimizer = side.first
    name = next(name for name in ("scales", "weight_decay") if hasattr(optimizer, name))
    if name == "weight_decay" and not isinstance(optimizer.weight_decay, mx.array):
        optimizer.weight_decay = mx.array(0.25)
    else:
        _multiply(optimizer.scales["array"] if name == "scales" else optimizer.weight_decay, 0.5)


@_action
def _assign_a_container(side: Side) -> None:
    optimizer = side.first
    if isinstance(optimizer, Scaled):
        optimizer.scales = {"all": {"scale": 0.5}, "array": mx.array([0.5, 0.75])}
    elif not isinstance(optimizer, optim.SGD):
        optimizer.betas = [mx.array(0.75), 0.875]


@_action
def _assign_an_equal_value(side: Side) -> None:
    for group in side.groups:
        for name, value in vars(group).items():
            if isinstance(value, float):
                setattr(group, name, float(repr(value)))


@_action
def _retune_a_part(side: Side) -> None:
    side.retune(side.parts[0], init=0.075 + 0.01 * side.changes, end=0.25)


@_action
def _retune_another_part(side: Side) -> None:
    side.retune(side.parts[1], value=0.1 + 0.01 * side.changes)


@_action
def _retune_the_whole(side: Side) -> None:
    side.retune(side.schedule, boundaries=[side.changes])


@_action
def _retune_the_loss(side: Side) -> None:
    side.retune(side.loss_scale, init=1.0 + 0.1 * side.changes)


@_action
def _trace_the_schedule_elsewhere(side: Side) -> None:
    side.traced = side.traced or mx.compile(side.rate)


@_action
def _freeze(side: Side) -> None:
    side.flush()
    side.model.layers[0].freeze(keys="bias")


@_action
def _unfreeze(side: Side) -> None:
    side.flush()
    side.model.layers[0].unfreeze()


@_action
def _replace_an_array_by_a_module(side: Side) -> None:
    for layer in side.model.layers:
        if isinstance(layer, _Gate):
            layer.gate = mx.array(0.5) if isinstance(layer.gate, nn.Module) else _Shift()


@_action
def _replace_a_layer(side: Side) -> None:
    side.flush()
    layer = _layer(side)
    new = nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
    new.update(tree_map(lambda w: 0.5 * w, layer.parameters()))
    side.model.layers[next(i for i, each in enumerate(side.model.layers) if each is layer)] = new


@_action
def _load_weights(side: Side) -> None:
    side.model.load_weights([(name, 0.5 * w) for name, w in flat(side.model.parameters())])


@_action
def _write_into_a_weight(side: Side) -> None:
    _layer(side).weight[0] = 0.25


@_action
def _train(side: Side) -> None:
    side.model.train(not side.model.training)


@_action
def _set_the_step_to_an_int(side: Side) -> None:
    side.first.state["step"] = 2


@_action
def _set_the_step_to_a_numpy_int(side: Side) -> None:
    side.first.state["step"] = np.int64(3)


@_action
def _set_the_step_to_an_array(side: Side) -> None:
    side.first.state["step"] = mx.array(5, mx.uint64)


@_action
def _assign_the_state(side: Side) -> None:
    for group in side.groups:
        group.state = tree_map(lambda a: a * 1, group.state)


@_action
def _make_the_step_again(side: Side) -> None:
    side.make_step()


@_action
def _flush(side: Side) -> None:
    side.flush()


def _batch(size: int, number: int, width: int = 3) -> tuple[mx.array, mx.array]:
    generator = np.random.default_rng(number)
    x, y = generator.normal(size=(size, width)), generator.normal(size=(size, 2))
    return mx.array(x, mx.float32), mx.array(y, mx.float32)


def _stepped(side: Side, batch: tuple[mx.array, mx.array], number: int) -> mx.array:
    mx.random.seed(number)
    loss: mx.array = side.step(*batch)
    mx.eval(loss, side.model.state, side.optimizer.state)
    return loss


def _compare(compiled: Side, reference: Side) -> None:
    assert compiled.rates() == reference.rates()
    assert_close(compiled.everything(), reference.everything(), rtol=1e-5, atol=1e-6)
    for side in (compiled, reference):
        if side.traced is not None:
            for shape in ((), (1 + side.changes,)):
                step = mx.full(shape, 3, mx.uint64)
                assert bits(side.traced(step)) == bits(side.schedule(step))


def run(sides: list[Side], actions: list[tuple[str, int, str]]) -> None:
    """A step; then each action, and steps or a batch that fails, on both sides."""
    for side in sides:
        _stepped(side, _batch(2, 0), 0)
    for number, (action, size, then) in enumerate(actions, 1):
        for side in sides:
            mx.random.seed(100 + number)
            ACTIONS[action](side)
            bad = {"a loss that raises": _batch(FAILING, number), "a wrong batch": _batch(size, number, width=2)}.get(
                then
            )
            if bad is not None:
                with pytest.raises((RuntimeError, ValueError)):
                    _stepped(side, bad, number)
        losses = [_stepped(side, _batch(size, number), number) for side in sides]
        assert_close(losses[:1], losses[1:], rtol=1e-5, atol=1e-6)
        _compare(*sides)


THEN = st.sampled_from(["a step", "a step", "a loss that raises", "a wrong batch"])
SEQUENCES = st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), st.sampled_from([2, 3]), THEN), min_size=2, max_size=6)
MADE = {
    "model": st.sampled_from(sorted(MODELS)),
    "optimizer": st.sampled_from(sorted(OPTIMIZERS)),
    "accumulate": st.sampled_from([1, 1, 2]),
    "in_loss": st.booleans(),
}


TRACED = [(name, 2, "a step") for name in ("trace_the_schedule_elsewhere", "retune_the_whole", "retune_a_part")]


@example(made={"model": "gate", "optimizer": "custom", "accumulate": 1, "in_loss": False}, actions=TRACED)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(made=st.fixed_dictionaries(MADE), actions=SEQUENCES)
def test_after_whatever_a_user_does_all_is_as_in_eager_training(
    made: dict[str, Any], actions: list[tuple[str, int, str]]
) -> None:
    run([Side(**made, is_compiled=is_compiled) for is_compiled in (True, False)], actions)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS.keys() & {"AdamW", "MultiOptimizer", "custom"}))
@pytest.mark.parametrize("action", ACTIONS)
def test_after_each_thing_by_itself(action: str, optimizer: str) -> None:
    made = {"model": "gate" if "module" in action else "dropout", "optimizer": optimizer, "accumulate": 1}
    sides = [Side(**made, in_loss="loss" in action, is_compiled=is_compiled) for is_compiled in (True, False)]  # type: ignore
    run(sides, [(action, 2, "a step"), (action, 2, "a step"), (action, 3, "a step")])


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    dtype=st.sampled_from([mx.bfloat16, mx.float16]),
    accumulate=st.sampled_from([8, 300, 700]),
    calls=st.lists(
        st.tuples(st.integers(1, 900), st.sampled_from(["go on", "flush", "make again", "load"])), max_size=3
    ),
    size=st.sampled_from([0.5, 1.0, 300.0]),
)
def test_means_over_many_calls_in_half_precision(
    dtype: mx.Dtype, accumulate: int, calls: list[tuple[int, str]], size: float
) -> None:
    """As in float64, whatever happens in between: the weight is minus the mean of the calls that made the update."""
    model, optimizer = Weight(dtype), optim.SGD(1.0)
    step = ours.compiled_step(linear, model, optimizer, accumulate=accumulate)
    generator = np.random.default_rng(accumulate)
    left: list[float] = []

    def expect(values: list[float]) -> None:
        assert weight(model) == pytest.approx(-np.mean(values), rel=2 * mx.finfo(dtype).eps)
        model.w = mx.zeros_like(model.w)
        values.clear()

    for count, then in [*calls, (accumulate, "flush")]:
        for _ in range(count):
            batch = mx.array([size * (1.0 + generator.random())], dtype)
            left.append(float(np.array(batch.astype(mx.float32)).item()))
            step(batch)
            if len(left) == accumulate:
                expect(left)
        if then == "flush":
            step.flush()
            if left:
                expect(left)
        elif then != "go on":
            state = step.state
            step = ours.compiled_step(linear, model, optimizer, accumulate=accumulate)
            step.state = {name: tree_map(lambda a: a * 1, value) for name, value in state.items()}
