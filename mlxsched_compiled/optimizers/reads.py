"""What an optimizer's updates read: a schedule that none of them reads changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx

from ..core.tracing import is_concrete


class Reads:
    """Notes what updates read, until there is a verdict."""

    def __init__(self) -> None:
        self.is_updating = False
        """Whether an update is under way."""
        self.dtype: mx.Dtype | None = None
        """The dtype of the parameter that is being updated or initialized, if one is."""
        self.initialized = self.updated = 0
        """How many parameters have a state, and how many the present update has come to."""
        self._names: set[str] = set()
        self._updates = 0
        self._has_verdict = False

    @contextmanager
    def within(self, **present: Any) -> Iterator[None]:
        """Sets attributes, and sets them back at the end."""
        before = {name: getattr(self, name) for name in present}
        vars(self).update(present)
        try:
            yield
        finally:
            vars(self).update(before)

    def note(self, name: str) -> None:
        """Notes that a hyperparameter is read."""
        if self.is_updating:
            self._names.add(name)

    def unread(self, names: list[str], step: Any) -> list[str]:
        """Called after each update: once it is certain, and only once, the names that updates do not read.

        It is not after an update of some of the parameters alone, nor after the first one of an eager loop, which may
        do something else than those that follow. An update that is traced (its step is a tracer) is all there is.
        """
        if self._has_verdict or not 0 < self.initialized <= self.updated:
            return []
        self._updates += 1
        unread = [name for name in names if name not in self._names]
        self._has_verdict = not unread or self._updates > 1 or not is_concrete(step)
        return unread if self._has_verdict else []
