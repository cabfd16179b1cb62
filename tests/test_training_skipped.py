"""What does not count leaves no trace: a weight of 0, and an update whose gradients are not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_flatten, tree_map, tree_unflatten

import mlxsched_compiled as ours

from .training import assert_close, bits, warm_cosine

NAN = float("nan")


class _Noting(nn.Module):
    """A layer, and all that a loss may write: in place and not, in a tuple and in a dict."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layer = nn.Linear(3, 2)
        self.layer.weight, self.layer.bias = mx.full((2, 3), 0.5), mx.array([0.1, -0.2])
        self.norm = nn.BatchNorm(2)
        self.calls = mx.array(0)
        self.seen: dict[str, Any] = {"sums": (mx.array(0.0), "of rows"), "first": mx.zeros((1, 3))}
        self.freeze(keys=["calls", "first"])

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = self.norm(self.layer(x))
        self.calls += 1
        self.seen["sums"] = (self.seen["sums"][0] + x.sum(), "of rows")
        self.seen["first"] = x[:1]
        return y


class _Counting(optim.SGD):
    """Counts its updates in an attribute, in place."""

    def __init__(self, rate: Any) -> None:
        super().__init__(rate, momentum=0.9)
        self.updates = mx.array(0)

    def apply_gradients(self, gradients: Any, parameters: Any) -> Any:
        """An update."""
        self.updates += 1
        return super().apply_gradients(gradients, parameters)


def _loss(model: nn.Module, x: mx.array, weight: mx.array) -> tuple[mx.array, mx.array]:
    """A sum over rows, of which ``weight`` says how many count."""
    return mx.square(model(x) - 1).sum() / weight, weight


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "custom": lambda: _Counting(warm_cosine()),
    "AdamW": lambda: optim.AdamW(warm_cosine()),
    "groups": lambda: optim.MultiOptimizer([optim.Lion(warm_cosine()), optim.SGD(0.1)], [lambda name, w: w.ndim > 1]),
}
with_all_optimizers = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


class _Run:
    """A model, its optimizer and step."""

    def __init__(self, make: Callable[[], Any] = OPTIMIZERS["custom"], **options: Any) -> None:
        self.model: Any = _Noting()
        self.optimizer = make()
        self.step = ours.compiled_step(_loss, self.model, self.optimizer, **options)

    def train(self, *calls: tuple[Any, float]) -> _Run:
        """Calls with batches of these values and weights."""
        for number, weight in calls:
            self.step(_batch(number), mx.array(weight))
        return self

    def bits(self, *more: Any) -> dict[str, Any]:
        """All that a call may change but random numbers."""
        updates = getattr(self.optimizer, "updates", mx.array(0))
        return bits(self.model.state, self.optimizer.state, self.model.seen["sums"][:1], updates, *more)


def _batch(number: float) -> mx.array:
    return mx.sin(mx.arange(12).reshape(4, 3) + number)


GOOD = [(1.0, 2.0), (2.0, 5.0), (3.0, 1.0), (4.0, 4.0), (5.0, 2.0), (6.0, 3.0)]
EMPTY = (NAN, 0.0)
"""A micro-batch without tokens: 0/0, and whatever its numbers are."""


# Weight 0


@with_all_optimizers
@pytest.mark.parametrize("options", [{}, {"skip_nonfinite": True}, {"max_grad_norm": 0.5}], ids=str)
def test_a_call_of_weight_0_is_as_if_it_had_not_been(make: Callable[[], Any], options: dict[str, Any]) -> None:
    run = _Run(make, weighted=True, **options).train(EMPTY, *GOOD[:2], EMPTY, (9.0, 0.0), GOOD[2])
    without = _Run(make, weighted=True, **options).train(*GOOD[:3])
    assert run.bits() == without.bits()
    assert run.step.skipped.item() == 3


def test_before_the_first_update_and_alone_it_leaves_the_weights() -> None:
    run = _Run(weighted=True)
    before = bits(run.model.state)
    run.train(EMPTY, EMPTY)
    assert bits(run.model.state) == before
    assert (run.optimizer.step.item(), run.optimizer.updates.item()) == (0, 0)


@with_all_optimizers
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"skip_nonfinite": True}], ids=str)
def test_among_accumulated_calls_it_adds_nothing(place: int, options: dict[str, Any], make: Callable[[], Any]) -> None:
    """The others are what an update of them alone is."""
    calls = GOOD[:2]
    calls.insert(place, EMPTY)
    run = _Run(make, weighted=True, accumulate=3, **options).train(*calls, *GOOD[2:5])
    without = _Run(make, weighted=True, accumulate=3, **options).train(*GOOD[:2])
    without.step.flush()
    without.train(*GOOD[2:5])
    assert run.bits() == without.bits()
    assert run.step.skipped.item() == 0


def test_accumulated_calls_with_weights_are_an_eager_weighted_mean() -> None:
    run = _Run(weighted=True, accumulate=3).train(GOOD[0], EMPTY, GOOD[1], EMPTY, *GOOD[2:4])
    model, optimizer = _Noting(), _Counting(warm_cosine())
    for window in (GOOD[:2], GOOD[2:4]):
        total: Any = None
        for number, weight in window:
            _, gradients = nn.value_and_grad(model, _loss)(model, _batch(number), mx.array(weight))
            part = tree_map(lambda g, w=weight: w * g, gradients)
            total = part if total is None else tree_map(mx.add, total, part)
        sum_of_weights = sum(weight for _, weight in window)
        optimizer.update(model, tree_map(lambda g, n=sum_of_weights: g / n, total))
    assert_close(run.model.state, model.state)
    assert_close(run.optimizer.state, optimizer.state)
    assert run.model.calls.item() == model.calls.item() == 4


