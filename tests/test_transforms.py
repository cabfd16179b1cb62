"""Schedules inside the transformations of MLX, in several threads, and without the compiler."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours

from . import oracle
from .measuring import libraries, requires_compile, run, uncompiled
from .schedules import INLINED, PARAMETERS, TABLE, TYPICAL, Parameter, Row, call_of, each

STEPS = [0, 1, 2, 5, 16, 17, 99, 100, 101, 110, 137, 400, 1000, 1100, 4999, 5000, 99_999, 100_000, 2**24 + 1, 2**40]
FEW = [0, 3, 5, 17, 100, 5000, 10**5]


def _bits(rates: Any) -> Any:
    return np.array(rates, np.float32).view(np.uint32)


@each(TABLE)
def test_all_at_once_one_by_one_uncompiled_and_under_vmap_are_the_same_to_the_bit(row: Row) -> None:
    schedule, steps = row.schedule, mx.array(STEPS, mx.uint64)
    curve = _bits(schedule(steps))
    np.testing.assert_array_equal(_bits(schedule(steps.reshape(2, 10))), curve.reshape(2, 10))
    if row.extreme:  # of the others test_graphs.py compiles single steps
        np.testing.assert_array_equal(_bits([schedule(step).item() for step in STEPS]), curve)
    with uncompiled():
        np.testing.assert_array_equal(_bits([schedule(step).item() for step in STEPS]), curve)
        np.testing.assert_array_equal(_bits(schedule(steps)), curve)
    np.testing.assert_array_equal(_bits(mx.vmap(schedule)(steps)), curve)
    np.testing.assert_array_equal(_bits(mx.vmap(mx.vmap(schedule))(steps.reshape(4, 5))), curve.reshape(4, 5))


@each(INLINED)
def test_inside_an_enclosing_compile(row: Row) -> None:
    schedule, steps = row.schedule, mx.array(STEPS, mx.uint64)
    curve = _bits(schedule(steps))
    alone, under_vmap = mx.compile(schedule), mx.compile(mx.vmap(schedule))
    np.testing.assert_array_equal(_bits([alone(mx.array(step, mx.uint64)).item() for step in STEPS]), curve)
    np.testing.assert_array_equal(_bits(alone(steps)), curve)
    np.testing.assert_array_equal(_bits(under_vmap(steps)), curve)


def test_an_export_is_refused_loudly(tmp_path: Path) -> None:
    schedule = ours.cosine_decay(0.1, 10)
    with pytest.raises(ValueError, match="serialize"):
        mx.export_function(str(tmp_path / "s.mlxfn"), lambda step: schedule(step), mx.array(0, mx.uint64))


def test_a_step_that_is_known_while_tracing() -> None:
    schedule = ours.cosine_decay(0.1, 10)
    assert mx.compile(lambda x: x * schedule(3))(mx.array(2.0)).item() == 2 * schedule(3).item()
    curve = mx.compile(lambda x: x * schedule(mx.arange(4)))(mx.array(2.0))
    assert mx.array_equal(curve, 2 * schedule(mx.arange(4)))


def test_checkpoint() -> None:
    schedule = ours.cosine_decay(0.1, 10)
    kept = mx.checkpoint(lambda x, step: x * schedule(step))
    step = mx.array(3, mx.uint64)
    assert kept(mx.array(2.0), step).item() == 2 * schedule(3).item()
    assert mx.grad(kept)(mx.array(2.0), step).item() == schedule(3).item()


def _updated(rate: mx.array) -> mx.array:
    return mx.square(2.0 - rate * 3.0)


SLOPES = [
    # d rate / d init and d rate / d end at step 3
    (lambda init, end: ours.linear_schedule(init, end, 10), 0.7, 0.3),
    (lambda init, end: ours.cosine_decay(init, 9, end), 0.75, 0.25),
    (lambda init, end: ours.exponential_decay(init, 0.5), 0.125, 0.0),
    (lambda init, end: ours.step_decay(init, 0.5, 2), 0.5, 0.0),
    (lambda init, end: ours.join_schedules([end, ours.linear_schedule(init, end, 4)], [2]), 0.75, 0.25),
    (lambda init, end: ours.join_schedules([ours.linear_schedule(init, end, 10)] * 9, range(10, 90, 10)), 0.7, 0.3),
]


@pytest.mark.parametrize(("make", "by_init", "by_end"), SLOPES)
@pytest.mark.parametrize("transform", [lambda f: f, mx.compile, mx.checkpoint], ids=["plain", "compile", "checkpoint"])
def test_gradients_of_a_loss(make: Any, by_init: float, by_end: float, transform: Any) -> None:
    def loss(init: mx.array, end: mx.array, step: mx.array) -> mx.array:
        return _updated(make(init, end)(step))

    init, end, step = mx.array(0.5), mx.array(0.25), mx.array(3, mx.uint64)
    value, gradients = mx.value_and_grad(transform(loss), argnums=[0, 1])(init, end, step)
    rate = 0.5 * by_init + 0.25 * by_end
    assert value.item() == pytest.approx((2 - 3 * rate) ** 2, rel=1e-5)
    slope = -6 * (2 - 3 * rate)
    assert [g.item() for g in gradients] == pytest.approx([slope * by_init, slope * by_end], rel=1e-5)
    if transform is mx.compile:
        # The step is known to this one.
        compiled: Any = mx.compile(mx.grad(lambda init, end: loss(init, end, mx.array(3, mx.uint64)), argnums=[0, 1]))
        assert [g.item() for g in compiled(init, end)] == pytest.approx([g.item() for g in gradients], rel=1e-5)


@pytest.mark.parametrize("make", [make for make, _, _ in SLOPES])
def test_gradients_of_a_loss_are_finite_at_every_step(make: Any) -> None:
    slope = mx.grad(lambda init, end, step: _updated(make(init, end)(step)), argnums=[0, 1])
    for step in (0, 1, 8, 9, 10, 11, 100, 10**6, 2**40):
        assert np.isfinite([g.item() for g in slope(mx.array(0.5), mx.array(0.25), step)]).all()


@dataclass(frozen=True)
class _Input:
    """A number that a call of the module ``m`` depends on: ``make(m, number)``."""

    make: Callable[[Any, Any], Any]
    number: float


def _inputs() -> dict[str, _Input]:
    """Every parameter of every typical row that may be an array, one of each list, and one inside each part."""
    found = {}
    for row_name, row in TYPICAL.items():
        factory, arguments = call_of(row.make, 0.1)
        for name, value in arguments.items():
            parameter = PARAMETERS[f"{factory}: {name}"]
            own = replace(parameter, arguments=arguments)

            def inside(m: Any, h: Any, own: Parameter = own) -> Any:
                if isinstance(own.value, list):
                    h = [own.value[0], h, *own.value[2:]]
                elif isinstance(own.value, ours.Schedule):
                    h = m.linear_schedule(h, 0.1, 900)
                return own.make(h, m)

            listed = isinstance(value, list) and isinstance(value[0], float) and factory != "table"
            if (isinstance(value, float) and not parameter.fixed) or listed or isinstance(value, ours.Schedule):
                number = value[1] if listed else value if isinstance(value, float) else 0.0625
                found[f"{row_name}: {name}"] = _Input(inside, number)
    return found


INPUTS = _inputs()


@pytest.mark.parametrize("name", INPUTS)
def test_gradients_with_respect_to_a_hyperparameter(name: str) -> None:
    """Right at steps in all phases, and finite at any step."""
    make = INPUTS[name].make
    small = 2.0**-17
    h = round(INPUTS[name].number / small) * small  # exact in float32, and so are its neighbours

    def slope(step: int) -> Any:
        return mx.grad(lambda value: make(ours, value)(step))(mx.array(h)).item()

    steps = np.array([0, 1, 2, 3, 4, 6, 8, 9, 12, 40, 90, 109, 111, 140, 300, 500, 700, 900, 1099], np.uint64)
    expected = (make(oracle, h + small)(steps) - make(oracle, h - small)(steps)) / (2 * small)
    np.testing.assert_allclose([slope(step) for step in steps.tolist()], expected, rtol=2e-4, atol=1e-5)
    assert np.isfinite([slope(step) for step in (5, 10, 11, 55, 110, 10**6, 2**40)]).all()


def test_several_threads_share_a_schedule() -> None:
    schedule = ours.join_schedules([ours.linear_schedule(0, 0.1, 100), ours.cosine_decay(0.1, 1000)], [100])

    def rates(_: int) -> list[Any]:
        return [schedule(step).item() for step in range(0, 1200, 7)]

    expected = rates(0)
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


CURVE = """
    import mlx.core as mx
    import mlxsched_compiled as ours
    from tests.schedules import TABLE
    from tests.training import rates_in_a_step
    print([row.schedule(mx.array({steps})).tolist() for row in list(TABLE.values())[::3]])
    print(rates_in_a_step(ours.cosine_decay(0.1, 5), 7))
"""


@requires_compile
@pytest.mark.parametrize("without", [{"MLX_DISABLE_COMPILE": "1"}, {"PATH": ""}], ids=["disabled", "no compiler"])
def test_a_process_that_cannot_compile_has_the_same_rates(without: dict[str, str], tmp_path: Path) -> None:
    curves, trained = run(CURVE.format(steps=FEW), tmp_path, **without).splitlines()
    with uncompiled():  # bit-equal to compiled, as the first test says
        expected = [row.schedule(mx.array(FEW)).tolist() for row in [*TABLE.values()][::3]]
    assert eval(curves, {"inf": math.inf}) == expected
    assert eval(trained) == [ours.cosine_decay(0.1, 5)(step).item() for step in range(7)]
    assert not libraries(tmp_path)
