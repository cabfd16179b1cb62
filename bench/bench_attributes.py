"""A scheduled optimizer beside one whose attributes are set before each update, as it is done without ``scheduled``.

Run as a program, this file sets them before each of a few compiled updates, where no kernel is built yet.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from adamw import CALLS, COUNTS, ROUNDS, UPDATE, Arguments, Scheduled, gradients, layers, numbers
from measure import Row, Times, Turns, fresh
from training import Call, queue

from mlxsched_compiled import compiled_update

OURS, EAGER, TRACED, BUILT = "scheduled", "set, eager", "set, traced", "set, built"
UPDATES = 5
"""So many that are traced and built."""


class Set:
    """Updates of the same layer, before each of which attributes are set to the next numbers."""

    def __init__(self, compiler: Callable[[nn.Module, Any], Call], each: Iterable[Arguments]) -> None:
        self.model = layers(1)
        self._optimizer = optim.AdamW(**numbers(0, 0))
        self._update = compiler(self.model, self._optimizer)
        self._each = iter(each)
        self._gradients = gradients(self.model)

    def __call__(self, calls: int = CALLS) -> list[Any]:
        """A round."""
        return queue(self._set_and_update, self._gradients, self.model, self._optimizer, calls)

    def _set_and_update(self, gradients: Any) -> Any:
        for name, number in next(self._each).items():
            setattr(self._optimizer, name, number)
        return self._update(gradients)


def _changing(count: int, step: int) -> Arguments:
    """The numbers of a step that are others at the next one."""
    now, then = numbers(count, step), numbers(count, step + 1)
    return {name: number for name, number in now.items() if number != then[name]}


@pytest.mark.parametrize("count", COUNTS)
def test_set(count: int, turns: Turns, row: Row) -> None:
    """In an eager loop; and in a compiled one, which traces each time, and builds what has not been built yet."""
    if not turns.enabled and count > 1:
        pytest.skip("one builds enough for a check")
    ours = Scheduled(UPDATE, count, is_by_hand=False)
    each = [_changing(count, step) for step in range((ROUNDS + 1) * CALLS + 2)]
    eager = Set(lambda model, optimizer: partial(optimizer.update, model), each)
    mx.eval(eager(2))  # as many as ours has made
    found = turns(f"attributes: {COUNTS[count]}", {OURS: ours, EAGER: eager}, CALLS, ROUNDS)
    assert mx.allclose(ours.model.weight, eager.model.weight, 1e-4, 1e-5)

    seconds = [*map(float, fresh(__file__, str(count), str(UPDATES if turns.enabled else 1)))]
    elsewhere = {BUILT: Times(seconds[: len(seconds) // 2]), TRACED: Times(seconds[len(seconds) // 2 :])}
    turns.record(f"attributes, compiled: {COUNTS[count]}", elsewhere)
    base = found[OURS].us
    cells = {name: f"{times.us:,.0f} ({times.us / base:,.0f}x)" for name, times in elsewhere.items()}
    row(
        {
            "µs per update": f"{count}: {COUNTS[count]}",
            OURS: f"{base:.1f}",
            EAGER: f"{found[EAGER].us:.1f} ({found[EAGER].ratio(found[OURS]):.1f}x)",
            TRACED: cells[TRACED],
            BUILT: cells[BUILT],
        }
    )


if __name__ == "__main__":
    count, updates = map(int, sys.argv[1:])
    warnings.simplefilter("ignore")  # compiled_update says that it traces before every update
    each = [_changing(count, step) for step in range(1, updates + 1)]
    run = Set(compiled_update, [{}, *each, *each])
    mx.eval(run(1))
    for _ in range(2 * updates):  # the second time the kernels are there
        start = perf_counter()
        mx.eval(run(1))
        print(perf_counter() - start)
