"""``mlxsched show`` and ``mlxsched list``."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlxsched_compiled.cli.main import main

from .schedules import FACTORIES
from .test_docs import DOCS

ACCUMULATED = """
iters: 4000
grad_accumulation_steps: 4
learning_rate: 1e-5
lr_schedule:
  name: cosine_decay
  warmup: 100
  arguments: [1e-5, 4000, 1e-7]
"""


@pytest.fixture(autouse=True)
def _a_terminal_of_80(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def _write(folder: Path, text: str, name: str = "lora.yaml") -> str:
    pytest.importorskip("yaml")
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_show_draws_and_says_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "warmup_cosine_decay(1e-3, 100, 1000)"]) == 0
    out, err = capsys.readouterr()
    *drawn, call, numbers = out.splitlines()
    assert len(drawn) == 15
    assert max(map(len, drawn)) <= 80
    assert call == "warmup_cosine_decay(peak=0.001, warmup_steps=100, total_steps=1000)"
    assert numbers == "first 0, highest 0.001 at step 100, 0 from step 1,000 on; 1,101 steps"
    assert err == ""


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("constant(0.1)", "0.1 at every step; 1,000 steps"),
        ("1e-3", "0.001 at every step; 1,000 steps"),
        ("cyclic(0.1, 1, 100)", "first 0.1, highest 1 at step 100, 0.208 at step 412; 413 steps"),
        ("2 * linear_schedule(0, 1, 10)", "first 0, highest 2 at step 10, 2 from step 10 on; 12 steps"),
    ],
)
def test_the_numbers(text: str, numbers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", text]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == numbers


def test_steps_are_as_many_as_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "linear_schedule(1, 0, 10)", "--steps", "6"]) == 0
    assert capsys.readouterr().out.endswith("first 1, highest 1 at step 0, 0.5 at step 5; 6 steps\n")


@pytest.mark.parametrize(
    ("schedule", "numbers", "warning"),
    [
        (
            "'cosine_decay(1, 100)'",
            "first 1, highest 1 at step 0, 1 at step 0; 1 update",
            "the last of 1 update is made",
        ),
        ("0.1", "0.1 at every step; 1 update", ""),
    ],
)
def test_one_update(
    schedule: str, numbers: str, warning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", _write(tmp_path, f"iters: 1\nlr_schedule: {schedule}")]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == numbers
    assert warning in re.sub(r"\n +", " ", err)
    assert (err == "") == (warning == "")


def test_several_share_axes_and_have_marks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "linear_schedule(1, 0, 10)", "cosine_decay(1, 100)"]) == 0
    out = capsys.readouterr().out
    assert "* linear_schedule(init=1, end=0, steps=10)\n" in out
    assert "o cosine_decay(init=1, decay_steps=100, end=0.0)\n" in out
    assert out.count("; 111 steps\n") == 2


def _terminal(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_signs_are_those_of_the_terminal(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _write(tmp_path, "cosine_decay(1, 10)", "Δ.yaml")
    terminal = _terminal(encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["show", file]) == 0
    terminal.seek(0)
    text = terminal.read()
    assert ("│" in text) == ("Δ" in text) == (encoding == "utf-8")
    assert ("\\u0394" in text) == (encoding != "utf-8")


def test_it_works_in_a_pipe() -> None:
    command = [sys.executable, "-m", "mlxsched_compiled", "show", "cosine_decay(1, 10)"]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", env=_without_terminal(), check=True)
    assert run.stdout.endswith("first 1, highest 1 at step 0, 0 from step 10 on; 12 steps\n")
    assert run.stderr == ""


@pytest.mark.parametrize("command", ["list", "show 'cosine_decay(1, 10)'"])
@pytest.mark.parametrize(
    ("stream", "status"), [("| true", "1 0"), (">&-", "0"), ("| cat > /dev/null", "0 0"), ("> /dev/full", "2")]
)
def test_nobody_may_read_it(command: str, stream: str, status: str) -> None:
    if not Path("/dev/full").exists() or not (bash := shutil.which("bash")):
        pytest.skip("needs a shell, and a device that is always full")
    line = f"'{sys.executable}' -m mlxsched_compiled {command} {stream}; echo \"${{PIPESTATUS[@]}}\""
    run = subprocess.run([bash, "-c", line], capture_output=True, encoding="utf-8", env=_without_terminal(), check=True)
    assert run.stdout == f"{status}\n"
    assert "Traceback" not in run.stderr


def test_a_narrow_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert main(["show", "warmup_cosine_decay(1.5e-5, 100, 1000)"]) == 0
    *drawn, _, _ = capsys.readouterr().out.splitlines()
    assert max(map(len, drawn)) == 20


def _without_terminal() -> dict[str, str]:
    import os

    return {**{k: v for k, v in os.environ.items() if k != "COLUMNS"}, "PYTHONIOENCODING": "utf-8"}


@pytest.mark.parametrize(
    ("text", "numbers", "warnings"),
    [
        (
            ACCUMULATED,
            "8.8191e-6 at step 999; 1,000 updates (4,000 iters // 4 accumulated)",
            [
                "it does not reach its end, 1e-7 from step 4,101 on",
                "the last of 1,000 updates (4,000 iters // 4 accumulated) is made at 8.8191e-6",
                "A step is an update, not an iteration, and a warmup comes before the steps of a decay.",
            ],
        ),
        (
            'iters: 1000\nlr_schedule: "warmup(cosine_decay(1e-5, 1000), 100)"',
            "; 1,000 updates",
            ["it does not reach its end, 0 from step 1,100 on", "a warmup comes before"],
        ),
        (
            'iters: 1000\nlr_schedule: "cosine_decay(1e-5, 1500)"',
            "; 1,000 updates",
            ["it does not reach its end, 0 from step 1,500 on: the last of 1,000 updates is made at 2.5091e-6."],
        ),
        (
            'iters: 1000\nlr_schedule: "warmup_cosine_decay(1e-3, 50, 400)"',
            "0 from step 400 on; 1,000 updates",
            ["it ends early: 600 of 1,000 updates are made at a rate of 0, from step 400 on, and change nothing."],
        ),
        (
            'iters: 1000\nlr_schedule: "warmup_linear_decay(1e-3, 50, 400, end=1e-5)"',
            "1e-5 from step 400 on; 1,000 updates",
            ["it ends early: 600 of 1,000 updates are made at 1e-5, from step 400 on."],
        ),
        (
            "iters: 1000\nlr_schedule: 'table([1, 0])'",
            "; 1,000 updates",
            ["999 of 1,000 updates are made at a rate of 0"],
        ),
        (
            "iters: 9\nlearning_rate: 1e-5\nlr_shedule: 3",
            "1e-5 at every step; 9 updates",
            ["no lr_schedule. Is 'lr_shedule' meant to be it?"],
        ),
        (
            "iters: 400\ngradient_accumulation_steps: 4\nlr_schedule: 'cosine_decay(1, 400)'",  # as in mlx-lm-lora
            "at step 99; 100 updates (400 iters // 4 accumulated)",
            ["it does not reach its end", "A step is an update, not an iteration,"],
        ),
        ("epochs: 3\nlr_schedule: 'cosine_decay(1, 100)'", "; 111 steps", ["there is no iters, so"]),
        (
            "iters: 1000\noptimizer: adafactor\nlr_schedule: 'cosine_decay(1, 1000)'",
            "; 1,000 updates",
            ["it changes nothing: adafactor goes by a rate of its own"],
        ),
        (
            "iters: 9\nlr_schedule: 'warmup(reduce_on_plateau(1), 2)'",
            "; 9 updates",
            ["warmup(schedule=reduce_on_plateau(schedule=1), steps=2, init=0.0) changes nothing unless a callback of"],
        ),
    ],
)
def test_what_does_not_fit_the_updates_is_said(
    text: str, numbers: str, warnings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _write(tmp_path, text)
    assert main(["show", file]) == 0
    out, err = capsys.readouterr()
    assert out.endswith(f"{numbers}\n")
    unwrapped = re.sub(r"\n +", " ", err)
    assert unwrapped.startswith(f"mlxsched: warning: {file}: ")
    assert unwrapped.count("\n") == 1
    assert all(part in unwrapped for part in warnings)


@pytest.mark.parametrize(
    "schedule",
    [
        '"cosine_decay(1e-5, 1000)"',
        '"warmup_cosine_decay(1e-5, 100, 1000)"',
        '"one_cycle(1e-3, 1000)"',
        "{name: cosine_decay, warmup: 100, arguments: [1e-5, 900]}",  # a step too long, as mlx-lm makes it
        "{name: linear_schedule, warmup: 10, arguments: [1e-5, 0, 990]}",
        '"warmup(constant(1e-5), 100)"',
        '"piecewise_constant([1e-3, 1e-4], [500])"',
        '"step_decay(1e-3, 0.5, 300)"',
        '"exponential_decay(1e-3, 0.9)"',
        '"inverse_sqrt_decay(1e-3, 100)"',
        '"cosine_restarts(1e-3, 100)"',
        '"cosine_decay(1e-3, 950, 1e-4)"',
        '"cosine_decay(1e-3, 1050)"',
        "3e-4",
    ],
)
def test_what_fits_gets_no_warning(schedule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", _write(tmp_path, f"iters: 1000\nlr_schedule: {schedule}")]) == 0
    assert capsys.readouterr().err == ""


def test_an_adafactor_that_follows_it_gets_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = "optimizer: adafactor\noptimizer_config: {adafactor: {relative_step: false}}"
    assert main(["show", _write(tmp_path, f"iters: 100\nlr_schedule: 'cosine_decay(1, 100)'\n{settings}")]) == 0
    assert capsys.readouterr().err == ""


def test_mlx_lms_own_step_too_many_gets_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = "iters: 20\nlr_schedule: {name: linear_schedule, warmup: 10, arguments: [1e-5, 0, 10]}"
    assert main(["show", _write(tmp_path, config)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("name: cosine_decay\narguments: [1e-3, 100]", "schedule.yml"),
        ('{"name": "cosine_decay", "init": 1e-3, "decay_steps": 100}', "schedule.json"),
        ("cosine_decay(1e-3, 100)", "schedule"),
    ],
)
def test_a_file_may_hold_a_schedule_alone(
    text: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _write(tmp_path, text, name)
    assert main(["show", file]) == 0
    assert f"{file}\ncosine_decay(init=0.001, decay_steps=100, end=0.0)\n" in capsys.readouterr().out


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", _write(tmp_path, "iters: 1e2\nlearning_rate: 1e-3\ngrad_accumulation_steps: 3")]) == 0
    assert capsys.readouterr().out.endswith("0.001 at every step; 33 updates (100 iters // 3 accumulated)\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "it is not YAML: while parsing"),
        ("iters: 4", "there is neither learning_rate nor lr_schedule."),
        ("lr_shedule: {name: cosine_decay}", "Is 'lr_shedule' meant to be it?"),
        ("", "got None"),
        ("[1, 2]", "got [1, 2]"),
        ("lr_schedule: {name: cosin_decay, arguments: [1, 2]}", "Did you mean 'cosine_decay'?"),
        ("lr_schedule: {arguments: [1, 2]}", "name"),
        ("lr_schedule: {name: cosine_decay, arguments: [1]}", "decay_steps"),
        ("learning_rate: fast", "fast"),
        ("learning_rate: 'cosine_decay(1e-3, 100)'", "learning_rate: the trainer takes a number here; a schedule"),
        ("learning_rate: {name: constant, value: 1}", "a schedule stands under lr_schedule."),
        ("lr_schedule: null", "there is neither learning_rate nor lr_schedule.\n"),
        ("[" * 5000, "it is not YAML: maximum recursion depth"),
        ("iters: many\nlearning_rate: 1", "iters: There is no schedule 'many'"),
        ("iters: 0\nlearning_rate: 1", "iters must be"),
        ("iters: [1]\nlearning_rate: 1", "iters must be"),
        ("iters: 3\ngrad_accumulation_steps: 4\nlearning_rate: 1", "make no update"),
        ("iters: 3\ngrad_accumulation_steps: -1\nlearning_rate: 1", "grad_accumulation_steps must be"),
        ("!!python/object:os.system {}", "it is not YAML"),
        ("learning_rate: &a [*a]", "contains itself"),
    ],
)
def test_a_bad_file_is_an_error_in_words(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _write(tmp_path, text)
    assert main(["show", file]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mlxsched: {file}: ")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.yaml"], "No such file or directory: 'missing.yaml'"),
        (["."], "Is a directory: '.'"),
        (["cosin_decay(1, 2)"], "Did you mean 'cosine_decay'?"),
        (["cosine_decay(1"], "cosine_decay(1"),
        (["constant(1)", "--steps", "0"], "--steps must be"),
        (["constant(1)", "--out", "curve.foo"], "foo"),
        (["constant(1)", "--out", "missing/curve.png"], "No such file or directory: 'missing/curve.png'"),
        (["constant(1)", "--out", "/dev/null/curve.png"], "Not a directory: '/dev/null/curve.png'"),
        (["constant(1) / constant(0)"], "no finite rate"),
    ],
)
def test_a_bad_argument_is_an_error_in_words(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert main(["show", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mlxsched: ")
    assert words in err


def test_bytes_that_are_no_text_are_an_error_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    assert main(["show", str(tmp_path / "a.yaml")]) == 2
    assert "a.yaml: 'utf-8' codec can't decode" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [("yaml", "cli", ["."]), ("matplotlib", "plot", ["constant(1)", "--out", "curve.png"])],
)
def test_what_is_missing_is_said_with_the_command_that_installs_it(
    package: str,
    extra: str,
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.yaml").write_text("constant(1)")
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["show", *(str(tmp_path / "a.yaml") if word == "." else word for word in arguments)]) == 2
    assert f"pip install 'mlxsched_compiled[{extra}]'" in capsys.readouterr().err


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_picture_in_a_file(ending: str, start: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / f"curves.{ending}"
    assert main(["show", "cosine_decay(1e-3, 100)", "one_cycle(1e-3, 100)", "--out", str(file)]) == 0
    assert file.read_bytes().startswith(start)


def test_list_has_a_line_for_each_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    names = re.findall(r"^(\w+)\(", out, re.MULTILINE)
    assert {*names} == {*FACTORIES} - {"from_config"}
    assert len(names) == len({*names})
    assert "linear_schedule(init, end, steps, *, k=1.0)  # From `init` to `end` in a straight line.\n" in out
    assert names[:2] == ["exponential_decay", "step_decay"]
    assert "``" not in out


def test_the_page_shows_what_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (DOCS / "pictures.md").read_text(encoding="utf-8")
    (config,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    _write(tmp_path, config)
    monkeypatch.chdir(tmp_path)
    sessions = re.findall(r"```console\n\$ mlxsched (.*?)\n(.*?)```", page, re.DOTALL)
    assert len(sessions) == 2
    for command, shown in sessions:
        assert main(shlex.split(command)) == 0
        out, err = capsys.readouterr()
        assert shown == out + err
