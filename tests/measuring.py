"""What can be counted besides kernels: the libraries that MLX builds, the traces of a schedule."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import mlx.core as mx
import pytest

import mlxsched_compiled as ours

ROOT = Path(ours.__file__).parents[1]

EMPTY_GROUPS = version("mlx") != "0.32.1"
"""Whether MLX trains with a ``MultiOptimizer`` that has nothing for one of its optimizers."""
requires_compile = pytest.mark.skipif(
    "MLX_DISABLE_COMPILE" in os.environ or shutil.which("g++") is None, reason="MLX compiles nothing here"
)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, MLX compiles nothing: the same rates to the bit (a test says so), and no C++ compiler to wait for."""
    mx.disable_compile()
    try:
        yield
    finally:
        if "MLX_DISABLE_COMPILE" not in os.environ:
            mx.enable_compile()


def start(*arguments: str, **environment: str) -> str:
    """What a new Python process prints, started with ``arguments`` in the folder above the tests."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(code: str, temp: Path, **environment: str) -> str:
    """What a new Python process prints that runs ``code`` with ``temp`` as its folder for temporary files."""
    return start("-c", textwrap.dedent(code), TMPDIR=str(temp), **environment)


def libraries(temp: Path) -> set[str]:
    """The names of the kernels that were built with ``temp`` as the folder for temporary files."""
    return {file.name for file in temp.rglob("*.so")}


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.function(*args)


@contextmanager
def traces(schedule: ours.Schedule) -> Iterator[Counted]:
    """Counts how often the Python code of the rate of ``schedule`` runs, whichever schedule it is called for."""
    rate: Any = schedule.structure.rate
    code: CodeType = getattr(rate, "__code__", None) or type(rate).__call__.__code__
    counted = Counted(rate)

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is code:
            counted.calls += 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield counted
    finally:
        sys.setprofile(before)
