"""What an optimizer's updates read: a schedule that none of them reads changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx

from ..core.tracing import is_concrete


class Reads:
    """Notes the hyperparameters that updates read, until there is a verdict."""

    def __init__(self) -> None:
        self.is_updating = False
        """Whether an update is under way."""
        self.dtype: mx.Dtype | None = None
        """Of the gradient or parameter at hand, where one is updated or initialized."""
        self.initialized = 0
        """How many parameters have a state."""
        self._names: set[str] = set()
        self._updated = 0  # parameters, in the present update
        self._updates = 0
        self._has_verdict = False

    def note(self, name: str) -> None:
        """Notes that a hyperparameter is read."""
        if self.is_updating:
            self._names.add(name)

    @contextmanager
    def update(self) -> Iterator[None]:
        """An update of all parameters."""
        self.is_updating, self._updated = True, 0
        try:
            yield
        finally:
            self.is_updating = False

    @contextmanager
    def initialization(self) -> Iterator[None]:
        """What this reads, updates need not read again."""
        before, self.is_updating = self.is_updating, False
        try:
            yield
        finally:
            self.is_updating = before

    @contextmanager
    def single(self, array: mx.array) -> Iterator[None]:
        """The update, or the initialization, of one parameter."""
        self.dtype, self._updated = array.dtype, self._updated + 1
        try:
            yield
        finally:
            self.dtype = None

    def unread(self, names: list[str], step: Any) -> list[str]:
        """After an update, those of the names that updates do not read, if that is certain by now. Said once.

        An update of some of the parameters says nothing. Nor does the first of an eager loop, which may do something
        else than those that follow; one that is traced, as its step shows, is all that a compiled step does.
        """
        if self._has_verdict or not 0 < self.initialized <= self._updated:
            return []
        self._updates += 1
        unread = [name for name in names if name not in self._names]
        self._has_verdict = not unread or self._updates > 1 or not is_concrete(step)
        return unread if self._has_verdict else []
