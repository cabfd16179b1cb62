"""Learning rates that real libraries computed, each with the call of ours that gives the same curve."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlxsched_compiled import Schedule

NAMES: dict[str, Any] = {}
"""All that the package exports, by name."""
exec("from mlxsched_compiled import *", NAMES)


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
