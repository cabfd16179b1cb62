"""A rate that a user-compiled step has frozen is warned of once, and nothing else is.

Such a step does not capture ``optimizer.state``, as the one of Apple's mnist example does not: it goes on at step 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours

from .measuring import EMPTY_GROUPS, requires_compile, uncompiled
from .training import TOOLS, Step, by_hand, capturing, eager

SIZES = (2, 2, 3, 2)
"""Batches of two sizes: the second is traced as well."""
ONE_SIZE = (2, 2, 2)
"""For what MLX cannot trace twice: moments that are not captured have no values after a trace."""


@contextmanager
def _recorded() -> Iterator[list[str]]:
    """The warnings that are given inside, each as often as it is."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    messages += [str(warning.message) for warning in caught]


def _model() -> nn.Module:
    return nn.Linear(2, 2, bias=False)


def _loss(model: Any, x: mx.array) -> mx.array:
    return mx.mean(mx.square(model(x)))


def _like_mnist(loss_fn: Step, model: nn.Module, optimizer: Any) -> Step:
    """The step of Apple's example."""

    @partial(mx.compile, inputs=model.state, outputs=model.state)
    def step(*batch: mx.array) -> Any:
        value, gradients = nn.value_and_grad(model, loss_fn)(model, *batch)
        optimizer.update(model, gradients)
        return value

    compiled: Step = step
    return compiled


def _train(way: Callable[..., Step], optimizer: Any, sizes: tuple[int, ...] = ONE_SIZE) -> None:
    model = _model()
    step = way(_loss, model, optimizer)
    for size in sizes:
        mx.eval(step(mx.ones((size, 2))), model.parameters())


def _cosine() -> ours.Schedule:
    return ours.cosine_decay(0.1, 100)


def _in_a_lambda() -> Any:
    schedule = _cosine()
    return optim.SGD(lambda step: 2 * schedule(step))


def _two_in_a_lambda() -> Any:
    first, second = _cosine(), ours.constant(0.5)
    return optim.SGD(lambda step: first(step) * second(step) + first(step))


def _groups() -> Any:
    return optim.MultiOptimizer([optim.SGD(_cosine()), optim.SGD(0.1)], [lambda name, w: True])


FROZEN: dict[str, Callable[[], Any]] = {
    "SGD": lambda: optim.SGD(_cosine()),
    "SGD, momentum": lambda: optim.SGD(_cosine(), momentum=0.9),
    "AdamW": lambda: optim.AdamW(_cosine()),
    "Lion": lambda: optim.Lion(ours.warmup(_cosine(), 5)),
    "a plateau": lambda: optim.SGD(ours.reduce_on_plateau(0.1)),
    "a constant that may be retuned": lambda: optim.SGD(ours.constant(0.1)),
    "a product": lambda: optim.SGD(2 * _cosine()),
    "a join": lambda: optim.SGD(ours.join_schedules([0.1, _cosine()], [2])),
    "a lambda": _in_a_lambda,
    "two in a lambda": _two_in_a_lambda,
    "scheduled": lambda: ours.scheduled(optim.SGD, learning_rate=_cosine(), momentum=0.9),
    "scheduled, two": lambda: ours.scheduled(optim.AdamW, learning_rate=_cosine(), weight_decay=_cosine()),
    **({"MultiOptimizer": _groups} if EMPTY_GROUPS else {}),
}


def _assert_says_what_to_do(messages: list[str]) -> None:
    assert len(messages) == 1, messages
    assert all(word in messages[0] for word in ("optimizer.state", "inputs", "outputs")), messages


@requires_compile
@pytest.mark.parametrize("make", FROZEN.values(), ids=FROZEN.keys())
def test_an_optimizer_that_is_not_captured_is_warned_of_once(make: Callable[[], Any]) -> None:
    with _recorded() as messages:
        _train(_like_mnist, make())
    _assert_says_what_to_do(messages)


@requires_compile
def test_another_size_of_batch_is_no_other_warning() -> None:
    with _recorded() as messages:
        _train(_like_mnist, optim.SGD(_cosine()), SIZES)
    _assert_says_what_to_do(messages)


