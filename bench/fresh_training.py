"""A first step, an epoch or a sweep, in a new interpreter where no kernel is built yet."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from cases import CASES, INIT
from measure import fresh, wait_for_go
from training import CONSTANT, MLX, Lengths, by_hand, mean_square, sweep

from mlxsched_compiled import compiled_step


def stopped_before(what: str, variant: str, count: int = 1) -> AbstractContextManager[Callable[[], str]]:
    """Such an interpreter, and the function that lets it work and returns a number to check.

    ``what`` is "first step", "epochs" or "sweep". Of epochs, each further call is one.
    """
    return fresh(__file__, what, variant, str(count))


def _first_step(variant: str) -> float:
    case = CASES["warmup + cosine"]
    model = nn.Linear(8, 8)
    rate = INIT if variant == CONSTANT else case.theirs(INIT) if variant == MLX else case.ours(INIT)
    optimizer = optim.AdamW(rate)
    make = by_hand if variant in (CONSTANT, MLX) else compiled_step
    mx.eval(make(mean_square, model, optimizer)(mx.ones((4, 8))), model.state, optimizer.state)
    return float(optimizer.step)


def _main(what: str, variant: str, count: int) -> None:
    mx.eval(mx.ones(3) + 1)
    if what == "epochs":
        lengths = Lengths(variant)
        for _ in range(count):
            wait_for_go() if _ == 0 else input()
            print(lengths.epoch(), flush=True)
        return
    wait_for_go()
    print(_first_step(variant) if what == "first step" else list(sweep(variant, count))[-1], flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
