"""Nothing that was dropped stays, nothing is called or built more often than needed."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

from .kernels import kernels
from .measuring import requires_compile, uncompiled
from .tiny import ONE, Weight, linear, weight
from .training import bits, by_hand, by_update, eager


class Big:
    """Stands for something big that a rate refers to."""

    factor = 0.5


class _Method:
    def __init__(self, big: Big) -> None:
        self.big = big

    def rate(self, step: mx.array) -> mx.array:
        """A rate that knows its object."""
        return self.big.factor / (step + 1.0)

    __call__ = rate


class _Slots:
    __slots__ = ("big",)

    def __init__(self, big: Big) -> None:
        self.big = big

    def __call__(self, step: mx.array) -> mx.array:
        return self.big.factor / (step + 1.0)

    rate = __call__


def _closure(big: Big) -> Any:
    return lambda step: big.factor / (step + 1.0)


def _named(big: Big, step: mx.array) -> mx.array:
    return big.factor / (step + 1.0)


RATES: dict[str, Callable[[Big], Any]] = {
    "closure": _closure,
    "partial": lambda big: partial(_named, big),
    "object": _Method,
    "method": lambda big: _Method(big).rate,
    "object without weak references": _Slots,
    "method of one": lambda big: _Slots(big).rate,
}
USES: dict[str, Callable[[Any], Any]] = {
    "warmup": lambda rate: ours.warmup(rate, 10)(3),
    "called in many ways": lambda rate: [
        Schedule(rate)(3),
        Schedule(rate)(mx.arange(3)),
        mx.compile(Schedule(rate))(3),
    ],
    "product of a join": lambda rate: (2 * ours.join_schedules([rate] * 6, [1, 2, 3, 4, 5]))(4),
    "whole that a part reaches": lambda rate: _retuned(ours.constant(0.5), rate),
    "copied": lambda rate: copy.deepcopy(ours.delay(Schedule(rate), 3))(7),
    "in a compiled step": lambda rate: _trained(ours.compiled_step, rate),
    "in a compiled update": lambda rate: _trained(by_update, rate),
    "in a step by hand": lambda rate: _trained(by_hand, rate),
    "in another thread": lambda rate: _in_thread(lambda: ours.warmup(rate, 10)(3).item()),
}


def _retuned(part: Schedule, rate: Any) -> mx.array:
    whole = ours.join_schedules([part, rate], [5])
    part.retune(value=0.25)
    return whole(7)


def _trained(way: Callable[..., Any], rate: Any) -> float:
    model, optimizer = Weight(), optim.SGD(ours.warmup(rate, 3))
    step = way(linear, model, optimizer)
    for _ in range(2):
        step(ONE)
    return weight(model)


def _in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@pytest.mark.parametrize("rate", RATES.values(), ids=RATES.keys())
def test_what_a_dropped_rate_refers_to_is_gone(rate: Callable[[Big], Any], use: Callable[[Any], Any]) -> None:
    def used() -> weakref.ref[Big]:
        big = Big()
        use(rate(big))
        return weakref.ref(big)

    alive = [used() for _ in range(4)]
    gc.collect()
    assert [reference() for reference in alive] == [None] * 4


def test_a_thousand_dropped_closures_are_gone() -> None:
    """While others are in use."""
    kept = ours.warmup(_closure(Big()), 10)
    alive = []
    for _ in range(1100):
        big = Big()
        alive.append(weakref.ref(big))
        ours.warmup(_closure(big), 10)
    del big
    gc.collect()
    assert sum(reference() is not None for reference in alive) == 0
    assert kept(10).item() == 0.5


def test_a_dropped_step_lets_go_of_all_that_it_trained() -> None:
    """Model, optimizer, schedules of the loss, and a teacher."""

    def make() -> list[weakref.ref[Any]]:
        model, teacher, optimizer = Weight(), Weight(), optim.Adam(ours.constant(0.1))
        schedule = ours.constant(1.0)
        step = ours.compiled_step(
            lambda model, x: schedule(optimizer.step) * linear(model, x) * teacher.w,
            model,
            optimizer,
            modules=[teacher],
            accumulate=2,
        )
        for _ in range(3):
            step(ONE)
        step.flush()
        return [weakref.ref(each) for each in (model, teacher, optimizer, schedule, step)]

    alive = make()
    gc.collect()
    assert [reference() for reference in alive] == [None] * len(alive)


def test_a_part_does_not_keep_the_wholes_made_of_it() -> None:
    part = ours.constant(0.5)
    big = Big()
    alive = weakref.ref(big)
    whole = ours.join_schedules([part, _closure(big)], [5])
    assert whole(5).item() == 0.5
    del whole, big
    gc.collect()
    assert alive() is None
    part.retune(value=0.25)


def test_a_step_keeps_no_array_of_before() -> None:
    """Between two calls; MLX works in place only on what nobody else has."""
    model, optimizer = Weight(), optim.SGD(1.0, momentum=0.5)
    model.w = mx.zeros((256, 1024))
    step = ours.compiled_step(lambda model, x: mx.sum(model.w * x), model, optimizer)
    for _ in range(3):
        step(ONE)
        mx.eval(model.state, optimizer.state)
    held = mx.get_active_memory()
    for _ in range(5):
        step(ONE)
        mx.eval(model.state, optimizer.state)
    assert mx.get_active_memory() <= held + 1000


# Compilation disabled and enabled


def _count_kernels(make: Callable[[], Schedule], found: list[int]) -> None:
    found.append(len(kernels(make()(mx.array(7)))))


@requires_compile
def test_what_was_first_used_without_compilation_is_compiled_afterwards_as_ever() -> None:
    def user(step: mx.array) -> mx.array:
        return 0.1 / (step + 2.5)

    made: list[Callable[[], Schedule]] = [
        lambda: ours.join_schedules([ours.cosine_decay(0.1, 11 + i) for i in range(3)], [5, 9]),
        lambda: ours.warmup(ours.exponential_decay(0.1, 0.9, decay_steps=7, end=0.01), 10) * ours.cosine_decay(1.0, 77),
        lambda: ours.join_schedules([user, ours.cosine_decay(0.1, 10)], [5]),
    ]
    step = mx.array(7)
    for make in made:
        with uncompiled():
            disabled = make()
            rate = bits(disabled(step))
        enabled = make()
        assert bits(disabled(step)) == bits(enabled(step)) == rate
        assert len(kernels(disabled(step))) == len(kernels(enabled(step)))
        in_thread: list[Any] = []
        _in_thread(partial(_count_kernels, make, in_thread))  # with graphs of its own
        assert in_thread == [len(kernels(disabled(step)))]


@requires_compile
def test_a_step_made_without_compilation_is_compiled_afterwards() -> None:
    """And follows, before and after."""
    schedule = ours.constant(1.0)
    model, optimizer = Weight(), optim.SGD(lambda step: schedule(step), momentum=0.5)
    step = ours.compiled_step(linear, model, optimizer)
    reference, its_optimizer = Weight(), optim.SGD(lambda step: schedule(step), momentum=0.5)
    in_eager = eager(linear, reference, its_optimizer)
    for i in range(6):
        schedule.retune(value=1.0 + i)
        optimizer.momentum = its_optimizer.momentum = 0.5 + (i // 2) / 8
        if i % 4 < 2:
            with uncompiled():
                step(ONE)
        else:
            step(ONE)
        in_eager(ONE)
        assert weight(model) == weight(reference)


# Functions that are the same, and how often they are called


@requires_compile
def test_two_bound_methods_of_one_object_share_a_graph() -> None:
    """Those of two objects, and two methods of one, do not."""
    calls = []

    class Rate:
        def one(self, step: mx.array) -> mx.array:
            calls.append(1)
            return 0.1 / (step + 1.0)

        def other(self, step: mx.array) -> mx.array:
            calls.append(2)
            return 0.2 / (step + 1.0)

    rate, another = Rate(), Rate()
    kept = Schedule(rate.one)
    kept(5)
    first = calls.count(1)
    schedules = [Schedule(rate.one) for _ in range(5)]
    assert {schedule(5).item() for schedule in schedules} == {schedules[0](5).item()}
    assert calls.count(1) == first
    Schedule(another.one)(5)
    assert calls.count(1) == first + 1
    assert Schedule(rate.other)(5).item() == pytest.approx(2 * Schedule(rate.one)(5).item())


@requires_compile
@pytest.mark.parametrize("segments", [2, 3, 9])
def test_a_users_function_in_a_long_join_is_called_once_in_a_trace(segments: int) -> None:
    calls = []

    def rate(step: mx.array) -> mx.array:
        calls.append(step)
        return 0.1 / (step + 1.0)

    schedule = ours.join_schedules([rate] + [0.1] * (segments - 1), range(5, 4 + segments))
    assert not calls
    schedule(3)
    assert len(calls) == 1
    schedule(4)
    assert len(calls) == 1
    longer = ours.warmup(schedule, 3)
    assert len(calls) == 1
    longer(3)
    assert len(calls) == 2


def test_threads_that_have_ended_leave_nothing() -> None:
    """And each has the rates of all others."""
    schedule = ours.join_schedules([_Method(Big()), ours.cosine_decay(0.5, 20)], [5])
    expected = bits(schedule(mx.array(12)))
    found: list[Any] = []
    for _ in range(3):
        _in_thread(lambda: found.append(bits(schedule(mx.array(12)))))
    assert found == [expected] * 3
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(100):
        _in_thread(lambda: schedule(mx.array(12)).item())
    gc.collect()
    assert len(gc.get_objects()) < before + 100
