"""Ratios in configurations: steps as parts of ``total_steps``, rates as parts of the peak."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from ..core.checks import count, finite, static

# The parameters that together are the length of a schedule.
_LENGTHS = ("warmup_steps", "stable_steps", "decay_steps", "steps")


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
    """What is given, with numbers for ratios and with the length that ``total_steps`` leaves."""
    numbers = dict(given)
    total = static("total_steps", count("total_steps", given["total_steps"])) if "total_steps" in given else 0
    share, taken, is_used = 0.0, 0, False
    for key, parameter in ratio_keys(known).items():
        if key not in given:
            continue
        if parameter in given:
            raise ValueError(f"{name}: {key} and {parameter} are both given.")
        ratio = static(key, finite(key, numbers.pop(key)))
        whole = _peak(known) if parameter in ("init", "end") else "total_steps"
        if whole not in given:
            raise ValueError(f"{name}: {key} is a part of {whole}, which is not given.")
        if whole != "total_steps":
            numbers[parameter] = ratio * finite(whole, given[whole])
            continue
        if not 0 <= ratio <= 1:
            raise ValueError(f"{name}: {key} must be from 0 to 1, but got {ratio}.")
        share += ratio
        numbers[parameter] = round(share * total) - taken  # what is rounded is where each part ends: all fill the total
        taken += numbers[parameter]
        is_used = True
    if "total_steps" not in given or "total_steps" in known:
        return numbers
    del numbers["total_steps"]
    if lengths := _lengths(known):
        _fill(name, lengths, total, numbers)
    elif not is_used:
        raise ValueError(f"{name} has no end that total_steps could set.")
    return numbers


def _lengths(known: Mapping[str, Parameter]) -> list[str]:
    """The parameters that make up the length of a schedule; none if it has no end, or is made of schedules."""
    lengths = [p for p in _LENGTHS if p in known and known[p].annotation == "Count"]
    has_end = any(p in lengths and known[p].default is Parameter.empty for p in ("decay_steps", "steps"))
    return lengths if has_end and "schedule" not in known else []


def _fill(name: str, lengths: list[str], total: int, numbers: dict[str, Any]) -> None:
    """Gives the length that is missing what the others leave of the total."""
    given = {p: static(p, count(p, numbers[p], at_least=0)) for p in ("warmup", *lengths) if p in numbers}
    missing = [p for p in lengths if p not in given]
    left = total - sum(given.values())
    if left < 0 or (left > 0 and not missing):
        words = " and ".join(f"{p} {n}" for p, n in given.items())
        raise ValueError(f"{name}: {words} are {total - left} steps, and total_steps is {total}.")
    if len(missing) == 1:
        numbers[missing[0]] = left


def _peak(known: Mapping[str, Parameter]) -> str:
    """The parameter that is the highest rate, as far as its name tells."""
    return next((p for p in ("peak", "init") if p in known), "")
