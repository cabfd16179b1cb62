"""Both tools train as MLX does: bit-equal to a step compiled by hand, and as close to eager steps as float32 rounds."""

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
import pytest

import mlxsched_compiled as ours

from .measuring import run
from .training import (
    OPTIMIZERS,
    TASKS,
    Step,
    Task,
    Training,
    assert_close,
    batches,
    bits,
    by_update,
    capturing,
    eager,
    mlp,
    mse,
    warm_cosine,
    with_both_tools,
)


def _compare(task: Task, optimizer: Callable[[Any], optim.Optimizer], steps: int, rtol: float = 2e-5) -> Training:
    """Trains in all four ways. Returns the compiled step's."""
    step, update, hand, plain = (
        Training(way, task.make(), optimizer(warm_cosine()), task.loss_fn).train(task.data(steps))
        for way in (ours.compiled_step, by_update, capturing, eager)
    )
    assert step.bits(step.losses) == hand.bits(hand.losses)
    assert_close(step.arrays(), plain.arrays(), rtol=rtol, atol=rtol / 10)
    assert_close(update.arrays(), plain.arrays(), rtol=rtol, atol=rtol / 10)
    return step


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW", "MultiOptimizer"])
def test_500_steps(optimizer: str) -> None:
    """The two loops compiled as a whole have the same bits to the end, and what is trained is trained."""
    step, hand = (
        Training(way, mlp(), OPTIMIZERS[optimizer](warm_cosine())).train(batches(25) * 20)
        for way in (ours.compiled_step, capturing)
    )
    assert step.bits(step.losses) == hand.bits(hand.losses)
    assert sum(step.losses[-25:]).item() < 0.9 * sum(step.losses[:25]).item()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer: str) -> None:
    trained = _compare(Task(mlp), OPTIMIZERS[optimizer], 45, rtol=2e-4 if optimizer == "Muon" else 2e-5).optimizer
    first = getattr(trained, "optimizers", [trained])[0]
    assert first.step.item() == 45
    assert bits(first.learning_rate) == bits(mx.array(1e-3, mx.float32)), "the schedule's end"


def test_bfloat16() -> None:
    def make() -> nn.Module:
        model = mlp()
        model.set_dtype(mx.bfloat16)
        return model

    run = _compare(Task(make, data=lambda n: batches(n, dtype=mx.bfloat16)), optim.AdamW, 20, rtol=2e-2)
    assert run.model.layers[0].weight.dtype == mx.bfloat16
    assert run.optimizer.learning_rate.dtype == mx.float32


@pytest.mark.parametrize("name", TASKS)
def test_models(name: str) -> None:
    """What is frozen, shared, quantized or random comes out as it does in MLX, and so do the buffers."""
    run = _compare(TASKS[name], optim.AdamW, 20)
    untrained = TASKS[name].make()
    assert bits(run.model.trainable_parameters()) != bits(untrained.trainable_parameters())
    if name in ("frozen layer", "biases only", "quantized with adapter"):
        assert bits(run.model.layers[0].weight) == bits(untrained.layers[0].weight)
    if name == "counts its calls":
        assert run.model.layers[1].calls.item() == 20


@with_both_tools
@pytest.mark.parametrize(
    "rate",
    [0.05, optim.cosine_decay(0.05, 20), lambda step: 0.05 / (step + 1.0)],
    ids=["constant", "MLX's schedule", "function"],
)
def test_a_rate_that_is_not_a_schedule(tool: Callable[..., Step], rate: Any) -> None:
    own, plain = (Training(way, optimizer=optim.SGD(rate, momentum=0.9)).train(10) for way in (tool, eager))
    assert_close(own.arrays(), plain.arrays())


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
    own, plain = (Training(way, optimizer=_Own(warm_cosine())).train(3) for way in (tool, eager))
    assert own.optimizer.updates == plain.optimizer.updates == 3
    assert_close([own.losses, own.model.parameters()], [plain.losses, plain.model.parameters()])


def _other(model: Any, x: mx.array, y: mx.array) -> mx.array:
    return mx.mean(mx.abs(model(x) - y)) + mx.sum(mx.square(model.layers[0].weight))


@pytest.mark.parametrize("tool", [ours.compiled_step, by_update])
@pytest.mark.parametrize("plain", [True, False], ids=["with eager steps between", "alone"])
@pytest.mark.parametrize("loss_fn", [mse, _other], ids=["same loss", "other loss"])
def test_two_steps_over_one_model(tool: Callable[..., Step], plain: bool, loss_fn: Step) -> None:
    """Of both tools or of one, with one loss or two, and eager steps before and after."""

    def loop(first: Callable[..., Step], second: Callable[..., Step]) -> list[Any]:
        training = Training(first)
        parts = training.model, training.optimizer
        steps = [*([eager(mse, *parts)] if plain else []), training.step, second(loss_fn, *parts)]
        for i, batch in enumerate(batches(9)):
            training.step = steps[i % len(steps)]
            training.train([batch])
        return training.arrays()

    assert_close(loop(tool, ours.compiled_step), loop(eager, eager))
    assert_close(loop(tool, by_update), loop(eager, eager))


