"""A stopped run goes on in a new process, by the lines of docs/training.md, with the bits of one not stopped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .counting import ROOT
from .resume_run import SETUPS, documented, run


@pytest.mark.parametrize("setup", SETUPS)
def test_a_resumed_run_is_the_uninterrupted_one(setup: str, tmp_path: Path) -> None:
    uninterrupted = run(setup, tmp_path)
    assert len(set(uninterrupted.values())) == len(uninterrupted), "each call changes something"
    again = [sys.executable, "-m", "tests.resume_run", setup, str(tmp_path)]
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [int(stop) for stop, *_ in lines] == SETUPS[setup][2]
    for stop, *hashes in lines:
        assert hashes == [value for call, value in uninterrupted.items() if call > int(stop)], f"stopped after {stop}"


def test_the_documented_lines_are_ten() -> None:
    assert len([line for line in documented().splitlines() if line]) <= 10
