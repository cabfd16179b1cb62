"""``mlxsched run``: a program, unchanged, with the schedules of this package in the place of MLX's."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from types import TracebackType
from typing import Any

from ..drop_in.install import install
from ..drop_in.mlx_lm import ConfigurationError
from .announce import announce_first_rate


def add_command(commands: Any) -> None:
    """Adds ``run`` to the commands."""
    parser = commands.add_parser(
        "run",
        usage="%(prog)s [-h] [-m] TARGET [ARGS ...]",
        help="run a program with these schedules in the place of MLX's",
        description="Runs a program as Python would, with these schedules in the place of MLX's and mlx-lm's own. "
        "TARGET is a script, a folder or an archive; or a module, with -m or where there is no such file.",
    )
    parser.add_argument("-m", dest="is_module", action="store_true", help="TARGET is a module, as in python -m")
    # All in one, as argparse would drop a "--" between two.
    parser.add_argument("program", metavar="TARGET", nargs=argparse.REMAINDER, help="the program and its arguments")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    words = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    if not words:
        raise ValueError("run needs the name of a script or of a module.")
    announce_first_rate()
    install()
    target, *sys.argv[1:] = words
    try:
        _execute(target, arguments.is_module)
    except Exception as error:
        theirs = _frames_of_the_program(error.__traceback__)
        did_not_start = theirs is None and isinstance(error, (ValueError, OSError, ImportError))
        if did_not_start or isinstance(error, ConfigurationError):
            raise
        sys.excepthook(type(error), error.with_traceback(theirs), theirs)
        return 1
    return 0


def _execute(target: str, is_module: bool) -> None:
    """Runs it as ``__main__``, with the folder first in ``sys.path`` that Python puts there."""
    path = os.path.join(os.getcwd(), target)
    if is_module or not (os.path.exists(path) or target.endswith(".py")):
        _put_first_on_path(os.getcwd())
        names = runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        _put_first_on_path(os.path.dirname(os.path.realpath(path)))
        names = runpy.run_path(path, run_name="__main__")
    # Threads may go on, and look there for what the program has defined.
    vars(sys.modules["__main__"]).update(names)


def _put_first_on_path(folder: str) -> None:
    """Puts a folder in the place of that of the command, which is not there in Python's safe mode (``-P``)."""
    if not getattr(sys.flags, "safe_path", sys.flags.isolated):
        sys.path[0] = folder


def _frames_of_the_program(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames that lead to the program: ours, and those of what runs it."""
    while traceback and traceback.tb_frame.f_globals.get("__name__") in (__name__, "runpy", "importlib._bootstrap"):
        traceback = traceback.tb_next
    return traceback
