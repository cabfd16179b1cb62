"""Runs a script with a temp folder for each rank: two processes that build one kernel at once can load half of it.

``python in_own_temp_folder.py FOLDER SCRIPT_OR_MODULE ARGUMENTS...``

What has been built before, by whoever launched this, is built no more.
"""

import os
import runpy
import sys
import tempfile
from pathlib import Path


def _share_kernels(there: Path, here: Path) -> None:
    for kernel in there.glob("mlx/**/*.so"):
        link = here / kernel.relative_to(there)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(link):  # as it is where two programs are launched one after the other
            link.symlink_to(kernel)


if __name__ == "__main__":
    folder, *sys.argv = sys.argv[1:]
    own = Path(folder, os.environ["MLX_RANK"])
    own.mkdir(parents=True, exist_ok=True)
    _share_kernels(Path(tempfile.gettempdir()), own)
    os.environ["TMPDIR"] = str(own)
    start = runpy.run_path if os.path.exists(sys.argv[0]) else runpy.run_module
    start(sys.argv[0], run_name="__main__")
