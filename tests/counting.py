"""What can be counted: the kernels of a graph, the libraries that MLX builds, the traces of a schedule."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FrameType

import mlx.core as mx
import pytest

import mlxsched_compiled as ours

MLX_VERSION = tuple(int(part) for part in version("mlx").split(".")[:2])
ROOT = Path(ours.__file__).parents[1]

requires_compile = pytest.mark.skipif(
    "MLX_DISABLE_COMPILE" in os.environ or shutil.which("g++") is None, reason="MLX compiles nothing here"
)

VIEWS = {
    "AsStrided",
    "Broadcast",
    "BroadcastAxes",
    "ExpandDims",
    "Flatten",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unflatten",
}
"""Nodes that launch nothing: they describe the data of another array."""


def kernels(*arrays: mx.array) -> list[str]:
    """The nodes of the graph of ``arrays`` that do work. Ask before the arrays are evaluated."""
    dot = io.StringIO()
    mx.export_to_dot(dot, *arrays)
    nodes = dict(re.findall(r'(\d+) \[label ="([^"]*)", shape=rectangle\]', dot.getvalue()))
    return [name for name in nodes.values() if name not in VIEWS]


def run(code: str, temp: Path, *, path: str | None = None, disable_compile: bool = False) -> str:
    """What a new Python process prints that runs ``code`` with ``temp`` as its folder for temporary files."""
    environment = {**os.environ, "TMPDIR": str(temp)}
    if path is not None:
        environment["PATH"] = path
    if disable_compile:
        environment["MLX_DISABLE_COMPILE"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def libraries(temp: Path) -> set[str]:
    """The names of the kernels that were built with ``temp`` as the folder for temporary files."""
    return {file.name for file in temp.rglob("*.so")}


class Traces:
    """A running count."""

    count = 0


@contextmanager
def traces(schedule: ours.Schedule) -> Iterator[Traces]:
    """Counts how often the Python code of the rate of ``schedule`` runs, whichever schedule it is called for."""
    code: CodeType = getattr(schedule.rate, "__code__", None) or type(schedule.rate).__call__.__code__
    counted = Traces()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is code:
            counted.count += 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield counted
    finally:
        sys.setprofile(before)
