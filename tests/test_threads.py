"""A schedule that several threads and processes use at once.

While one thread traces or trains, others may call it, print it, pickle it, retune it and tell it metrics. That is
promised for our tools and for steps that do not capture ``schedule.state``. What a user-compiled step captures, MLX
fills with tracers while it traces, and no other thread may read it meanwhile.
"""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

from .measuring import requires_compile
from .tiny import ONE, Weight, linear, weight
from .training import Step, bits, by_hand, by_update, eager

TRACES = 200
STEPS = [0, 3, 7, 20]


def _plateau(value: float = 0.5) -> Schedule:
    """Of what has several parts; each metric that is no better halves it."""
    return ours.reduce_on_plateau(ours.warmup(ours.cosine_decay(value, 64), 4), patience=0, factor=0.5, threshold=0.0)


def _elsewhere(work: Callable[[], Any]) -> Any:
    """What ``work`` returns on another thread, which has not run anything before."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def _rates(schedule: Schedule) -> list[float]:
    return [float(schedule(step)) for step in STEPS]


def _observed(schedule: Schedule, metric: Any = 1.0) -> Schedule:
    """After a metric, and one that is no better."""
    schedule.observe(metric)
    schedule.observe(metric)
    return schedule


# In the middle of a trace


def _in_the_middle(work: Callable[[], None]) -> Callable[..., mx.array]:
    """A loss that has another thread do some work each time it is traced."""

    def loss_fn(model: nn.Module, x: mx.array) -> mx.array:
        _elsewhere(work)
        return linear(model, x)

    return loss_fn


class _Interrupted(optim.SGD):
    """Has another thread do some work in the middle of an update."""

    def __init__(self, rate: Any, work: Callable[[], None]) -> None:
        super().__init__(rate)
        self.work = work

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        """A step of gradient descent."""
        _elsewhere(self.work)
        updated: mx.array = super().apply_single(gradient, parameter, state)
        return updated


def _once(work: Callable[[], Any], found: list[Any]) -> Callable[[], None]:
    def worked() -> None:
        if not found:
            found.append(work())

    return worked


def _tell(schedule: Schedule) -> list[float]:
    return _rates(_observed(schedule))


def _tune(schedule: Schedule) -> list[float]:
    schedule.retune(min_rate=0.25)
    return _rates(schedule)


WORK: dict[str, Callable[[Schedule], Any]] = {
    "call": _rates,
    "call with an array": lambda s: s(mx.arange(40)).tolist(),
    "print": repr,
    "copy": lambda s: _rates(copy.deepcopy(s)),
    "pickle": lambda s: _rates(pickle.loads(pickle.dumps(s))),
    "read the state": lambda s: bits(s.state),
    "compose": lambda s: _rates(2 * ours.delay(s, 3)),
    "train": lambda s: _trained(ours.compiled_step, s, 2),
    "observe": _tell,
    "retune": _tune,
}
TOOLS = {"compiled_step": ours.compiled_step, "compiled_update": by_update, "by hand": by_hand}
PAIRS = [
    pytest.param(tool, work, id=f"{tool_name}, {name}")
    for tool_name, tool in TOOLS.items()
    for name, work in WORK.items()
    if not (tool is by_hand and work in (_tell, _tune))  # which this step refuses: there the numbers are constants
]


def _trained(way: Callable[..., Step], schedule: Schedule, count: int) -> list[float]:
    """The rates of the first updates."""
    model, optimizer = Weight(), optim.SGD(schedule)
    step, rates = way(linear, model, optimizer), []
    for _ in range(count):
        mx.eval(step(ONE))
        rates.append(float(optimizer.learning_rate))
    return rates


@requires_compile
@pytest.mark.parametrize("where", ["loss", "update"])
@pytest.mark.parametrize(("tool", "work"), PAIRS)
def test_another_thread_in_the_middle_of_a_trace(
    tool: Callable[..., Step], work: Callable[[Schedule], Any], where: str
) -> None:
    """It finds the schedule as it is, and what it does is what the next step trains with."""
    schedule, alone = _plateau(), _plateau()
    _rates(schedule)  # elsewhere this trace is not the first
    found: list[Any] = []
    model, doing = Weight(), _once(lambda: work(schedule), found)
    optimizer = optim.SGD(schedule) if where == "loss" else _Interrupted(schedule, doing)
    step = tool(_in_the_middle(doing) if where == "loss" else linear, model, optimizer)
    for _ in range(3):
        mx.eval(step(ONE), model.state)
    expected = _elsewhere(lambda: work(alone))
    assert found == [expected]
    for _ in range(3):
        mx.eval(step(ONE), model.state)
    assert bits(optimizer.learning_rate) == bits(alone(5))
    assert _rates(schedule) == _rates(alone)


# All at once


def _all_at_once(*works: Callable[[], None]) -> None:
    """Runs each on a thread of its own, from one moment on, and raises what one raises."""
    gate = threading.Barrier(len(works))

    def started(work: Callable[[], None]) -> None:
        gate.wait(60)
        work()

    with ThreadPoolExecutor(len(works)) as threads:
        for running in [threads.submit(started, work) for work in works]:
            running.result()


@requires_compile
@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS.keys())
def test_a_logging_thread_while_another_traces(tool: Callable[..., Step]) -> None:
    schedule = _plateau()
    expected, text = _rates(schedule), repr(schedule)
    done = threading.Event()

    def train() -> None:
        try:
            for _ in range(TRACES):
                assert _trained(tool, schedule, 1) == [expected[0]]
        finally:
            done.set()

    def log() -> None:
        while not done.is_set():
            assert _rates(schedule) == expected
            assert repr(schedule) == text
            assert _rates(pickle.loads(pickle.dumps(schedule))) == expected

    _all_at_once(train, log)


@requires_compile
@pytest.mark.parametrize("tool", [ours.compiled_step, by_update, eager])
def test_retuned_and_told_metrics_while_another_traces(tool: Callable[..., Step]) -> None:
    """Each step has the rate of before a change or of after it."""
    base = ours.constant(0.5)
    schedule = ours.reduce_on_plateau(base, patience=0, factor=1e-3, min_rate=0.25)
    done = threading.Event()
    rates: set[float] = set()

    def train() -> None:
        try:
            for _ in range(TRACES):
                rates.update(_trained(tool, schedule, 1))
        finally:
            done.set()

    def change() -> None:
        for number in range(10 * TRACES):
            base.retune(value=(0.5, 1.0)[number % 2])
            schedule.retune(factor=1e-3 * (1 + number % 2))
            if done.is_set():
                break
        for _ in range(2):
            schedule.observe(1.0)
            assert float(schedule(0)) in (0.5, 1.0, 0.25)

    _all_at_once(train, change)
    assert rates <= {0.5, 1.0, 0.25}
    assert _trained(tool, schedule, 1) == [0.25]


@requires_compile
@pytest.mark.parametrize("tool", [*TOOLS.values(), eager], ids=[*TOOLS.keys(), "eager"])
def test_four_threads_train_with_one_schedule(tool: Callable[..., Step]) -> None:
    """It has observed something, on none of them."""
    schedule = _plateau()
    _elsewhere(lambda: _tell(schedule))
    expected = [float(schedule(step)) for step in range(2)]
    assert expected[1] == 0.0625

    def train() -> None:
        for _ in range(TRACES):
            assert _trained(tool, schedule, 2) == expected

    _all_at_once(*[train] * 4)


METRICS: dict[str, Callable[[], Any]] = {
    "a number": lambda: 1.0,
    "an array": lambda: mx.array(1.0),
    "an array that has no value yet": lambda: mx.array(0.5) + 0.5,
}


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
def test_metrics_of_one_thread_are_read_on_another(metric: Callable[[], Any]) -> None:
    expected = [0.0, 0.0, 0.375, float(_plateau(0.5)(16))]
    told_here, told_there = _plateau(), _plateau()
    wholes = [2 * ours.delay(schedule, 4) for schedule in (told_here, told_there)]
    _observed(told_here, metric())
    _elsewhere(lambda: _observed(told_there, metric()))
    for whole in wholes:
        assert _elsewhere(lambda: _rates(whole)) == expected  # noqa: B023  it is done at once
        assert _rates(whole) == expected


def test_a_schedule_that_is_made_or_retuned_on_another_thread() -> None:
    schedule = _elsewhere(_plateau)
    _elsewhere(lambda: schedule.retune(min_rate=0.25))
    expected = _plateau()
    expected.retune(min_rate=0.25)
    assert _rates(schedule) == _rates(expected)
    assert _trained(ours.compiled_step, schedule, 3) == _trained(eager, expected, 3)


@requires_compile
def test_a_step_that_fails_on_one_thread_leaves_the_schedule_to_the_others() -> None:
    schedule = _plateau()
    expected = _rates(schedule)

    def fails(model: nn.Module, x: mx.array) -> mx.array:
        raise KeyError("a slip")

    def broken() -> None:
        step = ours.compiled_step(fails, Weight(), optim.SGD(schedule))
        for _ in range(20):
            with pytest.raises(KeyError, match="a slip"):
                step(ONE)
            assert _rates(schedule) == expected

    def whole() -> None:
        for _ in range(20):
            model = Weight()
            step = ours.compiled_step(linear, model, optim.SGD(schedule))
            for _ in range(2):
                step(ONE)
            assert weight(model) == -0.125

    _all_at_once(broken, whole, broken)


# Other processes


def _told_again(schedule: Schedule) -> tuple[list[float], Schedule]:
    """What a worker finds, and the schedule after another metric."""
    rates = _rates(schedule)
    schedule.observe(1.0)
    return rates, schedule


POOLED: dict[str, Callable[[], Schedule]] = {
    "new": _plateau,
    "observed": lambda: _observed(_plateau()),
    "observed, of an array that has no value yet": lambda: _observed(_plateau(), mx.array(0.5) + 0.5),
    "part of others": lambda: _observed(2 * ours.delay(_plateau(), 4)),
    "two of them": lambda: _observed(_plateau() + ours.reduce_on_plateau(0.25, patience=0)),
}


def test_into_a_pool_of_processes_and_back() -> None:
    """Pickles are made on a thread of the pool, which is not where the metrics came from."""
    context = multiprocessing.get_context("spawn")
    schedules = {name: make() for name, make in POOLED.items()}
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        working = {name: pool.submit(_told_again, schedule) for name, schedule in schedules.items()}
        for name, work in working.items():
            rates, returned = work.result()
            assert rates == _rates(schedules[name]), name
            again = POOLED[name]()
            for told in (returned, again):  # the worker has told the first of them once
                told.observe(1.0)
            again.observe(1.0)
            assert _rates(returned) == _rates(again) < rates, name
            assert rates == _rates(schedules[name]), "a copy has a life of its own"
            assert repr(returned) == repr(schedules[name])


@pytest.mark.parametrize("make", POOLED.values(), ids=POOLED.keys())
def test_a_pickle_made_on_another_thread(make: Callable[[], Schedule]) -> None:
    schedule = make()
    expected = _rates(make())
    assert _rates(pickle.loads(_elsewhere(lambda: pickle.dumps(schedule)))) == expected
    assert _rates(_elsewhere(lambda: copy.deepcopy(schedule))) == expected
