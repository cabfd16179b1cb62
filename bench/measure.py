"""How this folder measures. Machines are noisy: what is compared takes turns, and only medians and ratios count."""

from __future__ import annotations

import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

CALLS = 200
"""Calls queued before one evaluation, as a training loop queues steps: one by one, waiting for the device would be
most of what is measured."""

_VIEWS = {"AsStrided", "Broadcast", "BroadcastAxes", "ExpandDims", "Flatten", "Reshape", "Slice", "Split", "Squeeze"}
_VIEWS |= {"Transpose", "Unflatten"}


def queued(rate: Callable[[Any], mx.array], steps: Sequence[Any]) -> mx.array:
    """The rates at ``steps``, each call made alone, all evaluated at once. The last one, for a check."""
    rates = [rate(step) for step in steps]
    mx.eval(rates)
    return rates[-1]


def in_turns(variants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds that each variant took in each round, after a first round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, run in variants.items():
            start = perf_counter()
            run()
            seconds[name].append(perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}


def ratio(slower: Sequence[float], faster: Sequence[float]) -> float:
    """How many times longer the first took: the median of the ratios of each round, which a slow spell leaves alone."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def extra(times: Sequence[float], base: Sequence[float]) -> float:
    """How many seconds longer the first took, likewise."""
    return statistics.median(a - b for a, b in zip(times, base, strict=True))


def kernels(*outputs: Any) -> int:
    """Nodes of the graph that computes ``outputs``, without the views, which only look at memory in another way.

    ``outputs`` are arrays not evaluated yet, in any tree.
    """
    graph = io.StringIO()
    mx.export_to_dot(graph, *(entry[1] for entry in tree_flatten(list(outputs))))
    names = re.findall(r'label ="(.*?)", shape=rectangle', graph.getvalue())
    return sum(name not in _VIEWS for name in names)


@contextmanager
def fresh(*command: str) -> Iterator[Callable[[], str]]:
    """A new interpreter with an empty temp folder, so that no kernel is built yet.

    It runs ``command`` up to its ``wait_for_go()``. The function given lets it go on, and returns the next line of it.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": folder},
        ) as process,
    ):
        ready, let_go = process.stdout, process.stdin
        assert ready is not None
        assert let_go is not None

        def answer() -> str:
            line = ready.readline()
            if not line:
                raise RuntimeError(f"{' '.join(command)} ended early; see above.")
            return line

        def go() -> str:
            let_go.write("\n")
            let_go.flush()
            return answer()

        answer()
        yield go


def wait_for_go() -> None:
    """The other side of ``fresh``."""
    print("ready", flush=True)
    input()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A Markdown table, aligned: the first column left, numbers right."""
    rows = [columns, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in rows]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    print("\n".join([lines[0], rule, *lines[1:]]))
