"""A function compiled with the present state of a model and an optimizer as its input and its output.

A function that MLX compiles sees what it captured: arrays, at places fixed by its first call. Whatever else Python does
between two calls is lost on it. So before each call the layout of model and optimizer is compared with the one that was
compiled, and a new one is compiled anew. An exception inside a trace is carried past MLX, so that MLX puts the arrays
back, and raised after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mlx.core as mx

from .fusion import beside_step
from .graph import applied
from .schedule import Schedule, types
from .watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mlx.nn.layers.base import Module
    from mlx.optimizers.optimizers import Optimizer


class Program:
    """``body``, compiled.

    Args:
        body: What to compile: it may read and write model, optimizer and ``more``, draw random numbers, and returns a
            tree of arrays.
        model: The model.
        optimizer: The optimizer, or None if ``body`` has nothing to do with one.
        more: Other lists of arrays that ``body`` reads and writes.
        prepare: Called before each compilation.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        model: Module,
        optimizer: Optimizer | None,
        more: list[Any],
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._body = body
        self._model = model
        self._optimizer = optimizer
        self._more = more
        self._prepare = prepare
        self._draws = False
        self._watch: Watch | None = None

    def __call__(self, *arguments: Any) -> Any:
        undo: list[Callable[[], None]] = []
        if self._watch is None or not self._watch.unchanged():
            undo = self._compile()
        try:
            result = self._compiled(*arguments)
            if self._errors:
                _set_random_key(result)
                raise self._errors.pop()
        except BaseException as error:
            self._watch = None
            for step in undo:
                step()
            if not isinstance(error, _DrawsError):
                raise
        else:
            return result
        self._draws = (
            True  # not from the start: most models draw nothing, and the random state costs each step a little
        )
        return self(*arguments)

    def _compile(self) -> list[Callable[[], None]]:
        """Compiles for the present layout, and returns what undoes that."""
        self._prepare()
        optimizers = list(_optimizers(self._optimizer))
        undo = [_restorer(optimizer) for optimizer in optimizers]
        state: Any = {}
        if self._optimizer is not None:
            self._optimizer.init(self._model.trainable_parameters())
            for optimizer in optimizers:
                _refill(optimizer.state, {"step": optimizer.state["step"], **optimizer.state})
            state = self._optimizer.state
        # The optimizer's step comes first, so that of its step + 1 and an equal one of a schedule's, its own is kept.
        outputs = [state, self._model, *self._more, *([mx.random.state] if self._draws else [])]
        inputs = [*outputs, [s.state for s in _schedules(optimizers)]]
        self._errors: list[BaseException] = []
        self._compiled = _compiled(self._body, optimizers, inputs, outputs, self._errors, self._draws)
        self._watch = Watch(self._model, self._optimizer)
        return undo


class _DrawsError(Exception):
    """Random numbers were drawn in a trace that did not capture their state."""


def _compiled(
    body: Callable[..., Any],
    optimizers: list[Optimizer],
    inputs: list[Any],
    outputs: list[Any],
    errors: list[BaseException],
    draws: bool,
) -> Callable[..., Any]:
    """``body`` compiled.

    An exception in it goes to ``errors``. All arrays then stay as they were, and the random key is returned.
    """

    def traced(*arguments: Any) -> Any:
        random: Any = mx.random.state
        key = random[0]
        before = list(_contents(outputs))
        try:
            with _rates_beside_steps(optimizers):
                result = body(*arguments)
            if not draws and random[0] is not key:
                raise _DrawsError
        except BaseException as error:
            for container, content in before:
                _refill(container, content)
            errors.append(error)
            return key
        return result

    return mx.compile(traced, inputs=inputs, outputs=outputs)


@contextmanager
def _rates_beside_steps(optimizers: list[Optimizer]) -> Iterator[None]:
    """Has each rate computed in the kernel that counts the optimizer's step, instead of one of its own."""
    schedulers = [optimizer._schedulers for optimizer in optimizers]
    for optimizer in optimizers:
        optimizer._schedulers = {name: _beside_step(s) for name, s in optimizer._schedulers.items()}
    try:
        yield
    finally:
        for optimizer, original in zip(optimizers, schedulers, strict=True):
            optimizer._schedulers = original


def _beside_step(schedule: Callable[[mx.array], mx.array]) -> Callable[[mx.array], mx.array]:
    if not isinstance(schedule, Schedule):
        return schedule
    rate, state = beside_step(schedule.rate, types(schedule)), schedule.state
    return lambda step: applied(rate, step, *state)


def _optimizers(optimizer: Any) -> Iterator[Optimizer]:
    """The optimizers that a ``MultiOptimizer`` is made of, or the one."""
    if hasattr(optimizer, "optimizers"):
        for part in optimizer.optimizers:
            yield from _optimizers(part)
    elif optimizer is not None:
        yield optimizer


def _schedules(optimizers: list[Optimizer]) -> Iterator[Schedule]:
    for optimizer in optimizers:
        yield from (s for s in optimizer._schedulers.values() if isinstance(s, Schedule))


def _restorer(optimizer: Optimizer) -> Callable[[], None]:
    """What puts an optimizer back to before it was initialized."""
    before, initialized = list(_contents(optimizer.state)), optimizer._initialized

    def restore() -> None:
        for container, content in before:
            _refill(container, content)
        optimizer._initialized = initialized

    return restore


def _set_random_key(key: mx.array) -> None:
    if isinstance(mx.random.state, list):  # MLX before 0.32
        mx.random.state[0] = key
    else:
        words: Any = key.tolist()
        high, low = words
        mx.random.seed(high << 32 | low)


def _contents(node: Any) -> Iterator[tuple[Any, Any]]:
    """Each dict and list of a tree, with a copy of what is in it."""
    if isinstance(node, dict):
        yield node, dict(node)
        for value in node.values():
            yield from _contents(value)
    elif isinstance(node, (list, tuple)):
        if isinstance(node, list):
            yield node, list(node)
        for value in node:
            yield from _contents(value)


def _refill(container: Any, content: Any) -> None:
    if isinstance(container, dict):
        dict.clear(container)
        dict.update(container, content)
    else:
        container[:] = content
