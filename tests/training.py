"""How the tests train: small models, every optimizer of MLX, both tools and what they stand in for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

import mlxsched_compiled as ours

Batch: TypeAlias = tuple[mx.array, ...]
Step: TypeAlias = Callable[..., Any]
Rate: TypeAlias = Any
Optimizer: TypeAlias = Callable[[Rate], optim.Optimizer]


def eager(loss_fn: Step, model: nn.Module, optimizer: optim.Optimizer) -> Step:
    """Nothing compiled: what MLX does with a model as it is now."""

    def step(*batch: Any) -> Any:
        value, gradients = nn.value_and_grad(model, loss_fn)(model, *batch)
        optimizer.update(model, gradients)
        return value

    return step


def by_hand(loss_fn: Step, model: nn.Module, optimizer: optim.Optimizer, captured: Sequence[Any] = ()) -> Step:
    """The step of MLX's documentation, compiled by its user; ``captured`` are further inputs."""
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state, mx.random.state]
    compiled: Step = partial(mx.compile, inputs=[*state, list(captured)], outputs=state)(
        eager(loss_fn, model, optimizer)
    )
    return compiled


def capturing(loss_fn: Step, model: nn.Module, optimizer: optim.Optimizer) -> Step:
    """That step with the state of the schedules captured, as it is by the tools."""
    parts = getattr(optimizer, "optimizers", [optimizer])
    return by_hand(loss_fn, model, optimizer, [s.state for part in parts for s in part._schedulers.values()])


def by_update(loss_fn: Step, model: nn.Module, optimizer: optim.Optimizer) -> Step:
    """The loss as it is, its update by ``compiled_update``."""
    update = ours.compiled_update(model, optimizer)

    def step(*batch: Any) -> Any:
        value, gradients = nn.value_and_grad(model, loss_fn)(model, *batch)
        update(gradients)
        return value

    return step


TOOLS: dict[str, Callable[..., Step]] = {"compiled_step": ours.compiled_step, "compiled_update": by_update}
WAYS = {"eager": eager, **TOOLS, "by hand": capturing}

with_both_tools = pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS.keys())
with_all_ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def _two_groups(rate: Rate) -> optim.Optimizer:
    """Matrices under a schedule of their own."""
    matrices = warm_cosine(0.02) if callable(rate) else rate
    return optim.MultiOptimizer([optim.AdamW(matrices), optim.SGD(rate)], [lambda name, w: w.ndim > 1])


OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": optim.SGD,
    "SGD, momentum": lambda rate: optim.SGD(rate, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "RMSprop": optim.RMSprop,
    "Adagrad": optim.Adagrad,
    "AdaDelta": optim.AdaDelta,
    "Adam": optim.Adam,
    "Adam, bias correction": lambda rate: optim.Adam(rate, bias_correction=True),
    "AdamW": optim.AdamW,
    "Adamax": optim.Adamax,
    "Lion": optim.Lion,
    "Muon": optim.Muon,
    "Adafactor": lambda rate: optim.Adafactor(rate, relative_step=False),
    "MultiOptimizer": _two_groups,
}


def warm_cosine(peak: float = 0.05) -> ours.Schedule:
    """A schedule that warms up for 5 steps and ends after 40."""
    return ours.warmup_cosine_decay(peak, 5, 40, end=1e-3)


def mse(model: nn.Module, x: mx.array, y: mx.array) -> mx.array:
    """Mean squared error of a model with two outputs."""
    return mx.mean(mx.square(model(x).astype(mx.float32) - y))


def batches(count: int, *, size: int = 8, dtype: mx.Dtype = mx.float32) -> list[Batch]:
    """Two functions of four numbers, at other points in each batch."""
    generator = np.random.default_rng(7)
    made: list[Batch] = []
    for _ in range(count):
        x = generator.normal(size=(size, 4))
        y = np.stack([np.sin(x.sum(axis=1)), x[:, 0] * x[:, 1]], axis=1)
        made.append((mx.array(x, mx.float32).astype(dtype), mx.array(y, mx.float32)))
    mx.eval(made)
    return made


