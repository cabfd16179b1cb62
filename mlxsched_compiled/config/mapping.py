"""Mappings that are schedules, in the form of mlx-lm's ``lr_schedule``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any

import mlx.core as mx

from ..core.checks import count, finite, is_fractional, is_mapping, is_sequence, listed, nearest, shown
from ..core.schedule import Schedule
from ..schedules.combinators import delay
from ..schedules.warmups import warmup
from .catalogue import called, factory_of
from .ratios import ratio_keys, without_ratios
from .text import parsed

# What can be given beside the arguments of the schedule that is named.
_SETTINGS = ("warmup", "warmup_init", "total_steps")
# Parameters of schedules that have their own way up.
_WAYS_UP = ("warmup_steps", "warmup_fraction", "up_steps")
_NO_WARMUP = ("", "None", "False")


def value_of(config: Any, is_word: bool = False) -> Any:
    """What a configuration stands for: a schedule, a number, a word, or a list of these.

    Text stays text where ``is_word``. What is neither text nor a mapping nor a sequence stays what it is.
    """
    if is_mapping(config):
        return _schedule({key: config[key] for key in config.keys()})  # noqa: SIM118  all that some mappings have
    if isinstance(config, str):
        return config if is_word else parsed(config)
    if is_sequence(config) and not isinstance(config, mx.array):
        return [
            value if isinstance(value, (int, float)) else _value_at(f"[{i}]", value, is_word)
            for i, value in enumerate(listed("", config))
        ]
    return config


def _schedule(config: Mapping[Any, Any]) -> Schedule:
    name = config.get("name")
    if not isinstance(name, str):
        there = ", ".join(map(shown, config)) or "none"
        raise TypeError(f"The key 'name' must be the name of a schedule, but is {shown(name)}; there is {there}.")
    with at("name"):
        known = signature(factory_of(name)).parameters
    given = _given(name, known, config)
    extra_step = "total_steps" not in given  # the first rate lasts one step more after mlx-lm's warmup
    try:
        numbers = without_ratios(name, known, given)
        if "warmup_init" in numbers and "warmup" not in numbers:
            raise ValueError(f"warmup_init is for a warmup, which {name} is not given.")
        steps = count("warmup", numbers.pop("warmup", 0), at_least=0)
        init = finite("warmup_init", numbers.pop("warmup_init", 0.0))
        schedule = called(name, [], numbers)
    except ValueError as error:  # it may be about a number that was computed from others
        keys = [key for key in given if key == "total_steps" or key.endswith("_ratio")]
        told = f" (With {', '.join(f'{key} {shown(given[key])}' for key in keys)}.)" if keys else ""
        raise ValueError(f"{error}{told}") from error
    if steps == 0:
        return schedule
    if way_up := ["the warmup"] if name == "warmup" else [p for p in _WAYS_UP if p in known]:
        raise ValueError(f"{name} takes no warmup, since it has its own way up: {way_up[0]}.")
    return warmup(delay(schedule, 1) if extra_step else schedule, steps, init)


def _given(name: str, known: Mapping[str, Parameter], config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all keys but ``name`` and ``arguments``, and the arguments by name."""
    given: dict[str, Any] = {}
    allowed = list(dict.fromkeys([*known, *_SETTINGS, *ratio_keys(known)]))
    beside = [(key, key, value) for key, value in config.items() if key not in ("name", "arguments")]
    for place, key, value in [*_arguments(known, config), *beside]:
        if not isinstance(key, str):
            raise TypeError(f"{name}: a key must be text, but got {shown(key)}.")
        if key in given:
            raise ValueError(f"{name}: {key} is given twice.")
        if key not in allowed:
            suggestion = nearest(key, [*allowed, "arguments"])
            raise ValueError(f"{name} takes no {shown(place)}.{suggestion} It takes {', '.join(allowed)}.")
        annotation = known[key].annotation if key in known else ""
        if key == "warmup" and isinstance(value, (str, bool, type(None))) and str(value).strip() in _NO_WARMUP:
            value = 0
        value = _value_at(place, value, annotation == "str")
        given[key] = _rounded(value) if "Count" in annotation or key in ("warmup", "total_steps") else value
    return given


def _arguments(known: Mapping[str, Parameter], config: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Where each of the ``arguments`` stands, its name and its value."""
    arguments = config.get("arguments", [])
    if is_mapping(arguments):
        return [(f"arguments.{key}", key, arguments[key]) for key in arguments.keys()]  # noqa: SIM118
    if not is_sequence(arguments):
        raise TypeError(f"arguments must be a list or a mapping, but got {shown(arguments)}.")
    values = listed("arguments", arguments)
    names = [p for p in known if known[p].kind is Parameter.POSITIONAL_OR_KEYWORD]
    places = [f"[{i}]" for i in range(len(values))]
    keys = [*names, *places[len(names) :]]  # those too many are refused by their places
    return [(f"arguments{place}", key, value) for place, key, value in zip(places, keys, values, strict=False)]


def _rounded(steps: Any) -> Any:
    """Numbers of steps as whole ones: a third of the iterations is a length for mlx-lm. A part of one step is not."""
    if isinstance(steps, list):
        return [_rounded(each) for each in steps]
    is_length = is_fractional(steps) and math.isfinite(steps) and abs(steps) >= 1
    return round(steps) if is_length else steps


def _value_at(place: str, value: Any, is_word: bool) -> Any:
    with at(place):
        return value_of(value, is_word)


@contextmanager
def at(place: str) -> Iterator[None]:
    """Says in errors where it is."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{place}: {error}") from error
