"""``mlxsched list``: the schedules of the package, each in a line."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from ..config.catalogue import catalogue, usage


def add_command(commands: Any) -> None:
    """Adds ``list`` to the commands."""
    parser = commands.add_parser("list", help="list all schedules")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    for name, factory in catalogue().items():
        summary, _, _ = (inspect.getdoc(factory) or "").partition("\n")
        print(f"{usage(name)}  # {summary.replace('``', '`')}")
    print(end="", flush=True)
