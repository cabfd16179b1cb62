"""A function compiled with the present state of a model and an optimizer as its input and its output.

A function that MLX compiles sees what it captured: arrays, at places fixed by its first call. Whatever else Python does
between two calls is lost on it. So guards are asked before each call, and where something is not as it was, all is
compiled anew. And a trace reports what it touched: random numbers, schedules. Where that was not captured, the trace is
thrown away and made again. An exception inside a trace is carried past MLX, so that MLX puts the arrays back, and is
raised after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import is_not
from typing import Any
from warnings import warn
from weakref import WeakSet

import mlx.core as mx
from mlx.nn import Module
from mlx.utils import tree_flatten

from ..core.schedule import Schedule, handing
from ..core.tracing import is_concrete
from ..core.tracing import looks_at_a_value as is_look
from ..optimizers.state import schedules_of
from .guards import Guards
from .undo import contents, put_back, refill, restorer, set_random_key

_PATIENCE = 5
"""Traces in a row, because of one attribute, after which a warning is due."""
_ATTEMPTS = 4
"""Traces of one call that are thrown away. Another would not help: a schedule made inside is a new one each time."""


class Stateful:
    """``body``, compiled.

    Args:
        body: What to compile: it may read and write model, optimizer and ``more``, draw random numbers, call schedules,
            and returns a tree of arrays.
        optimizers: The optimizer in a list; none if ``body`` has nothing to do with one.
        model: The model.
        modules: Other models.
        more: Other lists of arrays that ``body`` reads and writes.
        reads_modules: Whether ``body`` reads more of the model than arrays which its arguments say where to find. If
            not, modules need no look before each call: where they are laid out in another way, MLX traces again.
        updates: Whether ``body`` has to do with more of an optimizer's state than its step and learning rate.
        prepare: Called before each compilation.
        depth: How many frames above a warning the user's is.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        optimizers: Sequence[Any],
        model: Module,
        modules: Sequence[Module],
        more: list[Any],
        *,
        reads_modules: bool = True,
        updates: bool = True,
        prepare: Callable[[], None] = lambda: None,
        depth: int = 4,
    ) -> None:
        self._body = body
        self._optimizers = list(optimizers)
        self._model = model
        self._modules = [model, *modules]
        self._more = more
        self._reads_modules = reads_modules
        self._updates = updates
        self._prepare = prepare
        self._depth = depth
        self._draws = False  # not from the start: most models draw nothing, and the random state costs a little
        self._schedules: WeakSet[Schedule] = WeakSet()  # called in traces
        self._captured: list[Any] = []
        self._kinds: list[Any] = []  # of arguments, at the call before
        self._before: list[Any] = []  # what was where before a call that may be traced
        self._attribute_arrays: list[Any] = []
        self._writes_attributes = False
        self._by_value = False  # not from the start: what is an input can change without a trace
        self._failures: list[BaseException] = []
        self._guards: Guards | None = None
        self.traces = 0
        """How often ``body`` was traced."""
        self._attempts = 0  # at the present call
        self._changed = ""
        self._in_a_row = 0
        self._warned = False

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """One call, on the present state."""
        guards = self._guards
        undo: Callable[[], None] | None = None
        if guards is None or not guards.are_identical():
            guards, undo = self._ready()
        try:
            if self._attribute_arrays:
                self._attribute_arrays[:] = guards.attribute_arrays.present()
            if self._reads_modules and (kinds := [*map(_kind, arguments), *map(_kind, named.values())]) != self._kinds:
                self._kinds = kinds
                self._before = [*contents(self._captured)]
            result = self._compiled(*arguments, **named)
            if self._failures:
                set_random_key(result)
                raise self._failures.pop()
        except BaseException as error:
            put_back(self._before)  # what MLX leaves full of tracers if it fails after a trace
            self._before = []
            self._guards = None
            if undo is not None:
                undo()
            if not isinstance(error, _AgainError):
                self._attempts = 0
                raise
            self._attempts += 1
        else:
            self._attempts, self._before = 0, []
            if undo is None:
                self._in_a_row = 0
            if self._writes_attributes:
                guards.attribute_arrays.put(self._attribute_arrays)
            return result
        return self(*arguments, **named)

    def _ready(self) -> tuple[Guards, Callable[[], None] | None]:
        """The guards of what is compiled for the present layout, and what undoes it if it is compiled only now."""
        if self._guards is not None:
            _count_in_arrays(self._guards.optimizers)
            if self._guards.mean_the_same():
                return self._guards, None
            self._warn_of(self._guards.changed)
        return self._compile()

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
                stacklevel=self._depth,
            )

    def _compile(self) -> tuple[Guards, Callable[[], None]]:
        """Compiles for the present layout. The guards of that, and what undoes it."""
        undo = restorer(Guards(*self._optimizers))
        try:
            self._prepare()
            for optimizer in self._optimizers if self._updates else []:
                optimizer.init(self._model.trainable_parameters())
            found = Guards(*self._optimizers).optimizers
            _count_in_arrays(found)
            for optimizer in found:
                _put_step_first(optimizer.state)
        except BaseException:
            undo()
            raise
        # The optimizer comes first: of its step + 1 and an equal one of a schedule's, MLX keeps the earlier.
        options = {"by_value": self._by_value, "counts_only": not self._updates}
        everything = Guards(*self._optimizers, *self._modules, self._more, **options)
        self._guards = everything if self._reads_modules else Guards(*self._optimizers, self._more, **options)
        modules = [] if self._reads_modules else self._modules
        of_optimizers = schedules_of(everything.optimizers) if self._updates else ()
        schedules = {id(s): s for s in [*self._schedules, *of_optimizers]}
        outputs = [self._guards.trees, modules, self._attribute_arrays, *([mx.random.state] if self._draws else [])]
        inputs = [outputs, [s.state for s in schedules.values() if not self._guards.follow(s.state)]]
        self._failures.clear()
        self._attribute_arrays[:] = self._guards.attribute_arrays.present()
        self._captured = outputs
        self._before = [*contents(outputs)]
        self._writes_attributes = False
        self._compiled = mx.compile(self._traced(everything, outputs, schedules), inputs=inputs, outputs=outputs)
        return self._guards, undo

    def _traced(self, everything: Guards, outputs: list[Any], schedules: dict[int, Schedule]) -> Callable[..., Any]:
        """``body`` as it is traced.

        An exception in it is kept as a failure. All arrays then stay as they were, and the random key is returned.
        """
        body, guards, failures, draws = self._body, self._guards, self._failures, self._draws
        inputs = self._attribute_arrays
        assert guards is not None

        def traced(*arguments: Any, **named: Any) -> Any:
            self.traces += 1
            random: Any = mx.random.state
            key = random[0]
            before = [*contents(outputs), *guards.attributes()]
            places = guards.attribute_arrays
            attributes = [*places.present()]
            try:
                if not everything.mean_the_same():
                    raise _AgainError
                _refuse_inlining(outputs, [arguments, named])
                with handing({s: s.state for s in schedules.values()}) as handed:
                    places.put(inputs)
                    result = body(*arguments, **named)
                    guards.find_attribute_arrays()
                    self._writes_attributes |= any(map(is_not, inputs, guards.attribute_arrays.present()))
                    inputs[:] = guards.attribute_arrays.present()
                    guards.attribute_arrays.put(attributes)
                if not draws and random[0] is not key:
                    self._draws = True
                    raise _AgainError
                if self._attempts < _ATTEMPTS and handed.missing:
                    self._schedules.update(handed.missing)
                    raise _AgainError
            except BaseException as error:
                put_back(before)
                guards.attribute_arrays = places
                places.put(attributes)
                looks = is_look(error) and any(array.size == 1 for array in attributes)
                failures.append(_AgainError() if looks else error)
                if looks or not isinstance(error, _AgainError):
                    self._by_value = looks
                return key
            return result

        return traced


