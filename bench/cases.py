"""What is compared: schedules of this package, each beside what its user would write without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.optimizers
from measure import CALLS, Rate

import mlxsched_compiled
from mlxsched_compiled import Schedule

INIT = 1e-3
LIFE = 10_000
"""Steps that the schedules last."""
STEPS = [mx.array((i + 1) * (LIFE - 1) // CALLS, mx.uint64) for i in range(CALLS)]
"""The steps they are timed at: each another, from all of their life."""

FLOOR, EAGER, COMPILED, OURS = "floor", "mlx eager", "mlx compiled", "ours"


@dataclass(frozen=True)
class Case:
    """A schedule of this package, and the same in plain MLX, each as a function of its first rate."""

    name: str
    ours: Callable[[float], Schedule]
    theirs: Callable[[float], Rate]
    wanted: float
    """How many times faster than plain MLX ours has to be."""
    compiles: bool = True
    """False where building the plain version's kernels takes a minute."""

    def variants(self, init: float = INIT) -> dict[str, Rate]:
        """What is timed, by name. The floor, the smallest compiled function, is what any one kernel costs."""
        theirs = self.theirs(init)
        compiled = {COMPILED: mx.compile(theirs)} if self.compiles else {}
        return {FLOOR: mx.compile(lambda step: step + 1), EAGER: theirs, **compiled, OURS: self.ours(init)}


def _like_mlx(name: str, make: Callable[[Any, float], Any], wanted: float, *, compiles: bool = True) -> Case:
    """A case for a schedule that mlx.optimizers has too: the same call of both."""
    return Case(
        name, lambda init: make(mlxsched_compiled, init), lambda init: make(mlx.optimizers, init), wanted, compiles
    )


def _join(size: int) -> Callable[[Any, float], Any]:
    """A warmup, then decays of two kinds in turn."""

    def make(s: Any, init: float) -> Any:
        leg = LIFE // size
        parts = [s.linear_schedule(0, init, leg)]
        for i in range(1, size):
            parts.append(s.cosine_decay(init / i, leg) if i % 2 else s.linear_schedule(init / i, 0, leg))
        return s.join_schedules(parts, [leg * i for i in range(1, size)])

    return make


CASES = {
    case.name: case
    for case in [
        _like_mlx("exponential", lambda s, init: s.exponential_decay(init, 0.9999), 1.2),
        _like_mlx("step", lambda s, init: s.step_decay(init, 0.9, 1000), 1.8),
        _like_mlx("linear", lambda s, init: s.linear_schedule(init, 1e-5, LIFE), 2.2),
        _like_mlx("cosine", lambda s, init: s.cosine_decay(init, LIFE, 1e-5), 3.8),
        _like_mlx("warmup + cosine", _join(2), 7),
        _like_mlx("join of 4", _join(4), 6),
        _like_mlx("join of 8", _join(8), 6),
        _like_mlx("join of 16", _join(16), 6),
        _like_mlx("join of 64", _join(64), 50, compiles=False),
    ]
}
