"""``mlxsched list``: the schedules of the package, each in a line."""

from __future__ import annotations

import argparse
import inspect
import re
from typing import Any

from ..config.catalogue import catalogue, contents, usage


def add_command(commands: Any) -> None:
    """Adds ``list`` to the commands."""
    parser = commands.add_parser("list", help="list all schedules")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    print("\n\n".join("\n".join([f"{heading}:", *lines]) for heading, lines in _sections().items()), flush=True)


def _sections() -> dict[str, list[str]]:
    """The lines, under the headings of the package's contents page."""
    sections: dict[str, list[str]] = {}
    heading = ""
    for line in inspect.getsource(contents()).splitlines():
        if line.startswith("# "):
            heading = line.removeprefix("# ")
        elif (found := re.match(r"from \.[.\w]+ import (\w+) as", line)) and found[1] in catalogue():
            sections.setdefault(heading, []).append(_line(found[1]))
    return sections


def _line(name: str) -> str:
    """The call, and the first line of the documentation."""
    summary, _, _ = (inspect.getdoc(catalogue()[name]) or "").partition("\n")
    return f"  {usage(name)}  # {summary.replace('``', '`')}"
