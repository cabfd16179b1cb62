"""Guards of a trace: whether what it was made with, other than the values of arrays, is still as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from numbers import Number
from operator import getitem, is_, setitem
from typing import Any

import mlx.core as mx
from mlx.nn import Module
from mlx.optimizers import Optimizer

from ..core.tracing import is_concrete

_PLAIN = (Number, str, bytes, type(None))


class Guards:
    """Remembers how models and optimizers are laid out, and what their attributes are.

    The arrays of modules, of an optimizer's state and in attributes are inputs of the graph and may be any. Everything
    else, such as a number in an attribute, is part of the graph. Dicts, lists, tuples and sets are followed to the
    bottom; of other objects it is seen that they are replaced, not that something in them is.

    Args:
        *roots: Optimizers, modules, and lists of arrays that a graph captures like these.
        by_value: Whether numbers that are arrays in attributes are part of the graph as other numbers are: where their
            value decides what is computed.
        counts_only: Whether, of the states of optimizers, only step and learning rate are inputs of the graph, as
            arrays in attributes are.
    """

    def __init__(self, *roots: Any, by_value: bool = False, counts_only: bool = False) -> None:
        self._roots = roots
        self._options = {"by_value": by_value, "counts_only": counts_only}
        self.trees: list[Any] = []
        """Modules and the states of optimizers, whose arrays a graph captures with this list: the present ones."""
        self.optimizers: list[Any] = []
        """The optimizers found."""
        self.arrays = Places()
        """The arrays in those."""
        self.attribute_arrays = Places()
        """The arrays in attributes."""
        self.fixed = Places()
        """Those among them that are part of the graph."""
        self.changed = ""
        """The name of the first thing that is not as it was."""

        self._dicts: list[dict[Any, Any]] = []
        self._lists: list[Any] = []
        self._sets: list[set[Any]] = []
        self._others = Places()  # what stands there is no array
        self._module_arrays = Places()  # in whose place a module may come that has one such array
        self._containers: list[Any] = []  # in attributes
        self._meanings: list[tuple[str, Any]] = []
        self._seen: set[int] = set()
        for root in roots:
            self._follow(root, type(root).__name__)
        self._keys = [*chain.from_iterable(self._dicts)]
        self._lengths = [*map(len, self._lists)]
        self._copies = [s.copy() for s in self._sets]
        self._objects = [*self._others.present()]
        self._numbers = [*map(_number, self.fixed.present())]

    def mean_the_same(self) -> bool:
        """Whether all is as it was, or replaced by what means the same: numbers compare by value and type."""
        present = Guards(*self._roots, **self._options)
        if present._meanings == self._meanings:
            captured = self.trees
            vars(self).update(vars(present))
            captured[:], self.trees = self.trees, captured  # a graph has captured that list
            return True
        pairs = zip(present._meanings, self._meanings, strict=False)
        self.changed = next((now[0] for now, before in pairs if now != before), "")
        return False

    def are_identical(self) -> bool:
        """Whether every object is the one it was. Asked before every step: flat lists, and no loop in Python.

        What changes how many arrays there are, or their shapes and types, needs no look: MLX traces again.
        """
        try:
            return (
                [*chain.from_iterable(self._dicts)] == self._keys
                and all(map(is_, map(getitem, self._others.containers, self._others.keys), self._objects))
                and (not self._lists or [*map(len, self._lists)] == self._lengths)
                and (not self._sets or self._sets == self._copies)
                and (not self._module_arrays or {*map(type, self._module_arrays.present())} == {mx.array})
                and (not self.fixed or [*map(_number, self.fixed.present())] == self._numbers)
            )
        except LookupError:
            return False

    def follow(self, container: Any) -> bool:
        """Whether ``container`` was found in the roots."""
        return id(container) in self._seen

    def attributes(self) -> Iterator[tuple[Any, Any]]:
        """The dicts, lists and sets of attributes, each with a copy of what is in it."""
        return ((container, container.copy()) for container in self._containers)

    def find_attribute_arrays(self) -> None:
        """Finds the arrays in attributes where they are now, in case that dicts and lists around them were replaced."""
        present = Guards(*self._roots, **self._options).attribute_arrays
        at = {name: i for i, name in enumerate(present.names)}
        if different := at.keys() ^ set(self.attribute_arrays.names):
            raise ValueError(
                f"{min(different)} is an array only before the step or only after it. A compiled step can change the "
                f"arrays that there are: give it one before the first step, such as mx.array(0.0)."
            )
        self.attribute_arrays = present.at(at[name] for name in self.attribute_arrays.names)

    def _follow(self, owner: Any, name: str) -> None:
        """Follows a module, a list of arrays, or an optimizer."""
        if isinstance(owner, (Module, list)):
            self._capture(owner, name)
        else:
            self.optimizers.append(owner)
            self._follow_attributes(vars(owner), name)

    def _capture(self, tree: Any, name: str) -> None:
        if id(tree) not in self._seen:
            self.trees.append(tree)
            self._follow_tree(tree, name, isinstance(tree, Module))

    def _capture_counts(self, state: dict[str, Any], name: str) -> None:
        for key in ("step", "learning_rate"):
            if key in state:
                its_name = f"{name}.{key}"
                self.arrays.add(state, key, its_name)
                self.attribute_arrays.add(state, key, its_name)
                self._meanings.append((its_name, _meaning(state[key])))

    def _follow_tree(self, node: Any, name: str, in_module: bool) -> None:
        """Follows what a graph captures: a module, or dicts and lists of arrays and of these."""
        if not self._is_new(node):
            return
        if isinstance(node, dict):
            if in_module or len(node) > 1:  # an optimizer's state under one name is not renamed
                self._dicts.append(node)
        elif isinstance(node, (list, tuple)):
            self._lists.append(node)
        for key, child in _items(node):
            if isinstance(child, mx.array):
                self.arrays.add(node, key, f"{name}.{key}")
                if in_module:
                    self._module_arrays.add(node, key, f"{name}.{key}")
            else:
                self._others.add(node, key, f"{name}.{key}")
                self._follow_tree(child, f"{name}.{key}", in_module)
            self._meanings.append((f"{name}.{key}", _meaning(child)))
        if isinstance(node, Module):
            self._follow_attributes(vars(node), name)

    def _follow_attributes(self, node: Any, name: str, place: Any = None) -> None:
        """Follows what is part of a graph: the attributes of a module or an optimizer, and the containers in them.

        ``place`` is where the items of ``node`` can be set, if that is not ``node``.
        """
        if not self._is_new(node) and place is None:  # a tuple is made anew at each of its places
            return
        place = node if place is None else place
        if isinstance(node, set):
            self._sets.append(node)
        else:
            (self._dicts if isinstance(node, dict) else self._lists).append(node)
        if isinstance(node, (dict, list, set)):
            self._containers.append(node)
        for key, child in _items(node):
            if key == "_initialized":  # whose change no trace sees: it is made for an optimizer that is
                continue
            its_name = f"{name}.{key}"
            if not isinstance(child, mx.array):
                self._others.add(node, key, its_name)
            if isinstance(child, mx.array):
                (self.fixed if self._is_fixed(child) else self.attribute_arrays).add(place, key, its_name)
            elif isinstance(child, (Module, Optimizer)):
                self._follow(child, its_name)
            elif key == "_state" and isinstance(child, dict):
                (self._capture_counts if self._options["counts_only"] else self._capture)(child, its_name)
            elif isinstance(child, tuple):
                self._follow_attributes(child, its_name, _InTuple(place, key))
            elif isinstance(child, (dict, list, set)):
                self._follow_attributes(child, its_name)
            self._meanings.append((its_name, _number(child) if self._is_fixed(child) else _meaning(child)))

    def _is_fixed(self, value: Any) -> bool:
        return self._options["by_value"] and isinstance(value, mx.array) and value.size == 1 and is_concrete(value)

    def _is_new(self, node: Any) -> bool:
        is_new = id(node) not in self._seen
        self._seen.add(id(node))
        return is_new


class Places:
    """Containers, and a key in each."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.containers: list[Any] = []
        self.keys: list[Any] = []

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, container: Any, key: Any, name: str) -> None:
        """One more place."""
        self.names.append(name)
        self.containers.append(container)
        self.keys.append(key)

    def at(self, indices: Iterable[int]) -> Places:
        """Some of the places."""
        places = Places()
        for i in indices:
            places.add(self.containers[i], self.keys[i], self.names[i])
        return places

    def present(self) -> Iterator[Any]:
        """What stands there now."""
        return map(getitem, self.containers, self.keys)

    def put(self, values: list[Any]) -> None:
        """Puts something else there."""
        for _ in map(setitem, self.containers, self.keys, values):
            pass


