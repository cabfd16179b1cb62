"""The schedule in a file: a configuration of mlx-lm's trainer with its number of updates, or of a schedule alone."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from ..config.from_config import from_config
from ..config.mapping import at, value_of
from ..core.checks import count, static
from ..core.extras import missing
from ..core.schedule import Schedule
from ..drop_in.mlx_lm import unobserved
from ..plotting.axes import whole

_SCHEDULE = "lr_schedule"
_ITERS = 1000
"""Those that mlx-lm makes if it is not told how many."""
_ACCUMULATION = ("grad_accumulation_steps", "gradient_accumulation_steps")
"""What mlx-lm and mlx-lm-lora call the iterations for an update."""


class Training(NamedTuple):
    """A schedule, and how many iterations it is for; None if that is not told."""

    schedule: Schedule
    iters: int | None = None
    accumulation: int = 1
    """Iterations for an update."""
    notes: tuple[str, ...] = ()
    """What is not as it may seem."""

    @property
    def updates(self) -> int | None:
        """How many there are; None if that is not told."""
        return None if self.iters is None else self.iters // self.accumulation

    @property
    def length(self) -> str:
        """The number of updates, and where it comes from."""
        updates = "1 update" if self.updates == 1 else f"{whole(self.updates or 0)} updates"
        if self.accumulation == 1:
            return updates
        return f"{updates} ({whole(self.iters or 0)} iters // {self.accumulation} accumulated)"


def read(file: Any) -> Training:
    """What stands in an open file of YAML, which JSON is too: a configuration of mlx-lm's trainer, or of a schedule.

    Raises:
        ImportError: If there is no PyYAML.
        ValueError: If there is no schedule in it, or one that is no good.
        TypeError: If something in it is of the wrong kind.
    """
    content = loaded(file)
    if not isinstance(content, Mapping) or ("name" in content and _SCHEDULE not in content):
        return Training(from_config(content))
    return training_of(content)


def loaded(file: Any) -> Any:
    """What YAML has in it."""
    try:
        import yaml
    except ImportError as error:
        raise missing("PyYAML", "cli", "Reading YAML") from error
    try:
        return yaml.safe_load(file)
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())}.") from error
    except RecursionError:
        raise ValueError("it is nested too deep.") from None


def training_of(content: Mapping[Any, Any]) -> Training:
    """What a configuration of mlx-lm's trainer trains."""
    key, no_schedule = _key(content)
    with at(key):
        schedule = from_config(content[key])
        if key != _SCHEDULE and isinstance(value_of(content[key]), Schedule):
            raise ValueError(f"the trainer takes a number here; a schedule stands under {_SCHEDULE}.")
    iters, no_iters = _iters(content)
    accumulation = max(_count(key, content, 1) for key in _ACCUMULATION)
    if iters is not None and iters < accumulation:
        raise ValueError(f"{iters} iters make no update of {accumulation} accumulated.")
    notes = (*no_schedule, *no_iters, *unobserved(schedule), *_unread(content))
    return Training(schedule, iters, accumulation, notes)


def _key(content: Mapping[Any, Any]) -> tuple[str, list[str]]:
    """Where the rate stands, and a note if that is no schedule."""
    if content.get(_SCHEDULE) is not None:
        return _SCHEDULE, []
    similar = get_close_matches(_SCHEDULE, [key for key in content if isinstance(key, str) and key != _SCHEDULE], 1)
    meant = f" Is {similar[0]!r} meant to be it?" if similar else ""
    if content.get("learning_rate") is None:
        raise ValueError(f"there is neither learning_rate nor lr_schedule.{meant}")
    return "learning_rate", [f"all updates are made at learning_rate, for there is no lr_schedule.{meant}"]


def _iters(content: Mapping[Any, Any]) -> tuple[int | None, list[str]]:
    """How many there are, and a note if that is not told."""
    if content.get("iters") is not None:
        return _count("iters", content, _ITERS), []
    if content.get("epochs") is not None:
        return None, ["there is no iters: how many updates the epochs have depends on the data."]
    return _ITERS, [f"there is no iters: it is taken for {whole(_ITERS)}, as mlx-lm does."]


def _unread(content: Mapping[Any, Any]) -> list[str]:
    """A note if the optimizer goes by a rate of its own."""
    settings: Any = content
    for key in ("optimizer_config", "adafactor"):
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    is_told = isinstance(settings, Mapping) and settings.get("relative_step") is False
    if content.get("optimizer") != "adafactor" or is_told:
        return []
    return [
        "it changes nothing: adafactor goes by a rate of its own unless optimizer_config says relative_step: false."
    ]


def _count(key: str, content: Mapping[Any, Any], default: int) -> int:
    value: Any = content.get(key)
    if value is None:
        return default
    with at(key):
        number = value_of(value)
    return static(key, count(key, number))
