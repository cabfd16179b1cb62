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
import multiprocessing, os, pickle, signal, sys, threading

class Own:
    pass

def successor(number: int):
    return number + 1

assert successor.__annotations__["number"] is int  # no future is inherited

def fails():
    raise ValueError("failed")

if __name__ == "__main__":
    print(os.path.abspath(sys.argv[0]), sys.argv[1:], sys.path[0], sys.modules["__main__"].__dict__ is globals())
    print(__name__, __file__, __doc__, __spec__ and __spec__.name)
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


def _python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, *arguments],
        input="",
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
    ],
)
def test_as_python_does(folder: Path, command: str) -> None:
    by_python, by_us = _python(folder, *command.split()), _python(folder, *RUN, *command.split())
    assert by_us.stdout == by_python.stdout
    assert _of_the_program(by_us.stderr) == _of_the_program(by_python.stderr)
    assert "mlxsched" not in by_us.stderr or "interrupt" in command
    assert by_us.returncode == by_python.returncode  # -2 if it ended by SIGINT


def _of_the_program(traceback: str) -> str:
    """A traceback without the frames that lead to the program, which Python shows of a module itself."""
    if traceback.endswith("KeyboardInterrupt\n"):
        return "KeyboardInterrupt\n"
    frame = r'  File "[^"]*(?:runpy|importlib\._bootstrap)[^"]*", line \d+, in \w+\n(?:    .*\n)*'
    return re.sub(frame, "", traceback).removeprefix("Traceback (most recent call last):\n")


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
        ("nothing", "No module named nothing"),
        ("./nothing", ".*'./nothing'.*|.*Relative module names not supported"),
        ("nothing.py", r"\[Errno 2\] No such file or directory: '.*nothing.py'"),
        ("-m nothing", "No module named nothing"),
        ("-m program.nothing", "Error while finding module specification for 'program.nothing' .*"),
        ("", "run needs the name of a script or of a module."),
    ],
)
def test_what_cannot_be_run(folder: Path, command: str, message: str) -> None:
    done = _python(folder, *RUN, *command.split())
    assert done.returncode == 2
    assert re.fullmatch(f"mlxsched: {message}\n", done.stderr)


def test_a_script_may_be_compiled(folder: Path) -> None:
    py_compile.compile(str(folder / "program.py"), str(folder / "compiled.pyc"))
    by_python, by_us = (_python(folder, *run, "compiled.pyc", "exit", "3") for run in ([], RUN))
    assert by_us.stdout.splitlines()[1] == by_python.stdout.splitlines()[1]
    assert by_us.returncode == 3


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
    said = (
        "mlxsched: cosine_decay(init=0.1, decay_steps=100, end=0.0): first 0.1, highest 0.1 at step 0, 0 from step 100"
    )
    assert (done.stdout, done.stderr) == (expected, f"{said} on.\n")


LORA = """
import argparse
import mlx.optimizers as optim
import yaml
from mlx_lm.tuner.utils import build_schedule

parser = argparse.ArgumentParser()
parser.add_argument("-c", "--config")
for option in ("--iters", "--learning-rate", "--seed"):
    parser.add_argument(option, type=float)
arguments = parser.parse_args()
with open(arguments.config) as file:
    config = yaml.safe_load(file)
rate = arguments.learning_rate or float(config.get("learning_rate", 1e-5))
if config.get("lr_schedule"):
    rate = build_schedule(config["lr_schedule"])
for _ in range(2):
    optim.Adam(learning_rate=rate)
"""
"""A program that reads its configuration as mlx-lm does."""


@pytest.fixture(scope="module", name="lora")
def _lora(folder: Path) -> Path:
    pytest.importorskip("yaml")
    tuner = folder / "mlx_lm" / "tuner"
    tuner.mkdir(parents=True)
    for package in (folder / "mlx_lm", tuner):
        (package / "__init__.py").touch()
    (tuner / "utils.py").write_text("def build_schedule(schedule_config):\n    return schedule_config['name']\n")
    (folder / "mlx_lm" / "lora.py").write_text(LORA)
    return folder


FITS = "{name: cosine_decay, arguments: [1e-3, 90], warmup: 10}"
MADE = "warmup(schedule=delay(schedule=cosine_decay(init=0.001, decay_steps=90, end=0.0), steps=1), steps=10, init=0.0)"


