"""``Node``: a pure rate and its arguments, which are numbers or other nodes. A schedule is a tree of these.

The *structure* of a tree says which rates it has, nested how: it is what is compiled. The *state* holds its leaves, the
numbers, as inputs of what is compiled: a list in which a child's place is taken by the child's own list.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx
from mlx.utils import tree_flatten

from .checks import Number, finite
from .tracing import is_concrete
from .user_rate import UserRate

Rate: TypeAlias = Callable[..., mx.array]
"""A pure, elementwise function ``rate(step, *arguments)``: a function of a module, a ``ParametricRate``, or a
``UserRate``. An argument is a 0-d array or a child, which is called with steps."""

State: TypeAlias = "list[Any]"
"""Leaves (``mx.array``) and the states of children, in the order of the arguments."""

_FUSED = 3
"""Levels of a tree that are one kernel. MLX fuses 11 operations deep, and splits what is deeper wherever that falls."""


class Structure(NamedTuple):
    """What is compiled: the rate, and the structure of each argument that is a child, None of each that is a leaf."""

    rate: Rate
    children: tuple[Structure | None, ...] = ()

    def compute(self, step: mx.array, state: State, level: int = 0) -> mx.array:
        """The rate at ``step``, with the leaves of ``state``; ``level`` counts from the last fusion barrier."""
        pairs = zip(self.children, state, strict=True)
        return self.rate(step, *(its if child is None else Child(child, its, level + 1) for child, its in pairs))

    def rates(self) -> Iterator[Rate]:
        """Its own rate, and those of all children."""
        yield self.rate
        for child in self.children:
            if child is not None:
                yield from child.rates()


class Child:
    """A child as an argument of its parent's rate: a function of the step, behind a fusion barrier if it is deep."""

    def __init__(self, structure: Structure, state: State, level: int) -> None:
        self._structure = structure
        self._state = state
        self._level = level

    def __call__(self, step: mx.array) -> mx.array:
        """The rate at ``step``."""
        if self._level < _FUSED:
            return self._structure.compute(step, self._state, self._level)
        return self.apart(step)

    def apart(self, step: mx.array) -> mx.array:
        """The rate at ``step``, in a kernel of its own."""
        return fusion_barrier(self._structure.compute(fusion_barrier(step), self._state))

    def taking(self, lanes: mx.array) -> Child:
        """The same child with these elements of its leaves, which are vectors."""
        return Child(self._structure, _taken(self._state, lanes), self._level)


def fusion_barrier(array: mx.array) -> mx.array:
    """``array`` as a view: MLX does not fuse across it, so what is computed from it is another kernel."""
    return mx.squeeze(mx.expand_dims(array, 0), 0)


class Node:
    """A rate and its arguments.

    Args:
        rate: The rate.
        *arguments: A number: a float becomes a float32 array, an int a uint64 one, an ``mx.array`` stays as it is. Or
            a node, whose state becomes part of this one by reference.
    """

    __slots__ = ("__weakref__", "_state", "children", "frozen", "structure")

    def __init__(self, rate: Rate, *arguments: float | int | mx.array | Node) -> None:
        self.children = [argument for argument in arguments if isinstance(argument, Node)]
        children = tuple(a.structure if isinstance(a, Node) else None for a in arguments)
        self.structure: Structure = Structure(rate, children)
        self._state: State = [a._state if isinstance(a, Node) else as_leaf(a) for a in arguments]
        self.frozen = ""
        """Why ``retune`` and ``observe`` are refused; empty if they are not."""

    @property
    def state(self) -> State:
        """The leaves, and the states of children."""
        return self._state

    def tree(self) -> Iterator[Node]:
        """This node and all below it, each once."""
        found: dict[Node, None] = {}
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found[node] = None
                waiting.extend(node.children)
        return iter(found)

    def freeze(self, why: str) -> None:
        """Has the leaves, and those of all children, stay as they are."""
        for node in self.tree():
            node.frozen = node.frozen or why


class ParametricRate:
    """A rate with parameters, which decide what is computed. Equal to another of its class with equal ones.

    Args:
        *parameters: In the order of the annotations of the class.
    """

    def __init__(self, *parameters: Any) -> None:  # a dataclass would take 20 ms to import
        vars(self).update(zip(type(self).__annotations__, parameters, strict=True))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))


class MutableRate(ParametricRate, ABC):
    """A rate whose first leaves change without ``retune``, such as by metrics."""

    mutable: int
    """How many leaves those are."""

    @abstractmethod
    def observed(self, metric: mx.array, *state: Any) -> Sequence[mx.array]:
        """Those leaves after one more metric."""


def mutable_nodes(node: Node) -> list[tuple[Node, MutableRate]]:
    """The nodes of a tree whose first leaves change without ``retune``, with their rates."""
    rates: list[tuple[Node, Any]] = [(each, each.structure.rate) for each in node.tree()]
    return [(each, rate) for each, rate in rates if isinstance(rate, MutableRate)]


def leaves(tree: Any) -> list[mx.array]:
    """The arrays of a tree, such as a state."""
    found: Any = tree_flatten(tree)
    return [leaf for _, leaf in found if isinstance(leaf, mx.array)]


Operand: TypeAlias = "Node | Callable[[mx.array], Any] | Number"
"""What stands for a schedule: one, a plain function of the step that MLX can trace, a number."""


def as_node(name: str, value: Operand) -> Node:
    """Any of the things that stand for a schedule."""
    if isinstance(value, Node):
        return value
    if callable(value):
        return Node(UserRate(value))
    return Node(constant_rate, finite(name, value))


def constant_rate(step: mx.array, value: mx.array) -> mx.array:
    """value"""
    return value


def as_leaf(value: float | int | mx.array) -> mx.array:
    """A number as an input of a graph."""
    if isinstance(value, float):
        return mx.array(value, mx.float32)
    if isinstance(value, int):
        return mx.array(value, mx.uint64)
    is_concrete(value)  # evaluates it: another thread could not
    return value


def _taken(state: State, lanes: mx.array) -> State:
    return [mx.take(each, lanes, axis=0) if isinstance(each, mx.array) else _taken(each, lanes) for each in state]
