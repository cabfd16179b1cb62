"""What a loss returns, writes and computes twice, and what is stored in other types than ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours

from .measuring import requires_compile
from .tiny import ONE, Scaled, Weight, everything, linear, weight
from .training import Step, assert_close, batches, bits, eager, mlp, mse, warm_cosine, with_both_tools

# What is computed twice

RETURNS: dict[str, Callable[..., Any]] = {
    "a sum that it divides by": lambda e, m: ((e * m).sum() / m.sum(), m.sum()),
    "the same sum twice": lambda e, m: ((e * m).sum(), m.sum(), m.sum()),
    "the loss again": lambda e, m: ((e * m).sum(), (e * m).sum()),
    "what the loss is made of": lambda e, m: (
        2 * (e * m).sum(),
        {"loss": (e * m).sum(), "masks": [m.sum(), 3, "words"]},
    ),
}


@pytest.mark.parametrize("value", RETURNS.values(), ids=RETURNS.keys())
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"skip_nonfinite": True}], ids=str)
def test_a_loss_may_return_what_it_also_computes(value: Callable[..., Any], options: Any) -> None:
    """MLX alone cannot compile that."""

    def loss_fn(model: nn.Module, x: mx.array, y: mx.array) -> Any:
        return value(mx.square(model(x) - y).sum(axis=1), x[:, 0] > 0)

    def trained(way: Callable[..., Step], times: int, **options: Any) -> list[Any]:
        model, optimizer = mlp(), optim.AdamW(warm_cosine())
        step = way(loss_fn, model, optimizer, **options)
        found = [step(*batch) for batch in batches(3) for _ in range(times)]
        return [found[times - 1 :: times], model.parameters(), optimizer.state]

    own, plain = trained(ours.compiled_step, options.get("accumulate", 1), **options), trained(eager, 1)
    for ours_value, its_value in zip(own[0], plain[0], strict=True):
        assert_close([*ours_value], [*its_value])
    assert_close(own[1:], plain[1:])


def test_nor_what_it_writes_twice() -> None:
    def loss_fn(model: Any, x: mx.array) -> mx.array:
        model.count, model.again = x.sum(), x.sum()
        loss: mx.array = linear(model, x) / x.sum()
        return loss

    model: Any = Weight()
    model.count = model.again = mx.array(0.0)
    model.freeze(keys=["count", "again"])
    step = ours.compiled_step(loss_fn, model, optim.SGD(1.0))
    step(3 * ONE)
    assert (weight(model), model.count.item(), model.again.item()) == (-1.0, 3.0, 3.0)


@with_both_tools
def test_an_attribute_that_is_written_for_some_shapes_only(tool: Callable[..., Step]) -> None:
    """In place, and not."""

    class Notes(optim.SGD):
        def __init__(self) -> None:
            super().__init__(1.0)
            self.largest, self.updates, self.kept = mx.array(0.0), mx.array(0), mx.array(5.0)

        def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
            if gradient.size == 2:
                self.largest = mx.maximum(self.largest, gradient.max())
                self.updates += 1
            updated: mx.array = super().apply_single(gradient, parameter, state)
            return updated

    def trained(way: Callable[..., Step]) -> list[Any]:
        optimizer, found = Notes(), []
        kept = optimizer.kept
        models = [Weight(), Weight()]
        models[1].w = mx.zeros(2)
        steps = [way(linear, model, optimizer) for model in models]
        for which, number in ((0, 9.0), (1, 2.0), (0, 7.0), (1, 3.0), (1, 1.0)):
            optimizer.state = {"step": optimizer.step, "learning_rate": optimizer.learning_rate}
            steps[which](number * mx.ones(1 + which))
            found += [weight(models[0]), models[1].w.tolist(), optimizer.largest.item(), optimizer.updates.item()]
        assert optimizer.kept is kept
        return found

    assert trained(tool) == trained(eager)


def test_a_model_that_notes_something_of_some_batches_only() -> None:
    def loss_fn(model: Any, x: mx.array) -> mx.array:
        if x.size == 2:
            model.noted = model.noted + x.sum()
        return linear(model, x)

    def trained(way: Callable[..., Step]) -> list[float]:
        model: Any = Weight()
        model.noted = mx.array(0.0)
        model.freeze(keys=["noted"])
        step = way(loss_fn, model, optim.SGD(1.0))
        found = []
        for batch in (ONE, mx.array([1.0, 2.0]), 3 * ONE, mx.array([2.0, 5.0])):
            step(batch)
            found += [model.noted.item(), weight(model)]
        return found

    assert trained(ours.compiled_step) == trained(eager)


@with_both_tools
def test_one_tuple_at_two_places(tool: Callable[..., Step]) -> None:
    """Each of which is changed for itself."""

    def trained(way: Callable[..., Step]) -> list[Any]:
        shared = (mx.array(2.0), [mx.array(0.5), 1.0])
        model, optimizer = Weight(), Scaled(1.0, {"a": shared, "b": shared})
        step = way(linear, model, optimizer)
        weights = []
        for change in (
            lambda: None,
            lambda: optimizer.scales.update(a=(mx.array(3.0),)),
            lambda: shared[1].append(2.0),
        ):
            change()
            step(ONE)
            weights.append(weight(model))
        return weights

    assert trained(tool) == trained(eager)


@requires_compile
def test_a_number_of_another_type_is_traced_again() -> None:
    """An array that the optimizer looks at is baked in, with its type."""
    model, optimizer = Weight(), optim.SGD(1.0)
    optimizer.momentum = mx.array(0.5)  # type: ignore[assignment]
    step = ours.compiled_step(linear, model, optimizer)
    found = []
    for momentum in (mx.array(0.5), mx.array(0.5, mx.float16), mx.array(0.5, mx.float16)):
        optimizer.momentum = momentum  # type: ignore[assignment]
        before = step.traces
        step(ONE)
        found.append(step.traces - before)
    assert found[1:] == [1, 0]


# The step that schedules count

STEPS = [
    *(mx.array(300, dtype) for dtype in (mx.bfloat16, mx.float16, mx.float32, mx.int16, mx.int32, mx.int64, mx.uint16)),
    mx.array(2**24 - 1, mx.float32),
    mx.array(2**40, mx.uint64),
    mx.array(2**40, mx.int64),
    2**40,
]


@with_both_tools
@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("stored", STEPS, ids=lambda step: f"{step} {getattr(step, 'dtype', 'int')}")
def test_a_step_stored_in_any_type_counts_on_in_uint64(
    stored: Any, steps_before: int, tool: Callable[..., Step]
) -> None:
    start: Any = stored.item() if isinstance(stored, mx.array) else stored
    schedule = ours.linear_schedule(0.0, 1.0, 2**41)
    model, optimizer = Weight(), optim.SGD(schedule)
    step = tool(linear, model, optimizer)
    for _ in range(steps_before):
        step(ONE)
    optimizer.state["step"] = stored
    for number in range(3):
        step(ONE)
        assert bits(optimizer.learning_rate) == bits(schedule(int(start) + number))
    assert (optimizer.step.dtype, optimizer.step.item()) == (mx.uint64, start + 3)


# Failures


def test_a_first_step_that_fails_leaves_the_optimizer_as_it_was_made() -> None:
    """It can be initialized for another model then."""
    optimizer = optim.AdamW(warm_cosine())
    with pytest.raises(ValueError, match="addmm"):
        ours.compiled_step(mse, mlp(), optimizer)(mx.ones((2, 3)), mx.ones((2, 2)))
    assert sorted(optimizer.state) == ["learning_rate", "step"]
    other = nn.Linear(3, 2)
    eager(mse, other, optimizer)(mx.ones((2, 3)), mx.ones((2, 2)))
    assert sorted(optimizer.state) == ["bias", "learning_rate", "step", "weight"]


@requires_compile
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("steps_before", [0, 3])
def test_an_error_of_mlx_after_the_trace(steps_before: int, accumulate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which comes from its compiler: in float16, by keywords, with dropout. All is as before, and trains on."""
    fails, compile_ = False, mx.compile

    def compiled(function: Any, **captured: Any) -> Any:
        made = compile_(function, **captured)

        def called(*arguments: Any) -> Any:
            result = made(*arguments)
            if fails:
                raise OverflowError("by the compiler")
            return result

        return called

    monkeypatch.setattr(mx, "compile", compiled)
    dropout = nn.Dropout(0.5)
    model, optimizer = Weight(mx.float16), optim.SGD(ours.constant(1.0), momentum=0.5)
    step = ours.compiled_step(
        lambda model, *, x: linear(model, dropout(x)), model, optimizer, accumulate=accumulate, skip_nonfinite=True
    )
    mx.random.seed(0)
    for _ in range(steps_before):
        step(x=ONE.astype(mx.float16))
    before = everything(model, optimizer, step.state)
    fails = True
    for _ in range(2):
        with pytest.raises(OverflowError, match="by the compiler"):
            step(x=mx.ones(2, mx.float16))
        assert everything(model, optimizer, step.state) == before
    fails = False
    for _ in range(accumulate):
        step(x=ONE.astype(mx.float16))
    assert model.w.dtype == mx.float16
    assert optimizer.step.item() == (steps_before + accumulate) // accumulate


@requires_compile
@pytest.mark.parametrize("transform", [mx.compile, mx.vmap], ids=["compile", "vmap"])
def test_a_step_called_by_keywords_inside_another_trace_is_refused(transform: Any) -> None:
    model, optimizer = Weight(), optim.SGD(1.0, momentum=0.5)
    step = ours.compiled_step(lambda model, *, x: linear(model, x), model, optimizer)
    step(x=ONE)
    before = bits(model.state, optimizer.state)
    with pytest.raises(RuntimeError, match="Call it outside"):
        transform(lambda x: step(x=x))(ONE)
    assert bits(model.state, optimizer.state) == before


@requires_compile
def test_what_was_made_without_compilation_is_compiled_with_it() -> None:
    """And the other way round."""
    model, optimizer = Weight(), optim.SGD(ours.linear_schedule(1.0, 0.0, 10))
    step = ours.compiled_step(linear, model, optimizer)
    mx.disable_compile()
    try:
        step(ONE)
        step(ONE)
    finally:
        mx.enable_compile()
    before = step.traces
    for _ in range(3):
        step(ONE)
    assert step.traces == before + 1
    assert weight(model) == pytest.approx(-(1.0 + 0.9 + 0.8 + 0.7 + 0.6))
