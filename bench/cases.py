"""The schedules that are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import formulas
from formulas import INIT, LIFE

import mlxsched_compiled as ours

Make = Callable[[Any, float], Any]
"""``make(m, init)``: the same calls of ``mlx.optimizers``, of ``mlxsched_compiled`` or of ``formulas``, the truth."""


def _join(size: int) -> Make:
    """A warmup, then decays of two kinds in turn."""

    def make(m: Any, init: float) -> Any:
        leg = LIFE // size
        parts = [m.linear_schedule(0, init, leg)]
        for i in range(1, size):
            parts.append(m.cosine_decay(init / i, leg) if i % 2 else m.linear_schedule(init / i, 0, leg))
        return m.join_schedules(parts, [leg * i for i in range(1, size)])

    return make


def _three_kinds(m: Any, init: float) -> Any:
    leg = LIFE // 4
    cosine = m.cosine_decay(init, leg, init / 2)
    parts = [m.linear_schedule(0, init, leg), cosine, m.exponential_decay(init / 2, 0.9999), cosine]
    return m.join_schedules(parts, [leg, 2 * leg, 3 * leg])


CASES: dict[str, Make] = {
    "exponential": lambda m, init: m.exponential_decay(init, 0.9999),
    "step": lambda m, init: m.step_decay(init, 0.9, 1000),
    "linear": lambda m, init: m.linear_schedule(init, 1e-5, LIFE),
    "cosine": lambda m, init: m.cosine_decay(init, LIFE, 1e-5),
    "warmup + cosine": _join(2),
    "join of 4": _join(4),
    "join of 4, 3 kinds": _three_kinds,
    "join of 8": _join(8),
    "join of 16": _join(16),
    "join of 64": _join(64),
}
"""What MLX has too."""

TOO_LONG = {"join of 64"}
"""What MLX takes a minute to compile."""

OWN: dict[str, tuple[Callable[[], ours.Schedule], formulas.Formula]] = {
    "polynomial": (lambda: ours.polynomial_decay(INIT, LIFE, power=2), formulas.polynomial),
    "sqrt": (lambda: ours.sqrt_decay(INIT, LIFE), formulas.sqrt),
    "rex": (lambda: ours.rex_decay(INIT, LIFE), formulas.rex),
    "tanh": (lambda: ours.tanh_decay(INIT, LIFE), formulas.tanh),
    "inverse time": (lambda: ours.inverse_time_decay(INIT, 0.5, decay_steps=100), formulas.inverse_time),
    "inverse sqrt": (lambda: ours.inverse_sqrt_decay(INIT, 100), formulas.inverse_sqrt),
    "cosine restarts": (lambda: ours.cosine_restarts(INIT, 1000, decay=0.9), formulas.restarts),
    "cyclic": (lambda: ours.cyclic(INIT / 10, INIT, 400, 600), formulas.cyclic),
    "one cycle": (lambda: ours.one_cycle(INIT, LIFE), formulas.one_cycle),
    "warmup, stable, decay": (lambda: ours.warmup_stable_decay(INIT, 1000, 7000, 2000), formulas.stable),
    "noam": (lambda: ours.noam(512, 1000), formulas.noam),
    "13 pieces": (
        lambda: ours.piecewise_constant([INIT * 0.5**k for k in range(13)], [800 * k for k in range(1, 13)]),
        formulas.pieces,
    ),
}
"""What MLX does not have, and what a user would write instead."""
