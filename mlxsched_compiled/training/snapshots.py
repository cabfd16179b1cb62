"""Snapshots: what stood in containers, to be restored, and random numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mlx.core as mx


class Snapshot:
    """What is in dicts, lists and sets now. Arrays are kept by reference: steps replace them."""

    def __init__(self, containers: Iterable[Any]) -> None:
        self._contents = [(each, dict(each) if isinstance(each, dict) else each.copy()) for each in containers]

    def restore(self) -> None:
        """Fills the containers with it again."""
        for container, content in self._contents:
            if isinstance(container, list):
                container[:] = content
            elif isinstance(container, set):
                container.clear()
                container.update(content)
            else:  # a module is a dict with an update of its own
                dict.clear(container)
                dict.update(container, content)


def random_key() -> mx.array:
    """What MLX's next random numbers come from."""
    state: Any = mx.random.state
    key: mx.array = state[0]
    return key


def set_random_key(key: mx.array) -> None:
    """Sets it."""
    words: Any = key.tolist()
    high, low = words
    mx.random.seed(high << 32 | low)
