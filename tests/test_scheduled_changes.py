"""What is retuned, observed or assigned while an optimizer is in use counts from the next step on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import scheduled
from mlxsched_compiled.optimizers.state import schedules_of as ours_schedules

from .measuring import requires_compile
from .scheduled_optimizers import (
    up,
)
from .training import (
    TOOLS,
    WAYS,
    Composed,
    Step,
    Training,
    assert_close,
    batches,
    by_hand,
    mlp,
    mse,
    with_all_ways,
)


@with_all_ways
def test_retuning_is_followed(way: Callable[..., Step]) -> None:
    decay, beta = up(0.1, 0.2), up(0.8, 0.9)
    optimizer = scheduled(optim.AdamW, learning_rate=up(0.01, 0.02), weight_decay=2 * decay, betas=[beta, 0.9])
    training = Training(way, optimizer=optimizer).train(2)
    decay.retune(init=0.4)
    beta.retune(end=0.5)
    training.train(1)
    assert optimizer.state["weight_decay"].item() == (2 * decay)(2).item()
    assert optimizer.state["betas"][0].item() == beta(2).item()
    assert optimizer.state["schedules"]["betas"][0] is beta.state


def test_a_step_by_hand_follows_at_every_shape() -> None:
    decay = up(0.1, 0.2)
    optimizer = scheduled(optim.AdamW, learning_rate=up(0.01, 0.02), weight_decay=decay)
    training = Training(by_hand, optimizer=optimizer)
    data = [batches(1, size=size)[0] for size in (3, 5, 3, 5)]
    training.train(data[:2])
    decay.retune(init=0.4)
    optimizer._schedulers["learning_rate"].retune(init=0.5)
    for step, batch in enumerate(data[2:], 2):
        training.train([batch])
        assert optimizer.state["weight_decay"].item() == decay(step).item()
        assert optimizer.learning_rate.item() == optimizer._schedulers["learning_rate"](step).item()


@requires_compile
@with_all_ways
def test_numbers_assigned_in_the_place_of_schedules(way: Callable[..., Step]) -> None:
    """The step is traced for the first, and not for another number."""
    optimizer: Any = scheduled(optim.AdamW, learning_rate=0.01, weight_decay=up(0.1, 0.2), betas=[0.9, up(0.9, 0.99)])
    plain: Any = optim.AdamW(0.01, weight_decay=0.1)
    training, eager = Training(way, optimizer=optimizer), Training(WAYS["eager"], optimizer=plain)
    decays: list[Any] = [None, None, 0.3, 0.4, 0.5, 0.5]
    before = None
    for step, batch in enumerate(batches(6)):
        plain.betas = [0.8, 0.95] if step >= 4 else [0.9, up(0.9, 0.99)(step).item()]
        plain.weight_decay = decays[step] or up(0.1, 0.2)(step).item()
        if decays[step]:
            optimizer.weight_decay = decays[step]
        if step == 3:
            before = getattr(training.step, "traces", 0)
        if step == 4:
            assert getattr(training.step, "traces", 0) == before
            optimizer.betas = [0.8, 0.95]
            optimizer.learning_rate = plain.learning_rate = 0.02
        training.train([batch])
        eager.train([batch])
        assert_close(training.model.parameters(), eager.model.parameters())
    assert float(optimizer.weight_decay) == 0.5
    assert [float(b) for b in optimizer.betas] == [pytest.approx(0.8), pytest.approx(0.95)]


@with_all_ways
def test_a_number_replaces_a_schedule_and_a_schedule_a_number(way: Callable[..., Step]) -> None:
    optimizer: Any = scheduled(
        optim.SGD, learning_rate=up(0.01, 0.02), momentum=up(0.5, 0.6), weight_decay=ours.constant(0.1)
    )
    training = Training(way, optimizer=optimizer).train(2)
    optimizer.momentum, optimizer.learning_rate = 0.25, 0.125
    optimizer.weight_decay = ours.cosine_decay(0.2, 10)
    for step in (2, 3):
        training.train(1)
        assert optimizer.state["momentum"].item() == 0.25
        assert optimizer.learning_rate.item() == 0.125
        assert optimizer.state["weight_decay"].item() == ours.cosine_decay(0.2, 10)(step).item()
    optimizer.learning_rate = ours.cosine_decay(0.3, 10)
    training.train(1)
    assert optimizer.learning_rate.item() == ours.cosine_decay(0.3, 10)(4).item()


def _partly_unused(model: nn.Module) -> nn.Module:
    """A model whose first weights the loss does not use: their gradients are 0, and in no trace."""
    return Composed(lambda _, x: model(x), apart=nn.Linear(4, 4), model=model)


@requires_compile
@pytest.mark.parametrize("wrap", [lambda model: model, _partly_unused], ids=["all used", "partly unused"])
@pytest.mark.parametrize("captures_model", [False, True])
@pytest.mark.parametrize("is_scheduled", [False, True])
def test_a_step_that_captures_no_state_is_seen(
    captures_model: bool, is_scheduled: bool, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    """Its step is frozen with all that follows from it. An eager loop, before and after, is none."""
    plateau = ours.reduce_on_plateau(up(0.1, 0.2))
    optimizer: Any = (
        scheduled(optim.SGD, learning_rate=plateau, weight_decay=up(0.1, 0.2)) if is_scheduled else optim.SGD(plateau)
    )
    training = Training(WAYS["eager"], wrap(mlp()), optimizer).train(2)
    plateau.observe(1.0)
    captured = [training.model.state] if captures_model else []
    step = mx.compile(lambda x, y: training.step(x, y), inputs=captured, outputs=captured)
    with pytest.warns(UserWarning, match="stands still") if captures_model else nullcontext():
        mx.eval(step(*batches(1)[0]))
    with pytest.raises(ValueError, match="does not have its state as an input"):
        plateau.observe(1.0)
    with pytest.raises(ValueError, match="does not have its state as an input"):
        plateau.retune(factor=0.5)


def test_a_gradient_through_an_update_freezes_nothing() -> None:
    """Python runs again for each: what is retuned, assigned or observed is followed."""
    plateau = ours.reduce_on_plateau(0.5, patience=0)
    optimizer: Any = scheduled(optim.SGD, learning_rate=plateau, weight_decay=ours.constant(0.1), momentum=up(0.1, 0.9))
    optimizer.init({"w": mx.ones(2)})

    def after(w: mx.array) -> mx.array:
        updated: mx.array = optimizer.apply_gradients({"w": 2 * w}, {"w": w})["w"]
        return mx.sum(updated)

    before = mx.grad(after)(mx.ones(2)).tolist()
    assert before == pytest.approx([1 - 0.5 * (2 + 0.1)] * 2)
    plateau.observe(1.0)
    plateau.observe(1.0)
    optimizer.weight_decay = 0.3
    assert float(optimizer.weight_decay) == pytest.approx(0.3)
    assert plateau(0).item() == pytest.approx(0.05)


@pytest.mark.parametrize("way", [*TOOLS.values(), by_hand], ids=[*TOOLS, "by hand"])
def test_a_loss_that_reads_the_step_freezes_nothing(way: Callable[..., Step]) -> None:
    """Nor does dropout, for which the tools trace again."""
    mx.random.seed(3)
    rate, decay = up(0.01, 0.02), up(0.1, 0.2)
    optimizer: Any = scheduled(optim.AdamW, learning_rate=rate, weight_decay=decay, betas=[0.9, up(0.99, 0.999)])
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 2))

    def loss_fn(model: nn.Module, x: mx.array, y: mx.array) -> mx.array:
        loss: mx.array = mse(model, x, y) * (1 + rate(optimizer.step)) * (1 + optimizer.step)
        return loss

    training = Training(way, model, optimizer, loss_fn).train(2)
    rate.retune(end=0.5)
    decay.retune(end=0.7)
    optimizer.betas = [0.5, 0.75]
    training.train(1)
    assert optimizer.learning_rate.item() == rate(2).item()
    assert optimizer.weight_decay == decay(2).item()
    assert [*map(float, optimizer.betas)] == [0.5, 0.75]


RATES: dict[str, Any] = {
    "a number": 0.25,
    "an array": mx.array(0.25),
    "a schedule of other structure": lambda: ours.cosine_decay(0.3, 10),
    "one with as many leaves": lambda: ours.linear_schedule(0.4, 0.1, 10),
    "one with none": lambda: ours.Schedule(_halving),
    "a function": lambda: _halving,
}


def _halving(step: mx.array) -> mx.array:
    return 0.5 / (step + 1)


def _value(rate: Any, step: int) -> float:
    value: float = rate(mx.array(step, mx.uint64)).item() if callable(rate) else float(rate)
    return value


@pytest.mark.parametrize("kind", ["scheduled", "installed", "in a group"])
@pytest.mark.parametrize("way", [*WAYS.values(), by_hand], ids=[*WAYS, "by hand, optimizer alone"])
def test_a_rate_set_by_hand(way: Callable[..., Step], kind: str, request: pytest.FixtureRequest) -> None:
    """It counts from then on, until another is: a number, or a schedule."""
    if kind != "scheduled":
        request.getfixturevalue("installed")

    def optimizer_at(rate: Any) -> Any:
        if kind == "scheduled":
            return scheduled(optim.SGD, learning_rate=rate, momentum=up(0.5, 0.9))
        return optim.SGD(rate, momentum=0.5)

    optimizer = single = optimizer_at(ours.linear_schedule(0.1, 0.2, 10))
    if kind == "in a group":
        optimizer = optim.MultiOptimizer([single], [])
    training = Training(way, optimizer=optimizer).train(2)
    step = 2
    for rate in RATES.values():
        rate = rate() if callable(rate) else rate
        single.learning_rate = rate
        for _ in range(2):
            training.train(1)
            assert single.learning_rate.item() == pytest.approx(_value(rate, step), rel=1e-6)
            step += 1


@pytest.mark.parametrize("kind", ["scheduled", "installed"])
def test_a_number_takes_the_leaves_of_the_old_schedule_away(kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "installed":
        request.getfixturevalue("installed")
    make_optimizer: Any = optim.SGD if kind == "installed" else partial(scheduled, optim.SGD)
    schedule = ours.cosine_decay(0.1, 10)
    optimizer = make_optimizer(learning_rate=schedule)
    assert optimizer.state["schedules"]["learning_rate"] is schedule.state
    wrong: Any
    for wrong in ("0.1", [0.1, "a"], {}):
        with pytest.raises((TypeError, ValueError)):
            optimizer.learning_rate = wrong
        assert optimizer.state["schedules"]["learning_rate"] is schedule.state
        assert optimizer.learning_rate.item() == np.float32(0.1)
    optimizer.learning_rate = 0.1
    assert "learning_rate" not in optimizer.state["schedules"]
    assert [*ours_schedules([optimizer])] == []
    schedule.retune(init=5.0)
    optimizer.update({}, {})
    assert optimizer.learning_rate.item() == np.float32(0.1)


def test_every_scheduled_hyperparameter_takes_schedules_and_numbers() -> None:
    """In a step that its user has compiled, which captures the state."""
    optimizer: Any = scheduled(optim.AdamW, learning_rate=0.01, weight_decay=up(0.1, 0.2), betas=[0.9, up(0.9, 0.99)])
    training = Training(by_hand, optimizer=optimizer).train(1)
    cosine = ours.cosine_decay(0.3, 10)
    for step, (decay, beta) in enumerate([(up(0.3, 0.4), cosine), (cosine, up(0.5, 0.6)), (0.5, cosine)], 1):
        optimizer.weight_decay, optimizer.betas = decay, (0.8, beta)
        training.train(1)
        assert optimizer.state["weight_decay"].item() == pytest.approx(_value(decay, step))
        assert optimizer.state["betas"][1].item() == pytest.approx(_value(beta, step))
    optimizer.weight_decay = up(0.1, 0.2)
    assert optimizer.weight_decay == up(0.1, 0.2)(4).item()  # of the step that comes
    training.train(1)
    assert optimizer.weight_decay == up(0.1, 0.2)(4).item()


@pytest.mark.usefixtures("installed")
def test_a_schedule_for_a_model_with_a_parameter_called_schedules() -> None:
    """It would have one place with the leaves. A number is as ever."""
    optimizer: Any = optim.SGD(0.1)
    weights = {"schedules": mx.ones(2)}
    optimizer.update(dict(weights), weights)
    optimizer.learning_rate = 0.2
    with pytest.raises(ValueError, match="schedules is a parameter of the model"):
        optimizer.learning_rate = ours.cosine_decay(0.1, 10)
    optimizer.update(dict(weights), weights)
    assert optimizer.learning_rate.item() == np.float32(0.2)
