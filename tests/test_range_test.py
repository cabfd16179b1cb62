"""The range test sees which rates train and which diverge, and leaves nothing behind."""

from __future__ import annotations

import inspect
import math
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled.training.range_test import RangeTest

from .launching import can_launch, launch
from .measuring import requires_compile
from .tiny import ONE, Weight, linear
from .training import OPTIMIZERS, TASKS, Step, Task, Training, batches, bits, by_hand, eager, mlp, mse, warm_cosine

CURVATURE = 2.0
DOCS = Path(__file__).parents[1] / "docs"


def _quadratic(model: Any, x: mx.array) -> mx.array:
    """Gradient descent on it is best at a rate of 1 / CURVATURE, and diverges from twice that on."""
    return CURVATURE / 2 * mx.sum(mx.square(model.w - x))


class _Everything:
    """All that a test may have changed: bits, objects, and what else there is to see."""

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        self._roots = [model, *getattr(optimizer, "optimizers", []), optimizer]
        self._schedules = [s for o in self._roots[1:] for s in getattr(o, "_schedulers", {}).values()]
        self._before = self._now()

    def _now(self) -> list[Any]:
        seen: list[Any] = []
        for root in self._roots:
            if isinstance(root, nn.Module):
                for name, module in root.named_modules():
                    seen.append((name, id(module), repr(vars(module))))
            else:
                seen.append((id(root._state), [*vars(root)], [*root._state]))
                seen.append((id(root._schedulers), {k: id(v) for k, v in root._schedulers.items()}, root._initialized))
        trees = [root if isinstance(root, nn.Module) else root._state for root in self._roots]
        seen.append([id(node) for tree in trees for node in _containers(tree)])
        random: Any = mx.random.state
        seen.append(bits(trees, random[0], [s.state for s in self._schedules if isinstance(s, ours.Schedule)]))
        return seen

    def assert_unchanged(self) -> None:
        assert self._now() == self._before


def _containers(tree: Any) -> Iterator[Any]:
    if isinstance(tree, (dict, list, tuple)):
        if not isinstance(tree, tuple):
            yield tree
        for child in tree.values() if isinstance(tree, dict) else tree:
            yield from _containers(child)


def _test(model: nn.Module | None = None, optimizer: Any = None, loss_fn: Step = mse, **options: Any) -> Any:
    return ours.range_test(loss_fn, model or mlp(), optimizer or optim.SGD(0.1), batches(3), **options)


# What it finds


def test_rates_are_geometric_and_exact_at_both_ends() -> None:
    seen: list[float] = []
    optimizer = optim.SGD(0.1)

    def data() -> Iterator[Any]:
        for batch in batches(7):
            yield batch
            seen.append(optimizer.state["learning_rate"].item())

    low, high = 1.1e-7, 0.3
    test = ours.range_test(mse, mlp(), optimizer, data(), low=low, high=high, steps=7)
    assert (test.rates[0], test.rates[-1]) == (low, high)
    assert repr(RangeTest(7)) == "RangeTest()"  # before its first rate
    expected = [low * (high / low) ** (i / 6) for i in range(7)]
    np.testing.assert_allclose(test.rates, expected, rtol=1e-14)
    assert seen == [mx.array(rate).item() for rate in test.rates[: len(seen)]]
    assert len(seen) >= 6


def test_losses_are_those_of_an_eager_loop_at_these_rates() -> None:
    optimizer = optim.AdamW(warm_cosine())
    test = _test(optimizer=optimizer, low=1e-4, high=0.1, steps=20)
    by_eager = Training(eager, optimizer=optim.AdamW(0.1))
    losses = []
    for i, rate in enumerate(test.rates):
        by_eager.optimizer.learning_rate = rate
        losses.append(by_eager.train([batches(3)[i % 3]]).losses[-1].item())
    np.testing.assert_allclose(test.losses, losses, rtol=1e-4)
    assert len(test.rates) == 20
    assert not test.diverged


@requires_compile
def test_all_rates_share_one_trace() -> None:
    traced = []

    def loss_fn(model: nn.Module, x: mx.array, y: mx.array) -> mx.array:
        traced.append(1)
        return mse(model, x, y)

    assert len(_test(loss_fn=loss_fn, optimizer=optim.Adam(warm_cosine())).rates) > 50
    assert len(traced) == 1


