"""Updates with scheduled hyperparameters are those of an eager loop that sets the attributes before each step."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours
from mlxsched_compiled import scheduled

from .measuring import requires_compile
from .scheduled_optimizers import (
    RATE,
    Case,
    InPlace,
    Noisy,
    Prepares,
    Renamed,
    Signed,
    attributes_set,
    make,
    model_of,
    up,
    with_all_cases,
    without_values,
)
from .training import (
    TOOLS,
    WAYS,
    Step,
    Training,
    assert_close,
    batches,
    bits,
    by_hand,
    flat,
    with_all_ways,
)


@with_all_cases
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16], ids=str)
def test_it_is_what_setting_the_attributes_is(case: Case, dtype: mx.Dtype) -> None:
    theirs = attributes_set(case, dtype, 12)
    here = Training(WAYS["eager"], model_of(dtype), make(case)).train(batches(12, dtype=dtype))
    found = [[t.model.parameters(), without_values(t.optimizer, case)] for t in (here, theirs)]
    assert bits(found[0]) == bits(found[1])


@with_all_cases
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16], ids=str)
@pytest.mark.parametrize("way", [*TOOLS.values(), by_hand], ids=[*TOOLS, "by hand"])
def test_compiled_is_eager_to_the_bit(way: Callable[..., Step], case: Case, dtype: mx.Dtype) -> None:
    """And no type of the parameters or of the state changes."""
    data = batches(6, dtype=dtype)
    found = []
    for each in (WAYS["eager"], way):
        training = Training(each, model_of(dtype), make(case, ours.cosine_decay(RATE, 20)))
        training.optimizer.init(training.model.trainable_parameters())
        before = _types(training)
        training.train(data)
        assert _types(training) == before
        found.append(training)
    if case[0] is optim.Muon and dtype == mx.float32:  # so it is with MLX's own, without a schedule
        assert_close(*(training.arrays() for training in found))
    else:
        assert found[0].bits() == found[1].bits()


def _types(training: Training) -> dict[str, str]:
    return {name: kind for name, (kind, _) in bits(training.model.parameters(), training.optimizer.state).items()}


@pytest.mark.parametrize("order", [1, -1], ids=["model first", "optimizer first"])
@with_all_cases
def test_a_step_by_hand_for_any_shape(case: Case, order: int) -> None:
    """``shapeless``, of a model and an optimizer that can be compiled so."""
    trainings = []
    for way in ("eager", "by hand"):
        training = Training(WAYS["eager"], model_of(mx.bfloat16), make(case, ours.cosine_decay(RATE, 20)))
        training.optimizer.init(training.model.trainable_parameters())
        if way == "by hand":
            state = [training.model.state, training.optimizer.state][::order]
            training.step = mx.compile(training.step, inputs=state, outputs=state, shapeless=True)
        trainings.append(training.train(batches(3, dtype=mx.bfloat16)))
    assert trainings[0].bits() == trainings[1].bits()


def test_a_number_is_exact_in_float64() -> None:
    """As a Python number is next to such an array; MLX has them on the CPU."""
    found = []
    with mx.stream(mx.cpu):
        for make in (optim.SGD, partial(scheduled, optim.SGD)):
            optimizer: Any = make(learning_rate=0.5, momentum=0.9, dampening=0.1, weight_decay=0.1)
            parameters = {"w": mx.ones(2, mx.float64)}
            optimizer.init(parameters)
            for _ in range(2):
                parameters = optimizer.apply_gradients({"w": mx.array([0.1, 0.3], mx.float64)}, parameters)
            found.append(bits(parameters))
    assert found[0] == found[1]


def test_plain_functions() -> None:
    optimizer = scheduled(optim.AdamW, learning_rate=lambda t: 0.01 / (1 + t), weight_decay=lambda t: 0.1 * t, eps=1e-6)
    training = Training(ours.compiled_step, optimizer=optimizer).train(4)
    assert optimizer.state["weight_decay"].item() == pytest.approx(0.3)
    assert optimizer.learning_rate.item() == pytest.approx(0.0025)
    assert len(training.losses) == 4


@pytest.mark.parametrize(
    "function",
    [
        lambda t: 0.9 - 0.1 * mx.sum(t >= mx.array([2])),
        lambda t: 0.9 - 0.1 * mx.sum(t >= mx.array([1, 2, 3])),
        lambda t: mx.max(mx.stack([0.9 - 0.1 * t, mx.array(0.5)])),
        lambda t: 0.9 - 0.1 * mx.sum(t),
        lambda t: mx.array([0.9, 0.8, 0.7])[t],
    ],
    ids=["sum of one", "sum of three", "stack", "sum of the step", "index"],
)
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
@pytest.mark.parametrize("way", [*TOOLS.values(), by_hand], ids=[*TOOLS, "by hand"])
def test_plain_functions_of_one_step(way: Callable[..., Step], dtype: mx.Dtype, function: Callable[..., Any]) -> None:
    """As MLX calls a function: with an array of no dimension."""
    case, data = (optim.AdamW, {"betas": [0.9, function], "weight_decay": function}), batches(3, dtype=dtype)
    found = [Training(each, model_of(dtype), make(case)).train(data) for each in (WAYS["eager"], way)]
    assert found[0].bits() == found[1].bits()
    assert float(found[1].optimizer.weight_decay) == pytest.approx(function(mx.array(2)).item())


@pytest.mark.parametrize("options", [{"accumulate": 2}, {"skip_nonfinite": True, "max_grad_norm": 1.0}], ids=str)
def test_with_the_options_of_the_step(options: dict[str, Any]) -> None:
    """A skipped step changes no hyperparameter."""
    plateau = ours.reduce_on_plateau(ours.cosine_decay(0.05, 20), patience=0)
    optimizer = scheduled(optim.Adam, learning_rate=plateau, betas=[up(0.8, 0.9), 0.99])
    training = Training(ours.compiled_step, optimizer=optimizer, **options).train(4)
    for _ in range(2):
        plateau.observe(1.0)
    if "skip_nonfinite" in options:
        mx.eval(optimizer.state)
        before = training.bits()
        training.train([(mx.full((8, 4), float("nan")), mx.zeros((8, 2)))])
        after = training.bits()
        assert [name for name in before if before[name] != after[name]] == []
    training.train(2)
    assert training.optimizer.learning_rate.item() == plateau(optimizer.step - 1).item()
    assert plateau(0).item() == pytest.approx(0.005)


@with_all_ways
def test_groups(way: Callable[..., Step]) -> None:
    """One schedule in two optimizers of a MultiOptimizer, and another."""
    shared, own = up(0.1, 0.2), up(0.5, 0.9)

    def make() -> Any:
        return optim.MultiOptimizer(
            [
                scheduled(optim.AdamW, learning_rate=ours.cosine_decay(0.02, 9), weight_decay=shared),
                scheduled(optim.SGD, learning_rate=0.01, momentum=own, weight_decay=shared),
            ],
            [lambda name, weight: weight.ndim > 1],
        )

    training, eager = Training(way, optimizer=make()).train(3), Training(WAYS["eager"], optimizer=make()).train(3)
    assert training.bits() == eager.bits()
    shared.retune(init=0.4)
    training.train(1)
    values = [part.state["weight_decay"].item() for part in training.optimizer.optimizers]
    assert values == [shared(3).item()] * 2


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
@pytest.mark.parametrize("optimizer_class", [Signed, Renamed])
def test_an_optimizer_of_ones_own(optimizer_class: Any, dtype: mx.Dtype) -> None:
    case = (optimizer_class, {"strength": up(0.1, 0.5), "power": up(2, 4)})
    data = batches(4, dtype=dtype)
    trainings = [Training(way, model_of(dtype), make(case)).train(data) for way in (WAYS["eager"], ours.compiled_step)]
    assert trainings[0].bits() == trainings[1].bits()
    parameters = trainings[0].model.parameters()
    assert {kind.partition(" ")[0] for kind, _ in bits(parameters).values()} == {str(dtype)}


@with_all_ways
def test_a_momentum_that_starts_from_0_is_one(way: Callable[..., Step]) -> None:
    """Also where MLX refuses 0, or would leave the momentum out of the graph."""
    optimizer = scheduled(optim.SGD, learning_rate=0.1, momentum=up(0, 0.9), nesterov=True)
    eager = scheduled(optim.SGD, learning_rate=0.1, momentum=up(0, 0.9), nesterov=True)
    trainings = [Training(way, optimizer=optimizer).train(4), Training(WAYS["eager"], optimizer=eager).train(4)]
    assert trainings[0].bits() == trainings[1].bits()
    assert mx.any(optimizer.state["layers"][0]["weight"]["v"] != 0).item()


def test_an_optimizer_that_prepares_its_updates() -> None:
    """Where all gradients are at hand, as one that counts what it does: each update is made once."""
    optimizer: Any = scheduled(Prepares, learning_rate=0.01, weight_decay=up(0.1, 0.2), betas=[0.9, up(0.9, 0.99)])
    training = Training(WAYS["eager"], optimizer=optimizer)
    optimizer.init(training.model.trainable_parameters())
    assert (optimizer.updates, optimizer.shapes, hasattr(optimizer, "largest")) == (0, [], False)
    training.train(3)
    assert (optimizer.updates, len(optimizer.shapes), optimizer.kinds) == (3, 12, {mx.float32})
    plain: Any = Prepares(0.01, weight_decay=0.1, betas=[0.9, 0.9])
    eager = Training(WAYS["eager"], optimizer=plain)
    for step, batch in enumerate(batches(3)):
        plain.weight_decay, plain.betas = up(0.1, 0.2)(step).item(), [0.9, up(0.9, 0.99)(step).item()]
        eager.train([batch])
    assert bits(eager.model.parameters()) == bits(training.model.parameters())


class Cautious(optim.SGD):
    """Fails until it is ready."""

    def __init__(self, learning_rate: Any, momentum: float = 0.9) -> None:
        super().__init__(learning_rate, momentum=momentum)
        self.ready = True

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        if not self.ready:
            raise RuntimeError("not ready")
        updated: mx.array = super().apply_single(gradient, parameter, state)
        return updated


@with_all_ways
def test_after_an_update_that_failed(way: Callable[..., Step]) -> None:
    """A momentum of 0 is shown as 0 again, which it is not inside of an update."""
    optimizer: Any = scheduled(Cautious, learning_rate=0.01, momentum=up(0, 0.9))
    optimizer.ready = False
    training = Training(way, optimizer=optimizer)
    with pytest.raises(RuntimeError, match="not ready"):
        training.train(1)
    optimizer.ready = True
    optimizer.state["step"], optimizer.state["momentum"] = mx.array(0, mx.uint64), mx.array(0.0)
    assert optimizer.momentum == 0
    assert not optimizer.momentum
    other = Training(WAYS["eager"], optimizer=scheduled(optim.SGD, learning_rate=0.01, momentum=up(0, 0.9)))
    if way is WAYS["by hand"]:
        optimizer = scheduled(Cautious, learning_rate=0.01, momentum=up(0, 0.9))  # that one is full of tracers
        training = Training(way, optimizer=optimizer)
    assert bits(training.train(2).model.parameters()) == bits(other.train(2).model.parameters())


@requires_compile
def test_an_eager_update_evaluates_no_gradients() -> None:
    """Once there was one: the update only builds the graph, whether or not it is said that a schedule is not read."""
    optimizer = scheduled(optim.AdamW, learning_rate=up(0.1, 0.2), weight_decay=up(0.1, 0.2), betas=[0.9, up(0.9, 1)])
    weights = optimizer.apply_gradients({"w": mx.ones(2)}, {"w": mx.ones(2)})
    for _ in range(3):
        gradient = mx.ones(2) * mx.array(2.0)
        weights = optimizer.apply_gradients({"w": gradient}, weights)
        assert _is_pending(gradient)
        assert _is_pending(weights["w"])


def _is_pending(array: mx.array) -> bool:
    """Whether an array has not been evaluated: then it has a graph, which MLX can draw."""
    text = io.StringIO()
    mx.export_to_dot(text, array)
    return any(operation in text.getvalue() for operation in ("Multiply", "Subtract"))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_users_function_is_called_no_more_than_needed(way: Callable[..., Step]) -> None:
    """Once when the optimizer is made, and at most once for each update."""
    calls = []

    def decay(step: mx.array) -> mx.array:
        calls.append(step)
        return 0.1 + 0.01 * step

    optimizer = scheduled(optim.AdamW, learning_rate=0.01, weight_decay=decay)
    assert len(calls) == 1
    training = Training(way, optimizer=optimizer).train(4)
    assert 1 < len(calls) <= 5
    assert training.optimizer.weight_decay == pytest.approx(0.13)


class Tupled(optim.SGD):
    """Has one tuple at two places."""

    def __init__(self, learning_rate: Any, scales: tuple[float, float] = (1.0, 1.0), others: Any = (1.0, 1.0)) -> None:
        super().__init__(learning_rate)
        self.scales, self.others = scales, others
        self.counts = self.same_counts = (mx.array(0.0), mx.array(1.0))

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        factor = self.scales[0] * self.others[1] + self.scales[1] * self.others[0]
        self.counts = (self.counts[0] + 1, self.counts[1])
        updated: mx.array = super().apply_single(gradient * factor * self.same_counts[1], parameter, state)
        return updated


@pytest.mark.parametrize("way", [*TOOLS.values()], ids=TOOLS)
def test_one_tuple_at_two_places(way: Callable[..., Step]) -> None:
    """Of the arguments, and of the attributes: each place is its own when one is assigned."""
    shared = (up(0.5, 1), 0.25)
    found = []
    for each in (WAYS["eager"], way):
        optimizer: Any = scheduled(Tupled, learning_rate=0.1, scales=shared, others=shared)
        training = Training(each, optimizer=optimizer).train(3)
        assert (optimizer.counts[0].item(), optimizer.same_counts[0].item()) == (12, 0)
        optimizer.others = (up(0.2, 0.4), 0.75)
        training.train(2)
        assert [*map(float, optimizer.scales)] == pytest.approx([0.7, 0.25])
        assert [*map(float, optimizer.others)] == pytest.approx([0.28, 0.75])
        found.append(training)
    assert found[0].bits() == found[1].bits()


@pytest.mark.parametrize("is_initialized", [True, False])
def test_an_update_that_draws_random_numbers(is_initialized: bool) -> None:
    """Also where the first call of a step by hand initializes the optimizer, within its trace."""

    def make(way: Callable[..., Step]) -> Training:
        return Training(way, optimizer=scheduled(Noisy, learning_rate=RATE, noise=up(0.1, 0.3)))

    expected, training = make(WAYS["eager"]), make(WAYS["eager"])
    if is_initialized:
        training.optimizer.init(training.model.trainable_parameters())
    state = [training.model.state, training.optimizer.state, mx.random.state]
    training.step = mx.compile(training.step, inputs=state, outputs=state)
    found = []
    for each in (training, expected):
        mx.random.seed(1)
        found.append(each.train(3).model.parameters())
    assert_close(found[0], found[1], rtol=1e-4)  # MLX 0.32.1 draws somewhat other numbers where it compiles


@pytest.mark.parametrize("optimizer_class", [InPlace, optim.SGD, optim.Adafactor])
def test_init_changes_no_array(optimizer_class: Any) -> None:
    """Neither weights nor state nor attributes, however often it is called."""
    arguments = {"weight_decay": up(0.1, 0.2), **({} if optimizer_class is optim.Adafactor else {"momentum": 0.9})}
    optimizer: Any = scheduled(optimizer_class, learning_rate=RATE, **arguments)
    training = Training(WAYS["eager"], optimizer=optimizer).train(2)
    state = [training.model.parameters(), optimizer.state, *map(vars(optimizer).get, ("total", "totals"))]
    state = [each for each in state if each is not None]
    before, objects = bits(*state), [id(array) for _, array in flat(state)]
    for _ in range(3):
        optimizer.init(training.model.trainable_parameters())
    assert bits(*state) == before
    assert [id(array) for _, array in flat(state)] == objects