def test_one_optimizer_per_half_of_a_model() -> None:
    """Each step trains what the other has frozen."""

    def loop(way: Callable[..., Step]) -> list[Any]:
        model = mlp()
        halves = [
            Training(way, model.layers[i], None, lambda half, x, y: mse(model, x, y))  # a closure over the whole model
            for i in (0, 2)
        ]
        for i, batch in enumerate(batches(6)):
            halves[i % 2].train([batch])
        return [halves[0].losses, halves[1].losses, model.parameters()]

    # The compiled step of a half does not see the other half change: only what it is given is watched.
    assert_close(loop(by_update), loop(eager))


@with_both_tools
def test_an_empty_batch(tool: Callable[..., Step]) -> None:
    """Of no rows: MLX's mean of nothing is NaN, here as there; nothing crashes."""
    own, plain = (Training(way, optimizer=optim.SGD(warm_cosine())).train(batches(2, size=0)) for way in (tool, eager))
    assert_close(own.arrays(), plain.arrays())


def test_no_batch_at_all() -> None:
    """A loss of the weights alone."""

    def loss_fn(model: Any) -> mx.array:
        return mx.sum(mx.square(model.layers[0].weight))

    own, plain = (Training(way, loss_fn=loss_fn).train([()] * 3) for way in (ours.compiled_step, eager))
    assert_close(own.arrays(), plain.arrays())


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
    training = Training(tool).train(3)
    twin = Training(tool, *copy.deepcopy((training.model, training.optimizer)))
    assert bits(twin.model.state, twin.optimizer.state) == bits(training.model.state, training.optimizer.state)
    assert training.train(3).bits() == twin.train(3).bits()
    assert repr(pickle.loads(pickle.dumps(training.optimizer._schedulers["learning_rate"]))) == repr(warm_cosine())


def test_steps_queued_without_evaluation() -> None:
    """200 steps, then one evaluation; and evaluation in the background."""
    found = []
    for every in (200, 1):
        training = Training(ours.compiled_step, optimizer=optim.SGD(warm_cosine(0.01), momentum=0.9))
        for i, batch in enumerate(batches(20) * 10):
            training.step(*batch)
            if i % every == every - 1:
                mx.async_eval(training.model.parameters(), training.optimizer.state)
        found.append(training.bits())
    assert found[0] == found[1]


@with_both_tools
def test_a_step_that_wanders_between_threads(tool: Callable[..., Step]) -> None:
    """Each call from another thread: the bits of a loop in one."""
    training = Training(tool)
    mx.eval(training.model.parameters(), training.optimizer.state)  # MLX evaluates an array in the thread that made it
    for batch in batches(6):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(training.train, [batch]).result()
    assert bits(training.arrays()) == bits(Training(tool).train(6).arrays())


@with_both_tools
def test_trainings_in_several_threads_at_once(tool: Callable[..., Step]) -> None:
    """Models, optimizers and schedules of their own, the same kinds: each as if it were alone."""
    models = [mlp() for _ in range(4)]
    mx.eval([model.parameters() for model in models])
    with ThreadPoolExecutor(4) as pool:
        found = [bits(arrays) for arrays in pool.map(lambda model: Training(tool, model).train(6).arrays(), models)]
    assert found == [bits(Training(tool).train(6).arrays())] * 4


def test_dropout_in_another_thread() -> None:
    """It draws from the random state of the thread that calls, as eager code does."""

    def loop(way: Callable[..., Step]) -> list[Any]:
        training = Training(way, TASKS["dropout"].make(), optim.SGD(warm_cosine())).train(2)

        def elsewhere() -> Training:
            mx.random.seed(7)
            return training.train(2)

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(elsewhere).result().arrays()

    assert_close(loop(ours.compiled_step), loop(eager))


def test_nothing_compiled(tmp_path: Path) -> None:
    """With ``MLX_DISABLE_COMPILE``: the same rates bit by bit, the same weights but for rounding, errors undone."""
    code = """
        import mlx.core as mx
        from tests.training import *
        for tool in TOOLS.values():
            fail = [False]
            def loss_fn(model, x, y):
                loss = mse(model, x, y)
                if fail[0]:
                    raise ValueError("by the user's code")
                return loss
            training = Training(tool, loss_fn=loss_fn).train(3)
            before = bits(training.optimizer.state)
            fail[0] = True
            try:
                training.train(1)
            except ValueError as error:
                print(error, bits(training.optimizer.state) == before)
            fail[0] = False
            training.train(3)
            print(training.optimizer.learning_rate.item(), mx.sum(training.model.layers[0].weight).item())
    """
    lines = run(code, tmp_path, MLX_DISABLE_COMPILE="1").splitlines()
    training = Training(ours.compiled_step).train(batches(3) * 2)
    assert len(lines) == 4
    for error, found in (lines[:2], lines[2:]):
        assert error == "by the user's code True"
        rate, total = map(float, found.split())
        assert rate == training.optimizer.learning_rate.item()
        assert total == pytest.approx(mx.sum(training.model.layers[0].weight).item(), rel=1e-4, abs=1e-5)
