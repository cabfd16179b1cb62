"""What a call of a schedule costs by itself, beside what its user would write without this package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import formulas
import mlx.core as mx
import mlx.optimizers
import numpy as np
import pytest
from cases import CASES, OWN, TOO_LONG
from formulas import INIT, LIFE, Numbers
from measure import Row, Turns

import mlxsched_compiled
from tests.kernels import kernels

CALLS = 200
FLOOR, EAGER, COMPILED, PYTHON, OURS = "floor", "mlx eager", "mlx compiled", "python float", "ours"
NUMBERS = [(i + 1) * (LIFE - 1) // CALLS for i in range(CALLS)]
"""The steps they are called with: each another, from all of their life."""
STEPS = [mx.array(number, mx.uint64) for number in NUMBERS]

Rate = Callable[[Any], Any]


@pytest.mark.parametrize("name", [*CASES, *OWN])
def test_call(name: str, turns: Turns, row: Row) -> None:
    """The floor, the smallest compiled function there is, is what any one kernel costs."""
    own, theirs, truth, python = _versions(name)
    rates = {FLOOR: mx.compile(lambda step: step + 1), EAGER: theirs, OURS: own}
    if name not in TOO_LONG and (turns.enabled or name not in ("join of 8", "join of 16")):  # a check is to be quick
        rates[COMPILED] = mx.compile(theirs)
    runs = {variant: partial(_queue, rate, STEPS) for variant, rate in rates.items()}
    if python is not None:
        runs[PYTHON] = partial(_queue, python, NUMBERS)
    found = turns(f"call: {name}", runs, CALLS, rounds=9 if name in TOO_LONG else 31)

    for variant, times in found.items():
        expected = np.array(NUMBERS) + 1 if variant == FLOOR else truth(np.array(NUMBERS, np.float64))
        np.testing.assert_allclose(np.array(times.result), expected, 1e-3, 1e-6 * INIT, err_msg=variant)
    launched = len(kernels(own(STEPS[0])))
    found[OURS].info["kernels"] = launched
    row(
        {
            "µs per call": name,
            **{v: f"{found[v].us:.1f}" if v in found else "" for v in (FLOOR, EAGER, COMPILED, PYTHON, OURS)},
            "eager / ours": f"{found[EAGER].ratio(found[OURS]):.1f}x",
            "ours / floor": f"{found[OURS].ratio(found[FLOOR]):.2f}x",
            "ours / compiled": f"{found[OURS].ratio(found[COMPILED]):.2f}x" if COMPILED in found else "",
            "kernels, ours": f"{launched}",
        }
    )


def _versions(name: str) -> tuple[Rate, Rate, Rate, Rate | None]:
    """Ours, the one in plain MLX, the truth, and Python's floats put into an array, as a loop sets a rate itself."""
    if name in CASES:
        own, theirs, truth = (CASES[name](m, INIT) for m in (mlxsched_compiled, mlx.optimizers, formulas))
        return own, theirs, truth, None
    make, formula = OWN[name]
    return make(), partial(formula, mx), partial(formula, np), lambda step: mx.array(formula(Numbers, step))


def _queue(rate: Rate, steps: Sequence[Any]) -> list[Any]:
    return [rate(step) for step in steps]
