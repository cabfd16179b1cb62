"""``Schedule``: a rate function and the coefficients it is called with, as a function of the step."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import Any
from weakref import WeakSet

import mlx.core as mx

from .bound import Bound, Operand, as_bound, composite
from .call import Call
from .checks import Number, count, finite, is_fractional, measured
from .graph import Graph, Inlined, applied, inlined
from .rates import Function, types_of
from .traces import is_concrete, is_update_traced


class Schedule(Bound):
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

    __slots__ = ("__weakref__", "_call", "_graph", "_is_constant", "_observers", "_wholes")
    __array_ufunc__ = None  # NumPy leaves its operators to ours: an array times a schedule is no array of schedules

    def __init__(self, rate: Callable[..., Any], *hyperparameters: Number) -> None:
        if not callable(rate):
            raise TypeError(f"rate must be a function of the step, but got {rate!r}.")
        super().__init__(Function(rate), [_array(i, value) for i, value in enumerate(hyperparameters)], [rate])
        self._bind(Call(Schedule, (rate, *hyperparameters)))

    @classmethod
    def _of(cls, made: Bound, call: Call) -> Schedule:
        """The schedule that computes what ``made`` does, made by ``call``."""
        schedule = cls.__new__(cls)
        Bound.__init__(schedule, made.structure, made.state, made._functions)
        if not isinstance(made, Schedule):
            schedule._live, schedule._observed = made._live, made._observed
        schedule._bind(call)
        return schedule

    def _bind(self, call: Call) -> None:
        self._call = call
        self._observers = self._find_observers()
        if not self._observers:  # what a metric decides is not waited for
            with suppress(ValueError, RuntimeError):  # what is being traced cannot be evaluated
                mx.eval(self._state)
        self._graph = Graph(self.structure)
        self._is_constant = False  # of a graph that does not have its state as an input
        self._wholes: WeakSet[Schedule] = WeakSet()  # schedules that are, or once were, made of this one
        self._join_operands()

    def _join_operands(self) -> None:
        for operand in self._call.operands():
            if isinstance(operand, Schedule):
                operand._wholes.add(self)

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
        elif get_ident() not in _handed and is_update_traced() and is_concrete(step):
            self._is_constant = True  # as is all that follows from the step
        state = self._state
        if _handed and (handed := _handed.get(get_ident())):
            if self not in handed.leaves:
                handed.missing.append(self)
            state = handed.leaves.get(self, state)
        try:
            return self._graph.call(step, *state)
        except Inlined:
            self._is_constant |= get_ident() not in _handed
        return inlined(self.structure, step, *state)

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
        if hyperparameters:
            with _all_or_nothing() as undo:
                made = self._call.changed(hyperparameters)
                made._state[: self._live] = self._state[: self._live]
                self._become(made, made._call, undo)

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
        if not self._observers:
            raise TypeError(f"{self} takes no metrics, as what reduce_on_plateau returns does.")
        if get_ident() in _handed:
            raise ValueError(f"{self} cannot observe inside a compiled step: return the metric, and observe it then.")
        value = measured(metric)
        with _all_or_nothing() as undo:
            for schedule, _ in self._observers:
                assert schedule._observed is not None
                schedule._go_on_with(schedule._observed(value, *schedule._state), undo)

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
    def state(self) -> list[mx.array]:
        """The coefficients, as a list that ``mx.compile(..., inputs=[..., schedule.state])`` can capture.

        Captured, they can change while the step stays compiled. Not captured, they are constants of the step. Among
        them is what metrics have done. That alone is restored by assigning a state that was saved; hyperparameters
        stay as they are.
        """
        return self._state

    @state.setter
    def state(self, state: Sequence[mx.array]) -> None:
        if self._observers:
            saved = types_of(state)
            if saved != self._types:
                raise ValueError(
                    f"{self} cannot go on with the state of another schedule, which has {len(saved)} arrays of other "
                    f"shapes or types. Leave the state out (of an optimizer's, what is under 'schedules'), and it "
                    f"starts as new."
                )
            with _all_or_nothing() as undo:
                for schedule, at in self._observers:
                    schedule._go_on_with([state[i] for i in at], undo)

    def _find_observers(self) -> list[tuple[Schedule, list[int]]]:
        """The schedules that metrics change, this one or those it is made of, and where their live coefficients are."""
        found = {self: [*range(self._live)]} if self._live else {}
        at = {id(array): i for i, array in enumerate(self._state)}
        for operand in self._call.operands():
            for schedule, places in operand._observers if isinstance(operand, Schedule) else ():
                try:
                    found[schedule] = [at[id(operand._state[i])] for i in places]
                except KeyError:
                    raise ValueError(f"{self} would not follow the metrics that {operand} observes.") from None
        return [*found.items()]

    def _go_on_with(self, live: Sequence[mx.array], undo: list[Callable[[], None]]) -> None:
        """Takes other live coefficients, and so does what is made of this schedule."""
        self._become(Bound(self.structure, [*live, *self._state[self._live :]]), self._call, undo)

    def _become(self, made: Bound, its_call: Call, undo: list[Callable[[], None]]) -> None:
        """Takes over what ``its_call`` has ``made``, and has what is made of this schedule made again."""
        check_not_constant(self.__name__, self._is_constant)
        if made.structure != self.structure or made._types != self._types:
            raise ValueError(
                f"{made} is compiled differently from {self}: not its numbers alone are others, but what is computed "
                f"with them. Use it as a new schedule."
            )
        state, call = [*self._state], self._call

        def restore() -> None:
            self._state[:] = state
            self._call = call

        undo.append(restore)
        self._state[:] = made._state
        self._call = its_call
        self._join_operands()
        for user in list(self._wholes):
            if any(operand is self for operand in user._call.operands()):
                remade = user._call.changed({})
                remade._state[: user._live] = user._state[: user._live]
                user._become(remade, remade._call, undo)

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
        return str(self._call)

    def __str__(self) -> str:
        """The call, of a long one its two ends."""
        text = repr(self)
        return text if len(text) <= _LONG else f"{text[: _LONG // 2]} ... {text[-_LONG // 4 :]}"

    def __reduce__(self) -> tuple[Any, ...]:
        live = [array.tolist() for array in self._state[: self._live]]
        return (*self._call.reduced(), live) if live else self._call.reduced()

    def __setstate__(self, live: list[Any]) -> None:
        self._state[: self._live] = [mx.array(value, mx.float32) for value in live]


Schedule.__module__ = "mlxsched_compiled"  # where pickles look for it

_LONG = 1000
"""The most characters that are printed of a call. A ``repr`` has all of it, since ``from_config`` makes it again."""

_NO_NUMBER = (
    "{} is used as a number. MLX takes a schedule for the learning rate alone; for weight_decay, momentum, betas and "
    "the like, scheduled(optimizer_class, ...) takes one. (A schedule times an array is written schedule * array.)"
)

_OPERATIONS: dict[Any, Callable[..., mx.array]] = {
    operator.mul: lambda step, parts: parts[0](step) * parts[1](step),
    operator.add: lambda step, parts: parts[0](step) + parts[1](step),
    operator.sub: lambda step, parts: parts[0](step) - parts[1](step),
    operator.truediv: lambda step, parts: parts[0](step) / parts[1](step),
    operator.neg: lambda step, parts: -parts[0](step),
}
"""The rate that an operator makes of rates."""


def check_not_constant(name: str, is_constant: bool) -> None:
    """Refuses to change what a graph has as a constant."""
    if is_constant:
        raise ValueError(
            f"{name} cannot be retuned, and cannot observe: it is part of a function of mx.compile (or mx.vmap) that "
            f"does not have its state as an input, and would go on with the old numbers. Either let "
            f"mx.compile(..., inputs=[..., schedule.state]) capture it, before the first call, or train with "
            f"compiled_step or compiled_update."
        )


@contextmanager
def _all_or_nothing() -> Iterator[list[Callable[[], None]]]:
    """Collects what undoes the changes made so far, and does it if one fails."""
    undo: list[Callable[[], None]] = []
    try:
        yield undo
    except BaseException:
        for step in reversed(undo):
            step()
        raise


_handed: dict[int, Handed] = {}
"""Threads on which one of our own tools traces, and the leaves it hands to schedules."""


class Handed:
    """Leaves that a trace of one of our own tools hands to schedules.

    Args:
        leaves: For each schedule the leaves of the trace, laid out as ``schedule.state``.
    """

    def __init__(self, leaves: Mapping[Schedule, list[Any]]) -> None:
        self.leaves = leaves
        self.missing: list[Schedule] = []
        """Schedules called that no leaves were handed to."""


@contextmanager
def handing(leaves: Mapping[Schedule, list[Any]]) -> Iterator[Handed]:
    """Has schedules compute with these leaves in place of their own, on this thread.

    A schedule's own list holds no tracer then, so another thread may call, print or retune it meanwhile.
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
    return applied(schedule.structure, step, *schedule.state)


