"""How models and optimizers are laid out: where their arrays stand, and everything else that a trace depends on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from numbers import Number
from operator import getitem, is_, setitem
from typing import Any

import mlx.core as mx
from mlx.nn import Module
from mlx.optimizers import Optimizer

from ..core.tracing import is_concrete

_PLAIN = (Number, str, bytes, type(None))


class Layout:
    """The places of all arrays of models and optimizers, and a guard of the rest.

    Arrays are inputs of a compiled graph, and their values may be any. Everything else, such as a number in an
    attribute, is baked in. Dicts, lists, tuples and sets are followed to the bottom; of other objects it is seen that
    they are replaced, not that something in them is.

    Args:
        optimizers: Optimizers, in a list.
        modules: Models.
        skipped: Containers that are left out: leaves of schedules, which have inputs of their own.
        by_value: Whether 0-d arrays in attributes are baked in, and compared by value, as other numbers are.
        counts_only: Whether only step and learning rate of an optimizer's state are followed.
        with_attributes: Whether attributes of modules are followed, besides the arrays and modules in them.
    """

    def __init__(
        self,
        optimizers: Sequence[Any],
        modules: Sequence[Module] = (),
        *,
        skipped: Iterable[Any] = (),
        by_value: bool = False,
        counts_only: bool = False,
        with_attributes: bool = True,
    ) -> None:
        self._roots = [*optimizers], [*modules]
        self._options: dict[str, Any] = {
            "by_value": by_value,
            "counts_only": counts_only,
            "with_attributes": with_attributes,
        }
        self._skipped = [*skipped]
        self.optimizers: list[Any] = []
        """The optimizers found."""
        self.arrays = Places()
        """The inputs."""
        self.of_attributes: list[int] = []
        """Which of them stand in attributes."""
        self.containers: list[Any] = []
        """All dicts, lists and sets."""
        self.changed = ""
        """The name of the first thing that is not as it was."""

        self._others = Places()  # what is no array
        self._baked = Places()  # arrays that are compared by value
        self._meanings: list[tuple[str, Any]] = []
        self._seen = {id(container) for container in self._skipped}
        names: set[str] = set()
        for root in [*optimizers, *modules]:
            name = type(root).__name__
            name = f"{name} {len(names)}" if name in names else name
            names.add(name)
            self._follow_object(root, name)
        self._lengths = [*map(len, self.containers)]
        self._sets = [each for each in self.containers if isinstance(each, set)]
        self._copies = [each.copy() for each in self._sets]
        self._objects = self._others.present()
        self._types = {*map(type, self.arrays.present())}
        self._numbers = [*map(_number, self._baked.present())]

    def arrays_if_unchanged(self) -> list[Any] | None:
        """The arrays, or None if anything else is another object than it was.

        Fast path of the guard, run before every step: compares identities only, without a loop in Python.
        """
        try:
            unchanged = (
                [*map(len, self.containers)] == self._lengths
                and all(map(is_, map(getitem, self._others.containers, self._others.keys), self._objects))
                and self._sets == self._copies
                and (not self._baked.keys or [*map(_number, self._baked.present())] == self._numbers)
            )
            arrays = self.arrays.present()
        except LookupError:
            return None
        return arrays if unchanged and {*map(type, arrays)} == self._types else None

    def now(self) -> Layout:
        """The present layout."""
        return Layout(*self._roots, skipped=self._skipped, **self._options)

    def equals(self, other: Layout) -> bool:
        """Whether a graph for one serves the other: numbers compare by value and type."""
        pairs = zip(other._meanings, self._meanings, strict=False)
        self.changed = next((now[0] for now, before in pairs if now != before), "")
        return self._meanings == other._meanings

    def find_arrays_again(self) -> None:
        """Finds the arrays where they are now, in case that containers around them were replaced."""
        present = self.now().arrays
        if different := {*present.names} ^ {*self.arrays.names}:
            raise ValueError(
                f"{min(different)} is an array only before the step or only after it. A compiled step can change the "
                f"arrays that there are: give it one before the first step, such as mx.array(0.0). (If it is an "
                f"optimizer's, in its init or init_single.)"
            )
        self.arrays = present.in_order(self.arrays.names)

    def _follow_object(self, owner: Any, name: str) -> None:
        """Follows a module or an optimizer."""
        if isinstance(owner, Module):
            self._follow(owner, name, in_attribute=False)
            if not self._options["with_attributes"]:
                return
        else:
            self.optimizers.append(owner)
        self._follow(vars(owner), name, in_attribute=True)

    def _follow(self, node: Any, name: str, *, in_attribute: bool, place: Any = None) -> None:
        """Follows a container. ``place`` is where its items can be set, if that is not the container itself."""
        if place is None:  # a tuple is made anew at each of its places
            if id(node) in self._seen:
                return
            self._seen.add(id(node))
            self.containers.append(node)
            place = node
        for key, child in _items(node):
            if key == "_initialized":  # whose change no trace sees: it is made for an optimizer that is
                continue
            its_name = f"{name}.{key}"
            is_state = in_attribute and key == "_state" and isinstance(child, dict)
            if isinstance(child, mx.array):
                self._add_array(node, place, key, its_name, in_attribute)
                continue
            self._others.add(node, key, its_name)
            self._meanings.append((its_name, _meaning(child)))
            if is_state and self._options["counts_only"]:
                for count in ("step", "learning_rate"):
                    if count in child:
                        self._add_array(child, child, count, f"{its_name}.{count}", False)
            elif isinstance(child, (Module, Optimizer)):
                self._follow_object(child, its_name)
            elif isinstance(child, tuple):
                self._follow(child, its_name, in_attribute=in_attribute, place=_InTuple(place, key))
            elif isinstance(child, (dict, list, set)):
                self._follow(child, its_name, in_attribute=in_attribute and not is_state)

    def _add_array(self, node: Any, place: Any, key: Any, name: str, in_attribute: bool) -> None:
        array = node[key]
        if in_attribute and self._options["by_value"] and array.size == 1 and is_concrete(array):
            self._baked.add(node, key, name)
            self._meanings.append((name, _number(array)))
            return
        if in_attribute:
            self.of_attributes.append(len(self.arrays.keys))
        self.arrays.add(place, key, name)
        self._meanings.append((name, mx.array))  # whatever is in it


class Places:
    """Containers, and a key in each."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.containers: list[Any] = []
        self.keys: list[Any] = []

    def add(self, container: Any, key: Any, name: str) -> None:
        """One more place."""
        self.names.append(name)
        self.containers.append(container)
        self.keys.append(key)

    def in_order(self, names: list[str]) -> Places:
        """The places in the order of these names."""
        at = {name: i for i, name in enumerate(self.names)}
        places = Places()
        for name in names:
            places.add(self.containers[at[name]], self.keys[at[name]], name)
        return places

    def present(self) -> list[Any]:
        """What stands there now."""
        return [*map(getitem, self.containers, self.keys)]

    def put(self, values: Iterable[Any]) -> None:
        """Puts something else there; in C, where no Ctrl-C comes between."""
        deque(map(setitem, self.containers, self.keys, values), maxlen=0)


