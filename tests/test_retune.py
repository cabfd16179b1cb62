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
from .schedules import FACTORIES, TYPICAL, Row, call_of, each
from .test_calls import power_law
from .training import WAYS, Step, Training, bits, by_hand, capturing, flat, mse, warm_cosine, with_all_ways

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


def _is_like(schedule: Schedule, other: Schedule) -> bool:
    """Whether one graph computes both."""
    types = [[(name, c.shape, c.dtype) for name, c in flat(each.state)] for each in (schedule, other)]
    return schedule.structure == other.structure and types[0] == types[1]


@pytest.mark.usefixtures("uncompiled")
@each({name: row for name, row in TYPICAL.items() if not repr(row.schedule).startswith("(")})
def test_the_schedule_becomes_the_one_asked_for(row: Row) -> None:
    """It rates, prints, pickles and copies as that one, by all of its arguments or each alone; if one graph can."""
    (factory, arguments), (_, others) = call_of(row.make, 0.1), call_of(row.make, 0.37)
    for hyperparameters in (others, *({name: value} for name, value in others.items())):
        schedule, asked_for = row.schedule, FACTORIES[factory](**{**arguments, **hyperparameters})
        state = schedule.state
        if not _is_like(schedule, asked_for):
            assert row.fixed or factory == "cosine_restarts"
            with pytest.raises(ValueError, match="compiled differently"):
                schedule.retune(**hyperparameters)
            continue
        schedule.retune(**hyperparameters)
        assert schedule.state is state
        changes = any(repr(value) != repr(arguments[name]) for name, value in hyperparameters.items())
        assert changes == (bits(state) != bits(row.schedule.state))
        assert repr(schedule) == repr(asked_for)
        copies = [copy.deepcopy(schedule)]
        copies += [] if "lambda" in repr(schedule) else [pickle.loads(pickle.dumps(schedule))]
        for same in (schedule, *copies):
            assert bits(same(CURVE), same.state) == bits(asked_for(CURVE), asked_for.state)


def _named(value: Any) -> str:
    return " ".join(value) if isinstance(value, dict) else ""


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


@pytest.mark.parametrize(
    ("schedule", "known"),
    [(ours.cosine_decay(0.1, 100), "It has init, decay_steps"), (Schedule(power_law, 0.1, 100), "It has peak, steps.")],
    ids=_named,
)
def test_a_name_that_is_not_there_gets_those_that_are(schedule: Schedule, known: str) -> None:
    with pytest.raises(TypeError, match=f"has no hyperparameter zzz. {known}"):
        schedule.retune(zzz=1)


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


def test_what_was_made_of_it_follows() -> None:
    """At any depth, and in its text too."""
    part = ours.cosine_decay(0.1, 100)
    whole = 2 * ours.warmup(part, 10)
    part.retune(init=0.7)
    asked_for = 2 * ours.warmup(ours.cosine_decay(0.7, 100), 10)
    assert bits(whole(CURVE)) == bits(asked_for(CURVE))
    assert repr(whole) == repr(asked_for)


@requires_compile
def test_where_what_was_made_of_it_cannot_follow_nothing_changes() -> None:
    part = ours.constant(0.5)
    whole = ours.exponential_decay(0.1, 0.5) * ours.clip(part, high=1.0)
    mx.compile(whole)(mx.array(3, mx.uint64))  # which does not capture its state
    before = bits(part(CURVE), whole(CURVE))
    with pytest.raises(ValueError, match=r"schedule\.state.*compiled_step"):
        part.retune(value=0.25)
    assert bits(part(CURVE), whole(CURVE)) == before
    assert repr(part) == "constant(value=0.5)"


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
