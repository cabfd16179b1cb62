"""``mlxsched run`` runs a program as Python does, but for MLX's schedules."""

from __future__ import annotations

import os
import py_compile
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mlxsched_compiled.cli.main import main

from .measuring import ROOT

RUN = ["-m", "mlxsched_compiled", "run"]

PROGRAM = '''
"""A program."""
import multiprocessing, pickle, signal, sys, threading

class Own:
    pass

def successor(number: int):
    return number + 1

assert successor.__annotations__["number"] is int  # no future is inherited

def fails():
    raise ValueError("failed")

if __name__ == "__main__":
    print(sys.argv, sys.path[0], sys.modules["__main__"].__dict__ is globals())
    print({name: repr(value).split(" object at ")[0] for name, value in sorted(globals().items()) if name[:2] == "__"})
    match sys.argv[1]:
        case "pickle":
            assert type(pickle.loads(pickle.dumps(Own()))) is Own
        case "spawn":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(successor, [1, 2]))
        case "thread":
            threading.Timer(0.1, lambda: print(pickle.loads(pickle.dumps(Own())).__class__)).start()
        case "exit":
            sys.exit({"none": None, "3": 3, "text": "a text"}[sys.argv[2]])
        case "error":
            try:
                fails()
            except ValueError as error:
                raise OSError("another") from error
        case "hook":
            sys.excepthook = lambda kind, value, traceback: print(value, traceback.tb_frame.f_code.co_filename)
            fails()
        case "interrupt":
            signal.raise_signal(signal.SIGINT)
'''


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    (folder / "program.py").write_text(PROGRAM)
    (folder / "syntax.py").write_text("x = 1\ndef (\n")
    (folder / "link.py").symlink_to(folder / "package" / "__main__.py")
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "__main__.py").write_text(PROGRAM)
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
    return folder


def _python(folder: Path, *arguments: str, piped: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        input=piped,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=60,
    )


@pytest.mark.parametrize(
    "command",
    [
        "program.py pickle --help -m -- -x",
        "-m program pickle --help -- -m",
        "./package/../program.py exit none",
        "-m package interrupt",
        "program.py spawn",
        "-m program spawn",
        "-m package.__main__ exit 3",
        "link.py exit text",
        "package thread",
        "./package/ error",
        "archive.zip error",
        "program.py error",
        "-m program error",
        "program.py hook",
        "program.py interrupt",
        "syntax.py",
        "-m syntax",
        "-m nothing",
        "-m program.nothing",
    ],
)
def test_as_python_does(folder: Path, command: str) -> None:
    by_python, by_us = _python(folder, *command.split()), _python(folder, *RUN, *command.split())
    assert by_us.stdout == by_python.stdout
    assert by_us.stderr == by_python.stderr
    assert by_us.returncode == by_python.returncode  # -2 if it ended by SIGINT


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this Python has no safe mode")
@pytest.mark.parametrize("command", ["program.py pickle", "package pickle"])
def test_in_safe_mode(folder: Path, command: str) -> None:
    by_python, by_us = (_python(folder, "-P", *run, *command.split()) for run in ([], RUN))
    assert by_us.stdout == by_python.stdout != ""


def test_a_module_needs_no_m_where_no_file_has_its_name(folder: Path) -> None:
    assert (
        _python(folder, *RUN, "package.__main__", "pickle").stdout
        == _python(folder, "-m", "package.__main__", "pickle").stdout
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("nothing", "there is no file 'nothing', and no module of that name."),
        ("./nothing", "there is no file './nothing', and no module of that name."),
        ("nothing.py", r"\[Errno 2\] No such file or directory: '.*nothing.py'"),
        ("", "run needs the name of a script or of a module."),
    ],
)
def test_what_cannot_be_run(folder: Path, command: str, message: str) -> None:
    done = _python(folder, *RUN, *command.split())
    assert done.returncode == 2
    assert re.fullmatch(f"mlxsched: {message}\n", done.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_script_may_be_a_pipe_or_compiled(folder: Path) -> None:
    py_compile.compile(str(folder / "program.py"), str(folder / "compiled.pyc"))
    for script in ("/dev/stdin", "compiled.pyc"):
        by_python, by_us = (_python(folder, *run, script, "exit", "3", piped=PROGRAM) for run in ([], RUN))
        assert by_us.stdout.splitlines()[1] == by_python.stdout.splitlines()[1]
        assert by_us.returncode == 3


@pytest.mark.parametrize("case", ["exit 3", "error", "interrupt"])
def test_a_script_on_the_standard_input(folder: Path, case: str) -> None:
    by_python, by_us = (_python(folder, *run, "-", *case.split(), piped=PROGRAM) for run in ([], RUN))
    assert by_us.stdout == by_python.stdout != ""
    assert by_us.stderr == by_python.stderr
    assert by_us.returncode == by_python.returncode


def test_a_dash_dash_before_the_target(folder: Path) -> None:
    by_python, by_us = (_python(folder, *run, "--", "program.py", "--", "-m") for run in ([], RUN))
    assert by_us.stdout == by_python.stdout != ""


def test_the_program_gets_our_schedules(folder: Path) -> None:
    (folder / "optimizes.py").write_text(
        "import mlx.optimizers as optim\n"
        "from mlx.optimizers import cosine_decay\n"
        "from mlx.optimizers.schedulers import warmup\n"
        "print(warmup(cosine_decay(0.1, 100), 10))\n"
        "print('schedules' in optim.SGD(cosine_decay(0.1, 100)).state)\n"
    )
    expected = "warmup(schedule=cosine_decay(init=0.1, decay_steps=100, end=0.0), steps=10, init=0.0)\nTrue\n"
    done = _python(folder, *RUN, "optimizes.py")
    assert (done.stdout, done.stderr) == (expected, "")


def test_the_command_line_helps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["run", "--help"])
    assert "TARGET" in capsys.readouterr().out
    assert main(["run"]) == 2
