"""Keeps numbers runtime inputs of a foreign trace, where MLX would bake them in as constants.

MLX writes an array of size 1 that is concrete, and not an input of the traced function, into the text of a kernel, and
names the kernel after a hash of such values: each other value is another kernel to build, and two of them can come to
share one name. An array that comes from ``mx.load`` and is not evaluated yet is not concrete when kernels are named. So
it stays an input; after the first evaluation it costs nothing, not even a node in the graph.

MLX promises none of this. ``tests/test_by_hand.py`` goes red if it changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from .tracing import is_concrete


def runtime_inputs(arrays: Sequence[mx.array]) -> list[mx.array]:
    """The arrays; in place of each that MLX would bake in, an equal one that stays an input."""
    baked = {str(i): array for i, array in enumerate(arrays) if array.size == 1 and is_concrete(array)}
    if not baked:
        return list(arrays)
    loaded = _loaded(baked)
    return [loaded.get(str(i), array) for i, array in enumerate(arrays)]


def _loaded(arrays: dict[str, mx.array]) -> dict[str, mx.array]:
    # From a file, and not from memory, which MLX reads at once. It keeps the file open, deleted or not, and reads it
    # with the first evaluation, on a thread of its own and without Python.
    from tempfile import NamedTemporaryFile  # seldom needed, and slow to import

    with NamedTemporaryFile(suffix=".safetensors") as file:
        mx.save_safetensors(file.name, arrays)
        loaded = mx.load(file.name)
    assert isinstance(loaded, dict)
    return loaded
