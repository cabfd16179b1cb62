"""What scheduled hyperparameters of AdamW add to a compiled update or step, beside Optax.

Optax comes with the extra ``peers``, and is imported where it is used.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import mlx.core as mx
import pytest
from adamw import CALLS, COUNTS, ROUNDS, STEP, UPDATE, Arguments, Scheduled, numbers
from formulas import INIT, LIFE
from measure import Row, Turns

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
    scheduled = {f"{name}, scheduled": make(count=count) for name, make in makers.items()}
    found = turns(f"hyperparameters: {kind}, {COUNTS[count]}", constant | scheduled, CALLS, ROUNDS)

    for name, run in scheduled.items():
        step, seen = run.seen()
        for key, expected in numbers(count, step).items():
            assert mx.allclose(mx.array(seen[key]), mx.array(expected), 1e-4, 0), (name, key)
    hand, ours = scheduled[f"{HAND}, scheduled"], scheduled[f"{tool}, scheduled"]
    assert mx.allclose(hand.model.weight, ours.model.weight, 1e-4, 1e-5)
    cells = {f"µs per {kind}": f"{count}: {COUNTS[count]}"}
    for name in (HAND, tool, OPTAX):
        times, base = found.get(f"{name}, scheduled"), found.get(f"{name}, constant")
        cells[f"{name}, constant"] = f"{base.us:.1f}" if base else ""
        cells[f"{name}, scheduled"] = f"{times.extra(base):+.1f} ({times.ratio(base):.2f}x)" if times and base else ""
    row({**cells, "kernels": f"{constant[f'{tool}, constant'].kernels} → {ours.kernels}"})


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
