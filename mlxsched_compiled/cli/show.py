"""``mlxsched show``: the curves of schedules, and the numbers that matter."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

from ..config.from_config import from_config
from ..config.mapping import at
from ..core.checks import count, static
from ..plotting.axes import summary, whole
from ..plotting.curve import Curve
from ..plotting.plot import save
from ..plotting.terminal import mark, picture
from .fit import warnings
from .training_file import Training, read

# Of arguments that are files, whether there is one or not.
_ENDINGS = (".yaml", ".yml", ".json")


def add_command(commands: Any) -> None:
    """Adds ``show`` to the commands."""
    parser = commands.add_parser("show", help="draw schedules, and check those of training configurations")
    parser.add_argument(
        "schedules",
        metavar="SCHEDULE",
        nargs="+",
        help="a text such as 'cosine_decay(1e-3, 1000)', or a YAML or JSON file of mlx-lm's trainer or of a schedule",
    )
    parser.add_argument("--steps", metavar="N", type=int, help="draw so many steps")
    parser.add_argument("--out", metavar="FILE", help="write a picture too: .png, .svg or .pdf")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    trainings = dict(map(_found, arguments.schedules))
    steps = None if arguments.steps is None else static("--steps", count("--steps", arguments.steps))
    longest = max(training.updates or Curve(training.schedule).count for training in trainings.values())
    curves = [Curve(training.schedule, steps or training.updates or longest) for training in trainings.values()]
    if arguments.out is not None:
        with at("--out"):
            save(curves, [*trainings], arguments.out)
    width, encoding = get_terminal_size().columns, getattr(sys.stdout, "encoding", None) or "ascii"
    lines = [picture(curves, width, encoding), "", *_legend(trainings, curves)]
    print("\n".join(lines).encode(encoding, "backslashreplace").decode(encoding), flush=True)
    for label, training in trainings.items():
        for note in warnings(training):
            text = f"mlxsched: warning: {label}: {note}"
            print(fill(text, width, subsequent_indent="  ", break_on_hyphens=False), file=sys.stderr)


def _found(argument: str) -> tuple[str, Training]:
    """What an argument stands for, and how to call it."""
    if not argument.endswith(_ENDINGS) and not os.path.exists(argument):
        schedule = from_config(argument)
        return str(schedule), Training(schedule)
    with at(argument), open(argument, encoding="utf-8") as file:
        return argument, read(file)


def _legend(trainings: dict[str, Training], curves: list[Curve]) -> Iterator[str]:
    for i, ((label, training), curve) in enumerate(zip(trainings.items(), curves, strict=True)):
        lead, indent = (f"{mark(i)} ", "  ") if len(curves) > 1 else ("", "")
        yield lead + label
        if label != (call := str(training.schedule)):
            yield indent + call
        length = training.length if training.updates else f"{whole(curve.count)} steps"
        yield f"{indent}{summary(curve)}; {length}"
