"""What is compared: schedules of this package, each beside what its user would write without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import families as formulas
import mlx.core as mx
import mlx.optimizers
from measure import CALLS

import mlxsched_compiled as ours
from mlxsched_compiled import Schedule

INIT = 1e-3
LIFE = formulas.N
"""Steps that the schedules last."""
FLOOR, EAGER, COMPILED, PYTHON, OURS = "floor", "mlx eager", "mlx compiled", "python float", "ours"

NUMBERS = [(i + 1) * (LIFE - 1) // CALLS for i in range(CALLS)]
"""The steps they are timed at: each another, from all of their life."""
STEPS = [mx.array(number, mx.uint64) for number in NUMBERS]

Rate = Callable[[Any], mx.array]


@dataclass(frozen=True)
class Case:
    """A schedule of this package, and the same in plain MLX, each as a function of its first rate."""

    name: str
    ours: Callable[[float], Schedule]
    theirs: Callable[[float], Rate]
    wanted: float = 0
    """How many times faster than plain MLX ours has to be."""
    compiles: bool = True
    """False where building the plain version's kernels takes a minute."""
    formula: formulas.Formula | None = None
    """The same for Python's numbers, if there is one."""

    def variants(self, init: float = INIT) -> dict[str, Rate]:
        """What is timed, by name. The floor, the smallest compiled function, is what any one kernel costs."""
        theirs = self.theirs(init)
        variants: dict[str, Rate] = {FLOOR: mx.compile(lambda step: step + 1), EAGER: theirs}
        if self.compiles:
            variants[COMPILED] = mx.compile(theirs)
        if self.formula is not None:
            variants[PYTHON] = formulas.in_python(self.formula, init)
        return {**variants, OURS: self.ours(init)}

    @staticmethod
    def steps(variant: str) -> list[Any]:
        """What that variant is called with."""
        return NUMBERS if variant == PYTHON else STEPS


def _like_mlx(name: str, make: Callable[[Any, float], Any], wanted: float, *, compiles: bool = True) -> Case:
    """A case for a schedule that mlx.optimizers has too: the same call of both."""
    return Case(name, lambda init: make(ours, init), lambda init: make(mlx.optimizers, init), wanted, compiles)


def _join(size: int) -> Callable[[Any, float], Any]:
    """A warmup, then decays of two kinds in turn."""

    def make(s: Any, init: float) -> Any:
        leg = LIFE // size
        parts = [s.linear_schedule(0, init, leg)]
        for i in range(1, size):
            parts.append(s.cosine_decay(init / i, leg) if i % 2 else s.linear_schedule(init / i, 0, leg))
        return s.join_schedules(parts, [leg * i for i in range(1, size)])

    return make


def _family(name: str, formula: formulas.Formula, make: Callable[[float], Schedule]) -> Case:
    """A case for a schedule that its user would have to write."""
    return Case(name, make, lambda init: lambda step: formula(mx, step, init), formula=formula)


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
"""What MLX has too."""

FAMILIES = {
    case.name: case
    for case in [
        _family("polynomial", formulas.polynomial, lambda init: ours.polynomial_decay(init, LIFE, power=2)),
        _family("sqrt", formulas.sqrt, lambda init: ours.sqrt_decay(init, LIFE)),
        _family("rex", formulas.rex, lambda init: ours.rex_decay(init, LIFE)),
        _family("tanh", formulas.tanh, lambda init: ours.tanh_decay(init, LIFE)),
        _family("inverse time", formulas.inverse_time, lambda i: ours.inverse_time_decay(i, 0.5, decay_steps=100)),
        _family("inverse sqrt", formulas.inverse_sqrt, lambda init: ours.inverse_sqrt_decay(init, 100)),
        _family("cosine restarts", formulas.restarts, lambda init: ours.cosine_restarts(init, 1000, decay=0.9)),
        _family("cyclic", formulas.cyclic, lambda init: ours.cyclic(init / 10, init, 400, 600)),
        _family("one cycle", formulas.one_cycle, lambda init: ours.one_cycle(init, LIFE)),
        _family("warmup, stable, decay", formulas.stable, lambda i: ours.warmup_stable_decay(i, 1000, 7000, 2000)),
        _family("noam", formulas.noam, lambda init: ours.noam(512, 1000)),
        _family(
            "13 pieces",
            formulas.pieces,
            lambda i: ours.piecewise_constant([i * 0.5**k for k in range(13)], [800 * k for k in range(1, 13)]),
        ),
    ]
}
"""What its user would write in plain MLX, or in Python."""
