"""A function of models and optimizers, compiled as a pure function of their arrays.

Before each call a guard is asked whether all but the arrays is as it was when the function was compiled; if not, it is
compiled anew. The arrays are arguments, like the batch and the leaves of schedules. While MLX traces, tracers stand in
their places; after it the arrays themselves do again, whatever happened. What the graph returns is put into the places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from warnings import warn
from weakref import WeakSet

import mlx.core as mx
from mlx.nn import Module
from mlx.utils import tree_map

from ..core.node import leaves
from ..core.schedule import Schedule, handing
from ..core.tracing import is_concrete, looks_at_a_value
from ..core.user_rate import UserRate
from ..optimizers.state import schedules_of
from .inputs import Inputs
from .layout import Layout
from .snapshots import Snapshot, random_key, set_random_key
from .watch import Watch

_PATIENCE = 5
"""Traces in a row, because of one attribute, after which a warning is due."""
_ATTEMPTS = 4
"""Traces of one call that are thrown away. Another would not help: a schedule made inside is a new one each time."""

_DEPTH = 6
"""Frames from a warning up to the user's, who called a tool."""


class Compiled:
    """``body``, compiled.

    Args:
        body: ``body(inputs, carry, *batch, **named)``, which returns a tree of arrays. It may read and write models,
            optimizers and ``carry``, draw random numbers and call schedules.
        optimizer: The optimizer.
        modules: The model, and other models.
        carry: What else goes from call to call: trees of arrays, by name.
        carried: The names of those that ``body`` has to do with.
        watch: What warns of losses before a call.
        reads_modules: Whether ``body`` reads more of the models than their arrays.
        updates: Whether ``body`` has to do with more of the optimizer's state than its step and learning rate.
        records_writes: Whether ``body`` asks its ``inputs`` which of them were written.
        prepare: Called before each compilation.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        optimizer: Any,
        modules: Sequence[Module],
        carry: dict[str, Any],
        carried: Sequence[str],
        watch: Watch,
        *,
        reads_modules: bool = True,
        updates: bool = True,
        records_writes: bool = False,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._body = body
        self._optimizer = optimizer
        self._modules = modules
        self._carry = carry
        self._carried = carried
        self._watch = watch
        self._options: dict[str, Any] = {"with_attributes": reads_modules, "counts_only": not updates}
        self._updates = updates
        self._records_writes = records_writes
        self._prepare = prepare
        self._layout: Layout | None = None
        self._called: WeakSet[Schedule] = WeakSet()  # in traces, and not found in an optimizer
        self._schedules: list[Schedule] = []
        self._draws = False  # not from the start: most models draw nothing, and the random state costs a little
        self._by_value = False  # not from the start: what is an input can change without a trace
        self._separates = False  # not from the start: it is a node for each output
        self.traces = 0
        """How often ``body`` was traced."""
        self._attempts = 0  # at the present call
        self._is_traced = False  # at the present call
        self._changed = ""
        self._in_a_row = 0
        self._warned = False

    def __call__(self, *batch: Any, **named: Any) -> Any:
        """One call, on the present state."""
        self._attempts = 0
        self._watch.check()
        while True:
            try:
                return self._call(batch, named)
            except _AgainError as error:
                self._attempts += 1
                if self._attempts > 2 * _ATTEMPTS:
                    raise RuntimeError("A step changes with each trace what it depends on.") from error

    def _call(self, batch: Any, named: Any) -> Any:
        layout, undo = self._layout, None
        arrays = None if layout is None else layout.arrays_if_unchanged()
        if layout is None or arrays is None:
            layout, undo = self._ready()
            arrays = layout.arrays.present()
        else:
            self._in_a_row = 0
        key = random_key() if self._draws else None
        self._is_traced = False
        try:
            carry = {name: self._carry[name] for name in self._carried}
            of_schedules = [schedule.state for schedule in self._schedules]
            result, kept, values, carry = self._compiled(arrays, of_schedules, carry, batch, named)
        except BaseException as error:
            self._layout = None
            if key is not None:
                set_random_key(key)
            if undo is not None:
                undo.restore()
            # MLX cannot compile a gradient beside two equal nodes, one of them an output.
            if isinstance(error, IndexError) and self._is_traced and not self._separates:
                self._separates = True
                raise _AgainError from error
            raise
        for i in kept.indices:
            arrays[i][()] = values[i]
            values[i] = arrays[i]
        layout.arrays.put(values)
        self._carry.update(carry)
        self._watch.remember(layout.optimizers)
        return result

    def _ready(self) -> tuple[Layout, Snapshot | None]:
        """The present layout, of which a graph is compiled. And what undoes that if it is compiled only now."""
        found = Layout([self._optimizer])
        undo = Snapshot(found.containers)
        try:
            _count_in_uint64(found.optimizers)
            if self._layout is not None:
                present = self._layout.now()
                if present.equals(self._layout):
                    self._layout, self._in_a_row = present, 0
                    return present, None
                self._warn_of(present.changed)
            self._compile()
        except BaseException:
            undo.restore()
            raise
        assert self._layout is not None
        return self._layout, undo

    def _compile(self) -> None:
        """Compiles for the present layout."""
        self._prepare()
        if self._updates:
            self._optimizer.init(self._modules[0].trainable_parameters())
        optimizers = Layout([self._optimizer]).optimizers
        _count_in_uint64(optimizers)
        of_optimizers = schedules_of(optimizers)
        known = {id(schedule): schedule for schedule in [*of_optimizers, *self._called]}
        self._schedules = [*known.values()]
        states = [schedule.state for schedule in self._schedules]
        options = {**self._options, "skipped": states, "by_value": self._by_value}
        self._layout = Layout([self._optimizer], self._modules, **options)
        everything = Layout([self._optimizer], self._modules, **{**options, "with_attributes": True})
        random = [mx.random.state] if self._draws else []
        self._compiled = mx.compile(self._traced(everything), inputs=random, outputs=random)

    def _traced(self, everything: Layout) -> Callable[..., Any]:
        """``body`` as a pure function of arrays and leaves."""
        schedules, draws = self._schedules, self._draws

        def traced(
            arrays: list[mx.array], of_schedules: list[Any], carry: dict[str, Any], batch: Any, named: Any
        ) -> Any:
            layout = self._layout
            assert layout is not None
            self.traces += 1
            _refuse_inlining(arrays, [batch, named])
            snapshot, places = Snapshot(layout.containers), layout.arrays
            originals, key = places.present(), random_key()
            try:
                if not everything.now().equals(everything):
                    raise _AgainError
                if any(each.state["step"].dtype != mx.uint64 for each in layout.optimizers if "step" in each.state):
                    raise _AgainError
                inputs = Inputs(layout, arrays, self._records_writes)
                with handing(dict(zip(schedules, of_schedules, strict=True))) as handed:
                    result = self._body(inputs, carry, *batch, **named)
                layout.find_arrays_again()
                if not draws and random_key() is not key:
                    self._draws = True
                    raise _AgainError
                if handed.missing and self._attempts < _ATTEMPTS:
                    self._called.update(handed.missing)
                    raise _AgainError
            except BaseException as error:
                culprit = _untraceable_rate(layout.optimizers) if looks_at_a_value(error) else None
                snapshot.restore()
                places.put(originals)
                if not draws and random_key() is not key:
                    set_random_key(key)
                may_bake = not self._by_value and any(arrays[i].size == 1 for i in layout.of_attributes)
                looks = may_bake and looks_at_a_value(error)
                if looks or not isinstance(error, _AgainError):
                    self._by_value = looks
                if looks:
                    raise _AgainError from error
                if culprit is not None:
                    raise culprit from error
                raise
            values = layout.arrays.present()
            layout.arrays.put(originals)
            kept = _Kept([i for i in layout.of_attributes if inputs.placed[i] is values[i]])
            if self._separates:
                result, values = tree_map(lambda value: _separate(value, arrays[0]), (result, values))
            self._is_traced = True
            return result, kept, values, carry

        return traced

    def _warn_of(self, changed: str) -> None:
        """Warns once where the same attribute has changed before each of several steps."""
        self._in_a_row = self._in_a_row + 1 if changed == self._changed else 1
        self._changed = changed
        if self._in_a_row == _PATIENCE and changed and not self._warned:
            self._warned = True
            warn(
                f"{changed} has changed before each of the last {_PATIENCE} steps, and each time the step was traced "
                f"and its kernels were built again. An mx.array in its place is an input, if nothing looks at its "
                f"value; so is what a schedule gives.",
                stacklevel=_DEPTH,
            )


class _AgainError(Exception):
    """The trace needs another input."""


class _Kept:
    """Which arrays are to stay the objects they are, whether their values change or not. No tree to MLX."""

    def __init__(self, indices: list[int]) -> None:
        self.indices = indices


def _refuse_inlining(arrays: list[mx.array], arguments: Any) -> None:
    """Raises if this is part of a foreign trace, which would lose what happens to the arrays."""
    if arrays and is_concrete(arrays[0]) and not all(map(is_concrete, leaves(arguments))):
        raise RuntimeError(
            "A compiled step or update was called inside a function that is itself being transformed (mx.compile, "
            "mx.grad, mx.vmap) and does not have model and optimizer as inputs: they would not be trained. Call it "
            "outside of such functions."
        )


def _separate(value: Any, other: mx.array) -> Any:
    """An array as a node that MLX does not merge with an equal one."""
    return mx.depends([value], [other])[0] if isinstance(value, mx.array) else value


def _untraceable_rate(optimizers: list[Any]) -> TypeError | None:
    """What to say of a function in the place of a schedule that looks at the value of the step, if there is one."""
    for optimizer in optimizers:
        for scheduler in optimizer._schedulers.values():
            try:
                with handing({}):
                    UserRate(scheduler)(optimizer.state["step"])
            except TypeError as error:
                return error
    return None


def _count_in_uint64(optimizers: list[Any]) -> None:
    """Turns steps of other types, and numbers, into arrays that count on exactly."""
    for state in (optimizer.state for optimizer in optimizers if "step" in optimizer.state):
        step = state["step"]
        if not isinstance(step, mx.array):
            state["step"] = mx.array(int(step), mx.uint64)
        elif step.dtype != mx.uint64:
            state["step"] = step.astype(mx.uint64)
