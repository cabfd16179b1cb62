"""Measures what this package costs and saves, and prints the README's tables.

``pytest bench`` takes about six minutes. The tables stand at the end, below pytest-benchmark's own (which
``--benchmark-quiet`` leaves out). A file is a subject: ``pytest bench/bench_updates.py``; ``-k "SGD and cosine"`` picks
rows. ``--benchmark-json=FILE`` writes every round of every variant, grouped by what was compared. With
``--benchmark-disable`` everything runs once and is checked, but nothing is printed.

Variants that are compared take turns in one test, and the test checks what they computed.
"""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Callable, Mapping
from importlib.metadata import version
from time import perf_counter
from typing import Any

import mlx.core as mx
import pytest
from cpuinfo import get_cpu_info
from measure import Times, markdown
from pytest_benchmark.fixture import BenchmarkFixture

Row = Callable[[dict[str, str]], None]
_TABLES = pytest.StashKey[dict[str, list[dict[str, str]]]]()


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
            entry.name, entry.fullname, entry.extra_info = name, f"{self._test}[{name}]", times.info
            stats = entry._make_stats(iterations=1)
            for seconds in times.seconds:
                stats.update(seconds)


@pytest.fixture
def turns(benchmark: BenchmarkFixture) -> Turns:
    """Measures."""
    return Turns(benchmark)


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """Adds a row, cells by column, to the table whose first column has that name."""
    tables = request.config.stash.setdefault(_TABLES, {})
    return lambda cells: tables.setdefault(next(iter(cells)), []).append(cells)


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Says in the JSON file what MLX ran."""
    machine_info |= {"mlx": version("mlx"), "device": str(mx.default_device())}


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the tables, below those of pytest-benchmark."""
    tables = config.stash.get(_TABLES, {})
    if not tables or config.getoption("benchmark_disable"):
        return
    cpu = get_cpu_info()
    terminalreporter.section("tables")
    terminalreporter.write_line(
        f"{os.cpu_count()} cores of {cpu.get('brand_raw', cpu['arch'])}, Python {cpu['python_version']}, "
        f"MLX {version('mlx')}, {mx.default_device()}"
    )
    for rows in tables.values():
        terminalreporter.write_line("\n" + markdown([*rows[0]], [[*cells.values()] for cells in rows]))
