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

from .counting import requires_compile, run, traces
from .training_loops import Step, batches, bits, by_hand, by_update, eager, everything, mlp, mse, train, warm_cosine


def _capturing(loss_fn: Step, model: Any, optimizer: Any) -> Step:
    return by_hand(loss_fn, model, optimizer, [s.state for s in optimizer._schedulers.values()])


WAYS: dict[str, Callable[..., Step]] = {
    "eager": eager,
    "compiled_step": ours.compiled_step,
    "compiled_update": by_update,
    "by hand": _capturing,
}
with_all_ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


@with_all_ways
def test_the_next_step_follows(way: Callable[..., Step]) -> None:
    """It has the bits of the schedule that was retuned to."""
    schedule = warm_cosine(0.05)
    model, optimizer = mlp(), optim.AdamW(schedule)
    step = way(mse, model, optimizer)
    train(step, batches(3), model, optimizer)
    schedule.retune(peak=0.3, total_steps=60)
    train(step, batches(3), model, optimizer)
    other = ours.warmup_cosine_decay(0.3, 5, 60, end=1e-3)
    assert bits(optimizer.learning_rate) == bits(other(5))

    reference, its_optimizer = mlp(), optim.AdamW(warm_cosine(0.05))
    its_step = way(mse, reference, its_optimizer)
    train(its_step, batches(3), reference, its_optimizer)
    again = optim.AdamW(other)
    again.state = its_optimizer.state
    train(way(mse, reference, again), batches(3), reference, again)
    assert everything(model, optimizer) == everything(reference, again)


@with_all_ways
@requires_compile
def test_nothing_is_traced(way: Callable[..., Step]) -> None:
    calls = []

    def loss_fn(model: Any, x: mx.array, y: mx.array) -> mx.array:
        calls.append(1)
        return mse(model, x, y)

    schedule = warm_cosine()
    model, optimizer = mlp(), optim.AdamW(schedule)
    step = way(loss_fn, model, optimizer)
    train(step, batches(2), model, optimizer)
    calls.clear()
    with traces(schedule) as counted:
        for k in range(1, 11):
            schedule.retune(peak=0.1 * k, warmup_steps=k)
            train(step, batches(2), model, optimizer)
            assert optimizer.learning_rate.item() == schedule(optimizer.step - 1).item()
    assert counted.count == 0
    assert len(calls) == (0 if way in (ours.compiled_step, _capturing) else 20)


@requires_compile
def test_no_kernel_is_built(tmp_path: Path) -> None:
    printed = run(
        """
        import os
        from pathlib import Path
        import mlx.core as mx, mlx.optimizers as optim
        from tests.test_retune import WAYS
        from tests.training_loops import batches, mlp, mse, train, warm_cosine

        def built():
            return {file.name for file in Path(os.environ["TMPDIR"]).rglob("*.so")}

        for way in WAYS.values():
            schedule = warm_cosine()
            model, optimizer = mlp(), optim.AdamW(schedule)
            step = way(mse, model, optimizer)
            train(step, batches(3), model, optimizer)
            before = built()
            for k in range(1, 6):
                schedule.retune(peak=0.1 * k, warmup_steps=k, total_steps=50 + k, end=1e-4 * k)
                train(step, batches(2), model, optimizer)
            print(len(before), len(built() - before))
        """,
        tmp_path,
    )
    counts = [tuple(map(int, line.split())) for line in printed.splitlines()]
    assert len(counts) == len(WAYS)
    assert all(before > 0 and later == 0 for before, later in counts)


ACCEPTED: list[tuple[Callable[[], Schedule], dict[str, Any]]] = [
    (lambda: ours.exponential_decay(0.1, 0.9), {"init": 0.2, "decay_rate": 0.8}),
    (lambda: ours.exponential_decay(0.1, 0.9, decay_steps=5, end=0.01), {"decay_steps": 7, "end": 0.02}),
    (lambda: ours.step_decay(0.1, 0.9, 10), {"step_size": 3}),
    (lambda: ours.cosine_decay(0.1, 100), {"init": 0.2, "decay_steps": 50, "end": 0.01}),
    (lambda: ours.linear_schedule(0.1, 0, 10), {"init": 1, "end": 0.5, "steps": 20}),
    (lambda: ours.join_schedules([1.0, 2.0], [5]), {"schedules": [3.0, 4.0], "boundaries": [2]}),
    (lambda: ours.constant(0.1), {"value": 0.3}),
    (lambda: ours.piecewise_constant([1, 2, 3], [4, 5]), {"values": [5, 6, 7], "boundaries": [1, 9]}),
    (lambda: ours.table([1, 2, 3]), {"values": [4, 5, 6]}),
    (lambda: ours.cyclic(0, 1, 10, 5), {"high": 3.0, "up_steps": 7}),
    (lambda: ours.one_cycle(0.1, 100), {"peak": 1.0, "total_steps": 50, "warmup_fraction": 0.5}),
    (lambda: ours.warmup(ours.cosine_decay(0.1, 100), 10), {"schedule": ours.cosine_decay(0.4, 50), "steps": 3}),
    (lambda: ours.noam(512, 4000), {"warmup_steps": 100}),
    (lambda: ours.clip(ours.cosine_decay(0.1, 100), low=0.05), {"low": 0.01, "high": 0.09}),
    (lambda: ours.delay(ours.cosine_decay(0.1, 100), 5), {"steps": 0}),
]
CURVE = mx.arange(120)


