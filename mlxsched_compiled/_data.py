"""Numbers that enter somebody else's trace as data.

MLX writes an array of size 1 that has a value, and is not an input of the traced function, into the text of a kernel,
and names the kernel after a hash of such values: each other value is another kernel to build, and two of them can come
to share one name. An array that comes from ``mx.load`` and is not evaluated yet has no value when the kernels are
named. So it stays data; after the first evaluation it costs nothing, not even a node in the graph.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

import mlx.core as mx


def is_concrete(array: mx.array) -> bool:
    """Whether ``array`` has a value now, rather than stand for one inside a trace."""
    try:
        mx.eval(array)
    except (ValueError, RuntimeError):
        return False
    return True


class _Probe(threading.local):
    """A compiled function that does nothing. MLX runs its Python again for what is in a trace, and mostly not else."""

    def __init__(self) -> None:
        self._runs = 0
        self._call = mx.compile(self._body, shapeless=True)

    def _body(self, array: mx.array) -> mx.array:
        self._runs += 1
        return array

    def runs_for(self, array: mx.array) -> bool:
        before = self._runs
        self._call(array)
        return self._runs != before


_probe = _Probe()


def is_traced(array: mx.array) -> bool:
    """The opposite of ``is_concrete``, which as a rule does not evaluate what is concrete."""
    # Python runs too for the first array of a kind, under mx.grad, and where compilation is disabled.
    return _probe.runs_for(array) and not is_concrete(array)


_NEAR = 6
"""Within as many frames an optimizer calls its schedulers."""


def is_frozen(step: mx.array) -> bool:
    """Whether an optimizer is at this step in a trace to which it is a constant, and so all that follows from it."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_NEAR):
        if frame is None:
            break
        if frame.f_code.co_name == "apply_gradients":
            gradient = _first_array(frame.f_locals.get("gradients"))
            return gradient is not None and is_traced(gradient) and not is_traced(step)
        frame = frame.f_back
    return False


def _first_array(tree: Any) -> mx.array | None:
    if isinstance(tree, mx.array):
        return tree
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return next((array for child in children if (array := _first_array(child)) is not None), None)


def is_look(error: BaseException) -> bool:
    """Whether MLX says that something looked at the value of an array in a trace, which has none."""
    return "function transformations" in str(error)


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
