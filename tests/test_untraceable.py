"""A function that looks at the step is sent to ``tabulate``, wherever it stands; one that looks at a number is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

from .measuring import requires_compile
from .test_calls import COMBINATORS
from .tiny import ONE, Weight, linear
from .training import Step, by_hand, with_both_tools

pytestmark = requires_compile
ANY: Any = optim


def branches(step: mx.array) -> Any:
    """Python's ``if``."""
    return 0.1 if step < 3 else 0.2


def compares(step: mx.array) -> Any:
    """Python's ``and``."""
    return 0.1 * (step > 2 and step < 5)


def takes_the_item(step: mx.array) -> Any:
    """A number of Python's."""
    return 1 / (1 + step.item())


def takes_the_int(step: mx.array) -> Any:
    """Another."""
    return 0.5 ** int(step)


def takes_the_list(step: mx.array) -> Any:
    """A list."""
    return mx.array(step.tolist()) * 0.5


def evaluates(step: mx.array) -> Any:
    """Asks MLX for the value."""
    mx.eval(step)
    return 0.1 * step


LOOKS = [branches, compares, takes_the_item, takes_the_int, takes_the_list, evaluates]
every_look = pytest.mark.parametrize("function", LOOKS)


def _sent_to_tabulate(function: Callable[..., Any], call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=rf"{function.__name__} cannot be traced.*tabulate") as raised:
        mx.eval(call())
    assert "hyperparameter" not in str(raised.value)


@every_look
@pytest.mark.parametrize(
    "step",
    [3, mx.array(3), mx.array(3, mx.uint64), mx.array([3]), mx.arange(5), mx.zeros((2, 3), mx.uint64)],
    ids=["int", "int32", "uint64", "one", "five", "matrix"],
)
def test_alone_for_steps_of_any_shape(function: Callable[..., Any], step: Any) -> None:
    _sent_to_tabulate(function, lambda: Schedule(function)(step))


PLACES: dict[str, Callable[[Any], Schedule]] = {
    **COMBINATORS,
    "join of three": lambda f: ours.join_schedules([0.1, f, 0.2], [2, 9]),
    "join of many": lambda f: ours.join_schedules([0.1, 0.2, f, *([ours.cosine_decay(0.1, 9)] * 8)], range(10)),
    "product": lambda f: 2 * Schedule(f),
    "product with a function": lambda f: ours.constant(2.0) * f,
    "quotient": lambda f: 1 / Schedule(f),
    "in a warmup in a product": lambda f: 2 * ours.warmup(f, 3),
}


@every_look
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_in_other_schedules(place: Callable[[Any], Schedule], function: Callable[..., Any]) -> None:
    for step in (3, mx.arange(5)):
        _sent_to_tabulate(function, lambda: place(function)(step))  # noqa: B023  it is called at once


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda step: Schedule(function)(step) * 2


RATES: dict[str, Callable[[Any], Any]] = {
    "schedule": Schedule,
    "product": lambda f: 2 * Schedule(f),
    "join": lambda f: ours.join_schedules([0.1, f], [2]),
    "in a function": _wrapped,
}


@with_both_tools
@every_look
@pytest.mark.parametrize("rate", [*RATES.values(), lambda f: f], ids=[*RATES.keys(), "the function itself"])
def test_as_the_rate_in_our_tools(rate: Callable[[Any], Any], function: Any, tool: Callable[..., Step]) -> None:
    def train() -> Any:
        model = Weight()
        # A constructor of MLX calls its rate once, with a step that has a value.
        step = tool(linear, model, optim.SGD(rate(function)))
        step(ONE)
        return model.state

    _sent_to_tabulate(function, train)


@with_both_tools
@every_look
def test_as_a_scheduled_hyperparameter_in_our_tools(function: Any, tool: Callable[..., Step]) -> None:
    def train() -> Any:
        model = Weight()
        step = tool(linear, model, ours.scheduled(ANY.SGD, learning_rate=0.1, weight_decay=function))
        step(ONE)
        return model.state

    _sent_to_tabulate(function, train)


@every_look
@pytest.mark.parametrize("rate", RATES.values(), ids=RATES.keys())
def test_as_the_rate_in_a_user_compiled_step(rate: Callable[[Any], Any], function: Any) -> None:
    def train() -> Any:
        model = Weight()
        step = by_hand(linear, model, optim.SGD(rate(function)))
        step(ONE)
        return model.state

    _sent_to_tabulate(function, train)


@with_both_tools
def test_what_was_wrong_once_is_wrong_again_and_what_is_tabulated_is_right(tool: Callable[..., Step]) -> None:
    rate: Any = branches
    model, optimizer = Weight(), optim.SGD(rate)
    step = tool(linear, model, optimizer)
    for _ in range(2):
        _sent_to_tabulate(branches, lambda: step(ONE))
    optimizer = optim.SGD(ours.tabulate(rate, 10))
    step = tool(linear, model, optimizer)
    for expected in (0.1, 0.1, 0.1, 0.2):
        step(ONE)
        assert optimizer.learning_rate.item() == mx.array(expected).item()


# Hyperparameters


def branches_on_peak(step: mx.array, peak: Any) -> Any:
    """Python's ``if``, on what ``retune`` may change."""
    return peak if peak > 0.1 else step * peak


def takes_the_item_of_peak(step: mx.array, floor: Any, peak: Any) -> Any:
    """A number."""
    return mx.maximum(1.0 / (1 + step), floor) * float(peak)


@pytest.mark.parametrize("function", [branches_on_peak, takes_the_item_of_peak])
@pytest.mark.parametrize("step", [3, mx.arange(5)], ids=["one", "five"])
def test_a_look_at_a_hyperparameter_is_blamed_on_the_hyperparameter(function: Any, step: Any) -> None:
    """It may be written into the function instead: ``tabulate`` would not help."""
    numbers = [0.25] * (function.__code__.co_argcount - 1)
    for schedule in (Schedule(function, *numbers), 2 * Schedule(function, *numbers)):
        with pytest.raises(TypeError, match=f"{function.__name__} cannot be traced.*hyperparameter") as raised:
            schedule(step)
        assert "value of the step" not in str(raised.value)


@with_both_tools
def test_a_look_at_a_hyperparameter_in_our_tools(tool: Callable[..., Step]) -> None:
    with pytest.raises(TypeError, match=r"branches_on_peak cannot be traced.*hyperparameter"):
        tool(linear, Weight(), optim.SGD(2 * Schedule(branches_on_peak, 0.25)))(ONE)


def raises_its_own(step: mx.array) -> Any:
    """Wrong in another way."""
    raise ValueError("no rate before breakfast")


@pytest.mark.parametrize("step", [3, mx.arange(3)], ids=["one", "three"])
def test_other_errors_of_a_function_stay_as_they_are(step: Any) -> None:
    places: list[Callable[[Any], Schedule]] = [Schedule, lambda f: 2 * Schedule(f), lambda f: ours.warmup(f, 3)]
    for place in places:
        with pytest.raises(ValueError, match=r"^no rate before breakfast$"):
            place(raises_its_own)(step)