def _named(value: Any) -> str:
    return repr(value()) if callable(value) else " ".join(value)


@pytest.mark.parametrize(("make", "hyperparameters"), ACCEPTED, ids=_named)
def test_the_schedule_becomes_the_one_asked_for(make: Callable[[], Schedule], hyperparameters: dict[str, Any]) -> None:
    """It rates, prints, pickles and copies as that one."""
    schedule = make()
    function, _, arguments = schedule.__reduce__()[1]
    asked_for = function(**{**arguments, **hyperparameters})
    untouched = copy.deepcopy(schedule)
    state = schedule.state
    schedule.retune(**hyperparameters)
    assert schedule.state is state
    assert bits(schedule(CURVE)) == bits(asked_for(CURVE)) != bits(untouched(CURVE))
    assert repr(schedule) == repr(asked_for)
    assert bits(pickle.loads(pickle.dumps(schedule))(CURVE)) == bits(asked_for(CURVE))


REFUSED: list[tuple[Callable[[], Schedule], dict[str, Any]]] = [
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
    (lambda: ours.warmup_cosine_decay(0.1, 10, 100), {"warmup_steps": 100}),
]


@pytest.mark.parametrize(("make", "hyperparameters"), REFUSED, ids=_named)
def test_structure_and_bad_values_are_refused(make: Callable[[], Schedule], hyperparameters: dict[str, Any]) -> None:
    """And nothing has changed then."""
    schedule = make()
    before, text, rate = bits(schedule(CURVE), schedule.state), repr(schedule), schedule.rate
    with pytest.raises(ValueError, match=r".+"):
        schedule.retune(**hyperparameters)
    assert (bits(schedule(CURVE), schedule.state), repr(schedule), schedule.rate) == (before, text, rate)


@pytest.mark.parametrize(
    ("make", "hyperparameters"),
    [
        (lambda: ours.cosine_decay(0.1, 100), {"peak": 1.0}),
        (lambda: ours.cosine_decay(0.1, 100), {"init": "high"}),
        (lambda: ours.cosine_decay(0.1, 100), {"init": None}),
        (lambda: 2 * ours.cosine_decay(0.1, 100), {"init": 0.2}),
        (lambda: ours.cosine_decay(0.1, 100) + 0.1, {"init": 0.2}),
        (lambda: Schedule(lambda step, peak: peak * step, 0.1), {"init": 0.2}),
        (lambda: Schedule(lambda step: step, *()), {"peak": 0.2}),
    ],
)
def test_what_there_is_not_is_a_type_error(make: Callable[[], Schedule], hyperparameters: dict[str, Any]) -> None:
    schedule = make()
    before, text = bits(schedule(CURVE)), repr(schedule)
    with pytest.raises(TypeError):
        schedule.retune(**hyperparameters)
    assert (bits(schedule(CURVE)), repr(schedule)) == (before, text)


def power_law(step: mx.array, peak: mx.array, steps: mx.array) -> mx.array:
    """A user's own rate."""
    return peak * (1 + step / steps) ** -0.5


@with_all_ways
def test_a_rate_of_ones_own_by_its_parameters(way: Callable[..., Step]) -> None:
    schedule = Schedule(power_law, 0.1, 100)
    model, optimizer = mlp(), optim.AdamW(schedule)
    step = way(mse, model, optimizer)
    train(step, batches(2), model, optimizer)
    schedule.retune(peak=0.7)
    schedule.retune(steps=2)
    train(step, batches(1), model, optimizer)
    assert bits(optimizer.learning_rate) == bits(Schedule(power_law, 0.7, 2)(2))
    assert schedule(6).item() == pytest.approx(0.35)


def test_all_steps_of_a_shared_schedule_follow() -> None:
    """One schedule in two optimizers, in a ``MultiOptimizer`` and by itself."""
    schedule = ours.cosine_decay(0.1, 100)
    trained = [(mlp(), optim.AdamW(schedule)), (mlp(), optim.SGD(schedule))]
    steps = [ours.compiled_step(mse, *pair) for pair in trained]
    for step, pair in zip(steps, trained, strict=True):
        train(step, batches(1), *pair)
    schedule.retune(init=0.4)
    for step, (model, optimizer) in zip(steps, trained, strict=True):
        train(step, batches(1), model, optimizer)
        assert bits(optimizer.learning_rate) == bits(schedule(1))
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
    model, optimizer = mlp(), optim.AdamW(schedule)
    step = ours.compiled_step(mse, model, optimizer)
    train(step, batches(1), model, optimizer)
    schedule.retune(peak=0.5)
    with pytest.raises(ValueError, match="addmm"):
        step(mx.zeros((2, 3)), mx.zeros((2, 2)))
    train(step, batches(1), model, optimizer)
    assert optimizer.learning_rate.item() == schedule(1).item() == pytest.approx(0.1)
