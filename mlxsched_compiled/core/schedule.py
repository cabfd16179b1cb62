"""``Schedule``: a node that remembers the call that made it, as a function of the step."""

from __future__ import annotations

import math
import operator
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from .call import Call
from .checks import Number, count, finite, is_fractional, measured
from .frozen_rate import is_frozen_by_update
from .graph import Graph, Inlined, graph_of, inlined, rate_of
from .node import MutableRate, Node, Operand, State, Structure, as_node, mutable_nodes
from .tracing import NO_TRACER, is_concrete, old_tracer
from .user_rate import UserRate


class Schedule(Node):
    r"""A learning rate as a function of the step: a pure rate, and the hyperparameters it is called with.

    .. math:: \eta(t) = \mathrm{rate}(t, h_1, h_2, \ldots)

    Schedules of one ``rate`` share one compiled graph, whatever their hyperparameters. A schedule can be called with
    steps, given to any optimizer of MLX, combined with others, copied and pickled.

    Args:
        rate: A pure MLX function ``rate(step, *hyperparameters)``, elementwise in ``step`` (uint64, any shape) and in
            the hyperparameters. Its result becomes float32. Use it by its name, not as a new ``lambda`` each time:
            graphs are shared by schedules of the same function.
        *hyperparameters: Numbers, which reach ``rate`` as 0-d float32 arrays, or ``mx.array``, which reach it as
            they are. A count that must stay exact next to steps above 2**24 goes in as ``mx.array(n, mx.uint64)``.

    Raises:
        TypeError: If ``rate`` cannot be called, or a hyperparameter is not a number. When first called: if ``rate``
            cannot be traced, or returns something else than a number or an array.
        ValueError: If a hyperparameter is not finite, or is an int that float32 would round. When first called: if the
            result cannot take the step's shape.

    Example:
        >>> import mlx.core as mx
        >>> from mlxsched_compiled import Schedule
        >>> def power_law(step, peak, steps):
        ...     return peak * (1 + step / steps) ** -0.5
        >>> schedule = Schedule(power_law, 0.1, 100)
        >>> schedule(mx.array([0, 300, 9900]))
        array([0.1, 0.05, 0.01], dtype=float32)
        >>> schedule
        Schedule(<function power_law at 0x...>, 0.1, 100)
    """

    __slots__ = ("_call", "_thread_graph")
    __array_ufunc__ = None  # NumPy leaves its operators to ours: an array times a schedule is no array of schedules

    def __init__(self, rate: Callable[..., Any], *hyperparameters: Number) -> None:
        if not callable(rate):
            raise TypeError(f"rate must be a function of the step, but got {rate!r}.")
        super().__init__(UserRate(rate), *(_exact(i, value) for i, value in enumerate(hyperparameters)))
        self._call = Call(Schedule, (rate, *hyperparameters))
        self._thread_graph: _ThreadGraph | None = None

    @classmethod
    def _of(cls, node: Node, call: Call) -> Schedule:
        """The schedule that computes what ``node`` does, made by ``call``."""
        schedule = cls.__new__(cls)
        schedule.structure, schedule.children, schedule._state = node.structure, node.children, node._state
        schedule.frozen = ""
        schedule._call = call
        schedule._thread_graph = None
        return schedule

    def __call__(self, step: int | mx.array) -> mx.array:
        """The rate at ``step``.

        Args:
            step: Updates made so far: a number from 0, or an array of them, of any shape and any integer or floating
                type. Of 7.5, the whole step below counts.

        Returns:
            float32, of the shape of ``step``.

        Raises:
            ValueError: If ``step`` is a Python number below 0, or 2**63 or more.
            TypeError: If ``step`` is no number.
        """
        if not isinstance(step, mx.array):
            step = _steps(step)
        state, handed = self._state, None
        if _handed and (handed := _handed.get(get_ident())):
            state = handed.leaves_of(self)
        its = self._thread_graph
        if its is None:
            its = self._thread_graph = _ThreadGraph(self.structure)
        try:
            return its.graph.rate(step, state, its.tracer)
        except Inlined:
            pass
        if handed is None and not is_concrete([step, state]):
            self.freeze(_BAKED.format(self.__name__))
        elif handed is None:
            return self._constant_rate(its.graph, step)
        return inlined(self.structure, step, state)

    def _constant_rate(self, graph: Graph, step: mx.array) -> mx.array:
        """The rate at a concrete step, within a trace: a constant of it."""
        if is_frozen_by_update():
            self.freeze(_BAKED.format(self.__name__))
        try:
            return graph.rate(step, self._state, NO_TRACER)
        except Inlined:  # compilation is disabled
            return rate_of(self.structure, step, self._state)

    @property
    def __name__(self) -> str:
        """The name of the function that made the schedule; for a rate of your own, its name."""
        made_by, arguments = self._call.function, self._call.args
        name: str = getattr(arguments[0] if made_by is Schedule else made_by, "__name__", "rate")
        return name

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The present arguments of the call that made the schedule, by name."""
        return self._call.hyperparameters

    def retune(self, **hyperparameters: Any) -> None:
        """Gives this schedule other hyperparameters, while it is in use.

        The next step follows: in an eager loop, in ``compiled_step`` and ``compiled_update``, and in any compiled step
        that captures ``schedule.state``. So do schedules made of this one. Nothing is traced or built again.

        Args:
            **hyperparameters: Some of the arguments of the call that made the schedule, by name. Those of a rate of
                your own go by the names of its parameters.

        Raises:
            ValueError: If a value is bad, or would change what is compiled (a mode, a shape, the number of segments, a
                decay into a growth), or the schedule has been traced into a compiled function (or a ``vmap``) that
                does not capture its state. Nothing is changed then.
            TypeError: If there is no such hyperparameter.

        Example:
            >>> from mlxsched_compiled import cosine_decay
            >>> schedule = cosine_decay(0.1, 100)
            >>> schedule.retune(init=0.2)
            >>> schedule(0), schedule
            (array(0.2, dtype=float32), cosine_decay(init=0.2, decay_steps=100, end=0.0))
        """
        if not hyperparameters:
            return
        _refuse_if_frozen(self)
        made = self._call.changed(hyperparameters)
        if made.structure != self.structure or _types(made._state) != _types(self._state):
            raise ValueError(
                f"{made} is compiled differently from {self}: not its numbers alone are others, but what is computed "
                f"with them. Use it as a new schedule."
            )
        if isinstance(rate := self.structure.rate, MutableRate):
            made._state[: rate.mutable] = self._state[: rate.mutable]
        self._state[:] = made._state  # in place: what is made of this schedule has this very list
        self.children = made.children
        self._call = made._call

    def observe(self, metric: Number) -> None:
        """Tells the schedule a metric, such as the loss of a validation, once it is known.

        It is for the ``reduce_on_plateau`` that this schedule is, or is made of; what else is made of it follows. Call
        it between steps. Nothing is waited for: the next step computes what follows from the metric, in an eager loop,
        in ``compiled_step`` and ``compiled_update``, and in any compiled step that captures ``schedule.state``. Nothing
        is traced or built again.

        Args:
            metric: A number, or a 0-d array of any type.

        Raises:
            TypeError: If ``metric`` is no number, or there is nothing in the schedule that a metric could change.
            ValueError: If ``metric`` is an array of more dimensions, this is called inside of ``compiled_step``, or the
                schedule has been traced into a compiled function (or a ``vmap``) that does not capture its state.
                Nothing is changed then.

        Example:
            >>> from mlxsched_compiled import constant, reduce_on_plateau, warmup
            >>> schedule = warmup(reduce_on_plateau(constant(0.1), patience=1), 10)
            >>> for loss in (3.0, 2.0, 2.0, 2.0):
            ...     schedule.observe(loss)
            >>> schedule(10)
            array(0.01, dtype=float32)
        """
        nodes = mutable_nodes(self)
        if not nodes:
            raise TypeError(f"{self} takes no metrics, as what reduce_on_plateau returns does.")
        if get_ident() in _handed:
            raise ValueError(f"{self} cannot observe inside a compiled step: return the metric, and observe it then.")
        for node, _ in nodes:
            _refuse_if_frozen(node)
        value = measured(metric)
        observed = [(node, rate.observed(value, *node._state)) for node, rate in nodes]
        with suppress(ValueError, RuntimeError):  # of tracers
            mx.async_eval([leaves for _, leaves in observed])  # else no other thread could
        for node, leaves in observed:
            node._state[: len(leaves)] = leaves

    def plot(self, steps: int | None = None, ax: Any = None) -> Any:
        """Draws the rate over the steps.

        Args:
            steps: How many steps; by default as many as show how it goes: all until it ends, several cycles of one that
                repeats itself, several half-lives of one that decays for ever.
            ax: The axes of matplotlib to draw on, which several schedules may share; None for new ones.

        Returns:
            The axes.

        Raises:
            ImportError: If there is no matplotlib.
            ValueError: If ``steps`` is not a whole number >= 1, or no rate is finite.
        """
        from ..plotting.plot import plot

        return plot(self, steps, ax)

    def _repr_html_(self) -> str | None:
        """The curve above the call, for a notebook; None, and it shows the call alone, where there is no curve."""
        from ..plotting.notebook import html

        return html(self)

    @property
    def state(self) -> State:
        """The hyperparameters as arrays: a list that ``mx.compile(..., inputs=[..., schedule.state])`` can capture.

        It is nested as the schedule is made of others, whose own lists stand in it. Captured, they can change while the
        step stays compiled. Not captured, they are constants of the step. Among them is what metrics have done. That
        alone is restored by assigning a state that was saved; hyperparameters stay as they are.
        """
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        saved = dict(tree_flatten(state))
        if {name: _type(leaf) for name, leaf in saved.items()} != _types(self._state):
            if not mutable_nodes(self):
                return
            raise ValueError(
                f"{self} cannot go on with the state of another schedule, whose {len(saved)} arrays have other places, "
                f"shapes or types. Leave the state out (of an optimizer's, what is under 'schedules'), and it starts "
                f"as new."
            )
        _restore(self, saved, "")

    def __mlx_array__(self) -> mx.array:
        """Tells whoever takes a schedule for a number that it is none."""
        raise TypeError(_NO_NUMBER.format(self))

    def _compared(self, other: object) -> bool:
        raise TypeError(_NO_NUMBER.format(self))

    __lt__ = __le__ = __gt__ = __ge__ = _compared

    def __mul__(self, other: Operand) -> Schedule:
        return _operation(operator.mul, self, other)

    def __rmul__(self, other: Operand) -> Schedule:
        return _operation(operator.mul, other, self)

    def __add__(self, other: Operand) -> Schedule:
        return _operation(operator.add, self, other)

    def __radd__(self, other: Operand) -> Schedule:
        return _operation(operator.add, other, self)

    def __sub__(self, other: Operand) -> Schedule:
        return _operation(operator.sub, self, other)

    def __rsub__(self, other: Operand) -> Schedule:
        return _operation(operator.sub, other, self)

    def __truediv__(self, other: Operand) -> Schedule:
        return _operation(operator.truediv, self, other)

    def __rtruediv__(self, other: Operand) -> Schedule:
        return _operation(operator.truediv, other, self)

    def __neg__(self) -> Schedule:
        return _operation(operator.neg, self)

    def __repr__(self) -> str:
        return self._call.text()

    def __str__(self) -> str:
        """The call, of a long one its two ends."""
        text = str(self._call)
        return text if len(text) <= _LONG else f"{text[: _LONG // 2]} ... {text[-_LONG // 4 :]}"

    def __reduce__(self) -> tuple[Any, ...]:
        rate = self.structure.rate
        if not isinstance(rate, MutableRate):
            return self._call.reduced()
        return (*self._call.reduced(), [leaf.tolist() for leaf in self._state[: rate.mutable]])

    def __setstate__(self, mutable: list[Any]) -> None:
        for i, value in enumerate(mutable):
            self._state[i] = mx.array(value, self._state[i].dtype)


Schedule.__module__ = "mlxsched_compiled"  # where pickles look for it


class _ThreadGraph(threading.local):
    """The graph of one schedule, on each thread that calls it."""

    def __init__(self, structure: Structure) -> None:
        self.graph = graph_of(structure)
        self.tracer = old_tracer()


_LONG = 1000
"""Characters of the ``str`` of a call. Its ``repr`` has all, since ``from_config`` makes the schedule of it again."""

_NO_NUMBER = (
    "{} is used as a number. MLX takes a schedule when it makes an optimizer, and for the learning rate alone. To give "
    "an optimizer another rate later, retune the schedule that it follows, or make it by scheduled(optimizer_class, "
    "...): that takes schedules for weight_decay, momentum, betas and the like as well, and assigned ones at any time. "
    "(A schedule times an array is written schedule * array.)"
)

_OPERATIONS: dict[Any, Callable[..., mx.array]] = {
    operator.mul: lambda step, a, b: a(step) * b(step),
    operator.add: lambda step, a, b: a(step) + b(step),
    operator.sub: lambda step, a, b: a(step) - b(step),
    operator.truediv: lambda step, a, b: a(step) / b(step),
    operator.neg: lambda step, a: -a(step),
}
"""The rate that an operator makes of rates."""

_BAKED = (
    "{} cannot be retuned, and cannot observe: it is part of a function of mx.compile (or mx.vmap) that does not have "
    "its state as an input, and would go on with the old numbers. Either let mx.compile(..., inputs=[..., "
    "schedule.state]) capture it, before the first call, or train with compiled_step or compiled_update."
)


def _refuse_if_frozen(node: Node) -> None:
    if node.frozen:
        raise ValueError(node.frozen)


def _type(leaf: mx.array) -> Any:
    return leaf.shape, leaf.dtype


def _types(state: State) -> dict[str, Any]:
    """Shape and type of each leaf, by its place."""
    return {name: _type(leaf) for name, leaf in dict(tree_flatten(state)).items()}


def _restore(node: Node, saved: dict[str, mx.array], place: str) -> None:
    """Takes the mutable leaves of a tree out of a saved state."""
    if isinstance(rate := node.structure.rate, MutableRate):
        node._state[: rate.mutable] = [saved[f"{place}{i}"] for i in range(rate.mutable)]
    places = [i for i, child in enumerate(node.structure.children) if child is not None]
    for i, child in zip(places, node.children, strict=True):
        _restore(child, saved, f"{place}{i}.")


_handed: dict[int, Handed] = {}
"""By thread on which one of our own tools traces, the leaves that it hands to schedules."""


class Handed:
    """Leaves that one of our own tools hands to schedules while it traces.

    Args:
        leaves: For each schedule the leaves of the trace, laid out as ``schedule.state``.
    """

    def __init__(self, leaves: Mapping[Schedule, list[Any]]) -> None:
        self.leaves = leaves
        self.missing: list[Schedule] = []
        """Schedules called that no leaves were handed to."""

    def leaves_of(self, schedule: Schedule) -> State:
        """The leaves handed to a schedule; its own if there are none."""
        if schedule not in self.leaves:
            self.missing.append(schedule)
        return self.leaves.get(schedule, schedule.state)


@contextmanager
def handing(leaves: Mapping[Schedule, list[Any]]) -> Iterator[Handed]:
    """Has schedules compute with these leaves in place of their own, on this thread.

    So tracers never stand in a schedule's own list, and another thread may call, print or retune it meanwhile.
    """
    thread = get_ident()
    before = _handed.get(thread)
    _handed[thread] = handed = Handed(leaves)
    try:
        yield handed
    finally:
        if before is None:
            del _handed[thread]
        else:
            _handed[thread] = before


def uncompiled(schedule: Schedule, step: mx.array) -> mx.array:
    """The rate at ``step``, without a graph."""
    return rate_of(schedule.structure, step, schedule.state)


def is_mutable(schedule: Schedule) -> bool:
    """Whether something else than ``retune`` changes a schedule, such as metrics."""
    return bool(mutable_nodes(schedule))


def _operation(function: Callable[..., Any], *operands: Operand) -> Schedule:
    for operand in operands:
        if isinstance(operand, mx.array) and operand.ndim > 0:
            raise TypeError(_NO_NUMBER.format(next(o for o in operands if isinstance(o, Schedule))))
    names = ("the left operand", "the right operand")
    nodes = [as_node(name, operand) for name, operand in zip(names, operands, strict=False)]
    divisor = operands[1] if function is operator.truediv else 1
    if not callable(divisor) and not isinstance(divisor, mx.array) and divisor == 0:
        raise ValueError(f"the right operand of / must not be 0, but got {divisor!r}.")
    return Schedule._of(Node(_OPERATIONS[function], *nodes), Call(function, operands))


def _steps(value: Any) -> mx.array:
    """Steps as an array. Of a number that is not whole the whole one below counts, as in an array."""
    if isinstance(value, (list, tuple, range)):
        return mx.stack([_steps(each) for each in value])
    if hasattr(value, "__array__") and getattr(value, "ndim", 0) > 0:
        return mx.array(value)
    if is_fractional(value) and math.isfinite(value):
        value = math.floor(value)
    return mx.array(count("step", value, at_least=0), mx.uint64)


def _exact(position: int, value: Number) -> mx.array:
    if isinstance(value, mx.array):
        return value
    number = finite(f"hyperparameter {position}", value)
    if hasattr(value, "__index__") and mx.array(number, mx.float32).item() != int(value):
        raise ValueError(
            f"hyperparameter {position} must be exact in float32, but got {value}; pass mx.array({value}, mx.uint64)."
        )
    return mx.array(number, mx.float32)
