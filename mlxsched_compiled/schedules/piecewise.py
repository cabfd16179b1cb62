"""Schedules by pieces and by tables: values, knots, one rate per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from ..core.call import Call
from ..core.checks import Count, Number, count, finite, listed, not_decreasing, one_of, shown, static
from ..core.factory import factory
from ..core.node import Node, as_node
from ..core.schedule import Schedule
from ..formulas.ramps import SHAPES, ramp
from ..formulas.segments import joined


@factory
def piecewise_constant(values: Sequence[Number], boundaries: Sequence[Count]) -> Node:
    r"""A constant rate between boundaries.

    .. math:: \eta(t) = \mathrm{values}_k, \qquad b_k \le t < b_{k+1}, \quad b_0 = 0

    Args:
        values: The rates, one more than ``boundaries``.
        boundaries: The steps at which the second and each later value begins to hold.

    Returns:
        A schedule, float32, of the shape of the step. For one step it costs the same for any number of values above
        four.

    Raises:
        ValueError: If a value is not finite, the numbers do not match, or the boundaries decrease.
            Equal ones leave nothing to the value between them.
        TypeError: If a value is not a number.

    Source: ``MultiStepLR`` in PyTorch; ``piecewise_constant_schedule`` in Optax.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import piecewise_constant
        >>> piecewise_constant([1, 0.5, 0.1], [100, 300])(mx.array([0, 99, 100, 299, 300, 10_000]))
        array([1, 1, 0.5, 0.5, 0.1, 0.1], dtype=float32)
    """
    rates = [finite(f"values[{i}]", value) for i, value in enumerate(listed("values", values))]
    starts = not_decreasing("boundaries", boundaries)
    if len(rates) != len(starts) + 1:
        raise ValueError(f"values must be one more than the {len(starts)} boundaries, but got {len(rates)}.")
    return joined([as_node("values", rate) for rate in rates], starts)


@factory
def piecewise_interpolate(values: Sequence[Number], steps: Sequence[Count], shape: str = "linear") -> Node:
    r"""Through knots, each leg a ramp.

    .. math::
        \eta(t) = v_k \, s(x) + v_{k+1} (1 - s(x)), \qquad x = \frac{t - t_k}{t_{k+1} - t_k}, \quad t_k \le t < t_{k+1}

    Before the first knot the rate is the first value, after the last knot the last.

    Args:
        values: The rates at the knots.
        steps: The steps of the knots, one for each value, from 0.
        shape: Of each leg: ``"linear"``, ``"cosine"``, ``"sqrt"``, ``"rex"`` or ``"exponential"``.

    Returns:
        A schedule, float32, of the shape of the step. For one step it costs the same for any number of knots above
        four.

    Raises:
        ValueError: If a value is not finite, the numbers do not match or are 0, the steps decrease, or the
            shape is unknown. At two equal steps the rate jumps.
        TypeError: If a value is not a number.

    Source: ``piecewise_interpolate_schedule`` in Optax.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import piecewise_interpolate
        >>> piecewise_interpolate([0, 1, 0.5], [10, 20, 40])(mx.array([0, 10, 15, 20, 30, 1000]))
        array([0, 0, 0.5, 1, 0.75, 0.5], dtype=float32)
    """
    rates = [finite(f"values[{i}]", value) for i, value in enumerate(listed("values", values))]
    knots = not_decreasing("steps", steps)
    if not rates or len(rates) != len(knots):
        raise ValueError(f"values must be as many as the {len(knots)} steps and at least 1, but got {len(rates)}.")
    shape = one_of("shape", shape, SHAPES)
    if len(rates) == 1:
        return as_node("values", rates[0])
    legs = [ramp(a, b, to - at, shape) for a, b, at, to in zip(rates, rates[1:], knots, knots[1:], strict=False)]
    return joined([as_node("values", rates[0]), *legs], knots[:-1])


def table(values: Any) -> Schedule:
    r"""The rate of each step from a table, the last one for ever.

    .. math:: \eta(t) = \mathrm{values}_{\min(t, n - 1)}

    Args:
        values: The n rates, n at least 1: a list, a NumPy array or an ``mx.array`` of one dimension. A float32
            ``mx.array`` is used as it is, without a copy.

    Returns:
        A schedule, float32, of the shape of the step. For one step it costs the same for any length.

    Raises:
        ValueError: If the table is empty, has not one dimension or holds a rate that is not finite.
        TypeError: If the values are not numbers.

    Source: the lookup every framework can do, here inside the graph.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import table
        >>> table([0.1, 0.2, 0.05])(mx.array([0, 1, 2, 3, 1000]))
        array([0.1, 0.2, 0.05, 0.05, 0.05], dtype=float32)
    """
    numbers = values if isinstance(values, mx.array) else listed("values", values)
    try:
        rates = numbers if isinstance(numbers, mx.array) else mx.array(numbers)
    except (TypeError, ValueError) as error:
        raise TypeError(f"values must be numbers, but got {shown(numbers)}.") from error
    if rates.dtype == mx.bool_ or (isinstance(numbers, list) and any(isinstance(v, bool) for v in numbers)):
        raise TypeError("values must be numbers, but some are True or False.")
    if mx.issubdtype(rates.dtype, mx.complexfloating):
        raise TypeError(f"values must be real numbers, but got {rates.dtype}.")
    if rates.ndim != 1 or rates.size == 0:
        raise ValueError(f"values must be a list of at least one rate, but got shape {rates.shape}.")
    rates = rates.astype(mx.float32)
    if not (mx.isfinite(mx.min(rates)) & mx.isfinite(mx.max(rates))).item():
        raise ValueError("values must be finite in float32, but some are not.")
    last = rates.size - 1
    return Schedule._of(Node(_looked_up, rates, last), Call(table, kwargs={"values": rates}))


def _looked_up(step: mx.array, values: mx.array, last: mx.array) -> mx.array:
    return mx.take(values, mx.minimum(step, last), axis=0)


def tabulate(fn: Callable[[int], float], steps: int) -> Schedule:
    r"""Any Python function of the step, as a table of its first values, the last one for ever.

    .. math:: \eta(t) = \mathrm{fn}(\min(t, \mathrm{steps} - 1))

    Args:
        fn: A function of an int that returns a number. It is called once for each step, now.
        steps: Steps to tabulate, at least 1; 4 bytes each.

    Returns:
        A schedule, float32, of the shape of the step. Its copies and pickles are tables of the same values.

    Raises:
        ValueError: If ``steps`` is not a whole number >= 1, or ``fn`` returns a rate that is not finite.
        TypeError: If ``fn`` cannot be called or returns something else than a number.

    Source: ``LambdaLR`` in PyTorch, whose functions it takes.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import tabulate
        >>> tabulate(lambda step: 1 / (step + 1) if step % 2 == 0 else 0.0, 5)(mx.array([0, 1, 2, 4, 1000]))
        array([1, 0, 0.333333, 0.2, 0.2], dtype=float32)
    """
    if not callable(fn):
        raise TypeError(f"fn must be a function of an int, but got {fn!r}.")
    calls = range(static("steps", count("steps", steps)))
    values = table([float(finite(f"fn({step})", fn(step))) for step in calls])
    # Copies keep the values: the function may return others by then, and not every function can be pickled.
    return Schedule._of(values, Call(tabulate, kwargs={"fn": fn, "steps": steps}, copied_by=values._call))