def mlp(width: int = 8) -> nn.Module:
    """Two layers, from 4 numbers to 2; the same weights each time.

    Not to 1: the gradient of a layer of one output is a product of vectors, and its last bits depend, on the CPU, on
    where in memory they lie, so on the run, with MLX alone as well.
    """
    mx.random.seed(3)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 2))


def flat(tree: Any) -> list[tuple[str, mx.array]]:
    """The leaves of a tree, by name."""
    leaves: Any = tree_flatten(tree)
    return list(leaves)


def bits(*trees: Any) -> dict[str, tuple[str, bytes]]:
    """Type, shape and bytes of every array of the trees, by name: a copy, to be compared later."""
    found = {}
    for name, array in flat(list(trees)):
        if isinstance(array, mx.array):
            width = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}[array.dtype.size]
            found[name] = (f"{array.dtype} {array.shape}", np.array(array.reshape(-1).view(width)).tobytes())
    return found


def random_key() -> mx.array:
    """What the next random numbers come from."""
    state: Any = mx.random.state
    key: mx.array = state[0]
    return key


def assert_close(a: Any, b: Any, *, rtol: float = 2e-5, atol: float = 2e-6) -> None:
    """The same arrays within the rounding of float32."""
    ours_flat, theirs_flat = dict(flat(a)), dict(flat(b))
    assert ours_flat.keys() == theirs_flat.keys()
    for name, array in ours_flat.items():
        if isinstance(array, mx.array):
            assert array.dtype == theirs_flat[name].dtype, name
            np.testing.assert_allclose(
                np.array(array.astype(mx.float32)),
                np.array(theirs_flat[name].astype(mx.float32)),
                rtol=rtol,
                atol=atol,
                err_msg=name,
            )


class Training:
    """A model, its optimizer, and the step that trains it: all that a test may look at."""

    def __init__(
        self,
        way: Callable[..., Step],
        model: nn.Module | None = None,
        optimizer: optim.Optimizer | None = None,
        loss_fn: Step = mse,
        **options: Any,
    ) -> None:
        self.model = mlp() if model is None else model
        self.optimizer: Any = optim.AdamW(warm_cosine()) if optimizer is None else optimizer
        self.step = way(loss_fn, self.model, self.optimizer, **options)
        self.losses: list[Any] = []
        mx.random.seed(1)  # of dropout

    def train(self, data: int | Sequence[Any]) -> Training:
        """Steps over the batches, or over as many."""
        for batch in batches(data) if isinstance(data, int) else data:
            self.losses.append(self.step(*batch))
            mx.eval(self.losses[-1], self.model.parameters(), self.optimizer.state, mx.random.state)
        return self

    def rates(self, count: int) -> list[float]:
        """The learning rates of the next steps."""
        return [self.train(1).optimizer.learning_rate.item() for _ in range(count)]

    def arrays(self) -> list[Any]:
        """What has come out."""
        return [self.losses, self.model.parameters(), self.optimizer.state]

    def bits(self, *more: Any) -> dict[str, tuple[str, bytes]]:
        """The bits of all that a step may change."""
        return bits(self.model.state, self.optimizer.state, getattr(self.step, "state", {}), random_key(), *more)


def rates_in_a_step(schedule: Any, count: int) -> list[float]:
    """The learning rates of the first steps, compiled by hand, of a model so small that little else is built."""

    def loss_fn(model: nn.Module, x: mx.array, y: mx.array) -> mx.array:
        return mx.sum(mx.square(model.weight))

    return Training(by_hand, nn.Linear(1, 1, bias=False), optim.SGD(schedule), loss_fn).rates(count)


@dataclass(frozen=True)
class Task:
    """What to train on what. ``make`` makes the same model each time."""

    make: Callable[[], nn.Module]
    loss_fn: Step = mse
    data: Callable[[int], list[Batch]] = batches


