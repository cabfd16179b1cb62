"""What is changed between two steps, however deep it lies and whatever it is, is in the next step."""

from __future__ import annotations

import enum
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours

from .measuring import requires_compile
from .tiny import ONE, Scaled, Weight, linear, weight
from .training import Step, assert_close, batches, bits, eager, mlp, mse, warm_cosine, with_both_tools

ANY: Any = optim
"""The optimizers, given what their types do not say they take."""


class Pair(NamedTuple):
    """A tuple with names."""

    first: Any
    second: Any


def _in_place(array: mx.array, factor: float) -> None:
    array *= factor


Change = Callable[[Any], None]

NESTED: dict[str, tuple[Callable[[], Any], Change]] = {
    "array assigned": (lambda: mx.array(2.0), lambda o: setattr(o, "scales", mx.array(6.0))),
    "array in place": (lambda: mx.array(2.0), lambda o: _in_place(o.scales, 3.0)),
    "array by a number": (lambda: mx.array(2.0), lambda o: setattr(o, "scales", 6.0)),
    "number by an array": (lambda: 2.0, lambda o: setattr(o, "scales", mx.array(6.0))),
    "array of another type": (lambda: mx.array(2.0), lambda o: setattr(o, "scales", mx.array(6))),
    "array in a list in place": (lambda: [mx.array(2.0)], lambda o: _in_place(o.scales[0], 3.0)),
    "array in a tuple in place": (lambda: (mx.array(2.0), 1.0), lambda o: _in_place(o.scales[0], 3.0)),
    "tuple with another array": (lambda: (mx.array(2.0), 1.0), lambda o: setattr(o, "scales", (mx.array(6.0), 1.0))),
    "array in a named tuple": (lambda: Pair(1.0, (mx.array(2.0),)), lambda o: _in_place(o.scales.second[0], 3.0)),
    "tuple in a dict": (lambda: {"a": (1.0, mx.array(2.0))}, lambda o: o.scales.update(a=(1.0, mx.array(6.0)))),
    "array in a dict replaced": (lambda: {"a": mx.array(2.0)}, lambda o: o.scales.update(a=mx.array(6.0))),
    "array added to a dict": (lambda: {"a": mx.array(2.0)}, lambda o: o.scales.update(b=mx.array(3.0))),
    "array taken from a list": (lambda: [mx.array(2.0), 6.0, 1 / 6.0], lambda o: o.scales.pop()),
    "number two levels down": (lambda: {"all": {"scale": 2.0}}, lambda o: o.scales["all"].update(scale=6.0)),
    "number five levels down": (
        lambda: [{"a": ([{"b": [2.0]}],)}],
        lambda o: o.scales[0]["a"][0][0]["b"].__setitem__(0, 6.0),
    ),
    "a set": (lambda: {"a": {2.0}}, lambda o: o.scales["a"].add(3.0)),
    "another key": (lambda: {"a": {2.0}, "b": 1.0}, lambda o: setattr(o, "scales", {"a": {6.0}, "c": 1.0})),
}


@with_both_tools
@pytest.mark.parametrize(("scales", "change"), NESTED.values(), ids=NESTED.keys())
def test_attributes_of_an_optimizer(scales: Callable[[], Any], change: Change, tool: Callable[..., Step]) -> None:
    def trained(way: Callable[..., Step]) -> list[Any]:
        model, optimizer = Weight(), Scaled(ours.constant(1.0), scales())
        step = way(linear, model, optimizer)
        weights = []
        for i in range(4):
            if i == 2:
                change(optimizer)
            step(ONE)
            weights.append(weight(model))
        return [*weights, type(optimizer.scales)]

    *weights, kind = trained(tool)
    *expected, its_kind = trained(eager)
    assert weights == pytest.approx(expected, rel=1e-6)
    assert kind is its_kind


@with_both_tools
def test_an_array_as_weight_decay_changed_in_place(tool: Callable[..., Step]) -> None:
    """And betas, of an optimizer in a ``MultiOptimizer``; nothing is traced for it."""

    def trained(way: Callable[..., Step]) -> list[Any]:
        model = mlp()
        first: Any = ANY.AdamW(warm_cosine(), betas=[mx.array(0.9), 0.99], weight_decay=mx.array(0.5))
        optimizer = optim.MultiOptimizer([first, optim.Lion(0.01)], [lambda name, w: w.ndim > 1])
        step = way(mse, model, optimizer)
        for batch in batches(4):
            step(*batch)
            first.weight_decay *= 0.1
            _in_place(first.betas[0], 0.8)
        return [model.parameters(), optimizer.state, {"decay": first.weight_decay, "beta": first.betas[0]}]

    assert_close(trained(tool), trained(eager))


