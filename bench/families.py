"""Formulas as a user would write them: once, for MLX's functions on arrays and for Python's on numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

N = 10_000
"""Steps that the schedules last."""

Formula = Callable[[Any, Any, float], Any]
"""``formula(m, step, init)``, where ``m`` is ``mlx.core`` or ``Numbers``."""


class Numbers:
    """The functions that the formulas use, on Python's numbers."""

    cos, floor, sqrt, tanh = math.cos, math.floor, math.sqrt, math.tanh
    minimum, maximum = min, max

    @staticmethod
    def where(condition: bool, then: float, otherwise: float) -> float:
        """One of two."""
        return then if condition else otherwise


def polynomial(m: Any, step: Any, init: float) -> Any:
    """init · (1 - x)²"""
    return init * (1 - m.minimum(step, N) / N) ** 2


def sqrt(m: Any, step: Any, init: float) -> Any:
    """init · (1 - √x)"""
    return init * (1 - m.sqrt(m.minimum(step, N) / N))


def rex(m: Any, step: Any, init: float) -> Any:
    """init · (1 - x) / (1 - x/2)"""
    x = m.minimum(step, N) / N
    return init * (1 - x) / (1 - x / 2)


def tanh(m: Any, step: Any, init: float) -> Any:
    """init · (1 - tanh(-6 (1 - x) + 3 x)) / 2, then 0"""
    x = m.minimum(step, N) / N
    return m.where(step < N, init * 0.5 * (1 - m.tanh(-6 * (1 - x) + 3 * x)), 0.0)


def inverse_time(m: Any, step: Any, init: float) -> Any:
    """init / (1 + t / 200)"""
    return init / (1 + 0.5 * step / 100)


def inverse_sqrt(m: Any, step: Any, init: float) -> Any:
    """init · √(100 / (t + 100))"""
    return init * m.sqrt(100 / (step + 100))


def restarts(m: Any, step: Any, init: float) -> Any:
    """A cosine for each 1,000 steps, each of 0.9 times the height of the one before"""
    return init * 0.9 ** (step // 1000) * 0.5 * (1 + m.cos(math.pi / 1000 * (step % 1000)))


def cyclic(m: Any, step: Any, init: float) -> Any:
    """Up in 400 steps, down in 600"""
    at = step % 1000
    return init * (0.1 + 0.9 * m.where(at < 400, at / 400, (1000 - at) / 600))


def one_cycle(m: Any, step: Any, init: float) -> Any:
    """Up to step 2,999, down to step 9,999, along half cosines"""
    up = init / 25 + init * (1 - 1 / 25) * 0.5 * (1 - m.cos(math.pi / 2999 * m.minimum(step, 2999)))
    done = m.minimum(m.maximum(step, 2999) - 2999, 7000)
    down = init / 25e4 + init * (1 - 1 / 25e4) * 0.5 * (1 + m.cos(math.pi / 7000 * done))
    return m.where(step < 2999, up, down)


def stable(m: Any, step: Any, init: float) -> Any:
    """Up in 1,000 steps, a plateau to step 8,000, down as 1 - √x"""
    down = init * (1 - m.sqrt((m.minimum(m.maximum(step, 8000), N) - 8000) / 2000))
    return m.where(step < 1000, init * step / 1000, down)


def noam(m: Any, step: Any, init: float) -> Any:
    """512^-½ · min(t^-½, t · 1000^-1.5), whatever ``init``"""
    t = m.maximum(step, 1)
    return 512**-0.5 * m.minimum(1 / m.sqrt(t), t * 1000**-1.5)


def pieces(m: Any, step: Any, init: float) -> Any:
    """Half the rate every 800 steps, 12 times"""
    rate = init
    for k in range(1, 13):
        rate = m.where(step < 800 * k, rate, init * 0.5**k)
    return rate


def in_python(formula: Formula, init: float) -> Callable[[int], mx.array]:
    """The formula on Python's numbers, its result put into an array: what a loop does that sets the rate itself."""
    return lambda step: mx.array(formula(Numbers, step, init))