@with_all_optimizers
def test_a_window_whose_weights_are_all_0_changes_nothing(make: Callable[[], Any]) -> None:
    """Nor does what is left over of one."""
    run = _Run(make, weighted=True, accumulate=2).train(*GOOD[:2])
    before = run.bits()
    run.train(EMPTY, EMPTY, EMPTY)
    run.step.flush()
    assert run.bits() == before
    assert run.step.skipped.item() == 2
    assert run.train(*GOOD[2:4]).bits() == _Run(make, weighted=True, accumulate=2).train(*GOOD[:4]).bits()


# A loss without a weight


@pytest.mark.parametrize(
    "loss_fn",
    [
        lambda model, x: model(x).sum(),
        lambda model, x: (model(x).sum(),),
        lambda model, x: (model(x).sum(), None),
        lambda model, x: (model(x).sum(), "tokens"),
        lambda model, x: (model(x).sum(), x),
        lambda model, x: (model(x).sum(), {"tokens": x.sum()}),
    ],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_returns_no_weight_is_told_so(accumulate: int, loss_fn: Callable[..., Any]) -> None:
    model, optimizer = nn.Linear(3, 2), optim.SGD(0.1)
    before = bits(model.state, optimizer.state)
    step = ours.compiled_step(loss_fn, model, optimizer, weighted=True, accumulate=accumulate)
    with pytest.raises(TypeError, match=r"weighted needs a loss_fn that returns \(loss, weight, \.\.\.\)"):
        step(mx.ones((4, 3)))
    assert bits(model.state, optimizer.state) == before


@pytest.mark.parametrize("weight", [3, 3.0, True, mx.array([3.0]), mx.array(3, mx.uint8), mx.array([[3]])], ids=repr)
def test_a_weight_is_any_number(weight: Any) -> None:
    weights = []
    for weighted in (True, False):
        mx.random.seed(1)
        model = nn.Linear(3, 2)
        step = ours.compiled_step(lambda model, x: (model(x).sum(), weight), model, optim.SGD(0.1), weighted=weighted)
        step(mx.ones((4, 3)))
        weights.append(bits(model.parameters()))
    assert weights[0] == weights[1]


# Not finite


@with_all_optimizers
@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize("windows_before", [0, 1])
def test_a_skipped_window_leaves_no_trace(windows_before: int, bad: int, make: Callable[[], Any]) -> None:
    """Wherever in it the bad batch is; then the run goes on as one without it."""
    first, window, last = GOOD[: 3 * windows_before], GOOD[3:6], GOOD[:3]
    window[bad] = (NAN, 1.0)
    run = _Run(make, accumulate=3, skip_nonfinite=True).train(*first)
    before = run.bits()
    run.train(*window)
    if windows_before:
        assert run.bits() == before
    assert run.step.skipped.item() == 1
    assert run.train(*last).bits() == _Run(make, accumulate=3, skip_nonfinite=True).train(*first, *last).bits()


@with_all_optimizers
@pytest.mark.parametrize("bad", [0, 1])
def test_nor_does_one_that_is_flushed(bad: int, make: Callable[[], Any]) -> None:
    run = _Run(make, accumulate=3, skip_nonfinite=True).train(*GOOD[:3])
    before = run.bits()
    window = GOOD[3:5]
    window[bad] = (float("inf"), 1.0)
    run.train(*window)
    run.step.flush()
    assert run.bits() == before
    assert run.step.skipped.item() == 1


@with_all_optimizers
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"accumulate": 3, "weighted": True}], ids=str)
def test_what_is_not_skipped_is_unchanged_to_the_bit(make: Callable[[], Any], options: dict[str, Any]) -> None:
    run, plain = (_Run(make, **options, skip_nonfinite=skip).train(*GOOD) for skip in (True, False))
    assert run.bits() == plain.bits()
    assert run.step.skipped.item() == 0


def test_a_single_skipped_call_puts_back_what_the_loss_wrote() -> None:
    run = _Run(skip_nonfinite=True).train(GOOD[0])
    before = run.bits()
    assert run.train((NAN, 1.0)).bits() == before


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_window_that_is_interrupted_and_resumed_is_skipped_as_a_whole(bad: int) -> None:
    """After two of its calls all is saved, as in a file, and loaded into another run."""
    calls = [*GOOD[:3], *GOOD[3:6]]
    calls[3 + bad] = (NAN, 1.0)
    run = _Run(OPTIMIZERS["AdamW"], accumulate=3, skip_nonfinite=True).train(*calls[:3])
    before = run.bits()
    run.train(*calls[3:5])
    trees = {"model": run.model.parameters(), "optimizer": run.optimizer.state, "step": run.step.state}
    saved: Any = tree_unflatten(list(dict(tree_flatten(trees)).items()))
    resumed = _Run(OPTIMIZERS["AdamW"], accumulate=3, skip_nonfinite=True)
    resumed.model.update(saved["model"])
    resumed.model.seen["sums"] = run.model.seen["sums"]  # which MLX takes for no parameter
    resumed.optimizer.state, resumed.step.state = saved["optimizer"], saved["step"]
    for each in (run, resumed):
        each.train(calls[5])
        assert each.bits() == before
        assert each.step.skipped.item() == 1


def test_what_is_loaded_between_two_windows_is_kept_when_the_next_is_skipped() -> None:
    run = _Run(accumulate=2, skip_nonfinite=True).train(*GOOD[:2])
    run.model.norm.running_mean = mx.array([3.0, 4.0])
    before = run.bits()
    assert run.train(GOOD[0], (NAN, 1.0)).bits() == before
