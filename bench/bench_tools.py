"""What ``compiled_update`` and ``compiled_step`` cost over the same compiled by hand, which sees no change."""

from __future__ import annotations

from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from formulas import INIT
from measure import Row, Turns
from training import OPTIMIZERS, Call, by_hand, queue, whole_step

from mlxsched_compiled import compiled_step, compiled_update

CALLS = {1: 100, 50: 10, 290: 4}
"""Calls queued, by the number of modules."""
EAGER, HAND, UPDATE, STEP = "eager", "by hand", "compiled_update", "compiled_step"


def _model(modules: int) -> Any:
    """A layer, or a transformer: 12 modules in each block, the last norm, and the whole."""
    mx.random.seed(0)
    return nn.Linear(8, 8) if modules == 1 else nn.TransformerEncoder(modules // 12, 8, 2, 16)


def _loss(model: Any, x: mx.array) -> mx.array:
    """Without a target."""
    return mx.mean(mx.square(model(x) if isinstance(model, nn.Linear) else model(x, None)))


@pytest.mark.parametrize("modules", CALLS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("tool", [UPDATE, STEP])
def test_tool(tool: str, optimizer: str, modules: int, turns: Turns, row: Row) -> None:
    """Under a constant rate, so that nothing but the tool differs. All train alike from the same weights."""
    x = mx.ones((2, 4, 8))
    models, runs = {}, {}
    for variant in (EAGER, HAND, tool):
        model = models[variant] = _model(modules)
        assert len(model.modules()) == modules
        trained = OPTIMIZERS[optimizer](INIT)
        given = model.parameters() if tool == UPDATE else x
        mx.eval(given)
        call: Call = partial(trained.update, model)
        if tool == STEP:
            call = whole_step(_loss, model, call)
        if variant == HAND:
            call = by_hand(call, model, trained)
        elif variant == tool:
            call = compiled_update(model, trained) if tool == UPDATE else compiled_step(_loss, model, trained)
        runs[variant] = partial(queue, call, given, model, trained, CALLS[modules])
    found = turns(f"{tool}: {optimizer}, {modules} modules", runs, CALLS[modules], rounds=21)

    losses = {variant: float(_loss(model, x)) for variant, model in models.items()}
    assert losses == pytest.approx(dict.fromkeys(losses, losses[EAGER]), rel=1e-3)
    by_tool, hand = found[tool], found[HAND]
    row(
        {
            "µs per " + ("update" if tool == UPDATE else "step"): f"{optimizer}, {modules} module{'s' * (modules > 1)}",
            EAGER: f"{found[EAGER].us:,.1f}",
            HAND: f"{hand.us:,.1f}",
            tool: f"{by_tool.us:,.1f}",
            "ratio": f"{by_tool.ratio(hand):.2f}x",
            f"dispatch, {HAND}": f"{hand.dispatch_us:,.1f}",
            f"dispatch, {tool}": f"{by_tool.dispatch_us:,.1f}",
        }
    )
