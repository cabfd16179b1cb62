"""What scheduled hyperparameters of AdamW add to a compiled update or step, beside Optax.

Optax comes with the extra ``peers``, and is imported where it is used.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import pytest
from adamw import CALLS, COUNTS, ROUNDS, STEP, UPDATE, Arguments, Scheduled, numbers
from formulas import INIT, LIFE
from measure import Row, Turns
from mlx.utils import tree_flatten

from mlxsched_compiled import scheduled
from mlxsched_compiled.optimizers.weak_scalar import WeakScalar

HAND, OPTAX = "by hand", "optax"
TOOLS = {UPDATE: "compiled_update", STEP: "compiled_step"}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", TOOLS)
def test_scheduled(kind: str, count: int, turns: Turns, row: Row) -> None:
    """Each beside the same with numbers, so that what the tool itself costs does not count."""
    tool = TOOLS[kind]
    makers: dict[str, Any] = {
        HAND: partial(Scheduled, kind, is_by_hand=True),
        tool: partial(Scheduled, kind, is_by_hand=False),
        OPTAX: partial(_Optax, kind),
    }
    if not find_spec("optax"):
        del makers[OPTAX]
    constant = {f"{name}, constant": make(count=0) for name, make in makers.items()}
    following = {f"{name}, scheduled": make(count=count) for name, make in makers.items()}
    found = turns(f"hyperparameters: {kind}, {COUNTS[count]}", constant | following, CALLS, ROUNDS)

    for name, run in following.items():
        step, seen = run.seen()
        for key, expected in numbers(count, step).items():
            assert mx.allclose(mx.array(seen[key]), mx.array(expected), 1e-4, 0), (name, key)
    hand, ours = following[f"{HAND}, scheduled"], following[f"{tool}, scheduled"]
    assert mx.allclose(hand.model.weight, ours.model.weight, 1e-4, 1e-5)
    cells = {f"µs per {kind}": f"{count}: {COUNTS[count]}"}
    for name in (HAND, tool, OPTAX):
        times, base = found.get(f"{name}, scheduled"), found.get(f"{name}, constant")
        cells[f"{name}, constant"] = f"{base.us:.1f}" if base else ""
        cells[f"{name}, scheduled"] = f"{times.extra(base):+.1f} ({times.ratio(base):.2f}x)" if times and base else ""
    row(cells)


@pytest.mark.parametrize("depth", [1, 25])
@pytest.mark.parametrize("count", COUNTS)
def test_plainest(count: int, depth: int, turns: Turns, row: Row) -> None:
    """What ``scheduled`` adds to an update that its user compiles, beside the least that could do it."""
    makers: dict[str, Any] = {"plainest": _plainest, "scheduled": partial(scheduled, optim.AdamW)}
    variants = {
        name: Scheduled(UPDATE, count, is_by_hand=True, depth=depth, make=make) for name, make in makers.items()
    }
    variants["constant"] = Scheduled(UPDATE, 0, is_by_hand=True, depth=depth)
    found = turns(f"hyperparameters: {COUNTS[count]}, {2 * depth} arrays", variants, CALLS, ROUNDS)
    pairs: Any = ([*tree_flatten(variants[name].model.parameters())] for name in makers)
    assert all(mx.array_equal(a[1], b[1]) for a, b in zip(*pairs, strict=True))
    base = found["constant"]
    cells = {"µs per update": f"{count}: {COUNTS[count]}, {2 * depth} arrays", "constant": f"{base.us:.1f}"}
    row({**cells, **{name: f"{found[name].extra(base):+.1f}" for name in makers}})


def _plainest(**arguments: Any) -> Any:
    """AdamW with properties that read its state as weak scalars, and nothing else."""
    betas = arguments.pop("betas")
    given = {name: value for name, value in [*arguments.items(), ("beta", betas[0])] if callable(value)}
    rest: Any = {n: 0.1 if callable(v) else v for n, v in arguments.items()}
    optimizer: Any = _Plainest(**rest)
    optimizer.rest = {"betas": betas[1], "beta": betas[0], "weight_decay": arguments["weight_decay"]}
    for name, value in given.items():
        optimizer._maybe_schedule(name, value)
    optimizer.state["schedules"] = {name: value.state for name, value in given.items()}
    return optimizer


class _Plainest(optim.AdamW):
    dtype, rest = mx.float32, {"betas": 0.0, "beta": 0.0, "weight_decay": 0.0}

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        self.dtype = gradient.dtype
        updated: mx.array = super().apply_single(gradient, parameter, state)
        return updated

    def _read(self, name: str) -> Any:
        is_scheduled = name in self._schedulers
        return WeakScalar(self.state[name], self.dtype, in_use=True) if is_scheduled else self.rest[name]

    weight_decay = property(lambda self: self._read("weight_decay"), lambda self, value: None)
    betas = property(lambda self: (self._read("beta"), self.rest["betas"]), lambda self, value: None)


class _Optax:
    """The same by ``inject_hyperparams`` under ``jax.jit``; with numbers only, without it."""

    def __init__(self, kind: str, count: int) -> None:
        jax: Any = import_module("jax")
        jnp: Any = import_module("jax.numpy")
        optax: Any = import_module("optax")
        optimizer = (optax.inject_hyperparams(optax.adamw) if count else optax.adamw)(
            learning_rate=optax.cosine_decay_schedule(INIT, LIFE, 1e-5 / INIT) if count > 1 else INIT,
            weight_decay=optax.cosine_decay_schedule(0.04, LIFE, 0.4 / 0.04) if count > 0 else 0.04,
            b1=optax.linear_schedule(0.85, 0.95, LIFE) if count > 2 else 0.85,
            b2=0.999,
        )
        gradients = {"weight": jnp.ones((8, 8)), "bias": jnp.ones(8)}
        x = jnp.ones((4, 8))

        def loss(parameters: Any) -> Any:
            return jnp.mean(jnp.square(x @ parameters["weight"].T + parameters["bias"]))

        def step(parameters: Any, state: Any) -> tuple[Any, Any, Any]:
            value, given = jax.value_and_grad(loss)(parameters) if kind == STEP else (None, gradients)
            updates, state = optimizer.update(given, state, parameters)
            return optax.apply_updates(parameters, updates), state, value

        self._step, self._wait = jax.jit(step), jax.block_until_ready
        self._parameters, self._state = gradients, optimizer.init(gradients)
        self()  # builds

    def __call__(self) -> list[Any]:
        """A round."""
        values = []
        for _ in range(CALLS):
            self._parameters, self._state, value = self._step(self._parameters, self._state)
            values.append(value)
        self._wait([self._parameters, self._state, values])
        return []  # nothing that MLX has to evaluate

    def seen(self) -> tuple[int, Arguments]:
        """The last step, and what the optimizer worked with."""
        found = {name: float(value) for name, value in self._state.hyperparams.items()}
        return int(self._state.count) - 1, {**found, "betas": [found["b1"], found["b2"]]}
