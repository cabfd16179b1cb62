"""What cannot work says so, with the way out, before anything is trained or lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

from .measuring import requires_compile
from .tiny import ONE, Weight, everything, linear, weight
from .training import Step, batches, bits, eager, mlp, mse, warm_cosine, with_both_tools

# Tools in other traces


@requires_compile
@pytest.mark.parametrize("transform", [mx.compile, mx.vmap], ids=["compile", "vmap"])
@pytest.mark.parametrize("steps_before", [0, 1])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_step_inside_another_trace_is_refused_and_the_model_is_whole(
    accumulate: int, steps_before: int, transform: Any
) -> None:
    model, optimizer = Weight(), optim.SGD(1.0, momentum=0.5)
    step = ours.compiled_step(linear, model, optimizer, accumulate=accumulate)
    for _ in range(steps_before * accumulate):
        step(ONE)
    before = bits(model.state, optimizer.state, step.state)
    with pytest.raises(RuntimeError, match="Call it outside"):
        transform(lambda x: step(x))(ONE)
    assert bits(model.state, optimizer.state, step.state) == before
    for _ in range(accumulate):
        step(ONE)
    assert weight(model) == (-1.0 if steps_before == 0 else -2.5)


@requires_compile
@pytest.mark.parametrize("transform", [mx.compile, mx.vmap], ids=["compile", "vmap"])
def test_an_update_inside_another_trace_is_refused_and_the_model_is_whole(transform: Any) -> None:
    model, optimizer = Weight(), optim.Adam(warm_cosine())
    update = ours.compiled_update(model, optimizer)

    def outer(gradient: mx.array) -> mx.array:
        update({"w": mx.sum(gradient)})
        return gradient

    for _ in range(2):
        with pytest.raises(RuntimeError, match="Call it outside"):
            transform(outer)(ONE)
    assert weight(model) == 0.0
    update({"w": mx.array(1.0)})
    assert optimizer.step.item() == 1


# Errors of others


class _HalfMade(optim.SGD):
    """Fails in the midst of its initialization."""

    fails = True

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """Makes its state before it fails."""
        super().init_single(parameter, state)
        state["more"] = mx.zeros_like(parameter)
        if self.fails and parameter.ndim == 1:
            raise RuntimeError("by the user's optimizer")


@with_both_tools
@pytest.mark.parametrize("is_one_of_two", [False, True])
def test_an_optimizer_whose_init_fails_keeps_nothing_of_it(is_one_of_two: bool, tool: Callable[..., Step]) -> None:
    failing = _HalfMade(warm_cosine(), momentum=0.5)
    other = optim.AdamW(0.1)
    optimizer = optim.MultiOptimizer([other, failing], [lambda name, w: w.ndim > 1]) if is_one_of_two else failing
    model = mlp()
    step = tool(mse, model, optimizer)
    before = bits(optimizer.state, model.state)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="by the user's optimizer"):
            step(*batches(1)[0])
        assert bits(optimizer.state, model.state) == before
        assert sorted(failing.state) == sorted(other.state) == ["learning_rate", "step"]
    failing.fails = False
    step(*batches(1)[0])
    assert failing.step.item() == 1


def test_an_error_by_mlx_after_the_trace_loses_nothing() -> None:
    """MLX 0.32 fails to compile two equal sums, one of them a result. If a later one does not, nothing is shown."""

    def loss_fn(model: nn.Module, x: mx.array) -> tuple[mx.array, ...]:
        total = linear(model, x)
        return (total / mx.sum(x), mx.sum(x)) if x.size == 2 else (total, mx.sum(x))

    for accumulate, steps_before in ((1, 0), (1, 3), (2, 0), (2, 3)):
        model, optimizer = Weight(), optim.SGD(1.0, momentum=0.5)
        step = ours.compiled_step(loss_fn, model, optimizer, accumulate=accumulate)
        for _ in range(steps_before):
            step(ONE)
        before = everything(model, optimizer, step.state)
        try:
            step(mx.array([1.0, 1.0]))
        except IndexError:
            assert {k: v for k, v in everything(model, optimizer, step.state).items() if k in before} == before
        step(ONE)
        assert np.isfinite(weight(model))


@pytest.mark.parametrize(
    ("rate", "error"),
    [
        (lambda step: undefined * step, NameError),  # type: ignore[name-defined]  # noqa: F821
        (lambda step: mx.array(1 / 0), ZeroDivisionError),
        (lambda step: dict[str, float]()["peak"], KeyError),
        (lambda step: step.nothing, AttributeError),
        (lambda step: [].pop(), IndexError),
        (lambda step: step @ step @ mx.zeros((2, 3)), ValueError),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda rate: Schedule(rate)(3),
        lambda rate: ours.warmup(rate, 10)(3),
        lambda rate: (2 * ours.join_schedules([rate, 1.0], [5]))(mx.arange(3)),
        lambda rate: mx.compile(Schedule(rate))(mx.array(3)),
    ],
)
def test_a_mistake_in_a_rate_is_the_error_that_is_seen(
    use: Callable[[Any], Any], rate: Any, error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        use(rate)
    assert "cannot be traced" not in str(raised.value)


@requires_compile
@pytest.mark.parametrize(
    "rate",
    [lambda step: float(step), lambda step: 1.0 if step < 3 else 2.0, lambda step: mx.array(np.sin(step.item()))],
)
def test_a_look_at_the_step_is_advised_against_and_the_cause_is_kept(rate: Any) -> None:
    uses: list[Callable[[], Any]] = [lambda: Schedule(rate)(3), lambda: ours.warmup(Schedule(rate), 10)(3)]
    for use in uses:
        with pytest.raises(TypeError, match="tabulate") as raised:
            use()
        assert raised.value.__cause__ is not None


# Arguments


@with_both_tools
def test_arguments_in_the_wrong_order_or_of_the_wrong_kind_are_refused_at_once(tool: Callable[..., Step]) -> None:
    model, optimizer = Weight(), optim.SGD(0.1)
    wrong: list[tuple[Any, ...]] = [
        (linear, optimizer, model),
        (linear, model, optim.SGD),
        (linear, model, ours.constant(0.1)),
        (linear, model, 0.1),
        (linear, model, None),
        (linear, {"w": model.w}, optimizer),
        (linear, Weight, optimizer),
    ]
    if tool is ours.compiled_step:
        wrong += [(model, linear, optimizer), (model, model, optimizer), (None, model, optimizer)]
    for arguments in wrong:
        with pytest.raises(TypeError, match=r"must be an? .* but got"):
            tool(*arguments)


@pytest.mark.parametrize(
    "modules", [[1], [linear], Weight(), [Weight(), None]], ids=["a number", "a function", "a module", "with None"]
)
def test_modules_that_are_none_are_refused_at_once(modules: Any) -> None:
    with pytest.raises(TypeError, match="modules must be"):
        ours.compiled_step(linear, Weight(), optim.SGD(0.1), modules=modules)


def _by_name(model: nn.Module, x: mx.array, *, y: mx.array, scale: float = 1.0) -> mx.array:
    return mx.sum(model(x) * y) * scale


@pytest.mark.parametrize("accumulate", [1, 2])
def test_batches_by_name(accumulate: int) -> None:
    """Of several shapes, in any order, with a number among them, under a name left out."""

    def trained(way: Callable[..., Any]) -> float:
        model = Weight()
        step = way(model, optim.SGD(1.0))
        for y in (mx.array([2.0]), mx.array([4.0])):
            step(x=ONE, y=y)
            step(ONE, y=y)
            step(y=mx.array([1.0, y.item()]), x=mx.array([1.0, 1.0]))
            step(ONE, scale=0.5, y=y)
        return weight(model)

    def with_eager(model: nn.Module, optimizer: optim.Optimizer) -> Any:
        def step(*batch: Any, **named: Any) -> None:
            optimizer.update(model, nn.value_and_grad(model, _by_name)(model, *batch, **named)[1])

        return step

    def compiled(model: nn.Module, optimizer: optim.Optimizer) -> Any:
        return ours.compiled_step(_by_name, model, optimizer, accumulate=accumulate)

    assert trained(compiled) * accumulate == trained(with_eager)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: optim.AdamW(0.1, weight_decay=s),
        lambda s: optim.Adam(0.1, betas=[s, 0.99]),
        lambda s: optim.Adam(0.1, eps=s, bias_correction=True),
        lambda s: optim.Lion(0.1, weight_decay=s),
        lambda s: optim.Lion(0.1, betas=[0.9, s]),
        lambda s: optim.SGD(0.1, momentum=s),
        lambda s: optim.SGD(0.1, momentum=0.9, dampening=s),
        lambda s: optim.Muon(0.1, momentum=s),
        lambda s: optim.Muon(0.1, weight_decay=s),
        lambda s: optim.RMSprop(0.1, alpha=s),
        lambda s: optim.AdaDelta(0.1, rho=s),
        lambda s: optim.Adafactor(0.1, relative_step=False, weight_decay=s),
        lambda s: optim.MultiOptimizer(
            [optim.AdamW(0.1, weight_decay=s), optim.SGD(0.1)], [lambda name, w: w.ndim > 1]
        ),
    ],
)
@pytest.mark.parametrize("made", [warm_cosine, lambda: 2 * ours.constant(0.5)], ids=["recipe", "product"])
@pytest.mark.parametrize("way", [eager, ours.compiled_step])
def test_a_schedule_where_mlx_takes_a_number_is_named_and_says_why(way: Any, made: Any, make: Any) -> None:
    model = mlp()
    before = bits(model.state)
    schedule = made()
    with pytest.raises(TypeError, match="learning rate alone") as raised:
        way(mse, model, make(schedule))(*batches(1)[0])
    assert repr(schedule) in str(raised.value)
    assert bits(model.state) == before
