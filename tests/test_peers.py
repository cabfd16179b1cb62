"""The same curves as other libraries: from the rates that they computed or, where there are none, their formulas.

peers.json, which make_peers.py makes, holds the rates. The calls are in it and in docs/coming-from.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxsched_compiled import Schedule

from .schedules import NAMES


@dataclass(frozen=True)
class Peer:
    """One run of a peer."""

    id: str
    peer: str
    call: str
    ours: str
    steps: list[int]
    values: list[float]

    def assert_same(self, schedule: Schedule) -> None:
        """Whether ``schedule`` is the same curve."""
        assert_close(schedule, self.steps, self.values, in_float32=self.peer.startswith("keras"))


def assert_close(schedule: Schedule, steps: list[int], values: Any, *, in_float32: bool = False) -> None:
    """2e-6 of each value; of the largest one, if the peer itself computes in float32."""
    rates, truth = np.array(schedule(mx.array(steps, mx.uint64)), np.float64), np.array(values, np.float64)
    error = np.abs(rates - truth)
    bound = 2e-6 * (np.abs(truth).max() if in_float32 else np.abs(truth))
    worst = int((error - bound).argmax())
    assert (error <= bound).all(), f"{rates[worst]} instead of {truth[worst]} at step {steps[worst]}"


PEERS = [Peer(**case) for case in json.loads((Path(__file__).parent / "peers.json").read_text())["cases"]]


PAGE = Path(__file__).parents[1] / "docs" / "coming-from.md"
ROWS = [
    pytest.param(section, *row, id=f"{section}: {row[0][:60]}")
    for section, body in re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for row in re.findall(r"^\| `(.+?)` \| `(.+?)` \| .+ \|$", body, re.MULTILINE)
]
LIBRARIES = {"PyTorch": "torch", "Transformers": "transformers", "Optax": "optax", "Keras": "keras"} | {
    name: name for name in ("pytorch-scheduler", "lrsched", "nanoGPT", "nanochat", "Megatron-LM")
}
RAN = {(peer.peer.split()[0], peer.call): peer for peer in PEERS}

LR = 1e-3
Formula = Callable[[int], float]


def _cosine(t: float, steps: float, init: float = LR, end: float = 1e-5) -> float:
    return end + (init - end) * (1 + math.cos(math.pi * t / steps)) / 2


def _line(t: float, steps: float, init: float, end: float) -> float:
    return init + (end - init) * t / steps


def _restarts(t: int) -> float:
    """Cycles of 100, 200 and 400 steps, half as high each time, then the lowest rate."""
    for k, (start, length) in enumerate([(0, 100), (100, 200), (300, 400)]):
        if t < start + length:
            return _cosine(t - start, length, LR * 0.5**k)
    return 1e-5


def _warm_cosine(t: int, peak: float, warmup: int, steps: int) -> float:
    return peak * t / warmup if t < warmup else _cosine(min(t, steps) - warmup, steps - warmup, peak, 0)


def _through(t: int, knots: list[tuple[int, float]], leg: Callable[[float, float, float, float], float]) -> float:
    for (start, init), (stop, end) in zip(knots, knots[1:], strict=False):
        if t < stop:
            return leg(t - start, stop - start, init, end)
    return knots[-1][1]


FORMULAS: dict[str, Formula] = {
    "ConstantLR(": lambda t: LR * (0.5 if t < 40 else 1),
    "CosineAnnealingLR(lr=0.001, T_max=100, eta_min=1e-05), again and again": lambda t: _cosine(t, 100),
    "LambdaLR(lr=0.001, lr_lambda=lambda t: 0.5": lambda t: LR * (0.5 if t < 10 else 1 / (1 + t // 30)),
    "LambdaLR(lr=0.001, lr_lambda=lambda t: 1": lambda t: LR / (1 + t),
    "MultiplicativeLR(": lambda t: LR * 0.95**t,
    "SequentialLR(": lambda t: LR * 0.1 if t < 20 else LR * 0.99 ** (t - 20),
    "ChainedScheduler(": lambda t: LR * (0.1 if t < 20 else 1) * 0.99**t,
    "ReduceLROnPlateau(": lambda t: LR,  # no metric was observed; see test_plateau.py
    "SWALR(": lambda t: _cosine(min(t, 10), 10, LR, LR / 2),
    "StepLR(lr=0.001, step_size=30, gamma=0.9), stepped": lambda t: LR * 0.9 ** (t // 100 // 30),
    "get_scheduler('constant',": lambda t: LR,
    "get_scheduler('cosine_warmup_with_min_lr',": lambda t: (
        LR * (t + 1) / 100 if t < 100 else _cosine(min(t + 1, 1000) - 100, 900)
    ),
    "get_scheduler('cosine_with_restarts', lr=0.001, warmup=100, training=1000, num_cycles=3), past": lambda t: (
        LR * t / 100 if t < 100 else _cosine((t - 100) % 300, 300, LR, 0) if t < 1000 else 0
    ),
    "constant_schedule(": lambda t: LR,
    "linear_schedule(": lambda t: LR * min(t, 100) / 100,
    "warmup_constant_schedule(": lambda t: LR * min(t, 100) / 100,
    "linear_onecycle_schedule(": lambda t: _through(
        t, [(0, LR / 25), (300, LR), (850, LR / 25), (1000, LR / 25e4)], _line
    ),
    "cosine_onecycle_schedule(": lambda t: _through(t, [(0, LR / 25), (300, LR), (1000, LR / 25e4)], _cosine),
    "sgdr_schedule(": lambda t: _warm_cosine(t, LR, 10, 100) if t < 100 else _warm_cosine(t - 100, LR / 2, 20, 200),
    "join_schedules(": lambda t: _warm_cosine(t, LR, 10, 100),
    "ExponentialDecay(0.001, 30, 0.9)": lambda t: LR * 0.9 ** (t / 30),
    "ExponentialDecay(0.001, 30, 0.9, staircase": lambda t: LR * 0.9 ** (t // 30),
    "InverseTimeDecay(0.001, 30, 0.5, staircase": lambda t: LR / (1 + 0.5 * (t // 30)),
    "PolynomialDecay(": lambda t: (LR - 1e-5) * (1 - min(t, 1000) / 1000) ** 2 + 1e-5,
    "PiecewiseConstantDecay(": lambda t: LR if t <= 100 else LR / 2 if t <= 300 else LR / 20,
    "CosineDecay(0.001, 1000, alpha=0.1)": lambda t: _cosine(min(t, 1000), 1000, LR, LR / 10),
    "CosineLRScheduler(lr=0.001, t_initial=1000, lr_min=1e-05)": lambda t: _cosine(min(t, 1000), 1000),
    "CosineLRScheduler(lr=0.001, t_initial=1000, lr_min=1e-05, warmup_t=100, warmup_lr_init=1e-06, warmup_prefix": (
        lambda t: _line(t, 100, 1e-6, LR) if t < 100 else _cosine(min(t - 100, 1000), 1000)
    ),
    "CosineLRScheduler(lr=0.001, t_initial=1000, lr_min=1e-05, warmup_t=100, warmup_lr_init=1e-06)": (
        lambda t: _line(t, 100, 1e-6, LR) if t < 100 else _cosine(min(t, 1000), 1000)
    ),
    "CosineLRScheduler(lr=0.001, t_initial=100, ": _restarts,
    "CosineLRScheduler(lr=0.001, t_initial=1000, lr_min=1e-05, k_decay": lambda t: (
        1e-5 + (LR - 1e-5) * (1 + math.cos(math.pi * min(t, 1000) ** 1.5 / 1000**1.5)) / 2
    ),
    "PolyLRScheduler(lr=0.001, t_initial=1000, power=2.0": lambda t: (
        (LR - 1e-5) * (1 - min(t, 1000) ** 1.5 / 1000**1.5) ** 2 + 1e-5
    ),
    "TanhLRScheduler(": lambda t: (
        1e-5 + (LR - 1e-5) * (1 - math.tanh(-6 * (1 - t / 1000) + 4 * t / 1000)) / 2 if t < 1000 else 1e-5
    ),
    "PolyLRScheduler(": lambda t: (LR - 1e-5) * (1 - min(t, 1000) / 1000) ** 0.5 + 1e-5,
    "StepLRScheduler(": lambda t: _line(t, 5, 1e-5, LR) if t < 5 else LR * 0.9 ** ((t - 5) // 30),
    "MultiStepLRScheduler(": lambda t: LR * 0.1 ** sum(milestone <= t + 1 for milestone in (100, 300)),
    "CosineLRScheduler(lr=0.001, t_initial=10, ": lambda t: _cosine(min(t // 100, 10), 10),
    "{name: cosine_decay, arguments": lambda t: _cosine(min(t, 1000), 1000, 1e-5, 1e-7),
    "{name: linear_schedule,": lambda t: 1e-5 * (1000 - min(t, 1000)) / 1000,
    "{name: exponential_decay,": lambda t: 1e-5 * 0.999**t,
    "{name: step_decay,": lambda t: 1e-5 * 0.9 ** (t // 100),
    "{name: cosine_decay, warmup": lambda t: (
        _line(min(t, 100), 100, 1e-7, 1e-5) if t < 101 else _cosine(min(t - 101, 1000), 1000, 1e-5, 1e-7)
    ),
}
"""Theirs, by how the row starts, where no peer's rates are at hand: written from the libraries' documentation."""

# Not 999 of 1000 nor 99 of 100: there these formulas, as they are printed, lose more digits than ours.
STEPS = [*range(0, 95), *range(96, 990, 7), *(k + b for b in (100, 300, 850, 1000, 1100) for k in (-2, -1, 0, 1, 2))]


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.id)
def test_ours_is_the_curve_of_the_peer(peer: Peer) -> None:
    peer.assert_same(eval(peer.ours, dict(NAMES)))


def test_every_row_is_found() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(ROWS) == len(lines) > 50


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(("section", "theirs", "here"), ROWS)
def test_every_row_is_the_same_curve(section: str, theirs: str, here: str) -> None:
    schedule = eval(here, dict(NAMES))
    peer = RAN.get((LIBRARIES.get(section, ""), theirs))
    if peer is not None:
        peer.assert_same(schedule)
    else:
        formula = FORMULAS[max((start for start in FORMULAS if theirs.startswith(start)), key=len)]
        assert_close(schedule, STEPS, [formula(t) for t in STEPS])


def test_no_peer_is_left_out() -> None:
    shown = {(LIBRARIES.get(str(row.values[0]), ""), row.values[1]) for row in ROWS}
    assert set(RAN) <= shown


def test_every_formula_is_used() -> None:
    theirs = [row.values[1] for row in ROWS]
    assert all(any(str(call).startswith(start) for call in theirs) for start in FORMULAS)
