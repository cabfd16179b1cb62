"""What the catalogue costs, counted, and how it behaves inside the transformations of MLX."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlxsched_compiled as ours

from . import oracle
from .cases import FAMILIES, Family, each_family
from .counting import MLX_VERSION, kernels, requires_compile, run
from .uncompiled import uncompiled

STEP = mx.array(5, mx.uint64)
STEPS = [0, 1, 2, 5, 99, 100, 101, 137, 400, 1000, 1100, 5000, 2**24 + 1, 2**40]


@requires_compile
@each_family
def test_kernels_of_each_family(name: str) -> None:
    family = FAMILIES[name]
    for peak in (0.1, 0.37):
        assert len(kernels(family.make(ours, peak)(STEP))) <= family.kernels


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
        (1, lambda: _warm() * 0.5 + 1e-6),
        (1, lambda: ours.clip(_warm(), low=1e-6)),
        (1, lambda: ours.delay(_warm(), 10)),
        (1, lambda: ours.staircase(_warm(), 10)),
        (1, lambda: ours.repeat(_warm(), 200)),
        (3, lambda: ours.clip(2 * _restarts(), low=1e-6)),
        (3, lambda: 0.5 * ours.clip(2 * _restarts(), 1e-6, 1.0)),
        (3, lambda: ours.clip(0.5 * ours.cooldown(_warm(), 50, 50), low=1e-6)),
        (4, lambda: ours.staircase(ours.clip(_restarts() * ours.exponential_decay(1, 0.99), low=1e-6), 5)),
        (4, lambda: ours.piecewise_constant(_values(1000), range(1, 1000))),
        (6, lambda: ours.piecewise_interpolate(_values(1000), range(1000))),
        (6, lambda: ours.piecewise_interpolate(_values(1000), range(1000), "cosine")),
        (6, lambda: ours.cosine_restarts(0.1, 10, period_factor=1.5)),
        (3, lambda: ours.table(_values(10**5))),
    ],
)
def test_combinations_fuse(most: int, make: Callable[[], ours.Schedule]) -> None:
    assert len(kernels(make()(STEP))) <= most


@requires_compile
@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt", "rex"])
def test_every_shape_of_a_ramp_is_one_kernel(shape: str) -> None:
    for schedule in (
        ours.warmup(ours.inverse_sqrt_decay(0.1, 100), 10, shape=shape),
        ours.cooldown(0.1, 10, 10, shape=shape),
        ours.piecewise_interpolate([0, 1], [3, 9], shape),
    ):
        assert len(kernels(schedule(STEP))) == 1


BUILD = """
import mlx.core as mx, mlx.optimizers as optim, tempfile
import mlxsched_compiled as ours
from pathlib import Path
from tests.cases import FAMILIES
from tests.counting import libraries

def rates(schedule):
    # By itself, and inlined into an SGD step of a model that is a single number, so that little else is built.
    step = mx.array(3, mx.uint64)
    weights, optimizer = {{"w": mx.array([0.5])}}, optim.SGD(learning_rate=schedule)
    optimizer.init(weights)
    state = [weights, optimizer.state]
    update = mx.compile(lambda g: optimizer.update(weights, {{"w": g}}), inputs=state, outputs=state)
    inlined = []
    for _ in range(4):
        update(mx.array([0.25]))
        mx.eval(state)
        inlined.append(optimizer.learning_rate.item())
    assert inlined[3] == schedule(step).item(), schedule
    return inlined

def build(peak):
    got = [rates(family.make(ours, peak)) for family in list(FAMILIES.values())[{half}::2]]
    return got, libraries(Path(tempfile.gettempdir()))