@requires_compile
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.SGD(optim.cosine_decay(0.1, 100)),
        lambda: optim.AdamW(optim.linear_schedule(0.1, 0, 100)),
        lambda: optim.SGD(_cosine()),
    ],
)
def test_so_it_is_where_the_package_is_installed(make: Callable[[], Any]) -> None:
    with _recorded() as messages:
        _train(_like_mnist, make())
    _assert_says_what_to_do(messages)


@requires_compile
def test_each_optimizer_gets_its_own_warning() -> None:
    """A second program in the process is frozen too; the shared schedule makes no difference."""
    schedule = _cosine()
    for _ in range(2):
        with _recorded() as messages:
            _train(_like_mnist, optim.SGD(schedule))
        _assert_says_what_to_do(messages)


@requires_compile
def test_one_of_two_optimizers_that_is_not_captured() -> None:
    """As in adversarial training."""
    model, captured, forgotten = _model(), optim.SGD(_cosine()), optim.SGD(_cosine())
    captured.init(model.trainable_parameters())
    state = [model.state, captured.state]

    @partial(mx.compile, inputs=state, outputs=state)
    def step(x: mx.array) -> None:
        for optimizer in (captured, forgotten):
            _, gradients = nn.value_and_grad(model, _loss)(model, x)
            optimizer.update(model, gradients)

    with _recorded() as messages:
        for _ in range(2):
            step(mx.ones((2, 2)))
            mx.eval(model.parameters())
    _assert_says_what_to_do(messages)


@requires_compile
def test_a_state_that_is_an_output_alone_is_frozen() -> None:
    model, optimizer = _model(), optim.SGD(_cosine())
    optimizer.init(model.trainable_parameters())

    @partial(mx.compile, inputs=model.state, outputs=[model.state, optimizer.state])
    def step(x: mx.array) -> None:
        _, gradients = nn.value_and_grad(model, _loss)(model, x)
        optimizer.update(model, gradients)

    with _recorded() as messages:
        for _ in range(3):
            step(mx.ones((2, 2)))
            mx.eval(model.parameters())
    _assert_says_what_to_do(messages)


@requires_compile
def test_the_warning_does_not_change_what_is_trained() -> None:
    """It trains as one of MLX's own does that is frozen."""
    trained = []
    for rate in (optim.linear_schedule(0.5, 0.25, 8), ours.linear_schedule(0.5, 0.25, 8)):
        mx.random.seed(0)
        model, optimizer = _model(), optim.SGD(rate)
        step = _like_mnist(_loss, model, optimizer)
        with _recorded():
            for _ in range(3):
                step(mx.ones((2, 2)))
                mx.eval(model.parameters())
        trained.append(model.weight)
    assert mx.array_equal(*trained)


# What gets no warning


def _initialized_in_the_trace(loss_fn: Step, model: nn.Module, optimizer: Any) -> Step:
    """Captured before it is initialized, which its first update does."""
    state = [model.state, optimizer.state]
    compiled: Step = partial(mx.compile, inputs=state, outputs=state)(eager(loss_fn, model, optimizer))
    return compiled


QUIET: dict[str, Callable[..., Step]] = {
    "eager": eager,
    **TOOLS,
    "captured": by_hand,
    "captured, with the schedule": capturing,
    "captured, initialized in the trace": _initialized_in_the_trace,
}
MAKE = {name: FROZEN[name] for name in ("SGD", "AdamW", "a lambda", "scheduled, two", "a plateau")}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())
@pytest.mark.parametrize("way", QUIET.values(), ids=QUIET.keys())
def test_no_warning_where_the_step_counts_on(way: Callable[..., Step], make: Callable[[], Any]) -> None:
    sizes = (2,) if way is _initialized_in_the_trace else SIZES  # MLX does not capture what comes after the first
    if way is capturing and make is MAKE["a lambda"]:
        way = by_hand
    with _recorded() as messages:
        _train(way, make(), sizes)
    assert messages == []


def test_no_warning_where_compilation_is_disabled() -> None:
    with uncompiled(), _recorded() as messages:
        _train(_like_mnist, optim.SGD(_cosine()))
    assert messages == []