@pytest.mark.parametrize("steps", [25, 100, 400])
def test_the_suggestion_on_a_quadratic(steps: int) -> None:
    """Rates up to r have trained like r · steps / ln(high / low) in one step, and 1 / (2 · CURVATURE) falls fastest."""
    noise = np.random.default_rng(3).normal(size=steps)
    data = [(mx.array([3 + 0.1 * float(n)]),) for n in noise]
    test = ours.range_test(_quadratic, Weight(), optim.SGD(0.1), data, steps=steps)
    assert test.suggestion is not None
    assert 0.5 < test.suggestion / (math.log(10 / 1e-7) / (2 * CURVATURE * steps)) < 2
    assert test.diverged
    assert 1 / CURVATURE < test.rates[-1] < 10
    assert test.suggestion in test.rates


def test_of_a_loss_that_never_falls_there_is_no_suggestion() -> None:
    test = ours.range_test(_quadratic, Weight(), optim.SGD(0.1), [0 * ONE], steps=10)
    assert test.losses == [0] * 10
    assert test.suggestion is None
    assert "no suggestion" in repr(test)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 30])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_of_an_iterator_that_ends_before_the_loss_has_moved_there_is_no_suggestion(noise: float, count: int) -> None:
    """And it says so: whether the batches are equal, or differ more than training does."""
    x, y = batches(1)[0]
    data = ((x * (1 + noise * math.sin(7 * i)), y) for i in range(count))
    test = ours.range_test(mse, mlp(), optim.SGD(0.1), data)
    assert len(test.rates) == count
    assert test.suggestion is None
    assert test.reason in repr(test)
    assert test.reason in (
        "the loss never falls",
        f"the batches end after {count} of 100 rates, before the loss has moved",
    )


def test_of_an_iterator_that_ends_later_there_is_one() -> None:
    x, y = batches(1)[0]
    test = ours.range_test(mse, mlp(), optim.SGD(0.1), ((x, y + 3) for _ in range(85)))
    assert test.suggestion is not None
    assert 1e-3 < test.suggestion < 1
    assert test.reason == ""


def test_what_a_batch_tells_a_plateau_is_undone() -> None:
    schedule = ours.reduce_on_plateau(0.5, patience=0)
    optimizer = optim.SGD(schedule)
    schedule.observe(1.0)
    before = bits(schedule.state, schedule(3))

    def data() -> Iterator[Any]:
        for batch in batches(5):
            schedule.observe(2.0)
            yield batch

    test = ours.range_test(mse, mlp(), optimizer, data())
    assert len(test.rates) == 5
    assert bits(schedule.state, schedule(3)) == before
    schedule.observe(2.0)
    assert schedule(3).item() == pytest.approx(0.05)


def test_a_rise_after_the_minimum_and_its_fall_back_are_no_suggestion() -> None:
    test = RangeTest(20)
    for i, loss in enumerate([9, 9, 8, 5, 3, 3, 11, 4, 3.5]):
        assert not test._ends_with(10.0 ** (i - 6), loss)
    assert test.suggestion == 1e-4
    assert repr(test) == "RangeTest(suggestion 0.0001, 9 rates from 1e-06 to 1e+02, loss 9, at best 3.5 at 0.01)"


@pytest.mark.parametrize(
    ("losses", "ends"),
    [
        ([1, 4, 4, 4, 4, 4, 4.1], [6]),  # 4 times the best is not above it
        ([1, math.nan], [1]),
        ([math.nan], [0]),
        ([1, math.inf], [1]),
        ([-1, 1, 1.5, 3], [3]),
        ([0.5, -1, -2, -3, 5, 9], [5]),
    ],
)
def test_where_it_ends(losses: list[float], ends: list[int]) -> None:
    test = RangeTest(1)
    test._reach = 0  # nothing smoothed
    assert [i for i, loss in enumerate(losses) if test._ends_with(1.0, loss)] == ends
    assert test.diverged
    assert len(test.smoothed) == len(losses) - 1


def test_losses_are_smoothed_over_a_twentieth_of_the_steps_to_each_side() -> None:
    test = RangeTest(40)
    for loss in [0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0]:
        test.rates.append(1.0)
        test.losses.append(loss)
    assert test.smoothed == [0, 9 * 1 / 8, 2, 3, 2, 9 * 1 / 8, 0]


def test_a_loss_below_zero_that_falls_goes_on_to_the_end() -> None:
    test = ours.range_test(linear, Weight(), optim.SGD(0.1), [ONE], high=1.0, steps=20)
    assert not test.diverged
    assert len(test.rates) == 20
    assert test.losses[-1] < 0


