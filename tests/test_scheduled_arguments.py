"""What ``scheduled`` takes, what it refuses, and what its optimizers print."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import scheduled

from .scheduled_optimizers import (
    Annotated,
    Doubled,
    Owned,
    PassesOn,
    Renamed,
    TakesFunctions,
    up,
)
from .training import (
    WAYS,
    Composed,
    Step,
    Training,
    bits,
    mlp,
    with_all_ways,
)


def test_the_type_of_one_makes_another() -> None:
    optimizer = scheduled(optim.AdamW, learning_rate=1e-3, weight_decay=up(0.1, 0.2))
    another = scheduled(type(optimizer), learning_rate=1e-3, betas=[0.9, up(0.9, 0.99)])
    assert isinstance(another, optim.AdamW)
    assert another.weight_decay == 0.01
    assert repr(copy.deepcopy(another)).startswith("scheduled(AdamW, learning_rate=0.001, betas=[0.9, linear")


def test_it_prints_as_the_call_that_made_it() -> None:
    optimizer = scheduled(optim.AdamW, learning_rate=1e-3, weight_decay=ours.cosine_decay(0.1, 9), betas=[0.9, 0.99])
    text = "scheduled(AdamW, learning_rate=0.001, weight_decay=cosine_decay(init=0.1, decay_steps=9, end=0.0), "
    assert repr(optimizer) == text + "betas=[0.9, 0.99])"
    optimizer.weight_decay = 0.5
    optimizer.eps = 1e-6  # which is not among the arguments
    optimizer.betas = [0.8, 0.99]  # which is, and a plain attribute
    assert "weight_decay=0.5, betas=[0.8, 0.99])" in repr(optimizer)
    assert (
        repr(scheduled(optim.Lion, learning_rate=1, betas=(0.9, 0.99)))
        == "scheduled(Lion, learning_rate=1, betas=(0.9, 0.99))"
    )


@pytest.mark.parametrize("optimizer_class", [Owned, Doubled])
def test_a_property_of_the_class_cannot_be_scheduled(optimizer_class: Any) -> None:
    """The update may read what it keeps elsewhere. A number is its, as ever."""
    with pytest.raises(TypeError, match=r"momentum of \w+ cannot be scheduled: .* property"):
        scheduled(optimizer_class, learning_rate=0.1, momentum=up(0.1, 0.2))
    optimizer: Any = scheduled(Owned, learning_rate=0.1, momentum=0.25, weight_decay=up(0.1, 0.2))
    with pytest.raises(ValueError, match="momentum must be from 0"):
        optimizer.momentum = 2
    assert optimizer.momentum == 0.25


def test_what_the_default_says() -> None:
    """Rather than an annotation: which of the arguments are numbers."""
    optimizer: Any = scheduled(
        Annotated, learning_rate=0.1, strength=up(0.1, 0.5), betas=[0.5, up(0.1, 0.2)], names=["c"], combine=min
    )
    assert (repr(optimizer.betas), optimizer.names, optimizer.combine) == ("(0.5, 0.1)", ["c"], min)
    with pytest.raises(TypeError, match=r"names of Annotated is not a number .*: learning_rate, strength, betas"):
        scheduled(Annotated, learning_rate=0.1, names=[up(0.1, 0.5)])


@pytest.mark.parametrize(
    ("optimizer_class", "arguments", "message"),
    [
        (
            optim.AdamW,
            {"weight_decy": 0.1},
            r"no argument 'weight_decy'. Did you mean 'weight_decay'\? .*: learning_rate, betas, eps",
        ),
        (optim.AdamW, {"zzz": 0.1}, r"no argument 'zzz'. What can be"),
        (
            optim.SGD,
            {"nesterov": up(0, 1)},
            r"nesterov .*structure.*: learning_rate, momentum, weight_decay, dampening\.",
        ),
        (optim.Muon, {"ns_steps": up(1, 5)}, r"ns_steps .*structure.*: learning_rate, momentum, weight_decay\."),
        (optim.AdamW, {"bias_correction": up(0, 1)}, r"bias_correction .*structure"),
        (
            optim.Adafactor,
            {"relative_step": up(0, 1)},
            r"relative_step .*structure.*decay_rate, beta_1, weight_decay\.",
        ),
        (optim.Adafactor, {"scale_parameter": lambda t: t}, r"scale_parameter .*structure"),
        (optim.AdamW, {"betas": up(0, 1)}, r"betas .*list of 2"),
        (optim.AdamW, {"betas": [up(0, 1)]}, r"betas .*list of 2"),
        (optim.AdamW, {"weight_decay": [0.1]}, r"weight_decay .*number or a schedule"),
        (optim.AdamW, {"weight_decay": "0.1"}, r"weight_decay must be a number"),
        (Renamed, {"hidden": up(0, 1)}, r"hidden of Renamed cannot be scheduled"),
        (Renamed, {"times": up(0, 1)}, r"times .*structure.*: learning_rate, hidden, strength, power\."),
        (nn.Linear, {}, r"optimizer_class must be"),
        (optim.AdamW(0.1), {}, r"optimizer_class must be"),
        (optim.MultiOptimizer, {}, r"optimizer_class must not be MultiOptimizer"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(optimizer_class: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        scheduled(optimizer_class, **{"learning_rate": 0.1, **arguments})


def test_numbers_are_checked_by_the_class_and_at_assignment() -> None:
    for alpha in (-0.5, up(-0.5, 2)):
        with pytest.raises(ValueError, match="alpha should be >=0"):
            scheduled(optim.RMSprop, learning_rate=0.1, alpha=alpha)
    with pytest.raises(ValueError, match="finite"):
        scheduled(optim.Adam, learning_rate=0.1, eps=float("nan"))
    with pytest.raises(ValueError, match="learning_rate must be finite"):
        scheduled(optim.Adam, learning_rate=float("nan"), eps=1e-8)
    with pytest.raises(ValueError, match="Nesterov"):
        scheduled(optim.SGD, learning_rate=0.1, momentum=0, nesterov=True)
    optimizer: Any = scheduled(optim.Adam, learning_rate=up(0, 1), betas=[0.9, up(0.9, 0.99)], eps=up(0, 1))
    before, printed = bits(optimizer.state), repr(optimizer)
    wrong = {"betas": [0.9, [0.9], [0.9, "0.9"], up(0, 1), [up(0, 1), math.nan]]}
    wrong |= {name: ["small", math.inf, True, [0.1], None, mx.ones(2)] for name in ("eps", "learning_rate")}
    for name, values in wrong.items():
        for value in values:
            with pytest.raises((TypeError, ValueError), match=name):
                setattr(optimizer, name, value)
            assert (bits(optimizer.state), repr(optimizer)) == (before, printed)
    assert scheduled(optim.Adafactor, relative_step=False, learning_rate=0.1, beta_1=None).beta_1 is None


def test_a_parameter_of_the_same_name_is_refused() -> None:
    """It would have one place with the hyperparameter."""
    optimizer: Any = scheduled(optim.RMSprop, learning_rate=0.1, alpha=up(0.9, 0.99))
    model = Composed(lambda model, x: model.alpha * model.layer(x), alpha=mx.array(1.0), layer=mlp())
    with pytest.raises(ValueError, match="alpha is a parameter of the model"):
        Training(WAYS["eager"], model, optimizer).train(1)
    model = Composed(lambda model, x: model.schedules * model.layer(x), schedules=mx.array(1.0), layer=mlp())
    for optimizer in (scheduled(optim.SGD, learning_rate=0.1), scheduled(optim.SGD, learning_rate=up(0.1, 0.2))):
        with pytest.raises(ValueError, match="schedules is a parameter of the model"):
            Training(WAYS["eager"], model, optimizer).train(1)


@with_all_ways
def test_what_a_class_passes_on_under_another_name(way: Callable[..., Step]) -> None:
    """A number, to be computed with; a schedule, where MLX takes it for the learning rate; functions that are none."""
    rate = ours.cosine_decay(0.02, 10)
    optimizer: Any = scheduled(PassesOn, lr=rate, decay=0.2, transform=abs, group="a", betas=[0.9, up(0.9, 0.99)])
    assert (optimizer.transform, optimizer.group) == (abs, "a")
    same = scheduled(
        optim.AdamW, learning_rate=ours.cosine_decay(0.02, 10), weight_decay=0.2, betas=[0.9, up(0.9, 0.99)]
    )
    trainings = [Training(way, optimizer=each).train(3) for each in (optimizer, same)]
    assert bits(trainings[0].model.parameters()) == bits(trainings[1].model.parameters())
    assert optimizer.learning_rate.item() == rate(2).item()
    rate.retune(init=0.5)
    assert trainings[0].train(1).optimizer.learning_rate.item() == rate(3).item()
    optimizer.learning_rate = 0.25
    assert copy.deepcopy(optimizer).learning_rate.item() == 0.25
    assert "learning_rate" not in copy.deepcopy(optimizer)._schedulers
    with pytest.raises(TypeError, match="decay of PassesOn cannot be scheduled"):
        scheduled(PassesOn, lr=0.1, decay=up(0.1, 0.2))
    assert scheduled(PassesOn, lr=0.125).learning_rate.item() == 0.125


def test_functions_that_are_no_schedules() -> None:
    optimizer: Any = scheduled(TakesFunctions, learning_rate=0.1, transform=abs, wants=max, momentum=lambda t: 0.25 * t)
    assert (optimizer.transform, optimizer.wants) == (abs, max)
    Training(WAYS["eager"], optimizer=optimizer).train(3)
    assert optimizer.momentum == 0.5
    for name in ("transform", "wants", "times"):
        with pytest.raises(TypeError, match=f"{name} .*structure.*: learning_rate, momentum\\."):
            scheduled(TakesFunctions, learning_rate=0.1, **{name: up(0, 1)})
    with pytest.raises(TypeError, match=r"times .*structure"):
        scheduled(TakesFunctions, learning_rate=0.1, times=abs)
