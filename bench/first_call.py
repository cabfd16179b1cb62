"""One first call, in a new interpreter where no kernel is built yet."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import mlx.core as mx
from cases import CASES, INIT
from measure import fresh, wait_for_go


def stopped_before_first_call(case: str, variant: str, sweep: bool) -> AbstractContextManager[Callable[[], str]]:
    """Such an interpreter, and the function that makes the call and returns the rate.

    With ``sweep`` a schedule of the same kind with another rate was called there before.
    """
    return fresh(__file__, case, variant, *(["sweep"] if sweep else []))


def _main(case: str, variant: str, *sweep: str) -> None:
    step = mx.array(7, mx.uint64)
    mx.eval(step)
    if sweep:
        mx.eval(CASES[case].variants(2 * INIT)[variant](step))
    rate = CASES[case].variants()[variant]
    wait_for_go()
    print(rate(step).item())


if __name__ == "__main__":
    _main(*sys.argv[1:])
