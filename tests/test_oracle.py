"""The oracle itself, against the formulas as they are printed, in 60 decimal digits."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest

from . import oracle

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


def _cosine(x: Decimal) -> Decimal:
    total, term, n = Decimal(1), Decimal(1), 0
    while abs(term) > Decimal("1e-58"):
        n += 2
        term *= -x * x / (n * (n - 1))
        total += term
    return total


def _decimal(value: float) -> Decimal:
    return Decimal(float(np.float32(value)))


BASE = 0.9999


def _exponential(t: int) -> Decimal:
    return _decimal(0.1) * Decimal(BASE) ** t


def _stepped(t: int) -> Decimal:
    return _decimal(0.1) * Decimal(BASE) ** (t // 7)


def _linear(t: int) -> Decimal:
    return _decimal(1e-3) + (_decimal(1e-9) - _decimal(1e-3)) * min(Decimal(t) / 1_000_000, Decimal(1))


def _cosine_shaped(init: float, end: float, power: float) -> Callable[[int], Decimal]:
    def formula(t: int) -> Decimal:
        x = min(Decimal(t) / 1_000_000, Decimal(1))
        shape = ((1 + _cosine(PI * x)) / 2) ** Decimal(power)
        return _decimal(end) + (_decimal(init) - _decimal(end)) * shape

    return formula


@pytest.mark.parametrize(
    ("curve", "formula"),
    [
        (oracle.exponential_decay(0.1, BASE), _exponential),
        (oracle.step_decay(0.1, BASE, 7), _stepped),
        (oracle.linear_schedule(1e-3, 1e-9, 1_000_000), _linear),
        (oracle.cosine_decay(1e-3, 1_000_000), _cosine_shaped(1e-3, 0, 1)),
        (oracle.cosine_decay(0, 1_000_000, 1e-3), _cosine_shaped(0, 1e-3, 1)),
        (oracle.cosine_decay(1e-3, 1_000_000, 1e-5, power=2.5), _cosine_shaped(1e-3, 1e-5, 2.5)),
        (oracle.cosine_decay(0, 1_000_000, 1e-5, power=0.75), _cosine_shaped(0, 1e-5, 0.75)),
    ],
)
def test_curve_is_the_formula(curve: oracle.Curve, formula: Callable[[int], Decimal]) -> None:
    steps = [0, 1, 2, 77, 4321, 499_999, 500_000, 700_001, 999_998, 999_999]
    with localcontext() as context:
        context.prec = 60
        expected = [formula(t) for t in steps]
    got = curve(np.array(steps, np.uint64))
    for value, truth in zip(got, expected, strict=True):
        assert abs(Decimal(float(value)) - truth) <= abs(truth) * Decimal("1e-14")


def test_errors_are_counted_in_float32_ulps_of_the_truth() -> None:
    truth = np.array([1, 1, 2, 1 - 2**-26, 0, 2.0**-149, 1e-40, 2.0**200])
    rates = np.array([1, 1 + 2**-23, 2 - 2**-22, 1, 2.0**-149, 0, 1e-40, np.inf], np.float32)
    assert oracle.ulps(rates, truth).tolist() == pytest.approx([0, 1, 1, 0.25, 0, 0, 0, 0], abs=0.4)
    assert np.isnan(oracle.ulps(np.array([np.nan], np.float32), truth[:1])[0])
