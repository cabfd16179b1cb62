"""The command line: ``mlxsched``, and ``python -m mlxsched_compiled``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ..config.catalogue import contents
from . import list, run, show


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Its name and arguments; those of the process if None.

    Returns:
        The exit status.
    """
    arguments = _parser().parse_args(argv)
    try:
        status: int | None = arguments.run(arguments)
    except BrokenPipeError:  # nobody reads on, as in ``| head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes when it ends
        return 1
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"mlxsched: {error}", file=sys.stderr)
        return 2
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mlxsched", description="Learning-rate schedules for MLX.")
    parser.add_argument("--version", action="version", version=f"mlxsched_compiled {contents().__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (run, show, list):
        command.add_command(commands)
    return parser