@pytest.mark.usefixtures("installed")
def test_no_warning_for_a_rate_that_is_a_number_or_nobodys_schedule() -> None:
    with _recorded() as messages:
        _train(_like_mnist, optim.SGD(0.1))
        _train(_like_mnist, optim.SGD(lambda step: 0.1 / (1 + step)))
    assert messages == []


def _update(optimizer: optim.Optimizer, w: mx.array, gradient: mx.array) -> mx.array:
    updated: mx.array = optimizer.apply_gradients({"w": gradient}, {"w": w})["w"]
    return updated


def _scale(transform: Callable[..., Any]) -> Any:
    """A loss of what an update leaves, as a function of a factor of the gradient."""
    optimizer = optim.SGD(_cosine())

    def loss(factor: mx.array, w: mx.array) -> mx.array:
        return mx.sum(mx.square(_update(optimizer, w, factor * w)))

    return transform(loss)


def _weighted(transform: Callable[..., Any]) -> None:
    """A schedule in a loss."""
    schedule, optimizer = _cosine(), optim.SGD(_cosine())
    transform(lambda w: mx.sum(schedule(optimizer.step) * schedule(3) * w))(W)
    _update(optimizer, W, W)
    transform(lambda w: mx.sum(schedule(optimizer.step) * w))(W)


W = mx.array([1.0, 2.0])

CALLS: dict[str, Callable[[], Any]] = {
    "grad": lambda: _weighted(mx.grad),
    "value_and_grad": lambda: _weighted(mx.value_and_grad),
    "checkpoint": lambda: _weighted(mx.checkpoint),
    "grad of checkpoint": lambda: _weighted(lambda f: mx.grad(mx.checkpoint(f))),
    "vmap": lambda: _weighted(mx.vmap),
    "vmap of a schedule": lambda: mx.vmap(_cosine())(mx.arange(4)),
    "compile of a schedule": lambda: mx.compile(_cosine())(mx.array(3)),
    "a step known to a trace": lambda: mx.compile(lambda x: x * _cosine()(3))(W),
    "an eager update in grad": lambda: _scale(mx.grad)(mx.array(2.0), W),
    "an eager update in value_and_grad": lambda: _scale(mx.value_and_grad)(mx.array(2.0), W),
    "an eager update in checkpoint": lambda: _scale(mx.checkpoint)(mx.array(2.0), W),
    "an eager update in grad of checkpoint": lambda: _scale(lambda f: mx.grad(mx.checkpoint(f)))(mx.array(2.0), W),
    "an eager update in jvp": lambda: mx.jvp(_scale(lambda f: f), [mx.array(2.0), W], [mx.array(1.0), W]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_no_warning_in_other_transformations(call: Callable[[], Any]) -> None:
    with _recorded() as messages:
        for _ in range(2):
            mx.eval(call())
    assert messages == []


def test_no_warning_for_an_update_under_vmap() -> None:
    """Each call runs its Python, so the step counts on."""
    optimizer = optim.SGD(_cosine())
    updates: Any = mx.vmap(partial(_update, optimizer, mx.array(1.0)))
    with _recorded() as messages:
        for _ in range(2):
            mx.eval(updates(W))
    assert messages == []
    assert optimizer.step.item() == 2


def test_no_warning_for_an_optimizer_that_lives_inside_a_compiled_function() -> None:
    """Such as the inner loop of meta-learning: it is to begin at step 0 each time."""

    @mx.compile
    def adapted(w: mx.array, target: mx.array) -> mx.array:
        optimizer = optim.SGD(_cosine())
        for _ in range(3):
            w = _update(optimizer, w, w - target)
        return w

    with _recorded() as messages:
        for target in (mx.zeros(2), mx.ones(2)):
            mx.eval(adapted(W, target))
    assert messages == []


def test_no_warning_for_a_captured_step_in_another_compiled_function() -> None:
    model, optimizer = _model(), optim.SGD(_cosine())
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state]
    inner: Step = mx.compile(eager(_loss, model, optimizer), inputs=state, outputs=state)

    def calls_it(x: mx.array) -> Any:
        return inner(x)

    outer: Step = mx.compile(calls_it, inputs=state, outputs=state)
    with _recorded() as messages:
        for _ in range(2):
            mx.eval(outer(mx.ones((2, 2))), state)
    assert messages == []
    assert optimizer.step.item() == 2
