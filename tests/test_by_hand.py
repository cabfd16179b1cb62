"""In somebody else's compiled step: what a schedule adds to the graph, and how its numbers get there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled.core.runtime_inputs import runtime_inputs

from .kernels import nodes
from .measuring import libraries, requires_compile, run
from .test_training_kernels import ONE_KERNEL, READS_STEP
from .training import OPTIMIZERS, Step, by_hand, mse, warm_cosine


def _nodes(optimizer: optim.Optimizer, first: str) -> int:
    """Nodes that one more update adds, views included, where it is compiled and knows nothing of schedules.

    Whose state comes ``first`` among the outputs matters; the model's does in MLX's documentation and in mlx-lm.
    Nothing is evaluated, so no kernel is built.
    """
    model = nn.Linear(8, 8)
    gradients = nn.Linear(8, 8).parameters()
    optimizer.init(model.trainable_parameters())
    state = [optimizer.state, model.state] if first == "optimizer" else [model.state, optimizer.state]

    def update(gradients: Any) -> None:
        optimizer.update(model, gradients)

    compiled: Step = mx.compile(update, inputs=state, outputs=state)
    counts = []
    for _ in range(2):
        compiled(gradients)
        counts.append(len(nodes(model.parameters(), optimizer.state)))
    return counts[1] - counts[0]


@lru_cache
def _reference(optimizer: str, first: str, rate: Callable[[], Any]) -> int:
    return _nodes(OPTIMIZERS[optimizer](rate()), first)


def _constant() -> float:
    return 0.1


def _of_mlx() -> Any:
    return optim.cosine_decay(0.1, 100)


@requires_compile
@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "MultiOptimizer"])
def test_a_schedule_of_one_kernel_adds_no_node(optimizer: str) -> None:
    added = {}
    for name, row in ONE_KERNEL.items():
        number = _nodes(OPTIMIZERS[optimizer](row.schedule), "optimizer") - _reference(
            optimizer, "optimizer", _constant
        )
        if not 0 <= number <= READS_STEP.get(optimizer, 0):
            added[name] = number
    assert added == {}


@requires_compile
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "Lion"])
def test_with_the_model_first_it_adds_what_one_of_mlx_does(optimizer: str) -> None:
    expected = _reference(optimizer, "model", _of_mlx)
    assert expected == _reference(optimizer, "model", _constant) + 1
    assert {_nodes(OPTIMIZERS[optimizer](row.schedule), "model") for row in ONE_KERNEL.values()} == {expected}


@requires_compile
def test_data_are_no_constants_of_a_kernel(tmp_path: Path) -> None:
    """What the package relies on. Should MLX come to treat such arrays in another way, this says so."""
    code = """
        import mlx.core as mx
        from mlxsched_compiled.core.runtime_inputs import runtime_inputs
        for number in (1.25, 2.5):
            f = mx.compile(lambda x: x * runtime_inputs([mx.array(number)])[0] + x)
            print(f(mx.array(2.0)).item(), f(mx.array(3.0)).item())
    """
    assert run(code, tmp_path).split() == ["4.5", "6.75", "7.0", "10.5"]
    if mx.default_device() == mx.Device(mx.cpu):
        assert len(libraries(tmp_path)) == 1


def test_data_leave_no_file(tmp_path: Path) -> None:
    code = """
        import mlx.core as mx
        from mlxsched_compiled import cosine_decay
        print(mx.compile(cosine_decay(0.1, 10))(mx.array(5, mx.uint64)).item())
    """
    assert float(run(code, tmp_path)) == pytest.approx(0.05)
    assert not list(tmp_path.rglob("*.safetensors"))


def _busy() -> mx.array:
    """What keeps the evaluator at work for a while."""
    x = mx.full((256, 256), 1 / 256)
    for _ in range(40):
        x = x @ x
    return x[0, 0]


def _while_busy(arrays: list[mx.array]) -> None:
    mx.async_eval(arrays)
    total = 0
    for number in range(200_000):  # holds the interpreter
        total += number


EVALUATIONS: dict[str, Callable[[list[mx.array]], None]] = {
    "mx.eval": mx.eval,
    "mx.async_eval": mx.async_eval,
    "while the main thread is busy": _while_busy,
    "one by one": lambda arrays: print([array.item() for array in arrays]),
}


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS.keys())
def test_data_are_read_whole_however_they_are_evaluated(evaluate: Callable[[list[mx.array]], None]) -> None:
    numbers = [mx.array(0.1 * k) for k in range(20)]
    after = _busy() * 0  # so that they are waited for
    read = [data + after for data in runtime_inputs(numbers)]
    evaluate(read)
    assert [array.item() for array in read] == [number.item() for number in numbers]


@requires_compile
@pytest.mark.parametrize(
    "make", [lambda: ours.cosine_decay(0.1, 100), warm_cosine, lambda: ours.exponential_decay(0.1, 0.9)]
)
def test_shapeless_without_capturing_anything(make: Callable[[], ours.Schedule]) -> None:
    schedule = make()
    shapeless = mx.compile(schedule, shapeless=True)
    for steps in (mx.arange(5), mx.arange(12), mx.array([[1, 2], [3, 4]])):
        assert mx.array_equal(shapeless(steps), schedule(steps))

    model, optimizer = nn.Linear(4, 2), optim.AdamW(schedule)
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state]

    def step(x: mx.array) -> None:
        _, gradients = nn.value_and_grad(model, lambda model, x: mx.sum(model(x)))(model, x)
        optimizer.update(model, gradients)

    compiled: Step = mx.compile(step, inputs=state, outputs=state, shapeless=True)
    for size in (3, 5, 3):
        compiled(mx.ones((size, 4)))
    assert optimizer.learning_rate.item() == schedule(2).item()


def test_a_copy_is_whole_after_a_trace_that_failed() -> None:
    """MLX leaves arrays without values in what a function captured, schedules too, if it raises."""
    schedule = ours.cosine_decay(0.1, 10)
    optimizer = ours.scheduled(optim.SGD, learning_rate=schedule, momentum=0.9)
    model = nn.Linear(2, 1)

    def fails(gradients: Any) -> None:
        optimizer.update(model, gradients)
        raise KeyError("a slip")

    with pytest.raises(KeyError):
        mx.compile(fails, inputs=optimizer.state, outputs=optimizer.state)(model.parameters())
    assert copy.copy(schedule)(5).item() == ours.cosine_decay(0.1, 10)(5).item()


@requires_compile
def test_on_several_threads_at_once() -> None:
    """Each traces, reads and evaluates its own."""

    def trained(value: float) -> float:
        model, optimizer = nn.Linear(4, 2), optim.SGD(ours.linear_schedule(value, 0, 4))
        step = by_hand(mse, model, optimizer)
        for _ in range(3):
            mx.async_eval(step(mx.ones((2, 4)), mx.zeros((2, 2))))
        rate: Any = optimizer.learning_rate.item()
        return float(rate)

    values = [0.25, 0.5, 0.75, 1.0]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(trained, values)) == [value / 2 for value in values]
