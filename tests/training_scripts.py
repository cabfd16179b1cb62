"""The rates of scripts that train a model, which cannot be imported: written anew, in Python floats, from what they do.

Each name makes a function of the step; the arguments have the scripts' names.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Curve = Callable[[int], float]


def _between(a: float, b: float, x: float) -> float:
    return a * (1 - x) + b * x


def _half_wave(x: float) -> float:
    return math.cos(math.pi * x) / 2 + 0.5


def _nanogpt_lr(*, learning_rate: float, warmup_iters: int, lr_decay_iters: int, min_lr: float) -> Curve:
    """``get_lr`` of train.py: up in ``warmup_iters + 1`` steps, of which step 0 is the first, then a cosine."""

    def rate(it: int) -> float:
        if it < warmup_iters:
            return learning_rate * (it + 1) / (warmup_iters + 1)
        x = min((it - warmup_iters) / (lr_decay_iters - warmup_iters), 1)
        return _between(min_lr, learning_rate, _half_wave(x))

    return rate


def _nanochat_lr(
    *, lr: float, num_iterations: int, warmup_steps: int, warmdown_ratio: float, final_lr_frac: float
) -> Curve:
    """``get_lr_multiplier`` of base_train.py, times a rate: a trapezoid whose way down is a ratio of the whole."""
    warmdown = round(warmdown_ratio * num_iterations)

    def rate(it: int) -> float:
        up = (it + 1) / warmup_steps if it < warmup_steps else 1.0
        left = (num_iterations - it) / warmdown
        return lr * (up if up < 1 or left >= 1 else _between(final_lr_frac, 1.0, left))

    return rate


def _nanochat_momentum(*, num_iterations: int, warmdown_ratio: float) -> Curve:
    """``get_muon_momentum`` of base_train.py: up in 400 steps, and down while the rate goes down."""
    warmdown = round(warmdown_ratio * num_iterations)
    start = num_iterations - warmdown

    def momentum(it: int) -> float:
        if it < 400:
            return _between(0.85, 0.97, it / 400)
        return 0.97 if it < start else _between(0.97, 0.90, (it - start) / warmdown)

    return momentum


def _nanochat_weight_decay(*, weight_decay: float, num_iterations: int) -> Curve:
    """``get_weight_decay`` of base_train.py."""
    return lambda it: weight_decay * _half_wave(it / num_iterations)


_WSD_STYLES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: 1 - x,
    "cosine": _half_wave,
    "exponential": lambda x: 2 ** (1 - x) - 1,
    "minus_sqrt": lambda x: 1 - math.sqrt(x),
}


def _megatron_lr(
    *,
    lr_decay_style: str,
    max_lr: float,
    min_lr: float,
    lr_warmup_steps: int,
    lr_decay_steps: int,
    init_lr: float = 0.0,
    wsd_decay_steps: int = 0,
    lr_wsd_decay_style: str = "exponential",
) -> Curve:
    """``OptimizerParamScheduler.get_lr``."""

    def rate(step: int) -> float:
        if step <= lr_warmup_steps and lr_warmup_steps > 0:
            return _between(init_lr, max_lr, step / lr_warmup_steps)
        if lr_decay_style == "constant":
            return max_lr
        if step > lr_decay_steps:
            return min_lr
        if lr_decay_style == "inverse-square-root":
            return max(min_lr, max_lr * math.sqrt(max(lr_warmup_steps, 1) / max(step, 1)))
        if lr_decay_style == "WSD":
            x = max(step - (lr_decay_steps - wsd_decay_steps), 0) / wsd_decay_steps
            return _between(min_lr, max_lr, _WSD_STYLES[lr_wsd_decay_style](x))
        x = (step - lr_warmup_steps) / (lr_decay_steps - lr_warmup_steps)
        return _between(min_lr, max_lr, _WSD_STYLES[lr_decay_style](x))

    return rate


def _megatron_weight_decay(*, wd_incr_style: str, start_wd: float, end_wd: float, wd_incr_steps: int) -> Curve:
    """``OptimizerParamScheduler.get_wd``."""

    def weight_decay(step: int) -> float:
        x = min(step / wd_incr_steps, 1)
        gone = {"constant": 1.0, "linear": x, "cosine": 1 - _half_wave(x)}[wd_incr_style]
        return _between(start_wd, end_wd, gone)

    return weight_decay


SCRIPTS: dict[str, tuple[dict[str, Callable[..., Curve]], str]] = {
    "nanoGPT": ({"get_lr": _nanogpt_lr}, "3adf61e"),
    "nanochat": (
        {
            "get_lr_multiplier": _nanochat_lr,
            "get_muon_momentum": _nanochat_momentum,
            "get_weight_decay": _nanochat_weight_decay,
        },
        "92d63d4",
    ),
    "Megatron-LM": ({"get_lr": _megatron_lr, "get_wd": _megatron_weight_decay}, "d98e8a6"),
}
"""Names by script, and the commit that was read."""