@pytest.mark.parametrize(
    ("config", "options", "said"),
    [
        (
            f"iters: 100\nlr_schedule: {FITS}",
            "",
            f"{MADE}: first 0, highest 0.001 at step 10, 1.218e-6 at step 99; 100 updates.",
        ),
        (
            "iters: 100\nlr_schedule: 'cosine_decay(1e-3, 300)'",
            "--seed 3",
            "0.00075452 at step 99; 100 updates. Warning: it does not reach its end, 0 from step 300 on: the last of",
        ),
        (
            "iters: 100\nlr_schedule: 'cosine_decay(1e-3, 100)'",
            "--iters=400",
            "; 400 updates. Warning: it ends early: 300 of 400 updates are made at a rate of 0",
        ),
        (
            "iters: 100\nlearning_rate: 1e-4\nlr_shedule: 'cosine_decay(1e-3, 100)'",
            "",
            ": 0.0001 at every step; 100 updates. Warning: all updates are made at learning_rate, for there is no "
            "lr_schedule. Is 'lr_shedule' meant to be it?",
        ),
        (
            "iters: 100\nlr_shedule: 'cosine_decay(1e-3, 100)'",
            "--learning-rate 1e-3",
            "0.001 at every step; 100 updates. Warning: all updates are made at learning_rate",
        ),
        (
            "iters: 100\noptimizer: adafactor\nlr_schedule: 'cosine_decay(1e-3, 100)'",
            "",
            "Warning: it changes nothing: adafactor goes by a rate of its own",
        ),
        ("iters: 100\nlearning_rate: 1e-4\nlr_schedule: {name: noam, arguments: [9]}", "", "error"),
        ("iters: 100\nlr_schedule: {arguments: [9]}", "", "error"),
    ],
)
@pytest.mark.parametrize("rank", [None, "0", "1"])
def test_the_rate_is_announced(lora: Path, config: str, options: str, said: str, rank: str | None) -> None:
    (lora / "config.yaml").write_text(config)
    variables = {} if rank is None else {"MLX_RANK": rank}
    words = [*RUN, "-m", "mlx_lm.lora", "-c", "config.yaml", *options.split()]
    done = _python(lora, *words, **variables)
    if said == "error":  # the message alone, of each process
        assert done.returncode == 2
        assert re.fullmatch(r"mlxsched: lr_schedule.* (missing 1 required|The key 'name' must be).*\n", done.stderr)
        return
    assert done.returncode == 0
    if rank == "1":
        assert done.stderr == ""
    else:
        assert done.stderr.startswith("mlxsched: ")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1  # once, of two optimizers


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        ("0.1", ""),
        ("lambda step: 0.1 / (step + 1)", ""),
        ("ours.Schedule(lambda step: 0.1 / (step + 1))", "mlxsched: Schedule(<function <lambda> at 0x"),
        ("ours.constant(1) / ours.constant(0)", ""),  # no finite rate
        ("ours.table([0.1] * 9999)", ", ... 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]): 0.1 at every step.\n"),
    ],
)
def test_a_program_of_ones_own(folder: Path, rate: str, said: str) -> None:
    program = f"import mlx.optimizers as optim, mlxsched_compiled as ours\noptim.SGD({rate})\n"
    (folder / "own.py").write_text(program)
    done = _python(folder, *RUN, "own.py", "--config", "missing.yaml")
    assert done.returncode == 0
    assert said in done.stderr
    assert done.stderr.count("\n") == (said != "")
    assert len(done.stderr) < 400


def test_an_error_of_the_program_is_no_error_of_a_configuration(folder: Path) -> None:
    (folder / "fails.py").write_text("import mlxsched_compiled as ours\nours.from_config('cosin_decay(1, 2)')\n")
    done = _python(folder, *RUN, "fails.py")
    assert done.returncode == 1
    assert done.stderr.startswith('Traceback (most recent call last):\n  File "')
    assert 'fails.py", line 2, in <module>' in done.stderr.split("\n")[1]


def test_the_command_line_helps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["run", "--help"])
    assert "TARGET" in capsys.readouterr().out
    assert main(["run"]) == 2