# What it takes


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name: str) -> None:
    """New, or in the midst of its training."""
    run = Training(ours.compiled_step, optimizer=OPTIMIZERS[name](warm_cosine()))
    for trained in (0, 3):
        run.train(trained)
        before = _Everything(run.model, run.optimizer)
        test = _test(run.model, run.optimizer, steps=40)
        assert max(test.losses) != min(test.losses)
        before.assert_unchanged()


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_every_model(task: Task, training: bool) -> None:
    model, optimizer = task.make().train(training), optim.AdamW(warm_cosine())
    data = task.data(2)
    before = _Everything(model, optimizer)
    test = ours.range_test(task.loss_fn, model, optimizer, data, steps=12)
    assert len(test.rates) > 6
    assert model.training is training
    before.assert_unchanged()


def test_all_groups_get_the_rate() -> None:
    """Also one whose rate is a plain number, and groups within groups."""
    inner: Any = optim.MultiOptimizer([optim.SGD(ours.constant(7.0)), optim.Adam(3.0)], [lambda name, w: "0" in name])
    optimizer: Any = optim.MultiOptimizer([optim.SGD(5.0), inner], [lambda name, w: w.ndim > 1])
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))  # MLX cannot merge three groups around a layer of none
    seen = []

    def data() -> Iterator[Any]:
        for batch in batches(3):
            yield batch
            seen.append([float(o.state["learning_rate"]) for o in (optimizer.optimizers[0], *inner.optimizers)])

    before = _Everything(model, optimizer)
    inner_before = _Everything(model, inner)
    test = ours.range_test(mse, model, optimizer, data(), low=0.25, high=4.0, steps=3)
    assert seen == [[0.25] * 3, [1.0] * 3]
    assert test.rates == [0.25, 1.0, 4.0]
    before.assert_unchanged()
    inner_before.assert_unchanged()


def test_a_schedule_of_the_user_is_not_asked() -> None:
    asked = []

    def rate(step: mx.array) -> mx.array:
        asked.append(step)
        return mx.array(0.1)

    optimizer = optim.SGD(rate)
    asked.clear()
    _test(optimizer=optimizer, steps=5)
    assert asked == []
    assert optimizer._schedulers == {"learning_rate": rate}


@pytest.mark.parametrize(
    "make", [iter, list, lambda data: (batch for batch in data)], ids=["iter", "list", "generator"]
)
def test_what_can_be_iterated_again_is_repeated(make: Callable[[Any], Any]) -> None:
    data = batches(4)
    test = ours.range_test(mse, mlp(), optim.SGD(0.1), make(data), high=0.1, steps=10)
    assert len(test.rates) == (10 if make is list else 4)
    assert not test.diverged


def test_an_iterator_is_used_up_no_further_than_the_test_goes() -> None:
    data = iter(batches(10))
    ours.range_test(mse, mlp(), optim.SGD(0.1), data, high=0.1, steps=4)
    assert len([*data]) == 6


def test_a_batch_is_a_tuple_a_list_or_an_array() -> None:
    x, y = batches(1)[0]
    alone = ours.range_test(lambda model, x: mx.mean(mx.square(model(x) - y)), mlp(), optim.SGD(0.1), [x], steps=5)
    for batch in ((x, y), [x, y]):
        assert ours.range_test(mse, mlp(), optim.SGD(0.1), [batch], steps=5).losses == pytest.approx(alone.losses)


def test_a_loss_may_come_with_more() -> None:
    more = _test(loss_fn=lambda model, x, y: (mse(model, x, y).astype(mx.bfloat16), x), steps=5)
    assert more.losses == pytest.approx(_test(steps=5).losses, rel=1e-2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"low": 0.0}, ValueError, "low must be greater than 0, but got 0.0"),
        ({"low": 1.0, "high": 1.0}, ValueError, "high must be above low, 1.0, but got 1.0"),
        ({"high": math.inf}, ValueError, "high must be finite"),
        ({"high": mx.array(1.0)}, TypeError, "high must be a Python number"),
        ({"steps": 1}, ValueError, "steps must be from 2"),
        ({"steps": 2.5}, ValueError, "steps must be a whole number"),
        ({"batches": 3}, TypeError, "batches must be a list or another iterable of batches, but got 3"),
        ({"batches": []}, ValueError, "batches must hold at least one batch"),
        ({"batches": iter([])}, ValueError, "batches must hold at least one batch"),
        ({"optimizer": optim.Adafactor()}, ValueError, "optimizer must take a learning rate, but Adafactor"),
        ({"optimizer": optim.Adafactor(0.1)}, ValueError, "optimizer must take a learning rate, but Adafactor"),
        ({"optimizer": optim.SGD}, TypeError, "optimizer must be an mlx.optimizers.Optimizer"),
        ({"model": mse}, TypeError, "model must be an mlx.nn.Module"),
        ({"loss_fn": nn.Linear(4, 2)}, TypeError, "loss_fn must be a function"),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", str(value)),
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"loss_fn": mse, "model": mlp(), "optimizer": optim.SGD(0.1), "batches": batches(1)}
    model, optimizer = arguments["model"], arguments["optimizer"]
    before = _Everything(model, optimizer)
    with pytest.raises(error, match=message):
        ours.range_test(**{**arguments, **options})
    before.assert_unchanged()


