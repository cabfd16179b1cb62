"""``mlxsched run``: a program, unchanged, with the schedules of this package in the place of MLX's."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_command(commands: Any) -> None:
    """Adds ``run`` to the commands."""
    parser = commands.add_parser("run", help="run a program with these schedules in the place of MLX's")
    parser.add_argument("-m", dest="is_module", action="store_true", help="TARGET is a module, as in python -m")
    parser.add_argument("target", metavar="TARGET", help="a script, a folder or archive with a __main__.py, or a module")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="those of the program")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Callable[[], None]:
    raise ValueError("run is not there yet.")
