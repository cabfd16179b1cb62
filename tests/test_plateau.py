"""``reduce_on_plateau``: PyTorch's rules, metrics that are not waited for, and whatever is made of it follows.

plateau.json, which make_plateau.py makes, holds what PyTorch did.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

from .measuring import libraries, requires_compile, run
from .training import WAYS, Step, Training, bits, by_hand, mse, with_all_ways

CASES = json.loads((Path(__file__).parent / "plateau.json").read_text())["cases"]


def _plateau(**rules: Any) -> Schedule:
    return ours.reduce_on_plateau(ours.cosine_decay(0.1, 100), **{"patience": 0, "factor": 0.5, **rules})


def _lowered(schedule: Schedule, times: int = 1) -> Schedule:
    """After as many metrics that are no better, and the first."""
    for _ in range(times + 1):
        schedule.observe(1.0)
    return schedule


@pytest.mark.parametrize("case", CASES, ids=lambda case: ", ".join(f"{k} {v}" for k, v in case["rules"].items()))
def test_each_metric_does_what_it_does_in_pytorch(case: dict[str, Any]) -> None:
    if min(case["metrics"]) < 0 and case["rules"].get("threshold_mode", "rel") == "rel":
        pytest.skip("Of negative metrics PyTorch takes worse ones for better.")
    schedule = ours.reduce_on_plateau(1.0, **case["rules"])
    rates = []
    for metric in case["metrics"]:
        schedule.observe(metric)
        rates.append(schedule(0))
    np.testing.assert_allclose(np.array(mx.stack(rates)), case["rates"], rtol=2e-5)


@pytest.mark.parametrize(
    "metric",
    [2, 2.0, np.float64(2), np.float32(2), np.int64(2), np.array(2.0), True + mx.array(1), *(
        mx.array(2).astype(dtype) for dtype in (mx.float32, mx.float16, mx.bfloat16, mx.int32, mx.uint8, mx.uint64)
    )],
    ids=lambda metric: f"{type(metric).__name__} {getattr(metric, 'dtype', '')}",
)  # fmt: skip
def test_a_metric_is_any_number(metric: Any) -> None:
    schedule = _plateau()
    for _ in range(2):
        schedule.observe(metric)
    assert schedule(0).item() == pytest.approx(0.05)
    schedule.observe(1.9)
    assert schedule(0).item() == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("metric", "error"), [("2", TypeError), (None, TypeError), (True, TypeError), (mx.array([2.0]), ValueError)]
)
def test_what_is_no_number_is_refused(metric: Any, error: type[Exception]) -> None:
    schedule = _plateau()
    before = bits(schedule.state)
    with pytest.raises(error, match=r"metric must be"):
        schedule.observe(metric)
    assert bits(schedule.state) == before


def test_what_takes_no_metrics_says_so() -> None:
    with pytest.raises(TypeError, match=r"cosine_decay.* takes no metrics"):
        ours.cosine_decay(0.1, 100).observe(1.0)


WHOLES: dict[str, Callable[[Any], Schedule]] = {
    "warmup": lambda s: ours.warmup(s, 5),
    "warmup of none": lambda s: ours.warmup(s, 0),
    "operators": lambda s: -(2 - s) / 0.5,
    "clip": lambda s: ours.clip(s, low=0.01),
    "delay": lambda s: ours.delay(s, 3),
    "staircase": lambda s: ours.staircase(s, 3),
    "repeat": lambda s: ours.repeat(s, 30),
    "cooldown": lambda s: ours.cooldown(s, 20, 10),
    "a join": lambda s: ours.join_schedules([0.3, s], [4]),
    "a join of many": lambda s: ours.join_schedules([s, *(ours.linear_schedule(0.1, 0, 9),) * 9], [*range(9, 18)]),
    "twice": lambda s: s + ours.warmup(s, 5),
    "two levels": lambda s: 3 * ours.warmup(ours.clip(s, high=0.09), 5),
    "a plateau": lambda s: ours.reduce_on_plateau(s, patience=1),
}


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("make", WHOLES.values(), ids=WHOLES.keys())
def test_what_is_made_of_it_follows(make: Callable[[Any], Schedule]) -> None:
    """It is then what is made of one that has observed the same; whichever of the two was told."""
    steps = mx.arange(40)
    inner, told = _plateau(), _lowered(_plateau())
    whole = make(inner)
    state, before = whole.state, bits(whole(steps))
    _lowered(inner)
    assert whole.state is state
    assert bits(whole(steps)) == bits(make(told)(steps)) != before
    copies: list[Schedule] = [copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))]
    for same in copies:
        assert bits(same(steps), same.state) == bits(whole(steps), whole.state)
        same.observe(5.0)
        assert bits(same(steps)) != bits(whole(steps)), "a copy has a life of its own"
        assert bits(inner(steps)) == bits(told(steps))
    another = _plateau()
    _lowered(make(another))
    assert bits(another(steps)) == bits(told(steps))


@pytest.mark.usefixtures("uncompiled")
def test_retuning_keeps_what_was_observed() -> None:
    base = ours.cosine_decay(0.1, 100)
    schedule = ours.reduce_on_plateau(base, patience=0, factor=0.5)
    whole = ours.warmup(_lowered(schedule), 5)
    base.retune(init=0.4)
    assert schedule(0).item() == pytest.approx(0.2)
    schedule.retune(factor=0.1, min_rate=0.001)
    assert schedule(0).item() == pytest.approx(0.2)
    whole.retune(steps=3)
    schedule.observe(1.0)
    assert [schedule(0).item(), whole(3).item()] == pytest.approx([0.02, 0.02])
    for fixed in ({"mode": "max"}, {"threshold_mode": "abs"}):
        with pytest.raises(ValueError, match="compiled differently"):
            schedule.retune(**fixed)


@requires_compile
@with_all_ways
@pytest.mark.parametrize("make", [lambda s: s, lambda s: ours.warmup(s, 2, 0.1)], ids=["alone", "within another"])
def test_the_next_step_follows_without_a_trace(way: Callable[..., Step], make: Callable[[Schedule], Schedule]) -> None:
    inner = _plateau()
    whole = make(inner)
    training = Training(way, optimizer=optim.SGD(whole)).train(3)
    count = getattr(training.step, "traces", 0)
    _lowered(inner)
    training.train(1)
    assert bits(training.optimizer.learning_rate) == bits(whole(3))
    assert 0.04 < training.optimizer.learning_rate.item() < 0.0501
    assert getattr(training.step, "traces", 0) == count


def test_a_loss_as_it_comes_out_of_a_step() -> None:
    """The value of the next step's rate depends on it, and nobody looked at it."""
    schedule = ours.reduce_on_plateau(ours.constant(0.1), patience=0, factor=0.5, threshold=0.99)
    training = Training(ours.compiled_step, optimizer=optim.SGD(schedule))
    for _ in range(4):
        training.train(1)
        schedule.observe(training.losses[-1])
    assert training.rates(1) == [pytest.approx(0.1 * 0.5**3)]


