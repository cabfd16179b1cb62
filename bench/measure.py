"""How this folder measures and prints. Machines are noisy: only medians and ratios of what took turns count."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import mlx.core as mx

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

Row = Callable[[dict[str, str]], None]
"""Adds a row to a table, see ``row`` in conftest.py."""


@dataclass
class Times:
    """Seconds that one variant took for a call, round by round. The same place is the same round in all variants."""

    seconds: list[float] = field(default_factory=list)
    dispatch: list[float] = field(default_factory=list)
    """The part of them until the call returned, before anything was waited for."""
    result: Any = None
    """What the last round returned."""
    info: dict[str, Any] = field(default_factory=dict)
    """What else to write into the JSON file."""

    @property
    def us(self) -> float:
        """Microseconds, the median."""
        return statistics.median(self.seconds) * 1e6

    @property
    def dispatch_us(self) -> float:
        """Likewise of the dispatch."""
        return statistics.median(self.dispatch) * 1e6

    def extra(self, base: Times) -> float:
        """Microseconds more than ``base``: the median over the rounds, which a slow spell leaves alone."""
        return statistics.median(a - b for a, b in zip(self.seconds, base.seconds, strict=True)) * 1e6

    def ratio(self, base: Times) -> float:
        """How many times as long as ``base``, likewise."""
        return statistics.median(a / b for a, b in zip(self.seconds, base.seconds, strict=True))


class Turns:
    """Lets variants take turns, and hands their times to pytest-benchmark, an entry each."""

    def __init__(self, benchmark: BenchmarkFixture) -> None:
        self.enabled: bool = benchmark.enabled
        self._benchmark = benchmark
        self._test = benchmark.fullname
        benchmark._mode = "turns"  # it warns of a fixture that was not used

    def __call__(
        self, group: str, variants: Mapping[str, Callable[[], Any]], calls: int = 1, rounds: int = 31
    ) -> dict[str, Times]:
        """Runs every variant ``rounds`` times, each round in another order, after a first round that is not counted.

        Each variant makes ``calls`` calls and returns their arrays, which are evaluated at once, as a training loop
        queues its steps: one by one, waiting for the device would be most of what is measured. Disabled, all run once.
        """
        found = {name: Times() for name in variants}
        order, shuffle = [*variants.items()], random.Random(0).shuffle
        for _ in range(rounds + 1 if self.enabled else 1):
            shuffle(order)  # who comes next after whom costs, too
            for name, run in order:
                start = perf_counter()
                result = run()
                queued = perf_counter()
                mx.eval(result)
                done = perf_counter()
                times = found[name]
                times.result = result
                times.seconds.append((done - start) / calls)
                times.dispatch.append((queued - start) / calls)
        if self.enabled:
            for times in found.values():
                del times.seconds[0], times.dispatch[0]
                times.info |= {"calls": calls, "dispatch": statistics.median(times.dispatch)}
        self.record(group, found)
        return found

    def record(self, group: str, found: Mapping[str, Times]) -> None:
        """Hands over times that were taken elsewhere."""
        if not self.enabled:
            return
        entry = self._benchmark
        entry.group = group
        for name, times in found.items():
            # What it makes its entries of itself. There is no public way to more than one in a test.
            entry.name, entry.fullname, entry.extra_info = name, f"{self._test}: {group}: {name}", times.info
            stats = entry._make_stats(iterations=1)
            for seconds in times.seconds:
                stats.update(seconds)


def fresh(*command: str) -> list[str]:
    """The words that a new interpreter prints, which runs ``command`` where no kernel is built yet."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TMPDIR": folder}
        run = [sys.executable, *command]
        return subprocess.run(run, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, aligned: the first column left, numbers right."""
    rows = [columns, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in rows]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
