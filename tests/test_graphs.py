"""One graph per shape of schedule, few kernels in it, no hyperparameter in a kernel, and nothing left behind."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlxsched_compiled as ours

from . import oracle
from .kernels import kernels
from .measuring import Counted, libraries, requires_compile, run, traces, uncompiled
from .schedules import TABLE, TYPICAL, Row, each, join

STEP = mx.array(5, mx.uint64)
JOINED = ("exponential_decay", "step_decay", "cosine_decay", "linear_schedule")
"""The rows whose joins are counted."""
SHAPES = ("linear", "cosine", "sqrt", "rex", "exponential")


def _count(schedule: Any) -> int:
    return len(kernels(schedule(STEP)))


@requires_compile
@each(TABLE)
def test_kernels(row: Row) -> None:
    assert all(_count(row.of(p)) <= row.kernels for p in (0.1, 0.37))


def _warm(steps: int = 10) -> ours.Schedule:
    return ours.warmup(ours.cosine_decay(0.1, 100), steps)


def _restarts(period: int = 30) -> ours.Schedule:
    return ours.warmup(ours.cosine_restarts(0.1, period, decay=0.9), 10)


def _values(count: int) -> list[float]:
    return [1 / (k + 1) for k in range(count)]


@requires_compile
@pytest.mark.parametrize(
    ("most", "make"),
    [
        (1, _warm),
        (1, lambda: 2 * _warm()),
        (3, lambda: _warm() * 0.5 + 1e-6),
        (1, lambda: ours.clip(_warm(), low=1e-6)),
        (1, lambda: ours.delay(_warm(), 10)),
        (1, lambda: ours.staircase(_warm(), 10)),
        (1, lambda: ours.repeat(_warm(), 200)),
        (3, lambda: ours.clip(2 * _restarts(), low=1e-6)),
        (3, lambda: 0.5 * ours.clip(2 * _restarts(), 1e-6, 1.0)),
        (5, lambda: ours.clip(0.5 * ours.cooldown(_warm(), 50, 50), low=1e-6)),
        (4, lambda: ours.staircase(ours.clip(_restarts() * ours.exponential_decay(1, 0.99), low=1e-6), 5)),
        (4, lambda: ours.piecewise_constant(_values(1000), range(1, 1000))),
        (6, lambda: ours.piecewise_interpolate(_values(1000), range(1000))),
        (6, lambda: ours.piecewise_interpolate(_values(1000), range(1000), "cosine")),
        (6, lambda: ours.cosine_restarts(0.1, 10, period_factor=1.5)),
        (3, lambda: ours.table(_values(10**5))),
        *((1, lambda s=s: ours.warmup(ours.inverse_sqrt_decay(0.1, 100), 10, shape=s)) for s in SHAPES),
        *((1, lambda s=s: ours.cooldown(0.1, 10, 10, shape=s)) for s in SHAPES),
        *((1, lambda s=s: ours.piecewise_interpolate([0, 1], [3, 9], s)) for s in SHAPES),
        # Joins: of two one kernel, of four at most four, of any number at most eight.
        *((1, lambda names=names: join(ours, names)) for names in itertools.product(JOINED, repeat=2)),
        *((4, lambda names=names: join(ours, names)) for names in itertools.permutations(JOINED)),
        *((4, lambda name=name: join(ours, [name] * 4)) for name in JOINED),
        *((8, lambda n=n: join(ours, itertools.islice(itertools.cycle(JOINED), n))) for n in (3, 5, 8, 16, 64)),
        *((8, lambda name=name, n=n: join(ours, [name] * n)) for name in JOINED for n in (3, 5, 8, 16, 64)),
        (7, lambda: ours.join_schedules([*(TABLE[name].schedule for name in JOINED), 0.25] * 13, range(10, 650, 10))),
    ],
)
def test_combinations_fuse(most: int, make: Callable[[], ours.Schedule]) -> None:
    assert _count(make()) <= most


@requires_compile
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_join_of_numbers_and_plain_functions_is_as_few_kernels(count: int) -> None:
    functions: list[Any] = [lambda _, k=k: k for k in range(count)]
    for parts in (functions, [*range(count)], [ours.linear_schedule(0, 1, 9), *functions[1:]]):
        assert _count(ours.join_schedules(parts, range(1, count))) <= (1 if count < 3 else 4)


@requires_compile
@pytest.mark.parametrize("name", [*JOINED, "join_schedules", "join_schedules, 9"])
def test_many_schedules_are_one_trace(name: str) -> None:
    row = TABLE[name]
    row.of(0.05)(STEP)
    with traces(row.of(0.1)) as traced:
        for k in range(1000 if name in JOINED else 100):
            row.of(0.1 + k / 2000)(STEP)
    assert traced.calls <= 1  # in this thread, the first ever call of its kind may have been an earlier test's


@requires_compile
def test_ten_thousand_steps_are_one_trace() -> None:
    numpy_integer: Any = np.int64
    rate = Counted(lambda step, peak: peak / (step + 1))
    schedule = ours.Schedule(rate, 0.1)
    for step in range(9_000):
        schedule(step)
    for step in range(500):
        schedule(numpy_integer(step))
        schedule(mx.array(step, mx.uint64))
    ours.Schedule(rate, 0.2)(7)
    assert rate.calls == 1
    schedule(mx.arange(10))
    ours.Schedule(rate, 0.3)(mx.arange(10))
    assert rate.calls == 2


@requires_compile
@pytest.mark.parametrize(
    "make",
    [
        lambda h: ours.linear_schedule(h, 0.0, 10),
        lambda h: ours.rex_decay(0.1, 9, h),
        lambda h: ours.warmup(ours.cosine_decay(h, 5), 3),
        lambda h: ours.cosine_restarts(h, 2, 0.1, period_factor=2, decay=0.5),
    ],
)
def test_an_array_given_as_a_hyperparameter_stays_an_input(make: Callable[[Any], ours.Schedule]) -> None:
    rate = Counted(lambda value, step: make(value)(step))
    compiled: Callable[[mx.array, mx.array], mx.array] = mx.compile(rate)
    for value in (1.0, 0.5, 4.0):
        with uncompiled():
            expected = make(value)(2).item()
        assert compiled(mx.array(value), mx.array(2, mx.uint64)).item() == pytest.approx(expected, rel=1e-6)
    assert rate.calls == 1


BUILD = """
    from tests.schedules import TYPICAL
    from tests.training import rates_in_a_step

    def rates(schedule):
        # By itself, and inlined into a step that a user compiled.
        inlined = rates_in_a_step(schedule, 4)
        assert inlined[3] == schedule(3).item(), schedule
        return inlined

    print([rates(row.of({p})) for row in list(TYPICAL.values())[{half}::2]])
