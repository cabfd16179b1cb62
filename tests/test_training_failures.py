"""A step that fails loses nothing: all is as before the call, and the next good batch trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours

from .measuring import requires_compile
from .training import TASKS, Step, Training, batches, bits, by_update, eager, mlp, mse, warm_cosine, with_both_tools


class _Loss:
    """A loss of the user's, which raises ``error`` if there is one, in the midst of its work."""

    error: type[BaseException] | None = None

    def __call__(self, model: Any, x: mx.array, y: mx.array) -> mx.array:
        loss = mse(model, x, y)
        if self.error is not None:
            model.layers[0].weight = 2 * model.layers[0].weight  # a change that must not stay
            raise self.error("by the user's code")
        return loss


def _with_dropout(loss_fn: Step = mse, **options: Any) -> Training:
    return Training(ours.compiled_step, TASKS["dropout"].make(), None, loss_fn, **options)


@pytest.mark.parametrize("error", [ValueError, RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("steps_before", [0, 1, 4])
@pytest.mark.parametrize("options", [{}, {"accumulate": 3}], ids=str)
def test_a_loss_that_raises(steps_before: int, error: type[BaseException], options: dict[str, Any]) -> None:
    """On the first trace, and on that of a later shape; the run goes on as if nothing had been."""
    data, loss_fn = batches(8), _Loss()
    failing = data[0] if steps_before == 0 else batches(1, size=5)[0]
    hurt = _with_dropout(loss_fn, **options).train(data[:steps_before])
    schedule = hurt.optimizer._schedulers["learning_rate"]
    before = hurt.bits(schedule.state)
    loss_fn.error = error
    for _ in range(2):
        with pytest.raises(error, match="by the user's code"):
            hurt.step(*failing)
    assert hurt.bits(schedule.state) == before

    loss_fn.error = None
    after = hurt.train(data[steps_before:]).bits(hurt.losses)
    spared = _with_dropout(**options).train(data)
    assert after == spared.bits(spared.losses)


@pytest.mark.parametrize("steps_before", [0, 3])
def test_a_bad_batch(steps_before: int) -> None:
    """Of a shape that the model cannot take, of a kind that MLX cannot take, too few or too many."""
    data = batches(6)
    (x, y), *_ = data
    hurt = _with_dropout().train(data[:steps_before])
    before = hurt.bits()
    bad: list[tuple[Any, ...]] = [(x[:, :3], y), (x, y[:5]), (x,), (x, y, y), (), ("x", y), (object(), y), (None, y)]
    for batch in bad:
        with pytest.raises((ValueError, TypeError, AttributeError)):
            hurt.step(*batch)
        assert hurt.bits() == before
    with pytest.raises(ValueError, match="ndarray"):  # MLX compiles functions of its own arrays only
        hurt.step(np.zeros((8, 4), np.float32), np.zeros((8, 2), np.float32))
    after = hurt.train(data[steps_before:]).bits(hurt.losses)
    spared = _with_dropout().train(data)
    assert after == spared.bits(spared.losses)


LOOKS: list[Step] = [
    lambda model, x, y: mse(model, x, y) * mse(model, x, y).item(),
    lambda model, x, y: mse(model, x, y) if mx.all(x > 0) else mse(model, x, -y),
]
"""At a value (``.item()``, ``mx.eval``, ``if`` on an array), which cannot be traced, and MLX says so."""
NO_LOSSES: list[Step] = [lambda model, x, y, value=value: value for value in (None, 1.0, "loss", mx.zeros(3), ())]


@requires_compile
@pytest.mark.parametrize("loss_fn", [*LOOKS, *NO_LOSSES])
def test_a_loss_that_is_not_one(loss_fn: Step) -> None:
    """The state is as it was."""
    training = Training(ours.compiled_step, mlp(), optim.SGD(warm_cosine(), momentum=0.9), loss_fn)
    before = training.bits()
    with pytest.raises((ValueError, RuntimeError) if loss_fn in LOOKS else (ValueError, TypeError, IndexError)):
        training.train(1)
    assert training.bits() == before


@pytest.mark.parametrize("steps_before", [0, 3])
@pytest.mark.parametrize(
    "gradients",
    [{"nobody": mx.ones(3)}, {"layers": [{"weight": mx.ones((7, 7))}]}, {"layers": [{"weight": None}]}, None],
    ids=str,
)
def test_gradients_that_do_not_fit(steps_before: int, gradients: Any) -> None:
    """Another model's, of another shape, of no kind at all."""
    training = Training(by_update).train(steps_before)
    model, optimizer = training.model, training.optimizer
    update = ours.compiled_update(model, optimizer)
    before = training.bits()
    for _ in range(2):
        with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
            update(gradients)
        assert training.bits() == before
    update(nn.value_and_grad(model, mse)(model, *batches(1)[0])[1])
    assert optimizer.step.item() == steps_before + 1


@pytest.mark.parametrize("wrap", [lambda rate: rate, ours.Schedule], ids=["function", "Schedule"])
def test_a_rate_that_raises(wrap: Callable[[Any], Any]) -> None:
    """A rate that cannot be traced: its error, and no harm."""
    works = True

    def rate(step: mx.array) -> mx.array:
        if not works:
            raise RuntimeError("by the user's rate")
        return 0.1 / (step + 1.0)

    training = Training(ours.compiled_step, optimizer=optim.SGD(wrap(rate), momentum=0.9))
    before = training.bits()
    works = False
    with pytest.raises((RuntimeError, TypeError), match="by the user's rate"):
        training.train(1)
    assert training.bits() == before
    works = True
    training.train(2)
    assert training.optimizer.learning_rate.item() == pytest.approx(0.05)


@with_both_tools
def test_the_layer_that_failed_is_replaced(tool: Callable[..., Step]) -> None:
    """After a mistake in the model, caught by the first batch, the mended model trains."""
    training = Training(tool)
    layers = training.model.layers
    good, layers[0] = layers[0], nn.Linear(3, 8)
    with pytest.raises(ValueError, match="addmm"):
        training.train(1)
    layers[0] = good
    assert bits(training.train(4).losses) == bits(Training(tool).train(4).losses)


def test_a_frozen_model_is_refused_as_mlx_refuses_it() -> None:
    results = []
    for way in (ours.compiled_step, eager):
        training = Training(way)
        training.model.freeze()
        try:
            results.append(bits(training.train(2).model.parameters()))
        except ValueError:
            results.append({})
    assert results[0] == results[1]
