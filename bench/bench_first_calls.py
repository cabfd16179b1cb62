"""What is built where no kernel is built yet. Run as a program, this file is one first call, or one sweep."""

from __future__ import annotations

import sys
from functools import partial
from time import perf_counter

import formulas
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from cases import CASES, TOO_LONG
from formulas import INIT, LIFE
from measure import Row, Times, Turns, fresh
from training import by_hand, whole_step

import mlxsched_compiled
from mlxsched_compiled import compiled_step

COMPILED, OURS = "mlx compiled", "ours"
ROUNDS = {"exponential": 3, "cosine": 3, "warmup + cosine": 3, "join of 4": 3, "join of 16": 1, "join of 64": 1}
RATES = 20


@pytest.mark.parametrize("name", ROUNDS)
def test_first_call(name: str, turns: Turns, row: Row) -> None:
    """The first schedule of its kind, and the next one of the same process with another rate."""
    if not turns.enabled and name != "cosine":
        pytest.skip("one builds enough for a check")
    variants = [OURS] if name in TOO_LONG else [COMPILED, OURS]
    found = {f"{call}{variant}": Times() for call in ("", "next, ") for variant in variants}
    for _ in range(ROUNDS[name] if turns.enabled else 1):
        for variant in variants:
            first, later, rate = map(float, fresh(__file__, variant, name))
            found[variant].seconds.append(first)
            found[f"next, {variant}"].seconds.append(later)
            assert rate == pytest.approx(CASES[name](formulas, 2 * INIT)(LIFE // 3), rel=1e-3)
    turns.record(f"first call: {name}", found)
    columns = (COMPILED, OURS, f"next, {COMPILED}", f"next, {OURS}")
    cells = {column: f"{found[column].us / 1e3:,.1f}" if column in found else "" for column in columns}
    row({"first call, ms": name, **cells})


def test_sweep(turns: Turns, row: Row) -> None:
    """A search for the best rate: AdamW, each rate in a new model, two steps each."""
    rates = RATES if turns.enabled else 2
    found = {}
    for variant in (COMPILED, OURS):
        seconds, rate = map(float, fresh(__file__, variant, str(rates)))
        found[variant] = Times([seconds])
        assert rate == pytest.approx(CASES["warmup + cosine"](formulas, rates * INIT)(1), rel=1e-3)
    turns.record(f"sweep of {rates} rates", found)
    mlx, ours = (f"{found[variant].seconds[0]:.1f}" for variant in (COMPILED, OURS))
    row({"sweep, s": f"{rates} rates", "mlx, by hand": mlx, "ours, compiled_step": ours})


def _first_call(variant: str, name: str) -> None:
    step = mx.array(LIFE // 3, mx.uint64)
    mx.eval(step)
    for init in (INIT, 2 * INIT):
        rate = mx.compile(CASES[name](optim, init)) if variant == COMPILED else CASES[name](mlxsched_compiled, init)
        start = perf_counter()
        result = rate(step).item()
        print(perf_counter() - start)
    print(result)


def _loss(model: nn.Module, x: mx.array) -> mx.array:
    """Without a target."""
    return mx.mean(mx.square(model(x)))


def _sweep(variant: str, rates: int) -> None:
    start = perf_counter()
    for i in range(rates):
        model = nn.Linear(8, 8)
        schedule = CASES["warmup + cosine"](optim if variant == COMPILED else mlxsched_compiled, (i + 1) * INIT)
        optimizer = optim.AdamW(schedule)
        if variant == COMPILED:
            step = by_hand(whole_step(_loss, model, partial(optimizer.update, model)), model, optimizer)
        else:
            step = compiled_step(_loss, model, optimizer)
        for _ in range(2):
            mx.eval(step(mx.ones((4, 8))), model.state, optimizer.state)
    print(perf_counter() - start, float(optimizer.learning_rate))


if __name__ == "__main__":
    if sys.argv[2].isdigit():
        _sweep(sys.argv[1], int(sys.argv[2]))
    else:
        _first_call(*sys.argv[1:])
