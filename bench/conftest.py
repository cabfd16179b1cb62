"""Measures what this package costs and saves, and prints the tables of docs/benchmarks.md.

``pytest bench`` takes five minutes on two idle cores. The tables stand at the end, below pytest-benchmark's own (which
``--benchmark-quiet`` leaves out). A file is a subject: ``pytest bench/bench_updates.py``; ``-k "SGD and cosine"`` picks
rows. ``--benchmark-json=FILE`` writes every round of every variant, grouped by what was compared. With
``--benchmark-disable`` everything runs once and is checked, but nothing is printed.

Variants that are compared take turns in one test, and the test checks what they computed.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

import mlx.core as mx
import pytest
from cpuinfo import get_cpu_info
from measure import Row, Turns, markdown
from pytest_benchmark.fixture import BenchmarkFixture

_TABLES = pytest.StashKey[dict[tuple[str, ...], list[dict[str, str]]]]()


@pytest.fixture
def turns(benchmark: BenchmarkFixture) -> Turns:
    """Measures."""
    return Turns(benchmark)


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """Adds a row, cells by column, to the table with these columns."""
    tables = request.config.stash.setdefault(_TABLES, {})
    return lambda cells: tables.setdefault(tuple(cells), []).append(cells)


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
        f"MLX {version('mlx')}, {mx.default_device()}; load {os.getloadavg()[0]:.1f} at the end"
    )
    for columns, rows in tables.items():
        terminalreporter.write_line("\n" + markdown(columns, [[*cells.values()] for cells in rows]))
