"""The formula of every schedule that is compared, once.

What ``mlx.optimizers`` has stands here as the same calls, which give functions of the step in float64. The rest are
``formula(m, step)``, as a user would write them: ``m`` is ``mlx.core``, ``numpy`` for the truth in float64, or
``Numbers`` for Python's floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

INIT = 1e-3
"""The highest rate."""
LIFE = 10_000
"""Steps that the schedules last."""

Formula = Callable[[Any, Any], Any]


def exponential_decay(init: float, decay_rate: float) -> Callable[[Any], Any]:
    """init · decay_rate^t"""
    return lambda t: _float32(init) * decay_rate**t


def step_decay(init: float, decay_rate: float, step_size: int) -> Callable[[Any], Any]:
    """init · decay_rate^⌊t / step_size⌋"""
    return lambda t: _float32(init) * decay_rate ** (t // step_size)


def linear_schedule(init: float, end: float, steps: int) -> Callable[[Any], Any]:
    """init · (1 - x) + end · x, where x = t / steps"""
    return lambda t: _between(init, end, (steps - np.minimum(t, steps)) / steps, np.minimum(t, steps) / steps)


def cosine_decay(init: float, decay_steps: int, end: float = 0.0) -> Callable[[Any], Any]:
    """init · (1 + cos πx) / 2 + end · (1 - cos πx) / 2, as squares of sines, which do not cancel"""

    def rate(t: Any) -> Any:
        t = np.minimum(t, decay_steps)
        down, up = (np.sin(np.pi / 2 * (part / decay_steps)) ** 2 for part in (decay_steps - t, t))
        return _between(init, end, down, up)

    return rate


def join_schedules(schedules: Sequence[Callable[[Any], Any]], boundaries: Sequence[int]) -> Callable[[Any], Any]:
    """Each schedule from its boundary on, counting from there"""

    def rate(t: Any) -> Any:
        joined = schedules[0](t)
        for schedule, boundary in zip(schedules[1:], boundaries, strict=True):
            joined = np.where(t < boundary, joined, schedule(t - boundary))
        return joined

    return rate


def _float32(rate: float) -> float:
    """The rate that can be asked for."""
    return float(np.float32(rate))


def _between(init: float, end: float, down: Any, up: Any) -> Any:
    return _float32(init) * down + _float32(end) * up


class Numbers:
    """The functions that the following formulas use, on Python's numbers."""

    cos, sqrt, tanh = math.cos, math.sqrt, math.tanh
    minimum, maximum = min, max

    @staticmethod
    def where(condition: bool, then: float, otherwise: float) -> float:
        """One of two."""
        return then if condition else otherwise


def polynomial(m: Any, step: Any) -> Any:
    """INIT · (1 - x)², where x = t / LIFE, here and below"""
    return INIT * (1 - m.minimum(step, LIFE) / LIFE) ** 2


def sqrt(m: Any, step: Any) -> Any:
    """INIT · (1 - √x)"""
    return INIT * (1 - m.sqrt(m.minimum(step, LIFE) / LIFE))


def rex(m: Any, step: Any) -> Any:
    """INIT · (1 - x) / (1 - x/2)"""
    x = m.minimum(step, LIFE) / LIFE
    return INIT * (1 - x) / (1 - x / 2)


def tanh(m: Any, step: Any) -> Any:
    """INIT · (1 - tanh(-6 (1 - x) + 3 x)) / 2, then 0"""
    x = m.minimum(step, LIFE) / LIFE
    return m.where(step < LIFE, INIT * 0.5 * (1 - m.tanh(-6 * (1 - x) + 3 * x)), 0.0)


def inverse_time(m: Any, step: Any) -> Any:
    """INIT / (1 + t / 200)"""
    return INIT / (1 + 0.5 * step / 100)


def inverse_sqrt(m: Any, step: Any) -> Any:
    """INIT · √(100 / (t + 100))"""
    return INIT * m.sqrt(100 / (step + 100))


def restarts(m: Any, step: Any) -> Any:
    """A cosine for each 1,000 steps, each of 0.9 times the height of the one before"""
    return INIT * 0.9 ** (step // 1000) * 0.5 * (1 + m.cos(math.pi / 1000 * (step % 1000)))


def cyclic(m: Any, step: Any) -> Any:
    """Up in 400 steps, down in 600"""
    at = step % 1000
    return INIT * (0.1 + 0.9 * m.where(at < 400, at / 400, (1000 - at) / 600))


def one_cycle(m: Any, step: Any) -> Any:
    """Up to step 2,999, down to step 9,999, along half cosines"""
    up = INIT / 25 + INIT * (1 - 1 / 25) * 0.5 * (1 - m.cos(math.pi / 2999 * m.minimum(step, 2999)))
    done = m.minimum(m.maximum(step, 2999) - 2999, 7000)
    down = INIT / 25e4 + INIT * (1 - 1 / 25e4) * 0.5 * (1 + m.cos(math.pi / 7000 * done))
    return m.where(step < 2999, up, down)


def stable(m: Any, step: Any) -> Any:
    """Up in 1,000 steps, a plateau to step 8,000, down as 1 - √x"""
    down = INIT * (1 - m.sqrt((m.minimum(m.maximum(step, 8000), LIFE) - 8000) / 2000))
    return m.where(step < 1000, INIT * step / 1000, down)


def noam(m: Any, step: Any) -> Any:
    """512^-½ · min(t^-½, t · 1000^-1.5)"""
    t = m.maximum(step, 1)
    return 512**-0.5 * m.minimum(1 / m.sqrt(t), t * 1000**-1.5)


def pieces(m: Any, step: Any) -> Any:
    """Half the rate every 800 steps, 12 times"""
    rate = INIT
    for k in range(1, 13):
        rate = m.where(step < 800 * k, rate, INIT * 0.5**k)
    return rate
