"""``retune``: the next step follows, wherever the schedule runs, and nothing is traced or built for it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

from .measuring import Counted, requires_compile, run, traces
from .schedules import FACTORIES, call_of
from .test_calls import power_law
from .training import WAYS, Step, Training, bits, by_hand, capturing, mse, warm_cosine, with_all_ways

CURVE = mx.arange(120)


def _training(way: Callable[..., Step], schedule: Schedule, loss_fn: Step = mse) -> Training:
    return Training(way, optimizer=optim.AdamW(schedule), loss_fn=loss_fn)


@with_all_ways
def test_the_next_step_follows(way: Callable[..., Step]) -> None:
    """It has the bits of the schedule that was retuned to."""
    schedule = warm_cosine(0.05)
    training = _training(way, schedule).train(3)
    schedule.retune(peak=0.3, total_steps=60)
    training.train(3)
    other = ours.warmup_cosine_decay(0.3, 5, 60, end=1e-3)
    assert bits(training.optimizer.learning_rate) == bits(other(5))

    before = _training(way, warm_cosine(0.05)).train(3)
    after = optim.AdamW(other)
    after.state = before.optimizer.state
    assert training.bits() == Training(way, before.model, after).train(3).bits()


@with_all_ways
@requires_compile
def test_nothing_is_traced(way: Callable[..., Step]) -> None:
    loss_fn, schedule = Counted(mse), warm_cosine()
    training = _training(way, schedule, loss_fn).train(2)
    loss_fn.calls = 0
    with traces(schedule) as counted:
        for k in range(1, 11):
            schedule.retune(peak=0.1 * k, warmup_steps=k)
            training.train(2)
            assert training.optimizer.learning_rate.item() == schedule(training.optimizer.step - 1).item()
    assert counted.calls == 0
    assert loss_fn.calls == (0 if way in (ours.compiled_step, capturing) else 20)


@requires_compile
def test_no_kernel_is_built(tmp_path: Path) -> None:
    printed = run(
        """
        import os
        from pathlib import Path
        import mlx.optimizers as optim
        from tests.measuring import libraries
        from tests.training import WAYS, Training, warm_cosine

        temp = Path(os.environ["TMPDIR"])
        for way in WAYS.values():
            schedule = warm_cosine()
            training = Training(way, optimizer=optim.AdamW(schedule)).train(3)
            before = libraries(temp)
            for k in range(1, 6):
                schedule.retune(peak=0.1 * k, warmup_steps=k, total_steps=50 + k, end=1e-4 * k)
                training.train(2)
            print(len(before), len(libraries(temp) - before))
        """,
        tmp_path,
    )
    counts = [tuple(map(int, line.split())) for line in printed.splitlines()]
    assert len(counts) == len(WAYS)
    assert all(before > 0 and later == 0 for before, later in counts)


ACCEPTED: list[tuple[Callable[[Any], Schedule], dict[str, Any]]] = [
    (lambda m: m.exponential_decay(0.1, 0.9), {"init": 0.2, "decay_rate": 0.8}),
    (lambda m: m.exponential_decay(0.1, 0.9, decay_steps=5, end=0.01), {"decay_steps": 7, "end": 0.02}),
    (lambda m: m.step_decay(0.1, 0.9, 10), {"step_size": 3}),
    (lambda m: m.cosine_decay(0.1, 100), {"init": 0.2, "decay_steps": 50, "end": 0.01}),
    (lambda m: m.linear_schedule(0.1, 0, 10), {"init": 1, "end": 0.5, "steps": 20}),
    (lambda m: m.join_schedules([1.0, 2.0], [5]), {"schedules": [3.0, 4.0], "boundaries": [2]}),
    (lambda m: m.constant(0.1), {"value": 0.3}),
    (lambda m: m.piecewise_constant([1, 2, 3], [4, 5]), {"values": [5, 6, 7], "boundaries": [1, 9]}),
    (lambda m: m.table([1, 2, 3]), {"values": [4, 5, 6]}),
    (lambda m: m.cyclic(0, 1, 10, 5), {"high": 3.0, "up_steps": 7}),
    (lambda m: m.one_cycle(0.1, 100), {"peak": 1.0, "total_steps": 50, "warmup_fraction": 0.5}),
    (lambda m: m.warmup(m.cosine_decay(0.1, 100), 10), {"schedule": ours.cosine_decay(0.4, 50), "steps": 3}),
    (lambda m: m.noam(512, 4000), {"warmup_steps": 100}),
    (lambda m: m.clip(m.cosine_decay(0.1, 100), low=0.05), {"low": 0.01, "high": 0.09}),
    (lambda m: m.delay(m.cosine_decay(0.1, 100), 5), {"steps": 0}),
]


def _named(value: Any) -> str:
    return " ".join(value) if isinstance(value, dict) else ""


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(("make", "hyperparameters"), ACCEPTED, ids=_named)
def test_the_schedule_becomes_the_one_asked_for(
    make: Callable[[Any], Schedule], hyperparameters: dict[str, Any]
) -> None:
    """It rates, prints, pickles and copies as that one."""
    schedule, untouched = make(ours), make(ours)
    factory, arguments = call_of(make)
    asked_for = FACTORIES[factory](**{**arguments, **hyperparameters})
    state, structure = schedule.state, schedule.structure
    schedule.retune(**hyperparameters)
    assert schedule.state is state
    assert schedule.structure == structure
    assert bits(schedule(CURVE)) == bits(asked_for(CURVE)) != bits(untouched(CURVE))
    assert repr(schedule) == repr(asked_for)
    for copied in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert bits(copied(CURVE)) == bits(asked_for(CURVE))


REFUSED: list[tuple[Callable[[], Schedule], dict[str, Any]]] = [
    # Of as many coefficients, of the same types.
    (lambda: ours.exponential_decay(0.1, 0.9), {"decay_rate": 1.1}),
    (lambda: ours.warmup(ours.cosine_decay(0.1, 100), 10), {"shape": "sqrt"}),
    (lambda: ours.warmup(ours.rex_decay(0.1, 100), 10), {"schedule": ours.sqrt_decay(0.1, 100)}),
    # Of others.
    (lambda: ours.exponential_decay(0.1, 0.9), {"end": 0.01}),
    (lambda: ours.join_schedules([1.0, 2.0], [5]), {"schedules": [1.0, 2.0, 3.0], "boundaries": [5, 6]}),
    (lambda: ours.join_schedules([1.0, 2.0], [5]), {"schedules": [1.0, ours.cosine_decay(1, 10)]}),
    (lambda: ours.join_schedules([1.0, 2.0], [5]), {"schedules": [1.0]}),
    (lambda: ours.piecewise_constant([1, 2], [5]), {"values": [1, 2, 3], "boundaries": [4, 5]}),
    (lambda: ours.table([1, 2]), {"values": [1, 2, 3]}),
    (lambda: ours.cyclic(0, 1, 10), {"mode": "triangular2"}),
    (lambda: ours.one_cycle(0.1, 100), {"shape": "linear"}),
    (lambda: ours.one_cycle(0.1, 100), {"three_phase": True}),
    (lambda: ours.warmup(ours.cosine_decay(0.1, 100), 10), {"schedule": ours.linear_schedule(1, 0, 5)}),
    (lambda: ours.warmup(ours.cosine_decay(0.1, 100), 10), {"shape": "cosine"}),
    (lambda: ours.cosine_restarts(0.1, 10), {"period_factor": 2.0}),
    (lambda: ours.cosine_decay(0.1, 100), {"init": float("nan")}),
    (lambda: ours.cosine_decay(0.1, 100), {"decay_steps": 0}),
    (lambda: ours.warmup_cosine_decay(0.1, 10, 100), {"warmup_steps": 101}),
]


NOT_THERE: list[tuple[Callable[[], Schedule], dict[str, Any]]] = [
    (lambda: ours.cosine_decay(0.1, 100), {"peak": 1.0}),
    (lambda: ours.cosine_decay(0.1, 100), {"init": "high"}),
    (lambda: ours.cosine_decay(0.1, 100), {"init": None}),
    (lambda: 2 * ours.cosine_decay(0.1, 100), {"init": 0.2}),
    (lambda: ours.cosine_decay(0.1, 100) + 0.1, {"init": 0.2}),
    (lambda: Schedule(lambda step, peak: peak * step, 0.1), {"init": 0.2}),
    (lambda: Schedule(lambda step: step, *()), {"peak": 0.2}),
]


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    ("make", "hyperparameters", "error"),
    [*((*case, ValueError) for case in REFUSED), *((*case, TypeError) for case in NOT_THERE)],
    ids=_named,
)
def test_structure_and_bad_values_and_names_are_refused(
    make: Callable[[], Schedule], hyperparameters: dict[str, Any], error: type[Exception]
) -> None:
    """And nothing has changed then."""
    schedule = make()
    before, text, structure = bits(schedule(CURVE), schedule.state), repr(schedule), schedule.structure
    with pytest.raises(error, match=r".+"):
        schedule.retune(**hyperparameters)
    assert (bits(schedule(CURVE), schedule.state), repr(schedule), schedule.structure) == (before, text, structure)


@with_all_ways
def test_a_rate_of_ones_own_by_its_parameters(way: Callable[..., Step]) -> None:
    schedule = Schedule(power_law, 0.1, 100)
    training = _training(way, schedule).train(2)
    schedule.retune(peak=0.7)
    schedule.retune(steps=2)
    training.train(1)
    assert bits(training.optimizer.learning_rate) == bits(Schedule(power_law, 0.7, 2)(2))
    assert schedule(6).item() == pytest.approx(0.35)


def test_all_steps_of_a_shared_schedule_follow() -> None:
    """One schedule in two optimizers, and by itself."""
    schedule = ours.cosine_decay(0.1, 100)
    trainings = [
        Training(ours.compiled_step, optimizer=optimizer(schedule)).train(1) for optimizer in (optim.AdamW, optim.SGD)
    ]
    schedule.retune(init=0.4)
    for training in trainings:
        assert bits(training.train(1).optimizer.learning_rate) == bits(schedule(1))
    assert float(schedule(1)) > 0.3


def test_what_was_made_of_it_keeps_its_own() -> None:
    """A schedule that another was made of is copied into it."""
    part = ours.cosine_decay(0.1, 100)
    whole = ours.warmup(part, 10)
    before = bits(whole(CURVE))
    part.retune(init=0.7)
    assert bits(whole(CURVE)) == before


def test_after_a_failed_step() -> None:
    """What was retuned before a step that fails stays retuned."""
    schedule = warm_cosine()
    training = _training(ours.compiled_step, schedule).train(1)
    schedule.retune(peak=0.5)
    with pytest.raises(ValueError, match="addmm"):
        training.step(mx.zeros((2, 3)), mx.zeros((2, 2)))
    assert training.rates(1) == [schedule(1).item()] == [pytest.approx(0.1)]


@requires_compile
def test_a_state_that_is_assigned_reaches_a_step_that_captures_it() -> None:
    """And no other step: there its values are constants, and those of the schedule."""
    schedule, other = ours.linear_schedule(0.5, 0.25, 10), ours.linear_schedule(3.0, 1.0, 5)
    captured, constant = (Training(way, optimizer=optim.SGD(schedule)) for way in (capturing, by_hand))
    for training in (captured, constant):
        assert training.rates(3) == [schedule(step).item() for step in range(3)]
    going_on = [schedule(step).item() for step in range(3, 7)]
    schedule.state[:] = other.state
    assert captured.rates(4) == [other(step).item() for step in range(3, 7)]
    assert constant.rates(4) == going_on
