"""Prints the README's tables of costs: ``python bench/ratios.py``. Takes about four minutes."""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import mlx.core as mx
from cases import CASES, COMPILED, EAGER, FAMILIES, FLOOR, OURS, PYTHON, STEPS, Case
from first_call import stopped_before_first_call
from measure import CALLS, extra, in_turns, kernels, print_table, queued, ratio
from updates import CONSTANT, OPTIMIZERS, SCHEDULES, updates


def calls(cases: Iterable[Case], shown: list[str], rounds: int) -> None:
    """Every schedule alone, beside the variants ``shown``."""
    rows, missed = [], []
    for case in cases:
        variants = case.variants()
        runs = {name: partial(queued, rate, case.steps(name)) for name, rate in variants.items()}
        times = in_turns(runs, rounds)
        faster = ratio(times[EAGER], times[OURS])
        if faster < case.wanted:
            missed.append(f"{case.name} {faster:.2f}x, wanted {case.wanted:g}x")
        rows.append(
            [
                case.name,
                *(f"{_micro(times[name]):.1f}" if name in times else "" for name in shown),
                f"{faster:.1f}x",
                *([f"{ratio(times[OURS], times[FLOOR]):.2f}x"] if FLOOR in shown else []),
                f"{kernels(variants[OURS](STEPS[0]))}",
            ]
        )
    to_floor = ["ours / floor"] if FLOOR in shown else []
    print_table(["µs per call", *shown, "eager / ours", *to_floor, "kernels, ours"], rows)
    if missed:
        print(f"\nSlower than wanted: {'; '.join(missed)}")


def compiled_updates(rounds: int) -> None:
    """What each schedule adds to a compiled update."""
    rows = []
    for optimizer in OPTIMIZERS:
        for schedule in SCHEDULES:
            variants = updates(optimizer, schedule)
            times = in_turns({name: partial(update, CALLS) for name, update in variants.items()}, rounds)
            base = times.pop(CONSTANT)
            added = [f"+{extra(own, base) / CALLS * 1e6:.1f}" for own in times.values()]
            rows.append([f"{optimizer}, {schedule}", f"{_micro(base):.1f}", *added])
    print_table(["µs per compiled update", CONSTANT, "mlx", "ours", "ours, captured", "compiled_update"], rows)


def first_calls() -> None:
    """Where no kernel is built yet: the first schedule of its kind, and the next with other hyperparameters."""
    rows = []
    repeats = {"exponential": 3, "cosine": 3, "warmup + cosine": 3, "join of 4": 3, "join of 16": 1, "join of 64": 1}
    for case, rounds in repeats.items():
        row = [case]
        for sweep in (False, True):
            for variant in (COMPILED, OURS):
                if variant == COMPILED and not CASES[case].compiles:
                    row.append("")
                    continue
                seconds = statistics.median(_first_call(case, variant, sweep) for _ in range(rounds))
                row.append(f"{seconds * 1e3:,.1f}")
        rows.append(row)
    print_table(["first call, ms", COMPILED, OURS, f"next, {COMPILED}", f"next, {OURS}"], rows)


def import_time(rounds: int) -> None:
    """What importing the package adds to importing MLX."""
    source = "import mlx.core, time; t = time.perf_counter(); import mlxsched_compiled; print(time.perf_counter() - t)"
    run = [sys.executable, "-c", source]
    times = [float(subprocess.run(run, check=True, capture_output=True, text=True).stdout) for _ in range(rounds)]
    print(f"`import mlxsched_compiled` after `import mlx.core`: {statistics.median(times) * 1e3:.1f} ms")


def machine() -> str:
    """What this runs on."""
    info = Path("/proc/cpuinfo")  # platform.processor() says nothing on Linux
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    chip = found[1] if found else platform.processor()
    return (
        f"{os.cpu_count()} cores of {chip}, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, MLX {version('mlx')}, {mx.default_device()}"
    )


def _micro(times: list[float]) -> float:
    return statistics.median(times) / CALLS * 1e6


def _first_call(case: str, variant: str, sweep: bool) -> float:
    with stopped_before_first_call(case, variant, sweep) as call:
        start = perf_counter()
        call()
        return perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="turns that every variant gets (default: 31)")
    rounds = parser.parse_args().rounds
    print(machine(), end="\n\n")
    calls(CASES.values(), [FLOOR, EAGER, COMPILED, OURS], rounds)
    print()
    calls(FAMILIES.values(), [EAGER, COMPILED, PYTHON, OURS], rounds)
    print()
    compiled_updates(5 * rounds)
    print()
    first_calls()
    print()
    import_time(rounds)