@requires_compile
def test_nothing_is_built_by_observing(tmp_path: Path) -> None:
    printed = run(
        """
        import os
        from pathlib import Path
        import mlx.optimizers as optim
        import mlxsched_compiled as ours
        from tests.measuring import libraries
        from tests.training import WAYS, Training

        temp = Path(os.environ["TMPDIR"])
        for way in WAYS.values():
            schedule = ours.reduce_on_plateau(ours.cosine_decay(0.1, 100), patience=0)
            training = Training(way, optimizer=optim.AdamW(ours.warmup(schedule, 5))).train(2)
            before = libraries(temp)
            for _ in range(4):
                schedule.observe(training.losses[-1])
                training.train(1)
            print(len(before), len(libraries(temp) - before))
        """,
        tmp_path,
    )
    assert libraries(tmp_path)
    counts = [tuple(map(int, line.split())) for line in printed.splitlines()]
    assert [later for _, later in counts] == [0] * len(WAYS)


@requires_compile
@pytest.mark.parametrize("make", [lambda s: s, lambda s: ours.warmup(s, 2)], ids=["alone", "within another"])
def test_traced_where_its_state_is_not_captured_it_refuses(make: Callable[[Schedule], Schedule]) -> None:
    inner, other = _plateau(), _plateau()
    whole = make(inner)
    mixed = whole + other
    Training(by_hand, optimizer=optim.SGD(whole)).train(1)
    before = bits(inner.state, whole.state, mixed.state)
    for schedule in (inner, whole, mixed):
        with pytest.raises(ValueError, match=r"cannot observe: it is part of a function of mx.compile"):
            schedule.observe(1.0)
    assert bits(inner.state, whole.state, mixed.state) == before


