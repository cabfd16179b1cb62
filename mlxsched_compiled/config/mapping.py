"""Mappings that are schedules, in the form of mlx-lm's ``lr_schedule``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter
from typing import Any

from ..core.checks import count, finite, nearest
from ..core.schedule import Schedule
from ..schedules.combinators import delay, join_schedules, skip
from ..schedules.warmups import warmup
from .catalogue import called, parameters
from .ratios import ratio_keys, without_ratios
from .text import parsed

_SETTINGS = ("warmup", "warmup_init", "total_steps")
"""What can be given beside the arguments of the schedule that is named."""
_WAYS_UP = ("warmup_steps", "warmup_fraction", "up_steps")
"""Parameters of schedules that have their own way up."""


def value_of(config: Any, is_word: bool = False) -> Any:
    """What a configuration stands for: a schedule, a number, a word, or a list of these.

    Text stays text where ``is_word``. What is neither text nor a mapping nor a list stays what it is.
    """
    if isinstance(config, Mapping):
        return _schedule(config)
    if isinstance(config, str) and not is_word:
        return parsed(config)
    if isinstance(config, (list, tuple)):
        return [_value_at(f"[{i}]", value, is_word) for i, value in enumerate(config)]
    return config


def _schedule(config: Mapping[Any, Any]) -> Schedule:
    name = _name(config)
    with at("name"):
        known = parameters(name)
    given = _given(name, known, config)
    extra_step = "total_steps" not in given  # the first rate lasts one step more after mlx-lm's warmup
    given = without_ratios(name, known, given)
    if "warmup_init" in given and "warmup" not in given:
        raise ValueError(f"warmup_init is for a warmup, which {name} is not given.")
    steps = count("warmup", given.pop("warmup", 0), at_least=0)
    init = finite("warmup_init", given.pop("warmup_init", 0.0))
    schedule = called(name, [], given)
    if steps == 0:
        return schedule
    if way_up := _way_up(schedule):
        raise ValueError(f"{name} takes no warmup, since it has its own way up: {way_up}.")
    return warmup(delay(schedule, 1) if extra_step else schedule, steps, init)


def _name(config: Mapping[Any, Any]) -> str:
    if "name" not in config:
        raise ValueError(f"The key 'name' is missing; there is {', '.join(map(repr, config)) or 'none'}.")
    name = config["name"]
    if not isinstance(name, str):
        raise TypeError(f"name must be text, but got {name!r}.")
    return name


def _given(name: str, known: Mapping[str, Parameter], config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all keys but ``name`` and ``arguments``, and the arguments by name."""
    given: dict[str, Any] = {}
    allowed = list(dict.fromkeys([*known, *_SETTINGS, *ratio_keys(known)]))
    beside = [(key, key, value) for key, value in config.items() if key not in ("name", "arguments")]
    for place, key, value in [*_arguments(known, config), *beside]:
        if not isinstance(key, str):
            raise TypeError(f"{name}: a key must be text, but got {key!r}.")
        if key in given:
            raise ValueError(f"{name}: {key} is given twice.")
        if key not in allowed:
            suggestion = nearest(key, [*allowed, "arguments"])
            raise ValueError(f"{name} takes no {place!r}.{suggestion} It takes {', '.join(allowed)}.")
        given[key] = _value_at(place, value, key in known and known[key].annotation == "str")
    return given


def _arguments(known: Mapping[str, Parameter], config: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Where each of the ``arguments`` stands, its name and its value."""
    arguments = config.get("arguments", [])
    if isinstance(arguments, Mapping):
        return [(f"arguments.{key}", key, value) for key, value in arguments.items()]
    if not isinstance(arguments, (list, tuple)):
        raise TypeError(f"arguments must be a list or a mapping, but got {arguments!r}.")
    by_position = [p for p in known if known[p].kind is Parameter.POSITIONAL_OR_KEYWORD]
    if len(arguments) > len(by_position):
        raise ValueError(
            f"arguments must be at most {len(by_position)} ({', '.join(by_position)}), but got {len(arguments)}."
        )
    return [(f"arguments[{i}]", *pair) for i, pair in enumerate(zip(by_position, arguments, strict=False))]


def _value_at(place: str, value: Any, is_word: bool) -> Any:
    with at(place):
        return value_of(value, is_word)


@contextmanager
def at(place: str) -> Iterator[None]:
    """Says in errors where it is."""
    try:
        yield
    except TypeError as error:
        raise TypeError(f"{place}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _way_up(schedule: Schedule) -> str:
    """The parameter by which a schedule, or one that it begins with, goes up first; none if it does not."""
    call = schedule._call
    if call.function is warmup:
        return "warmup"
    if call.function is skip:  # whose way up may be among the steps that are left out
        return ""
    if own := [p for p in _WAYS_UP if p in call.kwargs]:
        return f"{own[0]} of {schedule.__name__}"
    operands = call.kwargs["schedules"][:1] if call.function is join_schedules else call.operands()
    return next((way for part in operands if isinstance(part, Schedule) and (way := _way_up(part))), "")