class _InTuple:
    """The items of a tuple, which is made anew where one is set."""

    def __init__(self, container: Any, key: Any) -> None:
        self._container = container
        self._key = key

    def __getitem__(self, index: int) -> Any:
        return self._container[self._key][index]

    def __setitem__(self, index: int, value: Any) -> None:
        before = self._container[self._key]
        if before[index] is not value:
            items = (*before[:index], value, *before[index + 1 :])
            self._container[self._key] = type(before)(*items) if hasattr(before, "_fields") else type(before)(items)


def _items(node: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(node, dict):
        # An optimizer's step comes first: of its step + 1 and an equal one of a schedule's, MLX keeps the earlier.
        return sorted(node.items(), key=_comes_later) if "step" in node else node.items()
    return enumerate(node) if isinstance(node, (list, tuple)) else ()


def _comes_later(item: tuple[Any, Any]) -> bool:
    return str(item[0]) != "step"


def _number(value: Any) -> Any:
    return (value.dtype, value.shape, repr(value.item())) if isinstance(value, mx.array) else _meaning(value)


def _meaning(value: Any) -> Any:
    """What two values share that mean the same to a trace."""
    if isinstance(value, set):
        return frozenset(value)
    if isinstance(value, (dict, list, tuple)) and not isinstance(value, Module):
        return type(value)  # what is in it is followed
    if isinstance(value, _PLAIN):
        return type(value), repr(value)  # so that nan is itself, and -0.0 is not 0.0
    return id(value)  # kept alive by the layout
