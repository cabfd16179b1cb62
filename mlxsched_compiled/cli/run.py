"""``mlxsched run``: a program, unchanged, with the schedules of this package in the place of MLX's.

It runs in this process as Python would run it: as a module ``__main__`` of its own, with its own ``sys.argv`` and
``sys.path``, and with nothing of this package in its tracebacks.
"""

from __future__ import annotations

import argparse
import builtins
import io
import os
import runpy
import sys
from collections.abc import Callable
from functools import partial
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from importlib.util import find_spec
from pkgutil import get_importer, read_code
from types import CodeType, ModuleType, TracebackType
from typing import Any

from ..drop_in.install import install


def add_command(commands: Any) -> None:
    """Adds ``run`` to the commands."""
    parser = commands.add_parser(
        "run",
        usage="%(prog)s [-h] [-m] TARGET [ARGS ...]",
        help="run a program with these schedules in the place of MLX's",
        description="Runs a program as Python would, with these schedules in the place of MLX's and mlx-lm's own. "
        "TARGET is a script (- for the standard input), a folder or an archive; or a module, with -m or where there is "
        "no such file.",
    )
    parser.add_argument("-m", dest="is_module", action="store_true", help="TARGET is a module, as in python -m")
    # All in one, as argparse would drop a "--" between two.
    parser.add_argument("program", metavar="TARGET", nargs=argparse.REMAINDER, help="the program and its arguments")
    parser.set_defaults(run=_prepared)


def _prepared(arguments: argparse.Namespace) -> Callable[[], None]:
    """What runs the program."""
    words = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    if not words:
        raise ValueError("run needs the name of a script or of a module.")
    install()
    target, *argv = words
    path = os.path.join(os.getcwd(), target)
    program: Callable[[], None]
    if target == "-" and not arguments.is_module:
        _put_first_on_path("")
        program = partial(_run_script, "<stdin>", _standard_input(), BuiltinImporter)
    elif arguments.is_module or not (os.path.exists(path) or target.endswith(".py")):
        _put_first_on_path(os.getcwd())
        if not (arguments.is_module or _is_found(target)):
            raise ValueError(f"there is no file {target!r}, and no module of that name.")
        target, program = "-m", partial(_run_module, target)
    elif get_importer(path) is not None:
        _put_first_on_path(path, even_if_safe=True)
        program = _run_folder
    else:
        _put_first_on_path(os.path.dirname(os.path.realpath(path)))
        contents = _contents(path)
        loader = SourceFileLoader if isinstance(contents, bytes) else SourcelessFileLoader
        program = partial(_run_script, path, contents, loader("__main__", path))
    sys.argv = [target, *argv]
    _make_main()
    return partial(_without_our_frames, program)


def _make_main() -> None:
    """Makes a new ``__main__``, with the names that this version of Python gives to one."""
    before, main = vars(sys.modules["__main__"]), ModuleType("__main__")
    names = {"__annotations__": {}, "__builtins__": builtins, "__cached__": None}
    vars(main).update((name, value) for name, value in names.items() if name in before)
    sys.modules["__main__"] = main


def _put_first_on_path(folder: str, *, even_if_safe: bool = False) -> None:
    """Puts a folder in the place of that of the command, which is not there in Python's safe mode (``-P``)."""
    if not getattr(sys.flags, "safe_path", sys.flags.isolated):
        sys.path[0] = folder
    elif even_if_safe:
        sys.path.insert(0, folder)


def _is_found(name: str) -> bool:
    """Whether there is a module, or the package that it would be in: nothing is imported to see that."""
    package = name.partition(".")[0]
    return bool(package) and find_spec(package) is not None


def _contents(path: str) -> bytes | CodeType:
    """The text of a script, or the code if it is compiled."""
    with io.open_code(path) as file:  # once: it may be a pipe
        contents: bytes = file.read()
    code: CodeType | None = read_code(io.BytesIO(contents))
    return code or contents


def _standard_input() -> bytes:
    with open(0, "rb", closefd=False) as file:
        return file.read()


def _run_module(name: str) -> None:
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]  # what ``python -m`` calls


def _run_folder() -> None:
    runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]


def _run_script(path: str, contents: bytes | CodeType, loader: Any) -> None:
    names = vars(sys.modules["__main__"])
    names.update(__file__=path, __loader__=loader)
    exec(compile(contents, path, "exec", dont_inherit=True) if isinstance(contents, bytes) else contents, names)


def _without_our_frames(program: Callable[[], None]) -> None:
    """Runs a program. The traceback of what it raises begins with its own first frame."""
    try:
        program()
    except BaseException as error:
        raised, ours, shown = error, error.__traceback__, sys.excepthook
        assert ours is not None
        assert ours.tb_next is not None
        theirs = ours.tb_next.tb_next  # after this frame and that of ``program``

        def show(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
            if value is raised:
                value, traceback = value.with_traceback(theirs), theirs
            shown(kind, value, traceback)

        sys.excepthook = show
        raise