class _InTuple:
    """The items of a tuple, which is made anew where one is set."""

    def __init__(self, container: Any, key: Any) -> None:
        self._container = container
        self._key = key

    def __getitem__(self, index: int) -> Any:
        return self._container[self._key][index]

    def __setitem__(self, index: int, value: Any) -> None:
        before = self._container[self._key]
        items = (*before[:index], value, *before[index + 1 :])
        self._container[self._key] = type(before)(*items) if hasattr(before, "_fields") else type(before)(items)


def _items(node: Any) -> Any:
    """Keys and what is there, of a container; of anything else, nothing."""
    if isinstance(node, dict):
        return node.items()
    return enumerate(node) if isinstance(node, (list, tuple)) else ()


def _number(value: Any) -> Any:
    return (value.dtype, value.shape, repr(value.item())) if isinstance(value, mx.array) else _meaning(value)


def _meaning(value: Any) -> Any:
    """What two values share that mean the same to a trace."""
    if isinstance(value, mx.array):
        return mx.array  # whatever is in it
    if isinstance(value, set):
        return frozenset(value)
    if isinstance(value, (dict, list, tuple)) and not isinstance(value, Module):
        return type(value)  # what is in it is followed
    if isinstance(value, _PLAIN):
        return type(value), repr(value)  # so that nan is itself, and -0.0 is not 0.0
    return id(value)  # kept alive by the guards
