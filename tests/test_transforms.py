"""Schedules inside the transformations of MLX, and without the compiler."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours

from .cases import CASES, COSINE, EXPONENTIAL, JOINED, LINEAR, POWERED, STEP, Case, each
from .counting import MLX_VERSION, libraries, requires_compile, run
from .training import Trainer

STEPS = [0, 1, 2, 5, 16, 17, 99, 100, 101, 1000, 4999, 5000, 99_999, 100_000, 2**24 + 1]
FEW = [EXPONENTIAL[0], STEP[0], LINEAR[0], COSINE[0], POWERED[0], JOINED[0], JOINED[4], JOINED[6], JOINED[8]]
"""One of each kind: each waits for a C++ compiler where it is inlined."""


def _skip_if_it_divides(case: Case) -> None:
    # Before 0.32, MLX divides whole numbers under vmap as floats; what takes the quotient for one ends the process.
    if MLX_VERSION < (0, 32) and "step_decay" in repr(case.schedule):
        pytest.skip("this MLX cannot divide whole numbers under vmap")


def _bits(rates: Any) -> Any:
    return np.array(rates, np.float32).view(np.uint32)


@each(CASES)
def test_one_by_one_all_at_once_and_under_vmap_are_the_same_to_the_bit(case: Case) -> None:
    schedule, steps = case.schedule, mx.array(STEPS, mx.uint64)
    curve = _bits(schedule(steps))
    np.testing.assert_array_equal(_bits([schedule(step).item() for step in STEPS]), curve)
    _skip_if_it_divides(case)
    np.testing.assert_array_equal(_bits(mx.vmap(schedule)(steps)), curve)
    np.testing.assert_array_equal(_bits(mx.vmap(mx.vmap(schedule))(steps.reshape(3, 5))), curve.reshape(3, 5))


@each(FEW)
def test_inside_an_enclosing_compile(case: Case) -> None:
    schedule, steps = case.schedule, mx.array(STEPS, mx.uint64)
    curve = _bits(schedule(steps))
    alone, under_vmap = mx.compile(schedule), mx.compile(mx.vmap(schedule))
    np.testing.assert_array_equal(_bits([alone(mx.array(step, mx.uint64)).item() for step in STEPS]), curve)
    np.testing.assert_array_equal(_bits(alone(steps)), curve)
    _skip_if_it_divides(case)
    np.testing.assert_array_equal(_bits(under_vmap(steps)), curve)


@requires_compile
@each(CASES)
def test_without_compile_the_rates_are_the_same_to_the_bit(case: Case) -> None:
    schedule, steps = case.schedule, mx.array(STEPS, mx.uint64)
    curve = _bits(schedule(steps))
    mx.disable_compile()
    try:
        np.testing.assert_array_equal(_bits(schedule(steps)), curve)
    finally:
        mx.enable_compile()


def test_a_step_that_is_known_while_tracing() -> None:
    schedule = ours.cosine_decay(0.1, 10)
    assert mx.compile(lambda x: x * schedule(3))(mx.array(2.0)).item() == 2 * schedule(3).item()
    curve = mx.compile(lambda x: x * schedule(mx.arange(4)))(mx.array(2.0))
    assert mx.array_equal(curve, 2 * schedule(mx.arange(4)))


def _updated(rate: mx.array) -> mx.array:
    return mx.square(2.0 - rate * 3.0)


SLOPES = [
    # d rate / d init and d rate / d end at step 3
    (lambda init, end: ours.linear_schedule(init, end, 10), 0.7, 0.3),
    (lambda init, end: ours.cosine_decay(init, 9, end), 0.75, 0.25),
    (lambda init, end: ours.exponential_decay(init, 0.5), 0.125, 0.0),
    (lambda init, end: ours.step_decay(init, 0.5, 2), 0.5, 0.0),
    (lambda init, end: ours.join_schedules([end, ours.linear_schedule(init, end, 4)], [2]), 0.75, 0.25),
    (
        lambda init, end: ours.join_schedules([ours.linear_schedule(init, end, 10)] * 9, list(range(10, 90, 10))),
        0.7,
        0.3,
    ),
]


@pytest.mark.parametrize(("make", "by_init", "by_end"), SLOPES)
@pytest.mark.parametrize("transform", [lambda f: f, mx.compile, mx.checkpoint], ids=["plain", "compile", "checkpoint"])
def test_gradients_with_respect_to_hyperparameters(make: Any, by_init: float, by_end: float, transform: Any) -> None:
    def loss(init: mx.array, end: mx.array, step: mx.array) -> mx.array:
        return _updated(make(init, end)(step))

    init, end = mx.array(0.5), mx.array(0.25)
    step = mx.array(3, mx.uint64)
    value, gradients = mx.value_and_grad(transform(loss), argnums=[0, 1])(init, end, step)
    rate = 0.5 * by_init + 0.25 * by_end
    assert value.item() == pytest.approx((2 - 3 * rate) ** 2, rel=1e-5)
    slope = -6 * (2 - 3 * rate)
    assert [g.item() for g in gradients] == pytest.approx([slope * by_init, slope * by_end], rel=1e-5)


def test_the_gradient_of_a_compiled_gradient() -> None:
    def loss(init: mx.array) -> mx.array:
        return _updated(ours.linear_schedule(init, 0.0, 10)(mx.array(3, mx.uint64)))

    assert mx.compile(mx.grad(loss))(mx.array(0.5)).item() == pytest.approx(-6 * (2 - 3 * 0.35) * 0.7, rel=1e-5)


@pytest.mark.parametrize("make", [make for make, _, _ in SLOPES])
@pytest.mark.parametrize("step", [0, 1, 8, 9, 10, 11, 100, 10**6, 2**40])
def test_gradients_are_finite_at_every_step(make: Any, step: int) -> None:
    slope = mx.grad(lambda init, end: _updated(make(init, end)(step)), argnums=[0, 1])
    assert np.isfinite([g.item() for g in slope(mx.array(0.5), mx.array(0.25))]).all()


@pytest.mark.parametrize("step", [0, 1, 9, 10, 11, 10**6])
def test_gradients_with_respect_to_a_shape_are_finite(step: int) -> None:
    slope = mx.grad(lambda power: ours.cosine_decay(0.1, 10, 0.01, power=power)(step))
    assert np.isfinite(slope(mx.array(2.0)).item())


def test_checkpoint() -> None:
    schedule = ours.cosine_decay(0.1, 10)
    kept = mx.checkpoint(lambda x, step: x * schedule(step))
    step = mx.array(3, mx.uint64)
    assert kept(mx.array(2.0), step).item() == 2 * schedule(3).item()
    assert mx.grad(kept)(mx.array(2.0), step).item() == schedule(3).item()


@each(FEW)
def test_export_and_import(case: Case, tmp_path: Path) -> None:
    schedule, file = case.schedule, str(tmp_path / "schedule.mlxfn")
    mx.export_function(file, lambda step: schedule(step), mx.array(0, mx.uint64))
    imported: Any = mx.import_function(file)
    for step in (0, 3, 100, 10**5):
        (rate,) = imported(mx.array(step, mx.uint64))
        assert rate.item() == schedule(step).item()


def test_several_threads_share_a_schedule() -> None:
    schedule = ours.join_schedules([ours.linear_schedule(0, 0.1, 100), ours.cosine_decay(0.1, 1000)], [100])
    expected = [schedule(step).item() for step in range(0, 1200, 7)]

    def rates(_: int) -> list[Any]:
        return [schedule(step).item() for step in range(0, 1200, 7)]

    with ThreadPoolExecutor(8) as threads:
        assert all(got == expected for got in threads.map(rates, range(32)))


def test_several_threads_make_and_train_their_own() -> None:
    def trained(k: int) -> bool:
        schedule = ours.exponential_decay(0.1 + k, 0.5)
        optimizer: Any = optim.SGD(learning_rate=schedule)
        rates = []
        for _ in range(5):
            optimizer.update({}, {})
            rates.append(optimizer.learning_rate.item())
        return rates == [schedule(step).item() for step in range(5)]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(trained, range(64)))


@requires_compile
def test_a_captured_state_retunes_a_compiled_step() -> None:
    schedule, other = ours.linear_schedule(0.5, 0.25, 10), ours.linear_schedule(3.0, 1.0, 5)
    trainer = Trainer(schedule, captured=[schedule.state])
    assert trainer.rates(3) == [schedule(step).item() for step in range(3)]
    schedule.state[:] = other.state
    assert trainer.rates(4) == [other(step).item() for step in range(3, 7)]


CURVE = """
import mlx.core as mx
import mlxsched_compiled as ours
from tests.cases import CASES
from tests.training import Trainer
print([CASES[k].schedule(mx.array([0, 5, 17, 100, 5000, 10**6])).tolist() for k in range(0, len(CASES), 4)])
print(Trainer(ours.cosine_decay(0.1, 5)).rates(7))
"""


@requires_compile
@pytest.mark.parametrize("without", [{"disable_compile": True}, {"path": ""}], ids=["disabled", "no compiler"])
def test_a_process_that_cannot_compile_has_the_same_rates(without: dict[str, Any], tmp_path: Path) -> None:
    if "path" in without and MLX_VERSION < (0, 32):
        pytest.skip("this MLX does not run without a compiler")
    curves, trained = run(CURVE, tmp_path, **without).splitlines()
    assert eval(curves, {"inf": math.inf}) == [
        case.schedule(mx.array([0, 5, 17, 100, 5000, 10**6])).tolist() for case in CASES[::4]
    ]
    assert eval(trained) == [ours.cosine_decay(0.1, 5)(step).item() for step in range(7)]
    assert not libraries(tmp_path)