def test_inside_a_step_it_refuses() -> None:
    schedule = _plateau()

    def loss_fn(model: Any, x: mx.array, y: mx.array) -> mx.array:
        loss = mse(model, x, y)
        schedule.observe(loss)
        return loss

    training = Training(ours.compiled_step, optimizer=optim.SGD(schedule), loss_fn=loss_fn)
    with pytest.raises(ValueError, match="return the metric, and observe it then"):
        training.train(1)
    assert _lowered(schedule)(0).item() == pytest.approx(0.05)


def test_by_hand_with_scheduled_it_follows() -> None:
    inner = _plateau()
    optimizer = ours.scheduled(optim.SGD, learning_rate=ours.warmup(inner, 2), momentum=0.9)
    training = Training(by_hand, optimizer=optimizer).train(3)
    _lowered(inner)
    assert training.rates(1) == [pytest.approx(inner(1).item())]
    assert training.rates(1)[0] < 0.05


@pytest.mark.parametrize("make", [lambda s: s, lambda s: ours.warmup(s, 2)], ids=["alone", "within another"])
def test_what_was_observed_is_restored_and_hyperparameters_are_not(
    make: Callable[[Schedule], Schedule], tmp_path: Path
) -> None:
    saved = make(_lowered(_plateau(), 2))
    file = str(tmp_path / "state.safetensors")
    mx.save_safetensors(file, dict(tree_flatten({"schedule": saved.state})))
    loaded: Any = mx.load(file)
    inner = ours.reduce_on_plateau(ours.cosine_decay(0.2, 100), patience=0, factor=0.5)
    whole = make(inner)
    whole.state = tree_unflatten(list(loaded.items()))["schedule"]
    assert whole(2).item() == pytest.approx(2 * saved(2).item())
    inner.observe(1.0)
    assert whole(2).item() == pytest.approx(saved(2).item())
    with pytest.raises(ValueError, match="cannot go on with the state of another schedule"):
        whole.state = ours.cosine_decay(0.1, 100).state


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        (mx.array(1 + 2j), TypeError, "metric must be a real number"),
        (np.array([1.0]), TypeError, "metric must be a number"),
        (mx.array([1.0]), ValueError, r"metric must be a number or a 0-d array, but got shape \(1,\)"),
        (np.array("low"), TypeError, "metric must be a number"),
    ],
)
def test_metrics_that_are_none_are_refused_by_name(metric: Any, error: type[Exception], message: str) -> None:
    schedule = ours.reduce_on_plateau(0.1)
    before = bits(schedule.state)
    with pytest.raises(error, match=message):
        schedule.observe(metric)
    assert bits(schedule.state) == before


def test_a_metric_too_large_for_a_float_is_infinite() -> None:
    schedule = ours.reduce_on_plateau(0.1, mode="max", patience=0)
    for metric in (10**400, -(10**400)):
        schedule.observe(metric)
    assert schedule.state[1][0].item() == float("inf")
    assert schedule(0).item() == pytest.approx(0.01)
