"""Scheduled optimizers are copied, pickled, saved and loaded; what metrics have done goes with them."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule, scheduled

from .scheduled_optimizers import (
    up,
)
from .training import (
    TOOLS,
    WAYS,
    Step,
    Training,
    batches,
    bits,
    by_hand,
    mse,
)


@pytest.mark.parametrize("way", [WAYS["eager"], *TOOLS.values(), by_hand], ids=["eager", *TOOLS, "by hand"])
def test_copies_train_on_alike_and_apart(way: Callable[..., Step]) -> None:
    def make() -> Any:
        plateau = ours.reduce_on_plateau(ours.cosine_decay(0.05, 20), patience=0)
        return scheduled(optim.AdamW, learning_rate=plateau, weight_decay=up(0.1, 0.2), betas=[0.9, up(0.9, 0.99)])

    optimizer = make()
    training = Training(way, optimizer=optimizer).train(3)
    for _ in range(2):
        optimizer._schedulers["learning_rate"].observe(1.0)
    optimizer.weight_decay = 0.3
    others = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    models = [copy.deepcopy(training.model) for _ in others]
    again = [Training(way, model, other) for model, other in zip(models, others, strict=True)]
    training.train(2)
    for other in again:
        assert repr(other.optimizer) == repr(optimizer)
        assert type(other.optimizer) is type(optimizer)
        assert other.train(2).bits() == training.bits()
    others[0]._schedulers["betas"].schedules[-1].retune(init=0.5)
    others[0].weight_decay = 0.7
    assert again[1].train(1).bits() == training.train(1).bits() != again[0].train(1).bits()


@pytest.mark.parametrize("way", [*TOOLS.values(), by_hand], ids=[*TOOLS, "by hand"])
def test_resumed_it_goes_on_to_the_bit(way: Callable[..., Step], tmp_path: Path) -> None:
    """From a file, with what was observed; with hyperparameters as the program now says."""

    def make(decay: float = 0.1) -> tuple[Training, Schedule]:
        plateau = ours.reduce_on_plateau(ours.cosine_decay(0.05, 20), patience=0)
        rate = ours.warmup(plateau, 2)
        optimizer = scheduled(optim.Adam, learning_rate=rate, betas=[lambda t: 0.9, up(0.9, 0.99)], eps=decay)
        return Training(way, optimizer=optimizer), plateau

    first, plateau = make()
    data = batches(8)
    first.train(data[:4])
    for _ in range(2):
        plateau.observe(1.0)
    file = str(tmp_path / "state.safetensors")
    mx.save_safetensors(file, dict(tree_flatten([first.model.state, first.optimizer.state])))
    first.train(data[4:])

    def resumed(decay: float = 0.1) -> tuple[Training, Schedule]:
        second, plateau = make(decay)
        loaded: Any = mx.load(file)
        model, state = tree_unflatten(list(loaded.items()))
        second.model.update(model)
        second.optimizer.state = state
        if way is by_hand:  # which has captured the state that there was
            second.step = by_hand(mse, second.model, second.optimizer)
        return second.train(data[4:]), plateau

    second, its_plateau = resumed()
    assert bits(second.model.state, second.optimizer.state) == bits(first.model.state, first.optimizer.state)
    before = second.optimizer.learning_rate.item()
    its_plateau.observe(1.0)
    assert second.train(1).optimizer.learning_rate.item() < 0.2 * before
    assert float(resumed(0.2)[0].optimizer.eps) == pytest.approx(0.2)


def test_a_state_without_schedules_is_adopted() -> None:
    """That of a plain optimizer."""
    plain = Training(WAYS["eager"], optimizer=optim.AdamW(0.01)).train(3)
    optimizer = scheduled(optim.AdamW, learning_rate=0.01, weight_decay=up(0.1, 0.2))
    optimizer.state = dict(plain.optimizer.state)
    assert float(optimizer.weight_decay) == pytest.approx(0.13)
    training = Training(ours.compiled_step, plain.model, optimizer).train(1)
    assert training.optimizer.step.item() == 4


def test_of_numbers_the_learning_rate_is_loaded() -> None:
    """As always in MLX; the others are what the program says."""
    saved = Training(WAYS["eager"], optimizer=scheduled(optim.AdamW, learning_rate=0.01, weight_decay=0.1)).train(1)
    optimizer: Any = scheduled(optim.AdamW, learning_rate=0.02, weight_decay=0.2)
    optimizer.state = dict(saved.optimizer.state)
    Training(ours.compiled_step, saved.model, optimizer).train(1)
    assert (optimizer.learning_rate.item(), float(optimizer.weight_decay)) == pytest.approx((0.01, 0.2))


def test_a_state_of_another_schedule_is_refused() -> None:
    """Where metrics have done something that would be lost. Nothing has changed then."""
    saved: Any = scheduled(optim.SGD, learning_rate=ours.reduce_on_plateau(up(0.1, 0.2))).state
    optimizer: Any = scheduled(optim.SGD, learning_rate=ours.reduce_on_plateau(0.1), momentum=0.9)
    before = optimizer.state
    with pytest.raises(ValueError, match=r"cannot go on with the state of another schedule.* under 'schedules'"):
        optimizer.state = saved
    assert optimizer.state is before
    optimizer.state = {name: value for name, value in saved.items() if name != "schedules"}  # at step 0: nothing lost
    assert optimizer.state["schedules"]["learning_rate"] is optimizer._schedulers["learning_rate"].state


@pytest.mark.parametrize(("before", "now"), [(0.9, up(0.8, 0.9)), (up(0.8, 0.9), 0.9)], ids=["schedule", "number"])
def test_what_metrics_did_is_restored_beside_another_element(before: Any, now: Any) -> None:
    """Each element of a list has its own place in a checkpoint, whether it is a number or a schedule."""

    def make(other: Any) -> tuple[Any, Schedule]:
        plateau = ours.reduce_on_plateau(up(0.9, 0.99), factor=0.5, patience=0)
        return scheduled(optim.Adam, learning_rate=0.01, betas=[other, plateau]), plateau

    optimizer, plateau = make(before)
    Training(WAYS["eager"], optimizer=optimizer).train(1)
    for _ in range(3):
        plateau.observe(1.0)
    again, its_plateau = make(now)
    again.state = tree_unflatten(list(dict(tree_flatten(optimizer.state)).items()))
    assert its_plateau(5).item() == plateau(5).item() == pytest.approx(0.945 / 4)


def test_a_shallow_copy_is_given_other_numbers() -> None:
    """Or schedules: the original goes on with its own."""
    optimizer: Any = scheduled(optim.AdamW, learning_rate=up(0.1, 0.2), weight_decay=up(0.1, 0.2))
    another = copy.copy(optimizer)
    another.weight_decay, another.learning_rate = 0.5, ours.cosine_decay(0.3, 10)
    optimizer.update({}, {})
    assert (optimizer.weight_decay, optimizer.learning_rate.item()) == (np.float32(0.1), np.float32(0.1))
    another.update({}, {})
    assert (another.weight_decay, another.learning_rate.item()) == (0.5, np.float32(0.3))


def test_numbers_that_were_assigned_outlast_a_state_that_is_loaded() -> None:
    """As all hyperparameters do; the learning rate alone is that of the state."""
    optimizer: Any = scheduled(optim.AdamW, learning_rate=0.1, weight_decay=up(0.1, 0.2), betas=[0.9, up(0.9, 0.99)])
    saved = tree_unflatten(tree_flatten(Training(WAYS["eager"], optimizer=optimizer).train(2).optimizer.state))
    optimizer.weight_decay, optimizer.betas, optimizer.learning_rate = 0.5, (0.25, 0.75), 0.3
    optimizer.state = saved
    assert (optimizer.weight_decay, *optimizer.betas) == (0.5, 0.25, 0.75)
    training = Training(ours.compiled_step, optimizer=optimizer).train(1)
    assert (training.optimizer.weight_decay, *training.optimizer.betas) == (0.5, 0.25, 0.75)
    assert optimizer.learning_rate.item() == np.float32(0.1)


@pytest.mark.parametrize("kind", ["scheduled", "scheduled, a list", "installed"])
def test_a_state_without_what_metrics_have_done_is_said(kind: str, request: pytest.FixtureRequest) -> None:
    """Of one that has begun: the plateau begins anew. One line of the program is named."""
    if kind == "installed":
        request.getfixturevalue("installed")
    plateau = ours.reduce_on_plateau(0.5, patience=0)

    def make_optimizer() -> Any:
        if kind == "installed":
            return optim.Adam(plateau)
        if kind == "scheduled":
            return scheduled(optim.Adam, learning_rate=plateau, eps=up(1e-8, 1e-6))
        return scheduled(optim.Adam, learning_rate=0.1, betas=[0.9, plateau])

    saved = dict(tree_flatten(Training(WAYS["eager"], optimizer=make_optimizer()).train(2).optimizer.state))
    without = {name: value for name, value in saved.items() if not name.startswith("schedules")}
    optimizer = make_optimizer()
    with pytest.warns(
        UserWarning, match=r"nothing of reduce_on_plateau\(.*\) under 'schedules'.* begins anew"
    ) as caught:
        optimizer.state = tree_unflatten(list(without.items()))
    assert [warning.filename for warning in caught] == [__file__]
    optimizer.state = tree_unflatten(list(saved.items()))
    optimizer.state = optimizer.state
    copy.deepcopy(optimizer)
    pickle.loads(pickle.dumps(optimizer))


def _sgd(kind: str, rate: Any) -> Any:
    if kind == "installed":
        return optim.SGD(rate)
    return scheduled(optim.SGD, learning_rate=rate, momentum=up(0, 1))


ODD: dict[str, Any] = {"[]": [], "None": None, "{}": {}, "a tuple": (), "of no dict": {"schedules": 3, "step": 2}}


@pytest.mark.parametrize("kind", ["scheduled", "installed"])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_states(odd: Any, kind: str, request: pytest.FixtureRequest) -> None:
    """Some programs free the state, and give it back later."""
    if kind == "installed":
        request.getfixturevalue("installed")
    rate = ours.reduce_on_plateau(ours.cosine_decay(0.1, 10))
    optimizer: Any = (
        optim.SGD(rate) if kind == "installed" else scheduled(optim.SGD, learning_rate=rate, momentum=up(0, 1))
    )
    training = Training(WAYS["eager"], optimizer=optimizer).train(2)
    before = optimizer.state
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a plateau that begins anew
        optimizer.state = copy.copy(odd)
    repr(optimizer)
    copy.copy(optimizer)
    optimizer.state = before
    training.train(1)
    assert optimizer.learning_rate.item() == rate(2).item()


def test_a_refused_state_changes_no_schedule() -> None:
    """Not the first of two plateaus either, when the second is refused."""
    one, other = ours.reduce_on_plateau(0.5, patience=0), ours.reduce_on_plateau(up(0.9, 0.99), patience=0)
    saved = scheduled(optim.Adam, learning_rate=one, betas=[0.9, other])
    for _ in range(3):
        one.observe(1.0)
    state = tree_unflatten(tree_flatten(saved.state))
    first, second = ours.reduce_on_plateau(0.5, patience=0), ours.reduce_on_plateau(0.9, patience=0)
    optimizer = scheduled(optim.Adam, learning_rate=first, betas=[0.9, second])
    before = optimizer.state
    with pytest.raises(ValueError, match="state of another schedule"):
        optimizer.state = state
    assert optimizer.state is before
    assert first(0).item() == 0.5
    assert one(0).item() == pytest.approx(0.005)


STEPS: dict[str, Any] = {
    "bfloat16": mx.array(300, mx.bfloat16),
    "float16": mx.array(2048, mx.float16),
    "int32": mx.array(300, mx.int32),
    "float32": mx.array(2**24, mx.float32),
    "a number": 300,
    "uint64": mx.array(2**40, mx.uint64),
}


@pytest.mark.parametrize("kind", ["scheduled", "installed"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_step_of_any_type_counts_on(
    step: Any, way: Callable[..., Step], kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "installed":
        request.getfixturevalue("installed")
    rate = ours.linear_schedule(1.0, 0.0, 3000)
    optimizer: Any = (
        optim.SGD(rate) if kind == "installed" else scheduled(optim.SGD, learning_rate=rate, momentum=up(0, 1))
    )
    optimizer.state["step"] = step
    Training(way, optimizer=optimizer).train(3)
    begun = int(step)
    assert (optimizer.step.item(), optimizer.state["step"].dtype) == (begun + 3, mx.uint64)
    assert optimizer.learning_rate.item() == rate(begun + 2).item()


def rate_of(optimizer: Any) -> Any:
    """Run by another process: an optimizer that came there, after one more update."""
    optimizer.update({}, {})
    return optimizer, optimizer.learning_rate.item(), float(optimizer.betas[1])


def test_a_pool_of_processes() -> None:
    """Fresh optimizers go there, trained ones, and those whose plateau has observed; and back."""
    plateau = ours.reduce_on_plateau(ours.cosine_decay(0.5, 100), patience=0)
    fresh = scheduled(optim.Adam, learning_rate=plateau, betas=[0.9, ours.warmup(ours.constant(0.99), 10, 0.9)])
    trained = copy.deepcopy(fresh)
    Training(WAYS["eager"], optimizer=trained).train(2)
    observed = copy.deepcopy(trained)
    for _ in range(2):
        observed._schedulers["learning_rate"].observe(1.0)
    mx.eval(observed.state)
    given = [fresh, trained, observed]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        returned = [*pool.map(rate_of, given)]
    for optimizer, (back, rate, beta) in zip(given, returned, strict=True):
        assert (back, rate, beta)[1:] == rate_of(optimizer)[1:]
        assert repr(back) == repr(optimizer)
        assert back.step.item() == optimizer.step.item()
    assert returned[2][1] < 0.2 * returned[1][1]
