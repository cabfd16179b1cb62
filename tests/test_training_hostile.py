"""What nobody should do to the tools, and somebody will."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours

from .counting import run
from .training_loops import (
    Step,
    assert_close,
    batches,
    bits,
    by_update,
    eager,
    everything,
    mlp,
    mse,
    train,
    warm_cosine,
    with_both_tools,
)


def _loop(way: Callable[..., Step], steps: int = 6) -> list[Any]:
    model, optimizer = mlp(), optim.AdamW(warm_cosine())
    losses = train(way(mse, model, optimizer), batches(steps), model, optimizer)
    return [losses, model.parameters(), optimizer.state]


@with_both_tools
def test_a_step_that_wanders_between_threads(tool: Callable[..., Step]) -> None:
    """Each call from another thread: the bits of a loop in one."""
    model, optimizer = mlp(), optim.AdamW(warm_cosine())
    mx.eval(model.parameters(), optimizer.state)  # MLX evaluates an array in the thread that made it
    step = tool(mse, model, optimizer)
    losses = []
    for batch in batches(6):
        with ThreadPoolExecutor(1) as pool:
            losses += pool.submit(train, step, [batch], model, optimizer).result()
    assert bits([losses, model.parameters(), optimizer.state]) == bits(_loop(tool))


@with_both_tools
def test_trainings_in_several_threads_at_once(tool: Callable[..., Step]) -> None:
    """Models, optimizers and schedules of their own, the same kinds: each as if it were alone."""
    models = [mlp() for _ in range(4)]
    mx.eval([model.parameters() for model in models])

    def loop(model: nn.Module) -> list[Any]:
        optimizer = optim.AdamW(warm_cosine())
        losses = train(tool(mse, model, optimizer), batches(6), model, optimizer)
        return [losses, model.parameters(), optimizer.state]

    with ThreadPoolExecutor(4) as pool:
        found = [bits(result) for result in pool.map(loop, models)]
    assert found == [bits(_loop(tool))] * 4


def test_dropout_in_another_thread() -> None:
    """It draws from the random state of the thread that calls, as eager code does."""

    def loop(way: Callable[..., Step], model: nn.Module) -> list[Any]:
        optimizer = optim.SGD(warm_cosine())
        step = way(mse, model, optimizer)
        mx.random.seed(6)
        losses = train(step, batches(2), model, optimizer)

        def elsewhere() -> list[Any]:
            mx.random.seed(7)
            return train(step, batches(2), model, optimizer)

        with ThreadPoolExecutor(1) as pool:
            losses += pool.submit(elsewhere).result()
        return [losses, model.parameters()]

    def model() -> nn.Module:
        mx.random.seed(3)
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))

    assert_close(loop(ours.compiled_step, model()), loop(eager, model()))


@with_both_tools
def test_an_optimizer_that_has_been_used(tool: Callable[..., Step]) -> None:
    """Eager steps before and after, and a second step over the same model."""

    def loop(first: Callable[..., Step], second: Callable[..., Step]) -> list[Any]:
        model, optimizer = mlp(), optim.AdamW(warm_cosine())
        plain, one, other = (way(mse, model, optimizer) for way in (eager, first, second))
        losses = []
        for i, batch in enumerate(batches(9)):
            losses += train((plain, one, other)[i % 3], [batch], model, optimizer)
        return [losses, model.parameters(), optimizer.state]

    assert_close(loop(tool, ours.compiled_step), loop(eager, eager))
    assert_close(loop(tool, by_update), loop(eager, eager))


def test_two_losses_over_one_model() -> None:
    def other(model: nn.Module, x: mx.array, y: mx.array) -> mx.array:
        return mx.mean(mx.abs(model(x) - y)) + mx.sum(mx.square(model.layers[0].weight))

    def loop(way: Callable[..., Step]) -> list[Any]:
        model, optimizer = mlp(), optim.AdamW(warm_cosine())
        steps = way(mse, model, optimizer), way(other, model, optimizer)
        losses = []
        for i, batch in enumerate(batches(6)):
            losses += train(steps[i % 2], [batch], model, optimizer)
        return [losses, model.parameters(), optimizer.state]

    assert_close(loop(ours.compiled_step), loop(eager))


def test_one_optimizer_per_half_of_a_model() -> None:
    """Each step trains what the other has frozen."""

    def loop(way: Callable[..., Step]) -> list[Any]:
        model = mlp()
        halves = [(model.layers[i], optim.AdamW(warm_cosine())) for i in (0, 2)]
        steps = [
            way(lambda half, x, y: mse(model, x, y), half, optimizer)  # a closure over the whole model
            for half, optimizer in halves
        ]
        losses = []
        for i, batch in enumerate(batches(6)):
            losses += train(steps[i % 2], [batch], model, halves[i % 2][1])
        return [losses, model.parameters()]

    # The compiled step of a half does not see the other half change: only what it is given is watched.
    assert_close(loop(by_update), loop(eager))


@with_both_tools
def test_an_empty_batch(tool: Callable[..., Step]) -> None:
    """Of no rows: MLX's mean of nothing is NaN, here as there; nothing crashes."""
    results = []
    for way in (tool, eager):
        model, optimizer = mlp(), optim.SGD(warm_cosine())
        results.append([train(way(mse, model, optimizer), batches(2, size=0), model, optimizer), model.parameters()])
    assert_close(*results)


