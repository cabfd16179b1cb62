"""Runs a script with a temp folder for each rank: two processes that build one kernel at once can load half of it.

``python in_own_temp_folder.py FOLDER SCRIPT_OR_MODULE ARGUMENTS...``
"""

import os
import runpy
import sys

if __name__ == "__main__":
    folder, *sys.argv = sys.argv[1:]
    os.environ["TMPDIR"] = os.path.join(folder, os.environ["MLX_RANK"])
    os.makedirs(os.environ["TMPDIR"], exist_ok=True)
    start = runpy.run_path if os.path.exists(sys.argv[0]) else runpy.run_module
    start(sys.argv[0], run_name="__main__")