@can_launch
@pytest.mark.skipif(not mx.distributed.is_available(), reason="this MLX has no distributed backend")
def test_all_processes_see_one_loss_and_end_together(tmp_path: Path) -> None:
    """Also where it is the batch of one of them that ends the test."""
    (tmp_path / "tested.py").write_text(
        """
import mlx.core as mx, mlx.optimizers as optim
from mlxsched_compiled import range_test
from tests.tiny import ONE, Weight
rank = mx.distributed.init().rank()
data = [ONE + rank] * 20
if rank == 1:
    data[12] = ONE * float("nan")
model = Weight()
test = range_test(lambda model, x: mx.sum(mx.square(model(x) - x)), model, optim.SGD(0.1), data)
print(rank, test.losses, model.w.item())
"""
    )
    printed = launch(tmp_path, str(tmp_path / "tested.py"))
    lines = sorted(re.findall(r"^([01]) (\[.*)$", printed, re.MULTILINE))
    assert [rank for rank, _ in lines] == ["0", "1"], printed
    assert lines[0][1] == lines[1][1]
    assert lines[0][1].startswith("[2.5, ")  # the mean of 1 and 4
    assert lines[0][1].count(",") == 12
    assert lines[0][1].endswith(", nan] 0.0")


# What it leaves


@requires_compile
def test_a_running_step_goes_on_as_if_nothing_had_been() -> None:
    """Without a trace: every object that it looks at is the one it was."""
    task = TASKS["dropout"]
    runs = [Training(ours.compiled_step, task.make()).train(3) for _ in range(2)]
    tested, spared = runs
    for run in runs:
        mx.random.seed(6)
        if run is tested:
            traces = run.step.traces  # type: ignore[attr-defined]
            schedule = run.optimizer._schedulers["learning_rate"]
            _test(run.model, run.optimizer, steps=10)
            assert run.optimizer._schedulers == {"learning_rate": schedule}
        run.losses.clear()
        for batch in batches(4):
            run.losses.append(run.step(*batch))
            mx.eval(run.losses, run.model.state, run.optimizer.state)
    assert tested.step.traces == traces  # type: ignore[attr-defined]
    assert tested.bits(tested.losses) == spared.bits(spared.losses)


def test_a_step_compiled_by_hand_goes_on_too() -> None:
    tested, spared = (Training(by_hand).train(2) for _ in range(2))
    _test(tested.model, tested.optimizer, steps=10)
    for run in (tested, spared):
        mx.random.seed(6)
        run.train(3)
    assert tested.bits() == spared.bits()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("trained", [0, 3])
@pytest.mark.parametrize("where", ["first trace", "later trace", "between steps"])
def test_an_error_leaves_nothing(error: type[BaseException], trained: int, where: str) -> None:
    calls = []

    def loss_fn(model: Any, x: mx.array, y: mx.array) -> mx.array:
        calls.append(1)
        if where == ("first trace" if len(calls) == 1 else "later trace") and (len(calls) == 1 or len(x) == 5):
            model.layers[0].weight = 2 * model.layers[0].weight
            raise error("by the user's code")
        return mse(model, x, y)

    def data() -> Iterator[Any]:
        yield from batches(4)
        mx.random.uniform()  # a batch may draw random numbers too
        if where == "between steps":
            raise error("by the user's code")
        yield from batches(1, size=5)

    run = Training(ours.compiled_step, TASKS["dropout"].make()).train(trained)
    before = _Everything(run.model, run.optimizer)
    with pytest.raises(error, match="by the user's code"):
        ours.range_test(loss_fn, run.model, run.optimizer, data())
    before.assert_unchanged()


