"""The largest error over every step from 0 to a million, against float64."""

from __future__ import annotations

from typing import Any

import formulas
import mlx.core as mx
import mlx.optimizers
import numpy as np
import pytest
from measure import Row

import mlxsched_compiled

STEPS = 1_000_000


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("exponential_decay", (0.1, 0.9999)),
        ("step_decay", (0.1, 0.999, 10)),
        ("linear_schedule", (0.001, 0, STEPS)),
        ("cosine_decay", (0.001, STEPS)),
        ("cosine_decay", (0.001, STEPS, 1e-5)),
    ],
)
def test_error(name: str, arguments: tuple[Any, ...], row: Row) -> None:
    """Relative, and in distances between neighbouring float32 numbers (ulp)."""
    truth = getattr(formulas, name)(*arguments)(np.arange(STEPS + 1, dtype=np.float64))
    # Below the smallest normal float32 there are no digits to lose; a true 0 has to be 0.
    counted = (truth == 0) | (truth >= np.finfo(np.float32).tiny)
    ulp = np.spacing(truth.astype(np.float32)).astype(np.float64)
    relative, ulps = {}, {}
    for m in (mlx.optimizers, mlxsched_compiled):
        rates = getattr(m, name)(*arguments)(mx.arange(STEPS + 1, dtype=mx.uint64))
        error = np.abs(np.array(rates, np.float64) - truth)
        relative[m] = np.divide(error, truth, out=np.zeros_like(error), where=truth != 0)[counted].max()
        ulps[m] = (error / ulp)[counted].max()
    assert ulps[mlxsched_compiled] < 6
    row(
        {
            "largest error": f"`{name}({', '.join(f'{a:_}' if isinstance(a, int) else f'{a:g}' for a in arguments)})`",
            "MLX, relative": f"{relative[mlx.optimizers]:.1e}",
            "ours, relative": f"{relative[mlxsched_compiled]:.1e}",
            "ours, ulp": f"{ulps[mlxsched_compiled]:.1f}",
        }
    )
