"""``mlxsched show``: the curves of schedules, and the numbers that matter."""

from __future__ import annotations

import argparse
import os
import sys
from shutil import get_terminal_size
from textwrap import fill
from typing import Any, NamedTuple

from ..config.from_config import from_config
from ..config.mapping import at
from ..core.checks import count, static
from ..plotting.axes import shortened, summary, whole
from ..plotting.curve import Curve
from ..plotting.plot import save
from ..plotting.terminal import mark, picture
from .fit import misfits
from .training_file import Training, read

_ENDINGS = (".yaml", ".yml", ".json")
"""Of arguments that are files, whether there is one or not."""
_LONGEST = 500
"""Characters of a call."""


def add_command(commands: Any) -> None:
    """Adds ``show`` to the commands."""
    parser = commands.add_parser("show", help="draw schedules, and check those of training configurations")
    parser.add_argument(
        "schedules",
        metavar="SCHEDULE",
        nargs="+",
        help="a text such as 'cosine_decay(1e-3, 1000)', a YAML or JSON file of mlx-lm's trainer or of a schedule, "
        "or - for one on the standard input",
    )
    parser.add_argument("--steps", metavar="N", type=int, help="draw so many steps")
    parser.add_argument("--out", metavar="FILE", help="write a picture too: .png, .svg or .pdf")
    parser.set_defaults(run=_run)


class _Shown(NamedTuple):
    label: str
    training: Training
    curve: Curve


def _run(arguments: argparse.Namespace) -> None:
    trainings = [_found(argument) for argument in arguments.schedules]
    steps = None if arguments.steps is None else static("--steps", count("--steps", arguments.steps))
    longest = max(training.updates or Curve(training.schedule).count for _, training in trainings)
    shown = [_Shown(*each, Curve(each[1].schedule, steps or each[1].updates or longest)) for each in trainings]
    if arguments.out is not None:
        _save(shown, arguments.out)
    width, encoding = get_terminal_size().columns, getattr(sys.stdout, "encoding", None) or "ascii"
    text = "\n".join(_lines(shown, width, encoding))
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    for each in shown:
        for note in [*each.training.notes, *misfits(each.training)]:
            print(_wrapped(f"mlxsched: warning: {each.label}: {note}", width), file=sys.stderr)


def _found(argument: str) -> tuple[str, Training]:
    """What an argument stands for, and how to call it."""
    if argument != "-" and not argument.endswith(_ENDINGS) and not os.path.exists(argument):
        schedule = from_config(argument)
        return repr(schedule), Training(schedule)
    name = "standard input" if argument == "-" else argument
    try:
        if argument == "-":
            if sys.stdin is None:
                raise ValueError("it is closed.")
            return name, read(sys.stdin)
        with open(argument, encoding="utf-8") as file:
            return name, read(file)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}.") from error


def _save(shown: list[_Shown], file: str) -> None:
    with at("--out"):
        try:
            save([each.curve for each in shown], [each.label for each in shown], file)
        except FileNotFoundError as error:
            raise ValueError(f"there is no folder {os.path.dirname(file)!r}: make it first.") from error
        except OSError as error:
            raise ValueError(f"{file}: {error.strerror}.") from error


def _lines(shown: list[_Shown], width: int, encoding: str) -> list[str]:
    lines = [picture([each.curve for each in shown], width, encoding), ""]
    for i, (label, training, curve) in enumerate(shown):
        lead, indent = (f"{mark(i)} ", "  ") if len(shown) > 1 else ("", "")
        lines.append(lead + shortened(label, _LONGEST))
        if label != (call := repr(training.schedule)):
            lines.append(indent + shortened(call, _LONGEST))
        length = training.length if training.updates else f"{whole(curve.count)} steps"
        lines.append(f"{indent}{summary(curve)}; {length}")
    return lines


def _wrapped(text: str, width: int) -> str:
    return fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
