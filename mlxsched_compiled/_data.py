"""Numbers that enter somebody else's trace as data.

MLX writes an array of size 1 that has a value, and is not an input of the traced function, into the text of a kernel,
and names the kernel after a hash of such values: each other value is another kernel to build, and two of them can come
to share one name. An array that comes from ``mx.load`` and is not evaluated yet has no value when the kernels are
named. So it stays data; after the first evaluation it costs nothing, not even a node in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import NamedTemporaryFile

import mlx.core as mx


def is_concrete(array: mx.array) -> bool:
    """Whether ``array`` has a value now, rather than stand for one inside a trace."""
    try:
        mx.eval(array)
    except (ValueError, RuntimeError):
        return False
    return True


def as_data(arrays: Sequence[mx.array]) -> list[mx.array]:
    """``arrays``, those of them that MLX would take for constants as data."""
    constants = {str(i): array for i, array in enumerate(arrays) if array.size == 1 and is_concrete(array)}
    if not constants:
        return list(arrays)
    # From a file, and not from memory, which MLX reads at once. It keeps the file open, deleted or not, and reads it
    # with the first evaluation, on a thread of its own, without calling Python.
    with NamedTemporaryFile(suffix=".safetensors") as file:
        mx.save_safetensors(file.name, constants)
        loaded = mx.load(file.name)
    assert isinstance(loaded, dict)
    return [loaded.get(str(i), array) for i, array in enumerate(arrays)]
