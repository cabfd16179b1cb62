"""Whether what a trace depends on is still as it was: everything about model and optimizer but the values of arrays."""

from __future__ import annotations

from itertools import chain
from operator import getitem, is_

import mlx.core as mx

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Watch:
    """Remembers how trees of modules, dicts and lists are laid out, and the attributes of modules and optimizers.

    Layout is what stands at which key or place. Attributes are what is frozen, training or not, the rates of dropout,
    betas, schedules.
    """

    def __init__(self, *roots: Any) -> None:
        self._dicts: list[dict[Any, Any]] = []
        self._lists: list[list[Any] | tuple[Any, ...]] = []
        self._parents: list[Any] = []
        self._at: list[Any] = []
        self._children: list[Any] = []
        self._attributes: list[dict[str, Any]] = []
        self._mutable: list[Any] = []
        for root in roots:
            self._remember(root)
        self._keys = [[*d] for d in self._dicts]
        self._lengths = [*map(len, self._lists)]
        self._values = [*chain.from_iterable(a.values() for a in self._attributes)]
        self._copies = [m.copy() for m in self._mutable]

    def unchanged(self) -> bool:
        """Whether all is as it was. It is asked before every step, so it compares flat lists of the objects seen."""
        return (
            [[*d] for d in self._dicts] == self._keys
            and [*map(len, self._lists)] == self._lengths
            and all(map(is_, map(getitem, self._parents, self._at), self._children))
            and sum(map(len, self._attributes)) == len(self._values)
            and all(map(is_, chain.from_iterable(map(dict.values, self._attributes)), self._values))
            and self._mutable == self._copies
        )

    def _remember(self, node: Any) -> None:
        if isinstance(node, dict):
            self._dicts.append(node)
            self._remember_children(node, node.items())
        elif isinstance(node, (list, tuple)):
            self._lists.append(node)
            self._remember_children(node, enumerate(node))
        if hasattr(node, "__dict__"):  # a module or an optimizer
            self._attributes.append(vars(node))
            for name, value in vars(node).items():
                if name == "_state":
                    self._remember(value)
                elif isinstance(value, (dict, list, set)):
                    self._mutable.append(value)
                    if name == "optimizers":
                        self._remember(value)

    def _remember_children(self, parent: Any, children: Any) -> None:
        for at, child in children:
            if not isinstance(child, mx.array):
                self._parents.append(parent)
                self._at.append(at)
                self._children.append(child)
                self._remember(child)
