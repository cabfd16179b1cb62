"""A step that fails loses nothing: all is as before the call, and the next good batch trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours

from .counting import requires_compile
from .training_loops import (
    Step,
    batches,
    bits,
    by_update,
    everything,
    mlp,
    mse,
    train,
    warm_cosine,
    with_both_tools,
)

ERRORS = [ValueError, RuntimeError, KeyboardInterrupt, SystemExit]


class _Loss:
    """A loss of the user's, which raises ``error`` if there is one, in the midst of its work."""

    error: type[BaseException] | None = None

    def __call__(self, model: nn.Module, x: mx.array, y: mx.array) -> mx.array:
        loss = mse(model, x, y)
        if self.error is not None:
            model.layers[0].weight = 2 * model.layers[0].weight  # a change that must not stay
            raise self.error("by the user's code")
        return loss


class _Setup:
    """A model with dropout, its optimizer and their step."""

    def __init__(self, optimizer: Callable[[Any], optim.Optimizer] = optim.AdamW, **options: Any) -> None:
        mx.random.seed(2)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 2))
        self.schedule = warm_cosine()
        self.optimizer = optimizer(self.schedule)
        self.loss_fn = _Loss()
        self.step = ours.compiled_step(self.loss_fn, self.model, self.optimizer, **options)

    def everything(self) -> dict[str, tuple[str, bytes]]:
        """The bits of all that can be lost."""
        return everything(self.model, self.optimizer, self.schedule.state, self.step.state)

    def train(self, data: Any) -> list[Any]:
        """Steps over the batches."""
        return train(self.step, data, self.model, self.optimizer)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("steps_before", [0, 1, 4])
@pytest.mark.parametrize("options", [{}, {"accumulate": 3}], ids=str)
def test_a_loss_that_raises(steps_before: int, error: type[BaseException], options: dict[str, Any]) -> None:
    """On the first trace, and on that of a later shape; the run goes on as if nothing had been."""
    data = batches(8)
    failing = data[0] if steps_before == 0 else batches(1, size=5)[0]
    hurt = _Setup(**options)
    hurt.train(data[:steps_before])
    before = hurt.everything()
    hurt.loss_fn.error = error
    for _ in range(2):
        with pytest.raises(error, match="by the user's code"):
            hurt.step(*failing)
    assert hurt.everything() == before

    hurt.loss_fn.error = None
    losses = hurt.train(data[steps_before:])
    after = hurt.everything()
    spared = _Setup(**options)
    assert bits(losses) == bits(spared.train(data)[steps_before:])
    assert after == spared.everything()


@pytest.mark.parametrize("steps_before", [0, 3])
def test_a_bad_batch(steps_before: int) -> None:
    """Of a shape that the model cannot take, of a kind that MLX cannot take, too few or too many."""
    data = batches(6)
    (x, y), *_ = data
    setup = _Setup()
    setup.train(data[:steps_before])
    before = setup.everything()
    bad: list[tuple[Any, ...]] = [(x[:, :3], y), (x, y[:5]), (x,), (x, y, y), (), ("x", y), (object(), y), (None, y)]
    for batch in bad:
        with pytest.raises((ValueError, TypeError, AttributeError)):
            setup.step(*batch)
        assert setup.everything() == before
    losses = setup.train(data[steps_before:])
    after = setup.everything()
    spared = _Setup()
    assert bits(losses) == bits(spared.train(data)[steps_before:])
    assert after == spared.everything()


@requires_compile
def test_a_loss_that_looks_at_a_value() -> None:
    """``.item()``, ``mx.eval`` and ``if`` on an array cannot be traced: MLX says so, and the state is as it was."""
    looks: list[Step] = [
        lambda model, x, y: mse(model, x, y) * mse(model, x, y).item(),
        lambda model, x, y: mse(model, x, y) if mx.all(x > 0) else mse(model, x, -y),
    ]
    for loss_fn in looks:
        model, optimizer = mlp(), optim.SGD(warm_cosine(), momentum=0.9)
        before = everything(model, optimizer)
        with pytest.raises((ValueError, RuntimeError)):
            ours.compiled_step(loss_fn, model, optimizer)(*batches(1)[0])
        assert everything(model, optimizer) == before


@pytest.mark.parametrize("value", [None, 1.0, "loss", mx.zeros(3), ()], ids=str)
def test_a_loss_that_is_not_one(value: Any) -> None:
    model, optimizer = mlp(), optim.SGD(warm_cosine(), momentum=0.9)
    before = everything(model, optimizer)
    with pytest.raises((ValueError, TypeError, IndexError)):
        ours.compiled_step(lambda model, x, y: value, model, optimizer)(*batches(1)[0])
    assert everything(model, optimizer) == before


@pytest.mark.parametrize("steps_before", [0, 3])
def test_gradients_that_do_not_fit(steps_before: int) -> None:
    """Another model's, of another shape, of no kind at all."""
    model, optimizer = mlp(), optim.AdamW(warm_cosine())
    train(by_update(mse, model, optimizer), batches(steps_before), model, optimizer)
    update = ours.compiled_update(model, optimizer)
    before = everything(model, optimizer)
    bad: list[Any] = [
        {"nobody": mx.ones(3)},
        {"layers": [{"weight": mx.ones((7, 7))}]},
        {"layers": [{"weight": None}]},
        None,
    ]
    for gradients in bad:
        with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
            update(gradients)
        assert everything(model, optimizer) == before
    update(nn.value_and_grad(model, mse)(model, *batches(1)[0])[1])
    assert optimizer.step.item() == steps_before + 1


def test_a_schedule_that_raises() -> None:
    """A rate that cannot be traced: its error, and no harm."""
    works = True

    def rate(step: mx.array) -> mx.array:
        if not works:
            raise RuntimeError("by the user's rate")
        return 0.1 / (step + 1.0)

    for schedule in (rate, ours.Schedule(rate)):
        works = True
        model, optimizer = mlp(), optim.SGD(schedule, momentum=0.9)
        step = ours.compiled_step(mse, model, optimizer)
        before = everything(model, optimizer)
        works = False
        with pytest.raises((RuntimeError, TypeError), match="by the user's rate"):
            step(*batches(1)[0])
        assert everything(model, optimizer) == before
        works = True
        train(step, batches(2), model, optimizer)
        assert optimizer.learning_rate.item() == pytest.approx(0.05)


@with_both_tools
def test_the_layer_that_failed_is_replaced(tool: Callable[..., Step]) -> None:
    """After a mistake in the model, caught by the first batch, the mended model trains."""
    model, optimizer = mlp(), optim.AdamW(warm_cosine())
    good = model.layers[0]
    model.layers[0] = nn.Linear(3, 8)
    step = tool(mse, model, optimizer)
    with pytest.raises(ValueError, match="addmm"):
        step(*batches(1)[0])
    model.layers[0] = good
    losses = train(step, batches(4), model, optimizer)
    spared, its_optimizer = mlp(), optim.AdamW(warm_cosine())
    assert bits(losses) == bits(train(tool(mse, spared, its_optimizer), batches(4), spared, its_optimizer))
