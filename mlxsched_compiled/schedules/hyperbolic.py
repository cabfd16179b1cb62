r"""Hyperbolic decays: how they begin depends little on how long they last.

.. math::
    h(t) = \sqrt{\frac{N - x}{U} \left(2 - \frac{N + x}{U}\right)}, \qquad x = \min(t, N)

is an arc of a hyperbola that ends at 0 with step N, the ``decay_steps``. The bound U is the same for runs of every
length. Divided by its first value, the arc is the shape of a ramp, and the rate of the last step follows from N and U.
"""

from __future__ import annotations

import math

import mlx.core as mx

from ..core.checks import Count, Number, count, finite, positive
from ..core.factory import factory
from ..core.node import Node


@factory
def hyperbolic_decay(init: Number, decay_steps: Count, upper_bound: Count, infimum: Number = 0.0) -> Node:
    r"""From ``init`` down along a hyperbola; to ``infimum`` only if it lasts the longest of all.

    .. math:: \eta(t) = \mathrm{init} + (\mathrm{init} - \mathrm{infimum}) \, (h(t) - h(0))

    where :math:`h(t) = \sqrt{(N - x) (2 U - N - x)} / U` with N the ``decay_steps``, U the ``upper_bound`` and
    :math:`x = \min(t, N)`.

    Args:
        init: The rate at step 0.
        decay_steps: Steps to the last one, at least 1.
        upper_bound: Steps of the longest run to compare with, at least ``decay_steps``. Runs of several lengths and
            one bound begin much alike. Equal to ``decay_steps`` it makes a straight line.
        infimum: The rate at which a run of ``upper_bound`` steps ends. Shorter ones end above.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite, steps are not whole numbers >= 1 or ``upper_bound`` is below
            ``decay_steps``.
        TypeError: If an argument is not a number.

    Source: Kim, "HyperbolicLR: Epoch insensitive learning rate scheduler", 2024.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import hyperbolic_decay
        >>> hyperbolic_decay(1, 40, 100)(mx.array([0, 20, 39, 40, 1000]))
        array([1, 0.72915, 0.31, 0.2, 0.2], dtype=float32)
    """
    init, infimum = finite("init", init), finite("infimum", infimum)
    steps, bound = _steps(decay_steps, upper_bound)
    height, below = _height(steps, bound)
    return Node(_hyperbola, init, init * below + infimum * height, steps, 2 * bound - steps)


@factory
def exp_hyperbolic_decay(init: Number, decay_steps: Count, upper_bound: Count, infimum: Number) -> Node:
    r"""The same of the logarithm: from ``init`` down by factors, to ``infimum`` only if it lasts the longest of all.

    .. math:: \eta(t) = \mathrm{init} \cdot \left(\frac{\mathrm{init}}{\mathrm{infimum}}\right)^{h(t) - h(0)}

    where :math:`h(t) = \sqrt{(N - x) (2 U - N - x)} / U` with N the ``decay_steps``, U the ``upper_bound`` and
    :math:`x = \min(t, N)`.

    Args:
        init: The rate at step 0, above 0.
        decay_steps: Steps to the last one, at least 1.
        upper_bound: Steps of the longest run to compare with, at least ``decay_steps``.
        infimum: The rate at which a run of ``upper_bound`` steps ends, above 0. Shorter ones end above.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a rate is not finite and above 0, steps are not whole numbers >= 1 or ``upper_bound`` is below
            ``decay_steps``.
        TypeError: If an argument is not a number.

    Source: Kim, "HyperbolicLR: Epoch insensitive learning rate scheduler", 2024.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import exp_hyperbolic_decay
        >>> exp_hyperbolic_decay(1, 40, 100, 1e-5)(mx.array([0, 20, 39, 40, 1000]))
        array([1, 0.0442335, 0.000354813, 0.0001, 0.0001], dtype=float32)
    """
    init, infimum = positive("init", init), positive("infimum", infimum)
    steps, bound = _steps(decay_steps, upper_bound)
    height, _ = _height(steps, bound)
    ratio = (infimum / init) ** height
    whole = 2 * bound - steps
    root = _sqrt(steps * 1.0 * whole)
    return Node(_exp_hyperbola, init, init * ratio, steps, whole, root, _log(ratio) / root)


def _hyperbola(step: mx.array, init: mx.array, end: mx.array, steps: mx.array, whole: mx.array) -> mx.array:
    """init · s + end · (1 - s), where s = h(t) / h(0), so that s² = (N - x) (W - x) / (N W)"""
    left, left_of_whole, done, rest = _counts(step, steps, whole)
    s = mx.sqrt(left / steps * (left_of_whole / whole))
    return init * s + end * (done / steps * (rest / whole) / (1 + s))


def _exp_hyperbola(
    step: mx.array, init: mx.array, end: mx.array, steps: mx.array, whole: mx.array, root: mx.array, slope: mx.array
) -> mx.array:
    """init · (end / init)^(1 - s), where ``root`` is √(N W) and ``slope`` ln(end / init) / root.

    It is computed from the nearer end, so each end is met to the bit, and errors grow with half of the logarithm only.
    """
    left, left_of_whole, done, rest = _counts(step, steps, whole)
    height = mx.sqrt(left * left_of_whole)  # root · s
    early = height > 0.5 * root
    # The division last, else it is too deep for a kernel.
    return mx.where(early, init, end) * mx.exp(mx.where(early, slope * done * rest / (root + height), -slope * height))


def _counts(step: mx.array, steps: mx.array, whole: mx.array) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    """N - x, W - x, x and N + W - x, in float32 only after the sums. W, the ``whole``, is 2 U - N.

    The last two make 1 - s without cancellation: 1 - s² = x (N + W - x) / (N W), and that is (1 - s) (1 + s).
    """
    done = mx.minimum(step, steps)
    left = steps - done
    left_of_whole, rest = whole - done, left + whole
    return left.astype(mx.float32), left_of_whole.astype(mx.float32), done.astype(mx.float32), rest.astype(mx.float32)


def _height(steps: Count, bound: Count) -> tuple[Number, Number]:
    """h(0) and 1 - h(0), without cancellation."""
    short = (bound - steps) / bound
    height = _sqrt(steps / bound * (1 + short))
    return height, short**2 / (1 + height)


def _steps(decay_steps: Count, upper_bound: Count) -> tuple[Count, Count]:
    steps, bound = count("decay_steps", decay_steps), count("upper_bound", upper_bound)
    if isinstance(steps, int) and isinstance(bound, int) and bound < steps:
        raise ValueError(f"upper_bound must be at least decay_steps, but got {bound} and {steps}.")
    return steps, bound


def _sqrt(value: Number) -> Number:
    return mx.sqrt(value) if isinstance(value, mx.array) else math.sqrt(value)


def _log(value: Number) -> Number:
    return mx.log(value) if isinstance(value, mx.array) else math.log(value)