first, built = build(0.1)
second, again = build(0.3)
assert first != second
print(len(built), again == built)
print(list(zip(first, second)))
"""


@requires_compile
def test_no_hyperparameter_is_in_a_kernel(tmp_path: Path) -> None:
    def built(half: int) -> str:
        (tmp_path / str(half)).mkdir()
        return run(BUILD.format(half=half), tmp_path / str(half))

    with ThreadPoolExecutor(2) as processes:  # each waits for a C++ compiler most of the time
        for half, printed in enumerate(processes.map(built, range(2))):
            count, rates = printed.splitlines()
            number, same = count.split()
            assert same == "True"
            if mx.default_device() == mx.Device(mx.cpu):
                assert int(number) >= 10
            _assert_true(list(FAMILIES.values())[half::2], eval(rates))


def _assert_true(families: list[Family], rates: list[tuple[list[float], list[float]]]) -> None:
    steps = np.arange(4, dtype=np.uint64)
    for family, pair in zip(families, rates, strict=True):
        for peak, got in zip((0.1, 0.3), pair, strict=True):
            case = family.case(peak)
            assert oracle.ulps(np.array(got, np.float32), case.truth(steps)).max() <= case.ulps


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


def _bits(rates: Any) -> Any:
    return np.array(rates, np.float32).view(np.uint32)


COUNTS_PERIODS = re.compile("step_decay|staircase|cosine_restarts|triangular2")
"""What divides steps. Before 0.32 MLX divides whole numbers under vmap as floats, and then ends the process."""


@each_family
def test_all_at_once_and_under_vmap_are_the_same_to_the_bit(name: str) -> None:
    schedule, steps = FAMILIES[name].case().schedule, mx.array(STEPS, mx.uint64)
    curve = _bits(schedule(steps))
    np.testing.assert_array_equal(_bits(schedule(steps.reshape(2, 7))), curve.reshape(2, 7))
    with uncompiled():
        np.testing.assert_array_equal(_bits([schedule(step).item() for step in STEPS]), curve)
        np.testing.assert_array_equal(_bits(schedule(steps)), curve)
    if MLX_VERSION >= (0, 32) or not COUNTS_PERIODS.search(repr(schedule)):
        np.testing.assert_array_equal(_bits(mx.vmap(schedule)(steps)), curve)


@each_family
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.int32, mx.uint8, mx.int64])
def test_rates_are_float32_whatever_the_step(name: str, dtype: mx.Dtype) -> None:
    schedule, steps = FAMILIES[name].case().schedule, mx.array([[0, 1, 5], [9, 64, 100]])
    with uncompiled():  # each type would be another kernel to build
        rates = schedule(steps.astype(dtype))
        assert rates.dtype == mx.float32
        assert rates.shape == steps.shape
        assert mx.array_equal(rates, schedule(steps.astype(mx.uint64)))


HYPERPARAMETERS: dict[str, Callable[[Any, Any], Any]] = {
    "constant": lambda m, h: m.constant(h),
    "polynomial_decay, init": lambda m, h: m.polynomial_decay(h, 9, 0.1, power=2.0),
    "polynomial_decay, end": lambda m, h: m.polynomial_decay(0.1, 9, h, power=0.5),
    "polynomial_decay, power": lambda m, h: m.polynomial_decay(0.1, 9, 0.01, power=h),
    "sqrt_decay, init": lambda m, h: m.sqrt_decay(h, 9, 0.1),
    "rex_decay, end": lambda m, h: m.rex_decay(0.1, 9, h),
    "tanh_decay, init": lambda m, h: m.tanh_decay(h, 9, 0.1),
    "tanh_decay, end": lambda m, h: m.tanh_decay(0.1, 9, h),
    "tanh_decay, upper": lambda m, h: m.tanh_decay(0.3, 9, 0.1, lower=-1, upper=h),
    "tanh_decay, lower": lambda m, h: m.tanh_decay(0.3, 9, 0.1, lower=h, upper=2),
    "inverse_time_decay, init": lambda m, h: m.inverse_time_decay(h, 0.3),
    "inverse_time_decay, decay_rate": lambda m, h: m.inverse_time_decay(0.1, h, decay_steps=3),
    "inverse_sqrt_decay": lambda m, h: m.inverse_sqrt_decay(h, 10),
    "piecewise_constant": lambda m, h: m.piecewise_constant([h, 1, h], [2, 5]),
    "piecewise_constant, many": lambda m, h: m.piecewise_constant([1, h] * 4, range(1, 8)),
    "piecewise_interpolate": lambda m, h: m.piecewise_interpolate([1, h, 1], [0, 4, 9]),
    "piecewise_interpolate, many": lambda m, h: m.piecewise_interpolate([1, h] * 4, range(8)),
    "cosine_restarts, init": lambda m, h: m.cosine_restarts(h, 4, 0.1, decay=0.5),
    "cosine_restarts, decay": lambda m, h: m.cosine_restarts(0.3, 4, 0.1, decay=h),
    "cosine_restarts, longer": lambda m, h: m.cosine_restarts(h, 2, 0.1, period_factor=2, decay=0.5),
    "cyclic, low": lambda m, h: m.cyclic(h, 1, 3, mode="triangular2"),
    "cyclic, high": lambda m, h: m.cyclic(0.1, h, 3),
    "cyclic, gamma": lambda m, h: m.cyclic(0.1, 1, 3, mode="exp_range", gamma=h),
    "one_cycle, peak": lambda m, h: m.one_cycle(h, 10),
    "one_cycle, div_factor": lambda m, h: m.one_cycle(0.3, 10, div_factor=h),
    "warmup, init": lambda m, h: m.warmup(m.cosine_decay(1, 5), 3, h),
    "warmup, peak": lambda m, h: m.warmup(m.cosine_decay(h, 5), 3),
    "warmup_cosine_decay": lambda m, h: m.warmup_cosine_decay(h, 3, 9, init=0.1, end=0.1),
    "warmup_linear_decay": lambda m, h: m.warmup_linear_decay(0.3, 3, 9, end=h),
    "warmup_stable_decay": lambda m, h: m.warmup_stable_decay(h, 3, 3, 3, end=0.1),
    "noam, factor": lambda m, h: m.noam(64, 5, h),
    "clip, low": lambda m, h: m.clip(m.linear_schedule(1, 0, 9), low=h),
    "clip, within": lambda m, h: m.clip(m.linear_schedule(h, 0, 9), low=0.1),
    "delay": lambda m, h: m.delay(m.exponential_decay(h, 0.9), 3),
    "staircase": lambda m, h: m.staircase(m.linear_schedule(h, 1, 9), 2),
    "repeat": lambda m, h: m.repeat(m.linear_schedule(h, 1, 9), 5),
    "cooldown, end": lambda m, h: m.cooldown(1.0, 3, 5, h),
    "cooldown, start": lambda m, h: m.cooldown(m.linear_schedule(h, 0, 9), 3, 5),
}


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_gradients_with_respect_to_a_hyperparameter(name: str) -> None:
    make = HYPERPARAMETERS[name]
    h, small = 0.71875, 2.0**-10  # exact in float32, and so are h + small and h - small

    def slope_of(step: int) -> Any:
        return mx.grad(lambda value: make(ours, value)(step))(mx.array(h)).item()

    steps = np.array([0, 1, 2, 3, 4, 6, 8], np.uint64)
    expected = (make(oracle, h + small)(steps) - make(oracle, h - small)(steps)) / (2 * small)
    slopes = [slope_of(step) for step in steps.tolist()]
    np.testing.assert_allclose(slopes, expected, rtol=2e-4, atol=1e-5)
    assert np.isfinite([slope_of(step) for step in (5, 9, 10, 11, 10**6, 2**40)]).all()


@requires_compile
@pytest.mark.parametrize("name", ["rex_decay, end", "warmup, peak", "cosine_restarts, longer"])
def test_a_hyperparameter_that_is_an_array_stays_an_input(name: str) -> None:
    traced = 0

    def rate(h: mx.array, step: mx.array) -> mx.array:
        nonlocal traced
        traced += 1
        schedule: ours.Schedule = HYPERPARAMETERS[name](ours, h)
        return schedule(step)

    compiled: Callable[[mx.array, mx.array], mx.array] = mx.compile(rate)
    at = np.array([2], np.uint64)
    for h in (0.5, 0.25, 0.75):
        expected = HYPERPARAMETERS[name](oracle, h)(at)[0]
        assert compiled(mx.array(h), mx.array(2, mx.uint64)).item() == pytest.approx(expected, rel=1e-6)
    assert traced == 1
