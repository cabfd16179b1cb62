"""Two processes that talk over loopback, started by ``mlx.launch``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from .measuring import ROOT

LAUNCHER = Path(sys.executable).with_name("mlx.launch")
SECONDS = 300  # on a busy machine

can_launch = pytest.mark.skipif(
    not LAUNCHER.exists() or not mx.distributed.is_available() or sys.platform == "win32",
    reason="no mlx.launch that runs here",
)


def _two_free_ports() -> int:
    """The first of two neighbours, which ``mlx.launch`` wants."""
    for _ in range(50):
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    pytest.skip("no two free ports next to each other")


def launch(folder: Path, *command: str, path: Path = ROOT) -> str:
    """What two processes print, each of which runs ``command``, a script or a module.

    Their kernels go to ``folder``; they import from ``path`` too.
    """
    own = [str(Path(__file__).with_name("in_own_temp_folder.py")), str(folder)]
    environment = {
        **os.environ,
        "PATH": f"{LAUNCHER.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{path}",
    }
    read, write = os.pipe()  # an input that stays open and is silent: the launcher passes it on
    try:
        done = subprocess.run(
            [str(LAUNCHER), "--backend", "ring", "-n", "2", "-p", str(_two_free_ports()), "python", *own, *command],
            stdin=read,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=ROOT,
            env=environment,
        )
    finally:
        os.close(read)
        os.close(write)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
