"""What there was before, to be put back: in containers, in optimizers that were not initialized, random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import mlx.core as mx


def contents(node: Any) -> Iterator[tuple[Any, Any]]:
    """Each dict, list and set of a tree, with a copy of what is in it."""
    if isinstance(node, dict):
        yield node, dict(node)
        for value in node.values():
            yield from contents(value)
    elif isinstance(node, set):
        yield node, set(node)
    elif isinstance(node, (list, tuple)):
        if isinstance(node, list):
            yield node, list(node)
        for value in node:
            yield from contents(value)


def refill(container: Any, content: Any) -> None:
    """Fills a container with other contents."""
    if isinstance(container, dict):
        dict.clear(container)
        dict.update(container, content)
    elif isinstance(container, set):
        container.clear()
        container.update(content)
    else:
        container[:] = content


def put_back(before: Iterable[tuple[Any, Any]]) -> None:
    """Fills containers with what was in them."""
    for container, content in before:
        refill(container, content)


def replace_arrays(container: Any, function: Callable[[mx.array], mx.array]) -> None:
    """Puts something else in the place of each array of a dict or a list."""
    if not isinstance(container, set):
        for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            if isinstance(value, mx.array):
                container[key] = function(value)
