"""Ratios in configurations: steps as parts of ``total_steps``, rates as parts of the peak."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from ..core.checks import count, finite, static

_LENGTHS = ("warmup_steps", "stable_steps", "decay_steps", "steps")
"""The parameters that together are the length of a schedule."""


def ratio_keys(known: Mapping[str, Parameter]) -> dict[str, str]:
    """The ratios that can be given beside a factory's parameters, and what each stands for."""
    steps = [p for p in known if p.endswith("_steps") and p != "total_steps"]
    rates = [p for p in ("init", "end") if p in known and _peak(known) not in ("", p)]
    return {
        "warmup_ratio": "warmup",
        **{f"{p.removesuffix('_steps')}_ratio": p for p in steps},
        **{f"{p}_ratio": p for p in rates},
    }


def without_ratios(name: str, known: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, with numbers of steps and rates for ratios, and with the length that ``total_steps`` leaves."""
    numbers = dict(given)
    total = static("total_steps", count("total_steps", given["total_steps"])) if "total_steps" in given else None
    is_used = "total_steps" in known
    for key, parameter in ratio_keys(known).items():
        if key not in given:
            continue
        if parameter in given:
            raise ValueError(f"{name}: {key} and {parameter} are both given.")
        ratio = static(key, finite(key, numbers.pop(key)))
        if parameter in ("init", "end"):
            numbers[parameter] = ratio * _number_of_peak(name, key, known, given)
            continue
        if total is None:
            raise ValueError(f"{name}: {key} is a part of total_steps, which is not given.")
        if not 0 <= ratio <= 1:
            raise ValueError(f"{name}: {key} must be from 0 to 1, but got {given[key]!r}.")
        numbers[parameter] = round(ratio * total)
        is_used = True
    if total is None or "total_steps" in known:
        return numbers
    del numbers["total_steps"]
    if lengths := _lengths(known):
        _fill(name, lengths, numbers, total)
    elif not is_used:
        raise ValueError(f"{name} has no end that total_steps could set.")
    return numbers


def _lengths(known: Mapping[str, Parameter]) -> list[str]:
    """The parameters that make up the length of a schedule; none if it has no end, or is made of schedules."""
    if "schedule" in known:
        return []
    lengths = [p for p in _LENGTHS if p in known and known[p].annotation == "Count"]
    return (
        lengths if any(p in lengths and known[p].default is Parameter.empty for p in ("decay_steps", "steps")) else []
    )


def _fill(name: str, lengths: list[str], numbers: dict[str, Any], total: int) -> None:
    """Gives the length that is missing what the others leave of the total."""
    given = {p: count(p, numbers[p], at_least=0) for p in ("warmup", *lengths) if p in numbers}
    missing = [p for p in lengths if p not in given]
    taken = sum(given.values())
    words = " and ".join(f"{p} {steps}" for p, steps in given.items())
    if len(missing) == 1 and taken <= total:
        numbers[missing[0]] = total - taken
    elif taken > total:
        raise ValueError(f"{name}: {words} are more than total_steps {total}.")
    elif not missing and taken < total:
        raise ValueError(f"{name}: {words} are {taken} steps, and total_steps is {total}.")


def _peak(known: Mapping[str, Parameter]) -> str:
    """The parameter that is the highest rate, as far as its name tells."""
    return next((p for p in ("peak", "init") if p in known), "")


def _number_of_peak(name: str, key: str, known: Mapping[str, Parameter], given: Mapping[str, Any]) -> Any:
    peak = _peak(known)
    if peak not in given:
        raise ValueError(f"{name}: {key} is a part of {peak}, which is not given.")
    return finite(peak, given[peak])
