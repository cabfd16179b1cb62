"""A scheduled hyperparameter, seen by a user and by an update: a number that is an array."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule, scheduled

from .measuring import requires_compile
from .scheduled_optimizers import (
    Case,
    at,
    attributes_set,
    make,
    model_of,
    up,
    with_all_cases,
)
from .training import (
    TOOLS,
    WAYS,
    Step,
    Training,
    assert_close,
    batches,
    bits,
    by_hand,
)


@requires_compile
@with_all_cases
def test_the_value_of_the_step_is_in_the_state_and_in_the_attribute(case: Case) -> None:
    """Of a schedule. A number is the attribute that it is in MLX, and beside a schedule it is in the state as well."""
    optimizer = make(case)
    training = Training(ours.compiled_step, optimizer=optimizer)
    for step in (0, 0, 1, 2):  # before the first step, and after each
        for name, value in case[1].items():
            elements = value if isinstance(value, (list, tuple)) else [value]
            if not any(isinstance(element, Schedule) for element in elements):
                assert getattr(optimizer, name) is value
                continue
            stands, shown = optimizer.state[name], getattr(optimizer, name)
            if not isinstance(value, (list, tuple)):
                stands, shown = [stands], [shown]
            for element, in_state, attribute in zip(elements, stands, shown, strict=True):
                expected = np.float32(at(element, step)).item()
                assert in_state.item() == expected
                assert float(attribute) == (expected if isinstance(element, Schedule) else element)
                assert f"{attribute:.3f}" == f"{expected:.3f}"
        training.train(1)
    assert training.step.traces == 1  # type: ignore[attr-defined]
    assert isinstance(optimizer, case[0])  # type: ignore[arg-type]
    assert type(optimizer).__name__ == case[0].__name__


def test_the_number_shown_is_one() -> None:
    optimizer: Any = scheduled(optim.SGD, learning_rate=0.1, momentum=up(0, 1), weight_decay=ours.constant(0.3))
    decay = optimizer.weight_decay
    assert (repr(decay), str(decay + 1), str(2 * decay), str(-decay), str(1 / (1 - decay))) == (
        *("0.3", "1.3", "0.6", "-0.3"),
        "1.428571",
    )
    assert optimizer.momentum == 0
    assert not optimizer.momentum > 0
    assert not optimizer.momentum
    assert decay
    assert decay > 0.2
    assert (decay == "0.3") is False
    for array in (mx.ones(2, mx.bfloat16), mx.ones(2, mx.float16), mx.ones(2)):
        for result in (decay * array, array * decay, array - decay, decay / array, array**decay):
            assert result.dtype == array.dtype
    assert (decay * mx.array(3)).dtype == mx.float32
    kept = decay
    decay += 1
    assert (str(kept), str(decay)) == ("0.3", "1.3")
    assert pickle.loads(pickle.dumps(kept)) == kept.item()


def test_the_number_shown_can_be_rounded() -> None:
    decay = scheduled(optim.AdamW, learning_rate=0.1, weight_decay=ours.constant(0.126)).weight_decay
    assert (round(float(decay), 2), round(decay, 2), round(decay)) == (0.13, 0.13, 0)


ASKS: dict[str, Callable[[Any], Any]] = {
    "math.sqrt": math.sqrt,
    "float": float,
    "int": int,
    "item": lambda number: number.item(),
    "tolist": lambda number: number.tolist(),
    "complex": lambda number: complex(number).real,
    "round": lambda number: round(number, 1),
    "format": lambda number: float(f"{number:.2f}"),
    "floor": math.floor,
    "if": lambda number: 0.5 if number > 0.1 else 0.2,
    "max": lambda number: float(max(number, 0.1)),
    "in": lambda number: 1 + (number in (0.25, 0.5)),
}
"""Ways in which Python asks for the value of a number."""
if version("mlx") != "0.32.1":  # there NumPy breaks the trace off, past the ends of Python's functions
    ASKS["NumPy"] = lambda number: np.sqrt(number).item()
    ASKS["an array of NumPy"] = lambda number: (np.ones(2) * number).sum()


@requires_compile
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
@pytest.mark.parametrize("assigned", [None, 0.25], ids=["schedule", "number assigned"])
def test_a_value_that_python_asks_for(ask: Callable[[Any], Any], assigned: float | None) -> None:
    """It is there between steps and in an eager one; in a trace, an error says what to write."""

    class Gated(optim.SGD):
        def __init__(self, learning_rate: Any, gate: Any = 1.0) -> None:
            super().__init__(learning_rate)
            self.gate = gate

        def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
            updated: mx.array = super().apply_single(gradient * ask(self.gate), parameter, state)
            return updated

    def training(way: Callable[..., Step]) -> Training:
        optimizer = scheduled(Gated, learning_rate=0.1, gate=up(0.25, 0.5))
        if assigned is not None:
            optimizer.gate = assigned
        assert ask(optimizer.gate) == ask(np.float32(0.25))
        return Training(way, optimizer=optimizer).train(1)

    plain = Training(WAYS["eager"], optimizer=Gated(0.1, np.float32(0.25))).train(1)
    assert bits(training(WAYS["eager"]).model.parameters()) == bits(plain.model.parameters())
    for way in (*TOOLS.values(), by_hand):
        with pytest.raises(TypeError, match=r"has no value while a step is traced.* mx\.sqrt for math\.sqrt"):
            training(way)


@requires_compile
def test_a_value_is_printed_in_a_trace_too() -> None:
    printed = []

    class Printing(optim.SGD):
        def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
            printed.append(f"{self.momentum}")
            updated: mx.array = super().apply_single(gradient, parameter, state)
            return updated

    Training(ours.compiled_step, optimizer=scheduled(Printing, learning_rate=0.1, momentum=up(0.5, 0.9))).train(1)
    assert set(printed) == {"<a number in a trace>"}


def test_numbers_made_of_two() -> None:
    """Next to arrays they have the types of these, as one does."""
    optimizer: Any = scheduled(optim.AdamW, learning_rate=0.1, betas=[up(0.5, 0.9), up(0.25, 0.9)])
    a, b = optimizer.betas
    found = {"a * b": a * b, "a - b": a - b, "b / a": b / a, "a**b": a**b, "abs": abs(b - a), "-": -a, "//": a // b}
    expected = {"a * b": 0.125, "a - b": 0.25, "b / a": 0.5, "a**b": 0.5**0.25, "abs": 0.25, "-": -0.5, "//": 2.0}
    assert {name: float(number) for name, number in found.items()} == pytest.approx(expected)
    for dtype in (mx.bfloat16, mx.float16, mx.float32):
        assert {(mx.ones(2, dtype) * number).dtype for number in found.values()} == {dtype}
        assert {(number + mx.ones(2, dtype)).dtype for number in found.values()} == {dtype}
    assert a > b
    assert a != b
    assert max(a, b) is a


class Combines(optim.SGD):
    """Computes with two of its numbers, and with the size of one."""

    def __init__(self, learning_rate: Any, a: float = 0.5, b: float = 0.5) -> None:
        super().__init__(learning_rate)
        self.a, self.b = a, b

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        scale = self.a * self.b + abs(self.b - self.a) - mx.maximum(self.a, 0.75) ** 2
        updated: mx.array = super().apply_single(gradient * scale, parameter, state)
        return updated


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16], ids=str)
@pytest.mark.parametrize("way", [*TOOLS.values(), by_hand], ids=[*TOOLS, "by hand"])
def test_an_update_that_combines_two(way: Callable[..., Step], dtype: mx.Dtype) -> None:
    case, data = (Combines, {"a": up(0.5, 1), "b": up(0.75, 0.25)}), batches(3, dtype=dtype)
    found = [Training(each, model_of(dtype), make(case)).train(data) for each in (WAYS["eager"], way)]
    assert found[0].bits() == found[1].bits()
    assert {kind.partition(" ")[0] for kind, _ in bits(found[1].model.parameters()).values()} == {str(dtype)}
    if dtype == mx.float32:
        assert_close(found[1].model.parameters(), attributes_set(case, dtype, 3).model.parameters())