def test_a_ctrl_c_during_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Training(ours.compiled_step, TASKS["batch norm"].make()).train(2)
    before = _Everything(run.model, run.optimizer)
    evaluate, calls = mx.eval, []

    def interrupted(*trees: Any) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        evaluate(*trees)

    monkeypatch.setattr(mx, "eval", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _test(run.model, run.optimizer)
    monkeypatch.undo()
    before.assert_unchanged()


def test_another_ctrl_c_while_everything_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Training(ours.compiled_step, TASKS["dropout"].make()).train(2)
    before = _Everything(run.model, run.optimizer)
    module: Any = sys.modules[RangeTest.__module__]
    put_back, calls = module.set_random_key, []

    def interrupted(key: mx.array) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        put_back(key)

    monkeypatch.setattr(module, "set_random_key", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _test(run.model, run.optimizer, steps=5)
    before.assert_unchanged()


def test_a_loss_that_becomes_nan() -> None:
    """Weights and moments are full of NaN by then."""
    run = Training(ours.compiled_step, TASKS["dropout"].make()).train(2)
    data = batches(5)
    data[3] = (mx.full((8, 4), math.nan), data[3][1])
    before = _Everything(run.model, run.optimizer)
    test = ours.range_test(mse, run.model, run.optimizer, data)
    before.assert_unchanged()
    assert (len(test.losses), len(test.smoothed), test.diverged) == (4, 3, True)
    assert math.isnan(test.losses[-1])
    assert all(map(math.isfinite, test.smoothed))
    assert "ended by a loss of nan" in repr(test)


def test_what_the_loss_does_to_attributes_is_undone() -> None:
    """Numbers, lists and sets, in the trace as well."""
    model: Any = mlp()
    model.seen, model.names, model.calls = [1], {"a"}, 0
    model.scale = mx.array(1.0)
    kept = (model.seen, model.names)

    def loss_fn(model: Any, x: mx.array, y: mx.array) -> mx.array:
        model.calls += 1
        model.seen.append(2)
        model.names.add("b")
        model.layers[2].freeze()
        model.scale = model.scale * 2
        return mse(model, x, y)

    ours.range_test(loss_fn, model, optim.SGD(0.1), batches(2), steps=4)
    assert (model.seen, model.names, model.calls, model.scale.item()) == ([1], {"a"}, 0, 1.0)
    assert (model.seen, model.names)[0] is kept[0]
    assert model.names is kept[1]
    assert len(bits(model.trainable_parameters())) == 5


def test_random_numbers_drawn_by_batches_are_undone_too() -> None:
    def data() -> Iterator[Any]:
        for x, y in batches(3):
            yield x + mx.random.normal(x.shape), y

    model, optimizer = mlp(), optim.SGD(0.1)
    before = _Everything(model, optimizer)
    ours.range_test(mse, model, optimizer, data())
    before.assert_unchanged()


# What it shows


def test_the_result_is_no_schedule() -> None:
    assert "range_test" in ours.__all__
    assert not str(inspect.signature(ours.range_test).return_annotation).endswith("Schedule")


def test_plot() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    test = _test()
    for given in (None, pyplot.subplots()[1]):
        ax = test.plot(given)
        assert given is None or ax is given
        loss, smoothed, suggestion = ax.get_lines()
        assert [*loss.get_xdata()] == [*smoothed.get_xdata()] == test.rates[: len(test.smoothed)]
        assert [*smoothed.get_ydata()] == test.smoothed
        assert [*suggestion.get_xdata()] == [test.suggestion] * 2
        assert ax.get_xscale() == "log"
        ax.figure.canvas.draw()
    pyplot.close("all")


def test_without_matplotlib_plot_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'mlxsched_compiled\[plot\]'"):
        _test(steps=3).plot()


def test_without_tqdm_there_is_no_progress_bar(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert len(_test(steps=3).rates) == 3
    assert capfd.readouterr() == ("", "")


def test_the_progress_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pytest.importorskip("tqdm")
    _test(steps=3)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _test(steps=3)
    assert "3/3" in capsys.readouterr().err


def test_the_picture_of_the_page_is_small_and_shown() -> None:
    assert "(range_test.png)" in (DOCS / "training.md").read_text()
    assert (DOCS / "range_test.png").stat().st_size < 50_000


@pytest.mark.usefixtures("uncompiled")
def test_the_script_draws_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    script = runpy.run_path(str(DOCS / "draw_range_test.py"))
    script["draw"](tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")