def test_no_batch_at_all() -> None:
    """A loss of the weights alone."""

    def loss_fn(model: nn.Module) -> mx.array:
        return mx.sum(mx.square(model.layers[0].weight))

    results = []
    for way in (ours.compiled_step, eager):
        model, optimizer = mlp(), optim.AdamW(warm_cosine())
        step = way(loss_fn, model, optimizer)
        results.append([train(step, [(), (), ()], model, optimizer), model.parameters(), optimizer.state])
    assert_close(*results)


class _Own(optim.Optimizer):
    """An optimizer of the user's, which counts its updates in a Python attribute."""

    def __init__(self, learning_rate: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._maybe_schedule("learning_rate", learning_rate)
        self.updates = 0

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        state["sign"] = mx.zeros_like(parameter)

    def apply_gradients(self, gradients: Any, parameters: Any) -> Any:
        self.updates += 1
        return super().apply_gradients(gradients, parameters)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        state["sign"] = mx.sign(gradient)
        changed: mx.array = parameter - self.learning_rate / self.updates * state["sign"]
        return changed


@with_both_tools
def test_an_optimizer_with_python_state(tool: Callable[..., Step]) -> None:
    """It is traced for each update, because each is another, and is right."""
    results = []
    for way in (tool, eager):
        model, optimizer = mlp(), _Own(warm_cosine())
        results.append([train(way(mse, model, optimizer), batches(3), model, optimizer), model.parameters()])
        assert optimizer.updates == 3
    assert_close(*results)


def test_gradients_in_other_order_or_for_a_part() -> None:
    """As eager ``optimizer.update`` takes them."""

    def loop(make: Callable[..., Any]) -> list[Any]:
        model, optimizer = mlp(), optim.AdamW(warm_cosine())
        update = make(model, optimizer)
        for i, batch in enumerate(batches(6)):
            _, gradients = nn.value_and_grad(model, mse)(model, *batch)
            if i % 3 == 1:
                gradients["layers"] = [dict(reversed(part.items())) for part in gradients["layers"]]
            elif i % 3 == 2:
                del gradients["layers"][2]["weight"]
            update(gradients)
            mx.eval(model.parameters(), optimizer.state)
        return [model.parameters(), optimizer.state]

    plain = loop(lambda model, optimizer: lambda gradients: optimizer.update(model, gradients))
    assert_close(loop(ours.compiled_update), plain)


@with_both_tools
def test_a_trained_model_is_copied_and_pickled(tool: Callable[..., Step]) -> None:
    """The tools leave nothing in model, optimizer or schedule that cannot be."""
    model, optimizer = mlp(), optim.AdamW(warm_cosine())
    step = tool(mse, model, optimizer)
    train(step, batches(3), model, optimizer)
    twin_model, twin_optimizer = copy.deepcopy((model, optimizer))
    assert bits(twin_model.state, twin_optimizer.state) == bits(model.state, optimizer.state)
    train(step, batches(3), model, optimizer)
    train(tool(mse, twin_model, twin_optimizer), batches(3), twin_model, twin_optimizer)
    assert everything(twin_model, twin_optimizer) == everything(model, optimizer)
    assert repr(pickle.loads(pickle.dumps(optimizer._schedulers["learning_rate"]))) == repr(warm_cosine())


def test_steps_queued_without_evaluation() -> None:
    """200 steps, then one evaluation; and evaluation in the background."""
    found = []
    for every in (200, 1):
        model, optimizer = mlp(), optim.SGD(warm_cosine(0.01), momentum=0.9)
        step = ours.compiled_step(mse, model, optimizer)
        for i, batch in enumerate(batches(20) * 10):
            step(*batch)
            if i % every == every - 1:
                mx.async_eval(model.parameters(), optimizer.state)
        found.append(everything(model, optimizer))
    assert found[0] == found[1]


def test_a_batch_of_numpy_arrays_is_refused_with_a_reason() -> None:
    """MLX compiles functions of its own arrays only."""
    model, optimizer = mlp(), optim.AdamW(warm_cosine())
    step = ours.compiled_step(mse, model, optimizer)
    with pytest.raises(ValueError, match="ndarray"):
        step(np.zeros((8, 4), np.float32), np.zeros((8, 2), np.float32))
    train(step, batches(1), model, optimizer)


def test_a_frozen_model_is_refused_as_mlx_refuses_it() -> None:
    results = []
    for way in (ours.compiled_step, eager):
        model, optimizer = mlp(), optim.AdamW(warm_cosine())
        model.freeze()
        try:
            train(way(mse, model, optimizer), batches(2), model, optimizer)
            results.append(bits(model.parameters()))
        except ValueError:
            results.append({})
    assert results[0] == results[1]


def test_nothing_compiled(tmp_path: Path) -> None:
    """With ``MLX_DISABLE_COMPILE``: the same rates bit by bit, the same weights but for rounding, errors undone."""
    code = """
        import mlx.core as mx, mlx.nn as nn, mlx.optimizers as optim
        from tests.training_loops import *
        for tool in TOOLS.values():
            model, optimizer = mlp(), optim.AdamW(warm_cosine())
            fail = [False]
            def loss_fn(model, x, y):
                loss = mse(model, x, y)
                if fail[0]:
                    raise ValueError("by the user's code")
                return loss
            step = tool(loss_fn, model, optimizer)
            train(step, batches(3), model, optimizer)
            before = bits(optimizer.state)
            fail[0] = True
            try:
                step(*batches(1)[0])
            except ValueError as error:
                print(error, bits(optimizer.state) == before)
            fail[0] = False
            if tool is TOOLS["compiled_step"]:
                train(step, batches(3), model, optimizer)
                print(optimizer.learning_rate.item(), mx.sum(model.layers[0].weight).item())
    """
    lines = run(code, tmp_path, disable_compile=True).splitlines()
    assert [line for line in lines if "code" in line] == ["by the user's code True"] * 2
    rate, total = map(float, lines[1].split())
    parameters, state = _loop_twice()
    assert rate == state["learning_rate"].item()
    assert total == pytest.approx(mx.sum(parameters["layers"][0]["weight"]).item(), rel=1e-4, abs=1e-5)


def _loop_twice() -> list[Any]:
    model, optimizer = mlp(), optim.AdamW(warm_cosine())
    step = ours.compiled_step(mse, model, optimizer)
    train(step, batches(3) * 2, model, optimizer)
    return [model.parameters(), optimizer.state]