"""


@requires_compile
def test_no_hyperparameter_is_in_a_kernel(tmp_path: Path) -> None:
    """A second process, with other hyperparameters, builds nothing."""

    def rates(half: int) -> list[list[list[float]]]:
        temp = tmp_path / str(half)
        temp.mkdir()
        printed = [run(BUILD.format(half=half, p=0.1), temp)]
        first = libraries(temp)
        printed.append(run(BUILD.format(half=half, p=0.3), temp))
        assert libraries(temp) == first
        if mx.default_device() == mx.Device(mx.cpu):
            assert len(first) >= 10
        return [eval(line) for line in printed]

    with ThreadPoolExecutor(2) as processes:  # each waits for a C++ compiler most of the time
        for half, found in enumerate(processes.map(rates, range(2))):
            assert found[0] != found[1]
            for p, rows in zip((0.1, 0.3), found, strict=True):
                for row, got in zip([*TYPICAL.values()][half::2], rows, strict=True):
                    truth = row.truth_of(p)(np.arange(4, dtype=np.uint64))
                    assert oracle.ulps(np.array(got, np.float32), truth).max() <= row.ulps


@requires_compile
@pytest.mark.parametrize(
    "rate",
    [
        "float(mx.compile(linear_schedule{hyperparameters})(mx.array(5, mx.uint64)))",
        "float(linear_schedule{hyperparameters}(5))",
        "rates_in_a_step(linear_schedule{hyperparameters}, 6)[5]",
    ],
    ids=["compiled", "called", "in a step"],
)
def test_schedules_do_not_collide_across_processes(rate: str, tmp_path: Path) -> None:
    imports = "import mlx.core as mx; from mlxsched_compiled import *; from tests.training import rates_in_a_step"
    code = f"{imports}; print({rate})"
    assert float(run(code.format(hyperparameters=(0, 22, 2)), tmp_path)) == 22
    # MLX names a kernel after its constants, one after the other: 2 11 0 and 21 1 0 in its own schedule, 22 2 and 2 22.
    assert float(run(code.format(hyperparameters=(0, 21, 21)), tmp_path)) == 5
    assert float(run(code.format(hyperparameters=(0, 2, 22)), tmp_path)) == pytest.approx(5 / 11)


MEMORY = """
    import gc, resource, sys
    import mlxsched_compiled as ours

    def made(k):
        return [
            ours.exponential_decay(0.1 + k, 0.9),
            ours.linear_schedule(0.1 + k, 0.9, 10),
            ours.join_schedules([ours.cosine_decay(0.1 + k, 10), lambda step: 0.5 * step, 3.0], [5, 9]),
            ours.join_schedules([ours.cosine_decay(0.1 + k, 10)] * 7, list(range(1, 7))),
            ours.Schedule(lambda step, peak: peak / (step + 1), 0.1),
            ours.linear_schedule(0, 1 + k, 10) * ours.step_decay(1, 0.9, 3),
        ]

    def used(count):
        for k in range(count):
            for schedule in made(k):
                {use}
        gc.collect()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
        return peak / (2**20 if sys.platform == "darwin" else 2**10)

    warm = used({warm})
    print(used({count}) - warm)
"""


@pytest.mark.parametrize(
    ("use", "warm", "count"),
    [("pass", 1000, 3000), ("schedule(3)", 400, 600)],
    ids=["dropped", "called and dropped"],
)
def test_schedules_that_are_dropped_leave_memory_flat(use: str, warm: int, count: int, tmp_path: Path) -> None:
    assert float(run(MEMORY.format(use=use, warm=warm, count=count), tmp_path)) < 4


def test_a_table_is_stored_once_and_never_copied() -> None:
    size = 10_000_000
    values = mx.arange(size).astype(mx.float32)
    mx.eval(values)
    gc.collect()
    before = mx.get_active_memory()
    schedule = ours.table(values)
    other = 2 * schedule
    mx.eval(schedule(STEP), other(STEP))
    mx.reset_peak_memory()
    for step in (0, 1, size - 1, size, 2**40):
        assert schedule(step).item() == min(step, size - 1)
        assert other(step).item() == 2 * min(step, size - 1)
    assert schedule(mx.array([3, 7])).tolist() == [3, 7]
    assert mx.get_peak_memory() - before < 1_000_000
    assert np.shares_memory(np.array(schedule.state[0], copy=False), np.array(values, copy=False))


def test_a_table_takes_four_bytes_an_entry() -> None:
    size = 1_000_000
    gc.collect()
    before = mx.get_active_memory()
    schedule = ours.table(np.arange(size, dtype=np.float64))
    schedule(STEP).item()
    gc.collect()
    assert 4 * size <= mx.get_active_memory() - before < 4.1 * size
