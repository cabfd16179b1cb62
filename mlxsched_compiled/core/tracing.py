"""Whether something is being traced on this thread, and whether an array has a value."""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def is_concrete(tree: Any) -> bool:
    """Whether an array, or each of a tree, has a value, rather than being a tracer."""
    try:
        mx.eval(tree)
    except (ValueError, RuntimeError):
        return False
    return True


def looks_at_a_value(error: BaseException) -> bool:
    """Whether MLX says that Python asked for the value of a tracer, or of several numbers as one."""
    text = str(error)
    return "function transformations" in text or "Only length-1 arrays" in text or "Only 0-dimensional" in text


NO_TRACER = mx.array(0.0)
"""What stands for the old tracer where none is wanted, and where compilation is disabled."""
_kept: list[mx.array] = []


def old_tracer() -> mx.array:
    """A tracer of a trace that has ended.

    While anything is traced on a thread, MLX takes it for a tracer there, and runs the Python of a compiled function
    that gets it as an argument. Otherwise it is an argument like any other.
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