@with_both_tools
def test_arrays_that_stay_are_not_looked_at_again(tool: Callable[..., Step]) -> None:
    """An attribute that no step changes is the same object after it."""
    array = mx.array(2.0)
    model, optimizer = Weight(), Scaled(1.0, {"a": [array], "b": (array,)})
    step = tool(linear, model, optimizer)
    step(ONE)
    step(ONE)
    assert optimizer.scales["a"][0] is array
    assert optimizer.scales["b"][0] is array


class _Keeps(optim.SGD):
    """Has a dict of arrays that it replaces in each update, and replaces the dicts of its state too."""

    def __init__(self, rate: Any) -> None:
        super().__init__(rate)
        self.seen: dict[str, Any] = {"sum": mx.array(0.0), "of": (mx.array(0), "updates")}

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """A dict in the state."""
        state["inner"] = {"v": mx.zeros_like(parameter)}

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        """A step that replaces what it changes."""
        state["inner"] = {"v": state["inner"]["v"] + gradient}
        self.seen = {"sum": self.seen["sum"] + gradient, "of": (self.seen["of"][0] + 1, "updates")}
        updated: mx.array = parameter - self.learning_rate * state["inner"]["v"]
        return updated


@with_both_tools
def test_an_optimizer_that_replaces_its_own_containers(tool: Callable[..., Step]) -> None:
    def trained(way: Callable[..., Step]) -> list[Any]:
        model, optimizer = Weight(), _Keeps(1.0)
        step = way(linear, model, optimizer)
        found = []
        for _ in range(4):
            step(ONE)
            optimizer.seen["sum"] = 2 * optimizer.seen["sum"]
            found.append((weight(model), optimizer.seen["sum"].item(), optimizer.seen["of"][0].item()))
        return found

    assert trained(tool) == trained(eager)


@with_both_tools
def test_an_array_that_the_first_update_would_make_is_asked_for_by_name(tool: Callable[..., Step]) -> None:
    """And after the error nothing of the trace is left in the optimizer."""

    class Logs(optim.SGD):
        def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
            self.seen = gradient
            updated: mx.array = super().apply_single(gradient, parameter, state)
            return updated

    model, optimizer = Weight(), Logs(1.0)
    step = tool(linear, model, optimizer)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Logs\.seen"):
            step(ONE)
    assert not hasattr(optimizer, "seen")
    assert weight(model) == 0.0
    optimizer.seen = mx.array(0.0)
    step(3 * ONE)
    assert optimizer.seen.item() == 3.0


@requires_compile
def test_a_dict_of_arrays_one_of_them_replaced_trains_on_without_a_trace() -> None:
    model, optimizer = Weight(), Scaled(1.0, {"a": mx.array([2.0]), "b": mx.array([0.5])})
    step = ours.compiled_step(lambda model, x: model(x).sum(), model, optimizer)
    model.w = mx.array([0.0])
    step(ONE)
    for _ in range(3):
        optimizer.scales["a"] = optimizer.scales["a"] * 2
        step(ONE)
    assert model.w.item() == -(1 + 2 + 4 + 8)
    assert step.traces == 1


class _Gated(nn.Module):
    """A gate that is an array or a module."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.w = mx.array(0.0)
        self.gate: Any = mx.array(2.0)
        self.freeze(keys="gate")

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = self.w * (self.gate(x) if isinstance(self.gate, nn.Module) else self.gate * x)
        return y


class _Shift(nn.Module):
    """Has an array like that of a gate, and adds it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shift = mx.array(2.0)
        self.freeze()

    def __call__(self, x: mx.array) -> mx.array:
        return x + self.shift


def test_an_array_of_a_module_replaced_by_a_module_that_holds_one() -> None:
    """And back. The array has the same shape."""

    def trained(way: Callable[..., Step]) -> list[float]:
        model, optimizer = _Gated(), optim.SGD(1.0)
        step = way(linear, model, optimizer)
        weights = []
        gates: list[Any] = [model.gate, _Shift(), mx.array(4.0), _Shift()]
        for gate in gates:
            model.gate = gate
            step(2 * ONE)
            weights.append(weight(model))
        return weights

    assert trained(ours.compiled_step) == trained(eager)


# The same value


class _Kind(enum.Enum):
    ONE = 1


EQUAL: list[Callable[[], Any]] = [
    lambda: float("0.1"),
    lambda: float("nan"),
    lambda: np.float64(0.1),
    lambda: np.float32(0.1),
    lambda: np.int64(70000),
    lambda: 10**20,
    lambda: "a b".replace("b", "c"),
    lambda: (float("0.1"), [float("0.2")]),
    lambda: {"a": {float("0.5")}},
    lambda: _Kind.ONE,
    lambda: mx.float32,
    lambda: None,
]