def _seeded(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        mx.random.seed(11)
        return make()

    return made


class Composed(nn.Module):
    """A module of these attributes, that computes ``forward(itself, x)``."""

    def __init__(self, forward: Callable[[Any, mx.array], mx.array], **attributes: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.forward = forward
        for name, value in attributes.items():
            setattr(self, name, value)

    def __call__(self, x: mx.array) -> mx.array:
        return self.forward(self, x)


def _frozen() -> nn.Module:
    model = mlp()
    model.layers[0].freeze()
    return model


def _biases_only() -> nn.Module:
    model = mlp()
    model.freeze()
    model.unfreeze(keys="bias")
    return model


def _with(layer: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(4, 8), layer(), nn.Tanh(), nn.Linear(8, 2))


def _tied() -> nn.Module:
    """An embedding that is also the output layer."""

    def logits(model: Any, tokens: mx.array) -> mx.array:
        logits: mx.array = model.embedding.as_linear(mx.tanh(model.layer(model.embedding(tokens))))
        return logits

    return Composed(logits, embedding=nn.Embedding(7, 6), layer=nn.Linear(6, 6))


def _tokens(count: int) -> list[Batch]:
    mx.random.seed(5)
    made: list[Batch] = [(mx.random.randint(0, 7, (8,)), mx.random.randint(0, 7, (8,))) for _ in range(count)]
    mx.eval(made)
    return made


def _cross_entropy(model: nn.Module, tokens: mx.array, following: mx.array) -> mx.array:
    return nn.losses.cross_entropy(model(tokens), following, reduction="mean")


def _shared() -> nn.Module:
    """One layer under two names."""
    layer = nn.Linear(4, 4)
    shared = Composed(lambda model, x: model.second(mx.tanh(model.first(x))), first=layer, second=layer)
    return nn.Sequential(shared, nn.Tanh(), nn.Linear(4, 2))


def _adapted() -> nn.Module:
    """A quantized layer with a low-rank addition that is trained."""
    base = nn.QuantizedLinear.from_linear(nn.Linear(64, 64), group_size=32, bits=4)
    base.freeze()
    a, b = 0.1 * mx.random.normal((64, 2)), mx.zeros((2, 64))
    adapter = Composed(lambda model, x: model.base(x) + (x @ model.a) @ model.b, base=base, a=a, b=b)
    model = nn.Sequential(nn.Linear(4, 64), adapter, nn.Tanh(), nn.Linear(64, 2))
    model.layers[0].freeze()
    return model


def _containers() -> nn.Module:
    """Layers in a list, in a dict and in a list of dicts; in a tuple, where MLX does not train them."""

    def forward(model: Any, x: mx.array) -> mx.array:
        for layer in model.listed:
            x = mx.tanh(layer(x))
        x = x + model.named["down"](mx.tanh(model.named["up"](x)))
        x = model.nested[0]["a"](x) + model.nested[1]["scale"] * model.nested[1]["a"](x)
        return mx.tanh(model.fixed[0](x))

    containers = Composed(
        forward,
        listed=[nn.Linear(4, 4), nn.Linear(4, 4)],
        named={"up": nn.Linear(4, 6), "down": nn.Linear(6, 4)},
        nested=[{"a": nn.Linear(4, 4)}, {"a": nn.Linear(4, 4), "scale": mx.array(2.0)}],
        fixed=(nn.Linear(4, 4), "a name", 3),
    )
    return nn.Sequential(containers, nn.Linear(4, 2))


def _counts() -> nn.Module:
    """Has an array that its forward pass counts up in, but does not train."""

    def forward(model: Any, x: mx.array) -> mx.array:
        model.calls = model.calls + 1
        return x

    counter = Composed(forward, calls=mx.array(0))
    counter.freeze()
    return nn.Sequential(nn.Linear(4, 2), counter)


TASKS: dict[str, Task] = {
    "frozen layer": Task(_frozen),
    "biases only": Task(_biases_only),
    "dropout": Task(_seeded(_with(lambda: nn.Dropout(0.5)))),
    "tied embedding": Task(_seeded(_tied), _cross_entropy, _tokens),
    "layer under two names": Task(_seeded(_shared)),
    "quantized with adapter": Task(_seeded(_adapted)),
    "batch norm": Task(_seeded(_with(lambda: nn.BatchNorm(8)))),
    "containers": Task(_seeded(_containers)),
    "counts its calls": Task(_seeded(_counts)),
}
