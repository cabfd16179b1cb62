"""Whether anything is traced on this thread, and whether an array is a tracer or concrete."""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def is_concrete(tree: Any) -> bool:
    """Whether an array, or each of a tree, is concrete, and not a tracer. Evaluates it."""
    try:
        mx.eval(tree)
    except (ValueError, RuntimeError):
        return False
    return True


def looks_at_a_value(error: BaseException) -> bool:
    """Whether an error of MLX says that Python asked for the value of a tracer, or of many numbers as one."""
    text = str(error)
    return "function transformations" in text or "Only length-1 arrays" in text or "Only 0-dimensional" in text


NO_TRACER = mx.array(0.0)
"""In place of the old tracer where none is wanted, or none can be had: compilation is disabled."""
_kept: list[mx.array] = []


def old_tracer() -> mx.array:
    """A tracer of a trace that has ended.

    A compiled function that gets it as an argument is inlined while anything is traced on the thread: MLX runs its
    Python, as for any tracer. Otherwise it is an argument like any other, and the cached graph is used.
    """
    if not _kept:
        mx.compile(_kept.append)(mx.array(0.0))
        if is_concrete(_kept):  # compilation is disabled
            _kept.clear()
    return _kept[0] if _kept else NO_TRACER


def is_tracing() -> bool:
    """Whether anything is traced on this thread: by ``mx.compile``, ``mx.grad``, ``mx.vmap`` or an export."""
    try:
        mx.eval(old_tracer())
    except ValueError:
        return True
    except RuntimeError:  # it has no value at all
        pass
    return False
