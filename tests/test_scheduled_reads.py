"""A schedule that no update reads changes nothing, and a warning says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest

from mlxsched_compiled import scheduled

from .measuring import EMPTY_GROUPS
from .scheduled_optimizers import (
    KeepsFirst,
    KeepsInverse,
    ReadsAtFirst,
    ReadsState,
    up,
)
from .training import (
    WAYS,
    Step,
    Training,
    with_all_ways,
)


@with_all_ways
def test_a_schedule_that_an_update_does_not_read(way: Callable[..., Step]) -> None:
    unused = scheduled(optim.SGD, learning_rate=0.1, dampening=up(0.1, 0.2))
    for optimizer, name in (
        (scheduled(KeepsInverse, learning_rate=0.1, scale=up(1, 2)), "scale"),
        (scheduled(ReadsAtFirst, learning_rate=0.1, begin=up(1, 2)), "begin"),
        (scheduled(optim.Adafactor, learning_rate=up(0.1, 0.2)), "learning_rate"),
        (unused, "dampening"),
    ):
        with pytest.warns(UserWarning, match=f"does not read {name}, so its schedule changes nothing"):
            training = Training(way, optimizer=optimizer).train(2)
        training.train(2)  # and not again
    scheduled(KeepsInverse, learning_rate=0.1, scale=2.0).init({"weight": mx.ones(2)})
    unused.init({})  # no update at all
    Training(way, optimizer=scheduled(ReadsState, learning_rate=up(0.1, 0.2))).train(3)
    Training(way, optimizer=scheduled(optim.SGD, learning_rate=0.1, momentum=0.9, dampening=up(0.1, 0.2))).train(3)


def test_a_schedule_that_only_the_first_update_does_not_read() -> None:
    """Is one that updates read; one that only the state begins with is not."""
    optimizer = scheduled(KeepsFirst, learning_rate=0.1, decay=up(0.1, 0.2))
    Training(WAYS["eager"], optimizer=optimizer).train(2)
    assert all(layer["weight"]["updates"] == 2 for layer in optimizer.state["layers"][::2])
    optimizer = scheduled(KeepsFirst, learning_rate=0.1, start=up(1, 2))
    with pytest.warns(UserWarning, match="does not read start"):
        Training(WAYS["eager"], optimizer=optimizer).train(2)


def test_it_is_said_of_the_line_that_trains() -> None:
    optimizer = scheduled(KeepsInverse, learning_rate=0.1, scale=up(1, 2))
    model = nn.Linear(2, 2)
    gradients = model.trainable_parameters()
    optimizer.update(model, gradients)
    with pytest.warns(UserWarning, match="does not read scale") as caught:
        optimizer.update(model, gradients)
    assert [warning.filename for warning in caught] == [__file__]


class OfMatrices(optim.SGD):
    """Reads its number for matrices alone."""

    def __init__(self, learning_rate: float, stretch: float = 1.0) -> None:
        super().__init__(learning_rate)
        self.stretch = stretch

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        stretched = gradient * self.stretch if gradient.ndim > 1 else gradient
        updated: mx.array = super().apply_single(stretched, parameter, state)
        return updated


def test_updates_of_some_of_the_parameters_say_nothing() -> None:
    """Nor those of none, nor what an update that failed did not come to."""
    optimizer = scheduled(OfMatrices, learning_rate=up(0.1, 0.2), stretch=up(1, 2))
    weights = {"w": mx.ones((2, 2)), "b": mx.ones(2)}
    optimizer.init(weights)
    for _ in range(3):
        optimizer.apply_gradients({"b": mx.ones(2)}, weights)
        optimizer.apply_gradients({}, weights)
        with pytest.raises(ValueError, match="broadcast"):
            optimizer.apply_gradients({"b": mx.ones(2), "w": mx.ones((2, 3))}, {"b": mx.ones(3), "w": weights["w"]})
    for _ in range(3):
        optimizer.apply_gradients(weights, weights)
    optimizer = scheduled(OfMatrices, learning_rate=0.1, stretch=up(1, 2))
    optimizer.apply_gradients({"b": mx.ones(2)}, weights)
    with pytest.warns(UserWarning, match="does not read stretch"):
        optimizer.apply_gradients({"b": mx.ones(2)}, weights)


def test_what_is_read_between_updates_is_read_by_none() -> None:
    """As for a log."""
    optimizer: Any = scheduled(optim.Adafactor, learning_rate=up(0.1, 0.2), weight_decay=up(0.1, 0.2))
    training = Training(WAYS["eager"], optimizer=optimizer).train(1)
    assert optimizer.learning_rate.item() == np.float32(0.1)
    with pytest.warns(UserWarning, match="Adafactor does not read learning_rate"):
        training.train(1)
    training.train(1)  # and not again


@pytest.mark.skipif(not EMPTY_GROUPS, reason="this MLX fails where one of several optimizers has nothing to train")
@with_all_ways
def test_a_group_without_parameters(way: Callable[..., Step]) -> None:
    groups = [
        scheduled(optim.SGD, learning_rate=up(0.1, 0.2), dampening=up(0.1, 0.2)),
        scheduled(optim.SGD, learning_rate=up(0.1, 0.2), momentum=up(0.1, 0.2)),
    ]
    optimizer = optim.MultiOptimizer(groups, [lambda name, weight: False])
    Training(way, optimizer=optimizer).train(3)
