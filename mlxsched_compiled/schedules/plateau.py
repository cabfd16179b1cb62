"""A schedule that goes down where a metric does not get better."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx

from ..core.checks import Count, Number, count, finite, one_of
from ..core.factory import factory
from ..core.node import Child, MutableRate, Node, Operand, as_node


@factory
def reduce_on_plateau(
    schedule: Operand,
    *,
    factor: Number = 0.1,
    patience: Count = 10,
    threshold: Number = 1e-4,
    threshold_mode: str = "rel",
    mode: str = "min",
    cooldown: Count = 0,
    min_rate: Number = 0.0,
) -> Node:
    r"""A schedule times a scale that is lowered when a metric has stopped getting better.

    .. math:: \eta(t) = \max(\mathrm{schedule}(t) \cdot \mathrm{scale}, \mathrm{min\_rate})

    The scale is 1 at first. ``schedule.observe(metric)`` multiplies it by ``factor`` when more than ``patience``
    metrics in a row were no better than the best so far. Better is what is below
    :math:`\mathrm{best} - \mathrm{threshold} \, |\mathrm{best}|`; NaN never is. ``observe`` waits for nothing, and
    neither traces nor builds. What was observed is in ``schedule.state``, and part of copies and pickles.

    Args:
        schedule: A schedule, a plain function of the step, or a number.
        factor: What the scale is multiplied by, from 0 to below 1.
        patience: How many metrics in a row may be no better, at least 0.
        threshold: By how much a metric must be better to count, at least 0.
        threshold_mode: ``"rel"``: a fraction of the best; ``"abs"``: a difference from it.
        mode: ``"min"`` if a lower metric is better, ``"max"`` if a higher one is.
        cooldown: For how many metrics after the scale was lowered none counts as no better, at least 0.
        min_rate: The rate is never lower.

    Returns:
        A schedule, float32, of the shape of the step.

    Raises:
        ValueError: If a number is not finite or out of its range, or a mode is unknown.
        TypeError: If an argument is of the wrong kind.

    Source: ``ReduceLROnPlateau`` in PyTorch, with ``eps=0``.

    Example:
        >>> from mlxsched_compiled import constant, reduce_on_plateau
        >>> schedule = reduce_on_plateau(constant(0.1), patience=1)
        >>> for loss in (3.0, 2.0, 2.0, 2.0):
        ...     schedule.observe(loss)
        >>> schedule(0)
        array(0.01, dtype=float32)
    """
    child = as_node("schedule", schedule)
    factor = finite("factor", factor, at_least=0)
    if not isinstance(factor, mx.array) and factor >= 1:
        raise ValueError(f"factor must be below 1, but got {factor!r}.")
    numbers = [
        factor,
        count("patience", patience, at_least=0),
        finite("threshold", threshold, at_least=0),
        count("cooldown", cooldown, at_least=0),
    ]
    rules = mx.stack([mx.array(number).astype(mx.float32) for number in numbers])
    scaled = Scaled(one_of("mode", mode, ("min", "max")), one_of("threshold_mode", threshold_mode, ("rel", "abs")))
    worst = math.inf if mode == "min" else -math.inf
    return Node(scaled, 1.0, mx.array([worst, 0.0, 0.0]), child, finite("min_rate", min_rate), rules)


class Scaled(MutableRate):
    """The rate of a child times a scale that metrics change.

    ``scale`` is the first leaf. ``seen`` is what was observed: the best metric, how many in a row were no better, how
    many the cooldown still lasts. ``rules`` are factor, patience, threshold and cooldown, in one vector, since each
    input of a graph takes time and the rate does not use them.
    """

    mode: str
    threshold_mode: str
    mutable = 2

    def __call__(
        self, step: mx.array, scale: mx.array, seen: mx.array, child: Child, min_rate: mx.array, rules: mx.array
    ) -> mx.array:
        """max(child · scale, min_rate)"""
        return mx.maximum(child(step) * scale, min_rate)

    def observed(
        self, metric: mx.array, scale: mx.array, seen: mx.array, child: Any, min_rate: mx.array, rules: mx.array
    ) -> tuple[mx.array, mx.array]:
        """Scale and what was observed, after one more metric."""
        best, bad, cooling = seen
        factor, patience, threshold, cooldown = rules
        better = self._is_better(metric, best, threshold)
        # PyTorch's order: the metric counts, then the cooldown, then it is decided.
        bad = mx.where(mx.logical_or(better, cooling > 0), 0, bad + 1)
        reduces = bad > patience
        cooling = mx.where(reduces, cooldown, mx.maximum(cooling - 1, 0))
        seen = mx.stack([mx.where(better, metric, best), mx.where(reduces, 0, bad), cooling])
        return mx.where(reduces, scale * factor, scale), seen

    def _is_better(self, metric: mx.array, best: mx.array, threshold: mx.array) -> mx.array:
        if self.threshold_mode == "rel":
            threshold = mx.where(mx.isinf(best), 0, threshold * mx.abs(best))
        return metric < best - threshold if self.mode == "min" else metric > best + threshold
