"""The schedule in a file: a configuration of mlx-lm's trainer with its number of updates, or of a schedule alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from ..config.from_config import from_config
from ..config.mapping import at, value_of
from ..core.checks import count, static
from ..core.extras import needed
from ..core.schedule import Schedule
from ..drop_in.mlx_lm import unobserved
from ..plotting.axes import whole

_SCHEDULE = "lr_schedule"
# What mlx-lm and mlx-lm-lora call the iterations for an update.
_ACCUMULATION = ("grad_accumulation_steps", "gradient_accumulation_steps")


class Training(NamedTuple):
    """A schedule, and how many iterations it is for; None if that is not told."""

    schedule: Schedule
    iters: int | None = None
    accumulation: int = 1  # iterations for an update
    notes: tuple[str, ...] = ()  # what is not as it may seem

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
    yaml = needed("yaml", "cli", "Reading YAML")
    try:
        return yaml.safe_load(file)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())}.") from error


def training_of(content: Mapping[Any, Any]) -> Training:
    """What a configuration of mlx-lm's trainer trains."""
    notes: list[str] = []
    rate = _SCHEDULE
    if content.get(_SCHEDULE) is None:
        rate = "learning_rate"
        similar = get_close_matches(_SCHEDULE, [key for key in content if isinstance(key, str) and key != _SCHEDULE], 1)
        meant = f" Is {similar[0]!r} meant to be it?" if similar else ""
        if content.get(rate) is None:
            raise ValueError(f"there is neither learning_rate nor lr_schedule.{meant}")
        notes.append(f"all updates are made at learning_rate, for there is no lr_schedule.{meant}")
    with at(rate):
        schedule = from_config(content[rate])
        if rate != _SCHEDULE and isinstance(value_of(content[rate]), Schedule):
            raise ValueError(f"the trainer takes a number here; a schedule stands under {_SCHEDULE}.")
    iters = _count("iters", content)
    accumulation = max(_count(key, content) or 1 for key in _ACCUMULATION)
    if iters is None:
        notes.append("there is no iters, so whether the schedule fits them is not known.")
    elif iters < accumulation:
        raise ValueError(f"{iters} iters make no update of {accumulation} accumulated.")
    return Training(schedule, iters, accumulation, (*notes, *unobserved(schedule), *_unread(content)))


def _unread(content: Mapping[Any, Any]) -> Iterator[str]:
    """A note if the optimizer goes by a rate of its own."""
    settings = content.get("optimizer_config")
    own = settings.get("adafactor") if isinstance(settings, Mapping) else None
    is_told = isinstance(own, Mapping) and own.get("relative_step") is False
    if content.get("optimizer") == "adafactor" and not is_told:
        yield "it changes nothing: adafactor goes by a rate of its own unless told relative_step: false."


def _count(key: str, content: Mapping[Any, Any]) -> int | None:
    if content.get(key) is None:
        return None
    with at(key):
        number = value_of(content[key])
    return static(key, count(key, number))
