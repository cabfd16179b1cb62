"""What ``mlxsched run`` says of the rate that a program trains with: a line, before the first step."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from typing import Any

from mlx.optimizers import Optimizer

from ..config.from_config import from_config
from ..core.schedule import Schedule
from ..plotting.axes import summary
from ..plotting.curve import Curve
from .fit import warnings
from .training_file import Training, loaded, training_of

# Variables by which a launcher numbers its processes.
_RANKS = ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
# Of mlx-lm's command line, which count instead of what is in the file.
_OPTIONS = ("iters", "learning-rate", "optimizer", "grad-accumulation-steps", "gradient-accumulation-steps")


def announce_first_rate() -> None:
    """Has the first rate that an optimizer is given announced on the standard error, by one of several processes."""
    if any(os.environ.get(name, "0") != "0" for name in _RANKS):
        return
    optimizers: Any = Optimizer
    maybe_schedule = optimizers._maybe_schedule
    is_announced = False

    def announcing(self: Any, name: str, rate: Any) -> None:
        nonlocal is_announced
        maybe_schedule(self, name, rate)
        if name == "learning_rate" and not is_announced:
            is_announced = True
            if line := announcement(rate):
                print(f"mlxsched: {line}", file=sys.stderr, flush=True)

    optimizers._maybe_schedule = announcing


def announcement(rate: Any) -> str:
    """The schedule, its numbers, and what does not fit; nothing of a number, if nothing is wrong with it."""
    try:
        training = _configured(rate) or Training(rate)
        if not isinstance(training.schedule, Schedule):
            return ""
        curve = Curve(training.schedule, training.updates)
        length = f"; {training.length}" if training.updates else ""
        notes = [f" Warning: {note}" for note in warnings(training)]
        return f"{training.schedule}: {summary(curve)}{length}.{''.join(notes)}"
    except Exception:  # a function of the program may raise anything, and raises it again in the first step
        return ""


def _configured(rate: Any) -> Training | None:
    """The training in mlx-lm's configuration, if there is one that the rate is of."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-c", "--config")
    for option in _OPTIONS:
        parser.add_argument(f"--{option}")
    with suppress(Exception):
        given = {key: value for key, value in vars(parser.parse_known_args()[0]).items() if value is not None}
        with open(given.pop("config"), encoding="utf-8") as file:
            training = training_of({**loaded(file), **given})
        if repr(training.schedule) == repr(from_config(rate)):
            return training
    return None
