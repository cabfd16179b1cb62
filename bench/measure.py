"""How this folder measures and prints. Machines are noisy: only medians and ratios of what took turns count."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


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
