"""Schedules from what stands in a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.schedule import Schedule
from ..schedules.decays import constant


def from_config(config: str | float | Mapping[str, Any] | Schedule) -> Schedule:
    """A schedule from a text, a mapping or a number, as they stand in YAML or on a command line.

    Text is what a schedule prints as: calls of this package's schedules, numbers, words, lists, and ``+ - * /``. It is
    parsed, never evaluated. A mapping has the form of mlx-lm's ``lr_schedule``, and gives the curve that mlx-lm gives
    for it:

    * ``name``: of the schedule.
    * ``arguments``: as a list, or as a mapping from their names. Each other key is an argument too.
    * ``warmup``, ``warmup_init``: steps of a linear warmup to the first rate (none if empty), and where it starts (0 if
      not given). The first rate lasts one step more, as in mlx-lm.
    * ``total_steps``: the length of warmup and decay together. The schedule's own length, such as ``decay_steps``, is
      left out: it is what the warmup leaves. The first rate does not last longer then.
    * ``warmup_ratio``, ``stable_ratio``, ``decay_ratio``: steps as parts of ``total_steps``.
    * ``end_ratio``, ``init_ratio``: rates as parts of ``peak``, or of ``init`` if there is no ``peak``.

    An argument may be a configuration itself, a list any sequence, and a number text, as YAML reads ``1e-3``. A number
    of steps that is not whole is rounded, unless it is a part of one step.

    Args:
        config: Text, a mapping, or a number, which is a constant schedule. A schedule is returned as it is.

    Returns:
        A schedule, float32, of the shape of the step. ``from_config(repr(schedule))`` is ``schedule`` made again.

    Raises:
        ValueError: If something has no meaning here, or a schedule refuses an argument. The first line of the message
            says what and where, and the nearest name that is known.
        TypeError: If ``config`` or something in it is of the wrong kind.

    Source: ``build_schedule`` in mlx-lm.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import from_config
        >>> from_config("2 * warmup(cosine_decay(1e-3, 10), 4)")(mx.array([0, 2, 4, 9, 14]))
        array([0, 0.001, 0.002, 0.001, 0], dtype=float32)
        >>> from_config({"name": "cosine_decay", "arguments": [1e-3, 10], "warmup": 4})(mx.array([0, 2, 4, 5, 10, 15]))
        array([0, 0.0005, 0.001, 0.001, 0.0005, 0], dtype=float32)
        >>> from_config({"name": "sqrt_decay", "init": "1e-3", "end_ratio": 0.1, "total_steps": 100, "warmup": 10})
        warmup(schedule=sqrt_decay(init=0.001, decay_steps=90, end=0.0001), steps=10, init=0.0)
    """
    from .mapping import value_of  # seldom needed, and ast and inspect are slow to import

    try:
        value = value_of(config)
    except RecursionError:
        raise ValueError("The configuration is nested too deep, or contains itself.") from None
    return value if isinstance(value, Schedule) else constant(value)