class _AgainError(Exception):
    """A trace touched something that it had not captured."""


def _kind(argument: Any) -> Any:
    return (argument.shape, argument.dtype) if isinstance(argument, mx.array) else None


def _refuse_inlining(captured: Any, arguments: Any) -> None:
    """Raises if this is part of somebody else's trace, which would lose what happens to ``captured``."""
    one = next((array for array in _arrays(captured)), None)
    if one is not None and is_concrete(one) and not all(map(is_concrete, _arrays(arguments))):
        raise RuntimeError(
            "A compiled step or update was called inside a function that is itself being transformed (mx.compile, "
            "mx.grad, mx.vmap) and does not have model and optimizer as inputs: they would not be trained. Call it "
            "outside of such functions."
        )


def _arrays(tree: Any) -> Iterator[mx.array]:
    leaves: Any = tree_flatten(tree)
    return (leaf for _, leaf in leaves if isinstance(leaf, mx.array))


def _count_in_arrays(optimizers: list[Any]) -> None:
    """Turns steps that were assigned as numbers into arrays, as which they count on."""
    for optimizer in optimizers:
        step = optimizer.state.get("step")
        if step is not None and not isinstance(step, mx.array):
            optimizer.state["step"] = mx.array(int(step), mx.uint64)


def _put_step_first(state: dict[str, Any]) -> None:
    if "step" in state:
        refill(state, {"step": state["step"], **state})
