"""``retune`` reaches every place where a schedule stands, or is refused before anything has changed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

from .measuring import EMPTY_GROUPS, requires_compile
from .tiny import ONE, Scaled, Weight, linear, weight
from .training import Step, bits, by_update, eager, with_both_tools

CURVE = mx.arange(40)


class Wrapper:
    """An optimizer in an optimizer, of no class of MLX."""

    def __init__(self, inner: optim.Optimizer) -> None:
        self.inner = inner

    @property
    def state(self) -> Any:
        """That of the inner one."""
        return self.inner.state

    def init(self, parameters: Any) -> None:
        """Initializes the inner one."""
        self.inner.init(parameters)

    def update(self, model: nn.Module, gradients: Any) -> None:
        """Twice the step of the inner one."""
        self.inner.update(model, {name: 2 * gradient for name, gradient in gradients.items()})


def _in_a_lambda(s: Schedule) -> Any:
    return optim.SGD(lambda step: 2 * s(step))


def _of_two_groups(s: Schedule) -> Any:
    return optim.MultiOptimizer([optim.SGD(lambda step: 2 * s(step)), optim.SGD(s)], [lambda name, w: True])


PLACES: dict[str, Callable[[Schedule], Any]] = {
    "lambda": _in_a_lambda,
    **({"MultiOptimizer": _of_two_groups} if EMPTY_GROUPS else {}),
    "wrapped optimizer": lambda s: Wrapper(optim.SGD(s)),
    "operators": lambda s: optim.SGD(1 - (1 - s * 2)),
    "warmup of a product, joined": lambda s: optim.SGD(ours.join_schedules([ours.warmup(2 * s, 0), 7.0], [30])),
    "plain": lambda s: optim.SGD(2 * s),
}


@with_both_tools
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_wherever_the_schedule_stands_the_next_step_follows(
    place: Callable[[Schedule], Any], tool: Callable[..., Step]
) -> None:
    schedule = ours.constant(0.25)
    model, optimizer = Weight(), place(schedule)
    step = tool(linear, model, optimizer)
    step(ONE)
    assert weight(model) == -0.5
    schedule.retune(value=4.0)
    step(ONE)
    assert weight(model) == -8.5
    schedule.retune(value=0.5)
    step(ONE)
    assert weight(model) == -9.5


def test_a_schedule_in_the_loss() -> None:
    """Also of a step that has seen two shapes, the second after the change."""
    schedule = ours.linear_schedule(1.0, 0.0, 4)
    model, optimizer = Weight(), optim.SGD(1.0)
    step = ours.compiled_step(lambda model, x: schedule(optimizer.step) * linear(model, x), model, optimizer)
    step(ONE)
    assert weight(model) == -1.0
    schedule.retune(init=4.0)
    step(ONE)
    assert weight(model) == -4.0
    step(mx.array([1.0, 1.0]))
    assert weight(model) == -8.0
    schedule.retune(init=8.0)
    step(ONE)
    assert weight(model) == -10.0


@requires_compile
def test_two_schedules_each_in_the_loss_of_some_batches() -> None:
    """Both are followed, and nothing is traced for ever."""
    first, second = ours.constant(1.0), ours.constant(2.0)
    model, optimizer = Weight(), optim.SGD(1.0)

    def loss_fn(model: nn.Module, x: mx.array) -> mx.array:
        return (first if x.size == 1 else second)(optimizer.step) * linear(model, x)

    step = ours.compiled_step(loss_fn, model, optimizer)
    for _ in range(3):
        step(ONE)
        step(mx.array([0.5, 0.5]))
    traces = step.traces
    first.retune(value=10.0)
    second.retune(value=20.0)
    before = weight(model)
    step(ONE)
    step(mx.array([0.5, 0.5]))
    assert weight(model) == before - 30.0
    assert step.traces == traces


def test_a_schedule_of_another_model_in_the_loss() -> None:
    """Under accumulation, in a step that is flushed."""
    schedule = ours.constant(1.0)
    model, optimizer = Weight(), optim.SGD(1.0)
    step = ours.compiled_step(
        lambda model, x: schedule(optimizer.step) * linear(model, x), model, optimizer, accumulate=3
    )
    for value in (1.0, 5.0):
        schedule.retune(value=value)
        step(ONE)
    step.flush()
    assert weight(model) == -3.0


# What is compiled by hand


def _by_hand(model: Any, optimizer: optim.Optimizer, more: list[Any]) -> Step:
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state]
    compiled: Step = mx.compile(eager(linear, model, optimizer), inputs=[*state, more], outputs=state)
    return compiled


@requires_compile
@pytest.mark.parametrize("made", [lambda s: s, lambda s: ours.warmup(s * 2, 0), lambda s: lambda t: s(t)])
def test_a_step_by_hand_that_does_not_capture_it_has_retune_refused(made: Callable[[Schedule], Any]) -> None:
    """For all shapes alike, and with nothing changed: neither the schedule nor what is made of it."""
    schedule = ours.cosine_decay(0.5, 100)
    used = made(schedule)
    model, optimizer = Weight(), optim.SGD(used)
    step = _by_hand(model, optimizer, [])
    step(ONE)
    before, text = bits(schedule(CURVE), used(CURVE)), repr(used)
    with pytest.raises(ValueError, match=r"schedule\.state.*compiled_step"):
        schedule.retune(init=1.0)
    assert bits(schedule(CURVE), used(CURVE)) == before
    assert repr(used) == text
    assert repr(schedule) == "cosine_decay(init=0.5, decay_steps=100, end=0.0)"
    step(mx.array([0.5, 0.5]))
    assert bits(optimizer.learning_rate) == bits(used(1))


@requires_compile
def test_one_of_several_wholes_that_cannot_follow_leaves_all_as_they_were() -> None:
    schedule = ours.constant(0.5)
    free, caught = 2 * schedule, ours.warmup(schedule, 3)
    mx.compile(lambda step: caught(step))(mx.array(1))
    with pytest.raises(ValueError, match="cannot be retuned"):
        schedule.retune(value=1.0)
    assert free(7).item() == 1.0
    assert schedule(7).item() == caught(7).item() == 0.5


def test_no_false_alarm_where_its_state_is_captured_or_nothing_is_compiled() -> None:
    schedule = ours.constant(0.5)
    model, optimizer = Weight(), optim.SGD(schedule)
    steps: list[Step] = [
        _by_hand(model, optimizer, schedule.state),
        eager(linear, model, optimizer),
        ours.compiled_step(linear, model, optimizer),
        by_update(linear, model, optimizer),
        eager(lambda model, x: schedule(optimizer.step) * linear(model, x) / schedule(0), model, optimizer),
    ]
    for value in (0.5, 2.0):
        schedule.retune(value=value)
        for step in steps:
            before = weight(model)
            step(ONE)
            assert weight(model) == before - value


def test_no_false_alarm_for_a_copy() -> None:
    """Of a schedule that was traced as a constant."""
    schedule = ours.constant(0.5)
    mx.compile(lambda step: schedule(step))(mx.array(1))
    for fresh in (copy.copy(schedule), copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        fresh.retune(value=2.0)
        assert fresh(1).item() == 2.0


# Parts and wholes


def test_a_part_reaches_every_whole_at_any_depth() -> None:
    part = ours.cosine_decay(0.5, 20)
    made: list[Callable[[Any], Schedule]] = [
        lambda s: ours.warmup(s, 10, init=0.1),
        lambda s: ours.warmup(2 * s + 1, 10),
        lambda s: ours.join_schedules([s, ours.delay(-s, 3), 0.25], [5, 12]),
        lambda s: ours.clip(ours.repeat(s, 7), low=0.2),
        lambda s: s / (s + 1) - s,
    ]
    wholes = [make(part) for make in made]
    part.retune(init=0.875, decay_steps=30)
    for whole, make in zip(wholes, made, strict=True):
        asked_for = make(ours.cosine_decay(0.875, 30))
        assert bits(whole(CURVE)) == bits(asked_for(CURVE)), whole
        assert repr(whole) == repr(asked_for)
        assert bits(pickle.loads(pickle.dumps(whole))(CURVE)) == bits(asked_for(CURVE))


def test_a_part_that_was_put_in_by_retune_is_followed_and_the_one_taken_out_is_not() -> None:
    out, put_in = ours.constant(1.0), ours.constant(2.0)
    whole = ours.warmup(out, 10)
    whole.retune(schedule=put_in)
    put_in.retune(value=3.0)
    assert whole(10).item() == 3.0
    out.retune(value=9.0)
    assert whole(10).item() == 3.0


def test_a_part_whose_new_value_a_whole_does_not_take_changes_nothing() -> None:
    part = ours.constant(1.0)
    whole, other = part * 3e38, 2 * part
    rates = bits(whole(CURVE), other(CURVE), part(CURVE))
    with pytest.raises(ValueError, match="value"):
        part.retune(value=float("inf"))
    assert bits(whole(CURVE), other(CURVE), part(CURVE)) == rates


def test_hyperparameters_are_the_present_ones_and_nobody_changes_them_from_outside() -> None:
    part = ours.cosine_decay(0.5, 20)
    whole = ours.join_schedules([part, 0.1], [5])
    part.retune(end=0.25)
    assert part.hyperparameters == {"init": 0.5, "decay_steps": 20, "end": 0.25, "power": 1.0, "k": 1.0}
    assert whole.hyperparameters["schedules"][0] is part
    whole.hyperparameters["boundaries"].append(7)
    assert whole.hyperparameters["boundaries"] == [5]
    assert (2 * part).hyperparameters == {}


# Rates of a user's own


def _with_default(step: mx.array, peak: mx.array, steps: float | mx.array = 10.0) -> mx.array:
    return peak * steps / (steps + step)


def _of_several(step: mx.array, *coefficients: mx.array) -> mx.array:
    rate: mx.array = sum((c * (step + 1.0) ** -k for k, c in enumerate(coefficients)), mx.array(0.0))
    return rate


class _Rate:
    def method(self, step: mx.array, peak: mx.array, floor: mx.array) -> mx.array:
        """A method."""
        return mx.maximum(peak / (1.0 + step), floor)

    __call__ = method


RATES: list[tuple[Callable[[], Schedule], dict[str, Any], dict[str, Any], Callable[[], Schedule]]] = [
    (lambda: Schedule(_with_default, 0.1), {"peak": 0.1}, {"peak": 0.3}, lambda: Schedule(_with_default, 0.3)),
    (
        lambda: Schedule(_with_default, 0.1, 5),
        {"peak": 0.1, "steps": 5},
        {"steps": 7},
        lambda: Schedule(_with_default, 0.1, 7),
    ),
    (
        lambda: Schedule(_of_several, 0.1, 0.2),
        {"coefficients": (0.1, 0.2)},
        {"coefficients": (0.3, 0.4)},
        lambda: Schedule(_of_several, 0.3, 0.4),
    ),
    (
        lambda: Schedule(partial(_with_default, steps=4.0), 0.1),
        {"peak": 0.1},
        {"peak": 0.5},
        lambda: Schedule(partial(_with_default, steps=4.0), 0.5),
    ),
    (
        lambda: Schedule(_Rate().method, 1.0, 0.1),
        {"peak": 1.0, "floor": 0.1},
        {"floor": 0.2},
        lambda: Schedule(_Rate(), 1.0, 0.2),
    ),
]


@pytest.mark.parametrize(("make", "known", "changed", "becomes"), RATES)
def test_a_rate_with_defaults_with_any_number_of_arguments_partial_or_a_method(
    make: Callable[[], Schedule],
    known: dict[str, Any],
    changed: dict[str, Any],
    becomes: Callable[[], Schedule],
) -> None:
    schedule = make()
    assert schedule.hyperparameters == known
    schedule.retune(**changed)
    assert schedule.hyperparameters == {**known, **changed}
    assert bits(schedule(CURVE)) == bits(becomes()(CURVE))


@pytest.mark.parametrize("hyperparameters", [{"steps": 3.0}, {"nobody": 1.0}, {"step": 1.0}])
def test_a_hyperparameter_that_was_not_given_is_refused_by_name(hyperparameters: dict[str, Any]) -> None:
    schedule = Schedule(_with_default, 0.1)
    before = bits(schedule(CURVE))
    with pytest.raises((TypeError, ValueError), match="_with_default") as raised:
        schedule.retune(**hyperparameters)
    assert "zip" not in str(raised.value)
    assert bits(schedule(CURVE)) == before


@with_both_tools
def test_a_wrapped_optimizer_of_a_custom_one(tool: Callable[..., Step]) -> None:
    schedule = ours.constant(1.0)
    model, optimizer = Weight(), Wrapper(Scaled(lambda step: schedule(step), {"a": [1.0, mx.array(2.0)]}))
    step = tool(linear, model, optimizer)
    step(ONE)
    schedule.retune(value=0.5)
    step(ONE)
    assert weight(model) == -6.0