@requires_compile
@pytest.mark.parametrize("value", EQUAL, ids=lambda value: repr(value()))
def test_an_equal_value_as_a_new_object_is_not_traced_again(value: Callable[[], Any]) -> None:
    model, optimizer = Weight(), ANY.SGD(1.0)
    step = ours.compiled_step(linear, model, optimizer)
    for _ in range(4):
        optimizer.setting = value()
        step(ONE)
    assert step.traces == 1


@pytest.mark.parametrize(
    ("before", "after"), [(1, 1.0), (1, True), (0.0, -0.0), (1.0, np.float32(1.0)), ([1.0], (1.0,)), (0, None)]
)
def test_an_equal_value_of_another_type_is_traced_again(before: Any, after: Any) -> None:
    model, optimizer = Weight(), ANY.SGD(1.0)
    step = ours.compiled_step(linear, model, optimizer)
    for value in (before, after):
        optimizer.setting = value
        step(ONE)
    assert step.traces == 2


def test_a_number_that_changes_with_every_step_is_named_once_with_the_way_out() -> None:
    model, optimizer = Weight(), optim.SGD(1.0, momentum=0.5)
    step = ours.compiled_step(linear, model, optimizer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(9):
            optimizer.momentum = 0.5 + i / 16
            step(ONE)
    assert len(caught) == 1
    assert "SGD.momentum" in str(caught[0].message)
    assert "schedule" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert step.traces == 9


@with_both_tools
def test_a_number_that_changes_now_and_then_is_not_warned_of(tool: Callable[..., Step]) -> None:
    """Warnings are errors here."""
    model, optimizer = Weight(), optim.SGD(1.0, momentum=0.5)
    step = tool(linear, model, optimizer)
    for i in range(12):
        optimizer.momentum = 0.5 + (i // 2) / 16
        step(ONE)


@with_both_tools
def test_a_number_as_an_array_changes_with_every_step_for_nothing(tool: Callable[..., Step]) -> None:
    """Warnings are errors here."""

    def trained(way: Callable[..., Step]) -> float:
        model, optimizer = Weight(), ANY.AdamW(0.5, weight_decay=0.5)
        model.w = mx.array(1.0)
        step = way(linear, model, optimizer)
        for i in range(9):
            optimizer.weight_decay = mx.array(0.5 + i / 16)
            step(ONE)
        return weight(model)

    assert trained(tool) == pytest.approx(trained(eager), rel=1e-5)


@with_both_tools
def test_an_array_whose_value_the_optimizer_looks_at(tool: Callable[..., Step]) -> None:
    """SGD asks ``if momentum <= 0`` and ``if weight_decay != 0``: it is a number of the trace then, and followed."""

    def trained(way: Callable[..., Step], schedule: ours.Schedule) -> list[float]:
        model, optimizer = Weight(), ANY.SGD(lambda step: schedule(step), momentum=mx.array(0.5))
        optimizer.weight_decay = mx.array(0.0)
        step = way(linear, model, optimizer)
        changes: list[Change] = [
            lambda o: None,
            lambda o: None,
            lambda o: _in_place(o.momentum, 0.5),
            lambda o: setattr(o, "weight_decay", mx.array(0.25)),
            lambda o: setattr(o, "momentum", 0.0),
            lambda o: _in_place(o.weight_decay, 0.0),
            lambda o: schedule.retune(value=2.0),
        ]
        weights = []
        for change in changes:
            change(optimizer)
            step(ONE)
            weights.append(weight(model))
        return weights

    assert trained(tool, ours.constant(1.0)) == pytest.approx(trained(eager, ours.constant(1.0)), rel=1e-6)


# The step that schedules count

NUMBERS = [lambda n: n, np.int64, np.uint8, np.int32, mx.array, lambda n: mx.array(n, mx.uint32), np.array]


@with_both_tools
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_step_assigned_as_any_kind_of_number_counts_on(
    steps_before: int, number: Callable[[int], Any], tool: Callable[..., Step]
) -> None:
    schedule = ours.linear_schedule(0.0, 1.0, 100)
    model, optimizer = Weight(), optim.Adam(schedule)
    step = tool(linear, model, optimizer)
    for _ in range(steps_before):
        step(ONE)
    optimizer.state["step"] = number(50)
    for i in range(4):
        step(ONE)
        assert bits(optimizer.learning_rate) == bits(schedule(50 + i))
    assert optimizer.step.item() == 54


@with_both_tools
def test_a_step_assigned_in_one_group_of_several(tool: Callable[..., Step]) -> None:
    """By a state that is assigned as a whole, too."""
    groups = [optim.Lion(ours.linear_schedule(0.0, 1.0, 100)), optim.SGD(ours.linear_schedule(0.0, 1.0, 100))]
    optimizer = optim.MultiOptimizer(groups, [lambda name, w: w.ndim > 1])
    model = mlp()
    step = tool(mse, model, optimizer)
    data = batches(4)
    step(*data[0])
    optimizer.state["states"][1]["step"] = np.int64(50)
    step(*data[1])
    step(*data[2])
    assert [group.step.item() for group in groups] == [3, 52]
    groups[0].state = {**groups[0].state, "step": 70}
    step(*data[3])
    assert [group.step.item() for group in groups] == [71, 53]
    assert [round(group.learning_rate.item(), 6) for group in groups] == [0.7, 0.52]


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_loss_that_asks_for_the_step_and_the_learning_rate(accumulate: int) -> None:
    """In calls that only accumulate too; nothing of the optimizer is made before its first update."""
    model, optimizer = Weight(), optim.SGD(ours.linear_schedule(1.0, 0.0, 8), momentum=0.5)

    def loss_fn(model: nn.Module, x: mx.array) -> tuple[mx.array, ...]:
        return linear(model, x), optimizer.step * 1, optimizer.learning_rate * 1

    step = ours.compiled_step(loss_fn, model, optimizer, accumulate=accumulate)
    for update in range(4):
        for call in range(accumulate):
            _, count, rate = step(ONE)
            assert count.item() == update
            assert rate.item() == pytest.approx(1.0 - max(update - 1, 0) / 8)
            assert ("w" in optimizer.state) == (update > 0 or call == accumulate - 1)
    optimizer.state["step"] = 6
    assert step(ONE)[1].item() == 6


# Other models


def _distilled(model: Weight, x: mx.array, teacher: Any) -> mx.array:
    return mx.sum(model(x) * teacher(x))


@requires_compile
def test_a_teacher_in_the_loss_is_followed_like_the_model() -> None:
    """Its weights assigned, changed in place and loaded, its layers replaced, in training and not."""

    def trained(way: Callable[..., Step], **options: Any) -> list[float]:
        mx.random.seed(1)
        teacher = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Dropout(0.5))
        teacher.layers[0].weight = mx.array([[2.0]])
        teacher.eval()
        model, optimizer = Weight(), optim.SGD(1.0)
        step = way(lambda model, x: _distilled(model, x, teacher), model, optimizer, **options)
        weights = []
        changes: list[Callable[[], Any]] = [
            lambda: None,
            lambda: setattr(teacher.layers[0], "weight", mx.array([[3.0]])),
            lambda: _in_place(teacher.layers[0].weight, 2.0),
            lambda: teacher.load_weights([("layers.0.weight", mx.array([[5.0]]))]),
            lambda: teacher.train(),
            lambda: teacher.eval(),
            lambda: teacher.layers.__setitem__(1, nn.ReLU()),
            lambda: setattr(teacher.layers[0], "bias", mx.array([1.0])),
        ]
        for change in changes:
            change()
            mx.random.seed(2)
            step(ONE)
            weights.append(weight(model))
        return weights

    expected = trained(eager)
    frozen: dict[str, Any] = {"modules": [nn.Linear(1, 1)]}
    assert trained(lambda *arguments, **options: _with_teacher(*arguments)) == expected
    assert trained(ours.compiled_step, **frozen) != expected, "else there was nothing to follow"


def _with_teacher(loss_fn: Any, model: nn.Module, optimizer: optim.Optimizer) -> Step:
    teacher = loss_fn.__closure__[0].cell_contents
    return ours.compiled_step(loss_fn, model, optimizer, modules=[teacher])


def test_two_models_trained_against_each_other() -> None:
    """Each in the other's loss, each by a step of its own; and other losses than a model's own for neither."""

    def trained(way: Callable[..., Step]) -> tuple[float, float]:
        one, other = Weight(), Weight()
        one.w, other.w = mx.array(1.0), mx.array(2.0)
        steps = []
        for model, opponent in ((one, other), (other, one)):
            loss = _against(opponent)
            options = {} if way is eager else {"modules": [opponent]}
            steps.append(way(loss, model, optim.SGD(ours.constant(0.5), momentum=0.5), **options))
        for _ in range(3):
            for step in steps:
                step(ONE)
        return weight(one), weight(other)

    assert trained(ours.compiled_step) == trained(eager)


def _against(opponent: nn.Module) -> Step:
    return lambda model, x: mx.sum(model(x) * opponent(x))
