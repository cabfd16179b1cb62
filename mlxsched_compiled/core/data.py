"""Numbers that enter somebody else's trace as data.

MLX writes an array of size 1 that has a value, and is not an input of the traced function, into the text of a kernel,
and names the kernel after a hash of such values: each other value is another kernel to build, and two of them can come
to share one name. An array that comes from ``mx.load`` and is not evaluated yet has no value when the kernels are
named. So it stays data; after the first evaluation it costs nothing, not even a node in the graph.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType

import mlx.core as mx

from .traces import is_concrete


def as_data(arrays: Sequence[mx.array]) -> list[mx.array]:
    """``arrays``, those of them that MLX would take for constants as data."""
    constants = {str(i): array for i, array in enumerate(arrays) if array.size == 1 and is_concrete(array)}
    if not constants:
        return list(arrays)
    data = _doubled(constants) if _is_exporting() else _loaded(constants)
    return [data.get(str(i), array) for i, array in enumerate(arrays)]


def _loaded(constants: dict[str, mx.array]) -> dict[str, mx.array]:
    # From a file, and not from memory, which MLX reads at once. It keeps the file open, deleted or not, and reads it
    # with the first evaluation, on a thread of its own and without Python.
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile(suffix=".safetensors") as file:
        mx.save_safetensors(file.name, constants)
        loaded = mx.load(file.name)
    assert isinstance(loaded, dict)
    return loaded


def _doubled(constants: dict[str, mx.array]) -> dict[str, mx.array]:
    """Each the maximum of an array that holds it twice: data too, at the price of a kernel."""
    pairs = {name: mx.stack([array, array]) for name, array in constants.items()}
    mx.eval(pairs)
    return {name: mx.max(pair, axis=0) for name, pair in pairs.items()}


def _is_exporting() -> bool:
    """Whether ``mx.export_function`` or an ``mx.exporter`` is at work, which cannot write what is to be loaded.

    MLX does not say. So this looks for a function that is running and calls the one, or has made the other.
    """
    frame = sys._getframe().f_back
    while frame is not None:
        names = frame.f_code.co_names
        if "export_function" in names and _names_in_line(frame, "export_function"):
            return True
        if "exporter" in names and any(isinstance(value, mx.FunctionExporter) for value in frame.f_locals.values()):
            return True
        frame = frame.f_back
    return False


def _names_in_line(frame: FrameType, name: str) -> bool:
    """Whether the line that a function is at names ``name``."""
    import dis  # here and below: seldom needed, and slow to import

    line, starts = 0, dict(dis.findlinestarts(frame.f_code))
    for instruction in dis.get_instructions(frame.f_code):
        line = starts.get(instruction.offset) or line
        if instruction.argval == name and line == frame.f_lineno:
            return True
    return False
