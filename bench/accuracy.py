"""Prints the README's table of errors, ``python bench/accuracy.py``: all steps from 0 to a million, against float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.optimizers
import numpy as np
from measure import print_table
from numpy.typing import NDArray

import mlxsched_compiled

STEPS = 1_000_000
Curve = NDArray[np.float64]

# A call, and its formula in float64. Rates given are rounded to float32 first, because that is what can be asked for.
CALLS: dict[str, tuple[Callable[[Any], Any], Callable[[Curve], Curve]]] = {
    "exponential_decay(0.1, 0.9999)": (
        lambda s: s.exponential_decay(0.1, 0.9999),
        lambda t: float(np.float32(0.1)) * 0.9999**t,
    ),
    "step_decay(0.1, 0.999, 10)": (
        lambda s: s.step_decay(0.1, 0.999, 10),
        lambda t: float(np.float32(0.1)) * 0.999 ** (t // 10),
    ),
    "linear_schedule(1e-3, 0, 1_000_000)": (
        lambda s: s.linear_schedule(1e-3, 0, STEPS),
        lambda t: float(np.float32(1e-3)) * ((STEPS - t) / STEPS),
    ),
    "cosine_decay(1e-3, 1_000_000)": (
        lambda s: s.cosine_decay(1e-3, STEPS),
        lambda t: float(np.float32(1e-3)) * _half_wave(t),
    ),
    "cosine_decay(1e-3, 1_000_000, 1e-5)": (
        lambda s: s.cosine_decay(1e-3, STEPS, 1e-5),
        lambda t: float(np.float32(1e-3)) * _half_wave(t) + float(np.float32(1e-5)) * _half_wave(STEPS - t),
    ),
}


def _half_wave(t: Curve) -> Curve:
    """(1 + cos(pi t / STEPS)) / 2, without the cancellation"""
    return np.sin(np.pi / 2 * ((STEPS - t) / STEPS)) ** 2


def main() -> None:
    """Measures and prints."""
    steps = mx.arange(STEPS + 1, dtype=mx.uint64)
    rows = []
    for name, (make, formula) in CALLS.items():
        truth = formula(np.arange(STEPS + 1, dtype=np.float64))
        # Below the smallest normal float32 there are no digits to lose; a true 0 has to be 0.
        counted = (truth == 0) | (truth >= np.finfo(np.float32).tiny)
        ulp = np.spacing(truth.astype(np.float32)).astype(np.float64)
        row = [f"`{name}`"]
        for module in (mlx.optimizers, mlxsched_compiled):
            error = np.abs(np.array(make(module)(steps), np.float64) - truth)
            relative = np.divide(error, truth, out=np.zeros_like(error), where=truth != 0)
            row.append(f"{relative[counted].max():.1e}")
        rows.append([*row, f"{(error / ulp)[counted].max():.1f}"])
    print_table(["largest error", "MLX, relative", "ours, relative", "ours, ulp"], rows)


if __name__ == "__main__":
    main()
