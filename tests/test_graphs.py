"""One graph per shape of schedule, few kernels in it, and no hyperparameter in a kernel."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlxsched_compiled as ours

from .cases import KINDS
from .counting import kernels, libraries, requires_compile, run, traces
from .training import Trainer

STEP = mx.array(5, mx.uint64)
PAIRS = list(itertools.product(KINDS, repeat=2))


def _join(kinds: Any, *, peak: float = 0.1, length: int = 50) -> ours.Schedule:
    parts = [KINDS[kind](ours, peak / (k + 1)) for k, kind in enumerate(kinds)]
    return ours.join_schedules(parts, [length * k for k in range(1, len(parts))])


@requires_compile
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_schedules_are_one_trace(kind: str) -> None:
    make = KINDS[kind]
    make(ours, 0.05)(STEP)
    with traces(make(ours, 0.1)) as traced:
        for k in range(1000):
            make(ours, 0.1 + k / 2000)(STEP)
    assert traced.count <= 1  # in this thread, the first ever call of its kind may have been an earlier test's


@requires_compile
@pytest.mark.parametrize("kinds", [["linear", "cosine"], ["linear", "cosine", "step", "exponential"] * 4])
def test_a_hundred_joins_are_one_trace(kinds: list[str]) -> None:
    _join(kinds)(STEP)
    with traces(_join(kinds)) as traced:
        for k in range(100):
            _join(kinds, peak=0.1 + k / 200, length=50 + k)(STEP)
    assert traced.count == 0


@requires_compile
def test_ten_thousand_steps_are_one_trace() -> None:
    traced = 0

    def rate(step: mx.array, peak: mx.array) -> mx.array:
        nonlocal traced
        traced += 1
        return peak / (step + 1)

    numpy_integer: Any = np.int64
    schedule = ours.Schedule(rate, 0.1)
    for step in range(9_000):
        schedule(step)
    for step in range(500):
        schedule(numpy_integer(step))
        schedule(mx.array(step, mx.uint64))
    assert traced == 1
    ours.Schedule(rate, 0.2)(7)
    assert traced == 1
    schedule(mx.arange(10))
    ours.Schedule(rate, 0.3)(mx.arange(10))
    assert traced == 2


@requires_compile
@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_is_one_kernel(kind: str) -> None:
    assert len(kernels(KINDS[kind](ours, 0.1)(STEP))) == 1


@requires_compile
@pytest.mark.parametrize("kinds", PAIRS)
def test_a_join_of_two_is_one_kernel(kinds: tuple[str, str]) -> None:
    assert len(kernels(_join(kinds)(STEP))) == 1


@requires_compile
@pytest.mark.parametrize("kinds", [*itertools.permutations(KINDS), *([kind] * 4 for kind in KINDS)])
def test_a_join_of_four_is_at_most_four_kernels(kinds: tuple[str, ...]) -> None:
    assert len(kernels(_join(kinds)(STEP))) <= 4


@requires_compile
@pytest.mark.parametrize("count", [3, 5, 8, 16, 64])
def test_a_join_of_any_number_is_at_most_eight_kernels(count: int) -> None:
    mixed = _join(list(itertools.islice(itertools.cycle(KINDS), count)))
    assert len(kernels(mixed(STEP))) <= 8
    for kind in KINDS:
        assert len(kernels(_join([kind] * count)(STEP))) <= 8


@requires_compile
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_join_of_numbers_and_plain_functions_is_as_few_kernels(count: int) -> None:
    boundaries = list(range(1, count))
    functions: list[Any] = [lambda _, k=k: k for k in range(count)]
    for parts in (functions, [*range(count)], [ours.linear_schedule(0, 1, 9), *functions[1:]]):
        assert len(kernels(ours.join_schedules(parts, boundaries)(STEP))) <= (1 if count < 3 else 4)


@requires_compile
def test_a_join_of_every_kind_is_at_most_eight_kernels() -> None:
    kinds = [
        ours.exponential_decay(0.1, 0.9),
        ours.step_decay(0.1, 0.9, 3),
        ours.linear_schedule(0, 1, 10),
        ours.cosine_decay(0.1, 10),
        ours.join_schedules([0.25], []),
    ]
    assert len(kernels(ours.join_schedules(kinds * 13, list(range(10, 650, 10)))(STEP))) <= 7


@requires_compile
@pytest.mark.parametrize("schedule", [*([kind] for kind in KINDS), *PAIRS], ids="-".join)
def test_a_compiled_step_has_at_most_one_kernel_more_than_at_a_constant_rate(schedule: list[str]) -> None:
    constant = len(kernels(*Trainer(0.1).outputs()))
    assert len(kernels(*Trainer(_join(schedule)).outputs())) <= constant + 1


BUILD = """
import mlx.core as mx
import mlxsched_compiled as ours
from tests.cases import KINDS
from tests.training import Trainer
from tests.test_graphs import _join
peak = {peak}
for kind, make in KINDS.items():
    mx.eval(make(ours, peak)(3))
    Trainer(make(ours, peak)).rates(2)
for kinds in (["linear", "cosine"], ["linear", "cosine", "step"] * 3):
    mx.eval(_join(kinds, peak=peak)(3))
    Trainer(_join(kinds, peak=peak)).rates(2)
"""


@requires_compile
def test_other_hyperparameters_build_no_library(tmp_path: Path) -> None:
    run(BUILD.format(peak=0.1), tmp_path)
    first = libraries(tmp_path)
    run(BUILD.format(peak=0.3), tmp_path)
    assert libraries(tmp_path) == first
    if mx.default_device() == mx.Device(mx.cpu):
        assert first


ALONE = "float(mx.compile(linear_schedule{hyperparameters})(mx.array(5, mx.uint64)))"
CALLED = "float(linear_schedule{hyperparameters}(5))"
IN_A_STEP = "Trainer(linear_schedule{hyperparameters}).rates(6)[5]"


@requires_compile
@pytest.mark.parametrize("rate", [ALONE, CALLED, IN_A_STEP])
def test_schedules_do_not_collide_across_processes(rate: str, tmp_path: Path) -> None:
    code = f"import mlx.core as mx; from mlxsched_compiled import *; from tests.training import Trainer; print({rate})"
    assert float(run(code.format(hyperparameters=(0, 22, 2)), tmp_path)) == 22
    # MLX names a kernel after its constants, one after the other: 2 11 0 and 21 1 0 in its own schedule, 22 2 and 2 22.
    assert float(run(code.format(hyperparameters=(0, 21, 21)), tmp_path)) == 5
    assert float(run(code.format(hyperparameters=(0, 2, 22)), tmp_path)) == pytest.approx(5 / 11)


MEMORY = """
import gc, resource, sys
import mlx.core as mx
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


def test_importing_needs_mlx_core_alone(tmp_path: Path) -> None:
    code = "import sys, mlxsched_compiled; print([m for m in sys.modules if m.startswith(('mlx.', 'numpy'))])"
    imported = eval(run(code, tmp_path))
    assert not {"mlx.nn", "mlx.optimizers", "numpy"} & set(imported)


@requires_compile
def test_an_array_given_as_a_hyperparameter_stays_an_input() -> None:
    traced = 0

    def rate(init: mx.array, step: mx.array) -> mx.array:
        nonlocal traced
        traced += 1
        return ours.linear_schedule(init, 0.0, 10)(step)

    compiled: Callable[[mx.array, mx.array], mx.array] = mx.compile(rate)
    assert [compiled(mx.array(init), mx.array(5, mx.uint64)).item() for init in (1.0, 4.0, 0.5)] == [0.5, 2, 0.25]
    assert traced == 1
