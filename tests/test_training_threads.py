"""One schedule, several threads: some train with it, another calls, prints and changes it meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours

from .tiny import Weight, linear, weight


def test_four_threads_train_with_one_schedule() -> None:
    """Each its own model, optimizer and step, in optimizer and loss, tracing all the time."""
    schedule = ours.linear_schedule(1.0, 0.0, 100)

    def trained(momentum: float) -> list[float]:
        model, optimizer = Weight(), optim.SGD(schedule, momentum=momentum)
        found = []
        for _ in range(10):
            step = ours.compiled_step(lambda model, x: linear(model, x) * schedule(0), model, optimizer)
            for size in (1, 2):
                step(mx.ones(size))
                found.append(optimizer.learning_rate.item())
        return [*found, weight(model)]

    with ThreadPoolExecutor(4) as threads:
        runs = [*threads.map(trained, [0.0] * 4)]
    rates = [1 - i / 100 for i in range(20)]
    total = -sum(rate * (1 + i % 2) for i, rate in enumerate(rates))
    for run in runs:
        assert run == pytest.approx([*rates, total], rel=1e-5)


@pytest.mark.parametrize("traces", [200])
@pytest.mark.parametrize("scheduled", [False, True])
def test_a_thread_that_logs_while_another_traces(scheduled: bool, traces: int) -> None:
    """It prints, calls and retunes; both see numbers that are right."""
    schedule = ours.reduce_on_plateau(ours.constant(0.5), patience=10**6)
    model = Weight()
    optimizer: Any = ours.scheduled(optim.SGD, learning_rate=schedule) if scheduled else optim.SGD(schedule)
    done = Event()

    def log() -> int:
        count = 0
        while not done.is_set():
            assert schedule(3).item() == 0.5
            assert "constant(value=0.5)" in repr(schedule)
            schedule.retune(patience=10**6 + count % 2)
            count += 1
        return count

    with ThreadPoolExecutor(1) as threads:
        logger = threads.submit(log)
        try:
            step = ours.compiled_step(linear, model, optimizer)
            for number in range(traces):
                step(mx.ones(1) if number % 2 else mx.ones((1, 1)))
                optimizer.setting = number // 20  # another trace
                assert optimizer.learning_rate.item() == 0.5
        finally:
            done.set()
        assert logger.result() > 0
    assert weight(model) == -0.5 * traces