def is_mutable(schedule: Schedule) -> bool:
    """Whether something else than ``retune`` changes a schedule: metrics, or a clock."""
    return bool(schedule._observers)


def _operation(function: Callable[..., Any], *operands: Operand) -> Schedule:
    for operand in operands:
        if isinstance(operand, mx.array) and operand.ndim > 0:
            raise TypeError(_NO_NUMBER.format(next(o for o in operands if isinstance(o, Schedule))))
    names = ("the left operand", "the right operand")
    parts = [as_bound(name, operand) for name, operand in zip(names, operands, strict=False)]
    divisor = operands[1] if function is operator.truediv else 1
    if not callable(divisor) and not isinstance(divisor, mx.array) and divisor == 0:
        raise ValueError(f"the right operand of / must not be 0, but got {divisor!r}.")
    return Schedule._of(composite(_OPERATIONS[function], parts), Call(function, operands))


def _steps(value: Any) -> mx.array:
    """Steps as an array; of a number that is not whole, the whole one below counts, as it does in an array."""
    if hasattr(value, "__array__") and getattr(value, "ndim", 0) > 0:
        return mx.array(value)
    if is_fractional(value) and math.isfinite(value):
        value = math.floor(value)
    return mx.array(count("step", value, at_least=0), mx.uint64)


def _array(position: int, value: Number) -> mx.array:
    if isinstance(value, mx.array):
        return value
    number = finite(f"hyperparameter {position}", value)
    if hasattr(value, "__index__") and mx.array(number, mx.float32).item() != int(value):
        raise ValueError(
            f"hyperparameter {position} must be exact in float32, but got {value}; pass mx.array({value}, mx.uint64)."
        )
    return mx.array(number, mx.float32)
