"""Ratios in configurations: steps as parts of ``total_steps``, rates as parts of the peak."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from ..core.checks import count, finite, static

_LENGTHS = ("warmup_steps", "stable_steps", "decay_steps", "steps")
"""The parameters that together are the length of a schedule."""
_DECAYS = ("decay_steps", "steps")
"""Of these, the ones that are a step at least."""


def ratio_keys(known: Mapping[str, Parameter]) -> dict[str, str]:
    """The ratios that can be given beside a factory's parameters, and what each stands for."""
    steps = [p for p in known if p.endswith("_steps") and p != "total_steps"]
    rates = [p for p in ("init", "end") if p in known and _peak(known) not in ("", p)]
    return {
        "warmup_ratio": "warmup",
        **{f"{p.removesuffix('_steps')}_ratio": p for p in steps},
        **{f"{p}_ratio": p for p in rates},
    }


def without_ratios(
    name: str, known: Mapping[str, Parameter], given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What is given, with numbers for ratios and with the length that ``total_steps`` leaves.

    Beside it, for each number that was computed, what it was computed from: an error about it says that.
    """
    numbers, origins = dict(given), {}
    total = static("total_steps", count("total_steps", given["total_steps"])) if "total_steps" in given else None
    share, taken = 0.0, 0
    for key, parameter in ratio_keys(known).items():
        if key not in given:
            continue
        if parameter in given:
            raise ValueError(f"{name}: {key} and {parameter} are both given.")
        ratio = static(key, finite(key, numbers.pop(key)))
        origins[parameter] = f"{key} {ratio}"
        if parameter in ("init", "end"):
            numbers[parameter] = ratio * _number_of_peak(name, key, known, given)
            continue
        if total is None:
            raise ValueError(f"{name}: {key} is a part of total_steps, which is not given.")
        if not 0 <= ratio <= 1:
            raise ValueError(f"{name}: {key} must be from 0 to 1, but got {ratio}.")
        share += ratio
        numbers[parameter] = round(share * total) - taken  # what is rounded is where each part ends: all fill the total
        taken += numbers[parameter]
    if total is None or "total_steps" in known:
        return numbers, origins
    del numbers["total_steps"]
    if lengths := _lengths(known):
        _fill(name, lengths, total, numbers, origins)
    elif not origins.keys() - {"init", "end"}:
        raise ValueError(f"{name} has no end that total_steps could set.")
    return numbers, origins


def _lengths(known: Mapping[str, Parameter]) -> list[str]:
    """The parameters that make up the length of a schedule; none if it has no end, or is made of schedules."""
    lengths = [p for p in _LENGTHS if p in known and known[p].annotation == "Count"]
    has_end = any(p in lengths and known[p].default is Parameter.empty for p in _DECAYS)
    return lengths if has_end and "schedule" not in known else []


def _fill(name: str, lengths: list[str], total: int, numbers: dict[str, Any], origins: dict[str, str]) -> None:
    """Gives the length that is missing what the others leave of the total."""
    given = {p: static(p, count(p, numbers[p], at_least=0)) for p in ("warmup", *lengths) if p in numbers}
    missing = [p for p in lengths if p not in given]
    taken = sum(given.values())
    words = " and ".join(f"{origins[p]} ({n} steps)" if p in origins else f"{p} {n}" for p, n in given.items())
    if taken > total:
        raise ValueError(f"{name}: {words} are more than total_steps {total}.")
    if not missing and taken < total:
        raise ValueError(f"{name}: {words} are {taken} steps, and total_steps is {total}.")
    if len(missing) == 1:
        if taken == total and missing[0] in _DECAYS:
            raise ValueError(f"{name}: no step of total_steps {total} is left after {words}.")
        numbers[missing[0]] = total - taken
        origins[missing[0]] = f"what {words or 'nothing'} leaves of total_steps {total}"


def _peak(known: Mapping[str, Parameter]) -> str:
    """The parameter that is the highest rate, as far as its name tells."""
    return next((p for p in ("peak", "init") if p in known), "")


def _number_of_peak(name: str, key: str, known: Mapping[str, Parameter], given: Mapping[str, Any]) -> Any:
    peak = _peak(known)
    if peak not in given:
        raise ValueError(f"{name}: {key} is a part of {peak}, which is not given.")
    return finite(peak, given[peak])
