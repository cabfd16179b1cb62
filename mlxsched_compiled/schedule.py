"""``Schedule``: a rate and the coefficients it is called with."""

from __future__ import annotations

import operator
from _thread import get_ident
from collections.abc import Callable
from functools import wraps

import mlx.core as mx

from .checks import Count, Number, count, finite, whole
from .fusion import fused
from .graph import UNTYPED_KERNELS, Rate, applied, compiled, is_known, whole_steps
from .rates import Composite, Function, add, constant_rate, multiply

TYPE_CHECKING = False  # what is only for types is not imported: schedules must not slow a program's start
if TYPE_CHECKING:
    from typing import Any, ParamSpec, TypeAlias

    P = ParamSpec("P")
    _Call = tuple[Callable[..., "Schedule"], tuple[Any, ...], dict[str, Any]]

Coefficient = float | int | mx.array
Operand: TypeAlias = "Schedule | Callable[[mx.array], Any] | Number"
"""What stands for a schedule: one, a plain function of the step that MLX can trace, a number."""


class Schedule:
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

    __slots__ = ("_call", "_graphs", "_rate", "_state")

    def __init__(self, rate: Callable[..., Any], *hyperparameters: Number) -> None:
        if not callable(rate):
            raise TypeError(f"rate must be a function of the step, but got {rate!r}.")
        arrays = [_hyperparameter(i, value) for i, value in enumerate(hyperparameters)]
        self._bind(Function(rate), arrays, (Schedule, (rate, *hyperparameters), {}))

    def _bind(self, rate: Rate, state: list[mx.array], call: _Call) -> None:
        for array in state:
            is_known(array)  # evaluates what can be evaluated now, once
        self._rate = rate
        self._state = state
        self._call = call
        self._graphs: dict[int, Rate] = {}

    @property
    def rate(self) -> Rate:
        """What is compiled: equal for schedules that share a graph."""
        return self._rate

    structure = rate

    @property
    def state(self) -> list[mx.array]:
        """The coefficients, as a list that ``mx.compile(..., inputs=[..., schedule.state])`` can capture.

        Captured, they can change while the step stays compiled. Not captured, they are constants of the step, and safe
        ones.
        """
        return self._state

    def __call__(self, step: int | mx.array) -> mx.array:
        """The rate at ``step``.

        Args:
            step: Updates made so far: a whole number from 0, or an array of them, of any shape and any integer or
                floating type.

        Returns:
            float32, of the shape of ``step``.

        Raises:
            ValueError: If ``step`` is a Python number below 0, or not whole.
        """
        if not isinstance(step, mx.array):
            step = _step(step)
        elif UNTYPED_KERNELS:
            step = whole_steps(step)
        try:
            graph = self._graphs[get_ident()]
        except KeyError:
            graph = self._graphs[get_ident()] = compiled(self._rate, get_ident())
        return graph(step, *self._state)

    def retune(self, **hyperparameters: Any) -> None:
        """Gives this schedule other hyperparameters, while it is in use.

        The next step follows: in an eager loop, in ``compiled_step`` and ``compiled_update``, and in any compiled step
        that captures ``schedule.state``. Nothing is traced or built again. (A compiled step that does not capture the
        state goes on with what it was compiled with. Schedules made from this one have copies of its hyperparameters.)

        Args:
            **hyperparameters: Some of the arguments of the call that made the schedule, by name. Those of a rate of
                your own go by the names of its parameters.

        Raises:
            ValueError: If a value is bad, or would change what is compiled (a mode, a shape, the number of segments, a
                decay into a growth). Nothing is changed then.
            TypeError: If there is no such hyperparameter.

        Example:
            >>> from mlxsched_compiled import cosine_decay
            >>> schedule = cosine_decay(0.1, 100)
            >>> schedule.retune(init=0.2)
            >>> schedule(0), schedule
            (array(0.2, dtype=float32), cosine_decay(init=0.2, decay_steps=100, end=0.0))
        """
        function, args, kwargs = self._call
        if function is Schedule:
            from inspect import signature

            rate, *values = args
            try:
                names = list(signature(rate).parameters)[1:]
            except ValueError:  # a function of MLX itself
                names = []
            merged = {**dict(zip(names, values, strict=True)), **hyperparameters}
            if unknown := merged.keys() - set(names):
                raise TypeError(f"{self} has no hyperparameter {', '.join(sorted(unknown))}.")
            made = Schedule(rate, *merged.values())
        elif function in _SIGNS:
            raise TypeError(f"{self} has no hyperparameters of its own; retune it by combining retuned schedules.")
        else:
            made = function(*args, **{**kwargs, **hyperparameters})
        if made._rate != self._rate or types(made) != types(self):
            raise ValueError(f"{made} is compiled differently from {self}; use it as a new schedule.")
        self._state[:] = made._state
        self._call = made._call

    def __mul__(self, other: Operand) -> Schedule:
        return _operation(operator.mul, multiply, self, other)

    def __rmul__(self, other: Operand) -> Schedule:
        return _operation(operator.mul, multiply, other, self)

    def __add__(self, other: Operand) -> Schedule:
        return _operation(operator.add, add, self, other)

    def __radd__(self, other: Operand) -> Schedule:
        return _operation(operator.add, add, other, self)

    def __repr__(self) -> str:
        function, args, kwargs = self._call
        if function in _SIGNS:
            return f"({args[0]!r} {_SIGNS[function]} {args[1]!r})"
        words = [repr(a) for a in args] + [f"{name}={value!r}" for name, value in kwargs.items()]
        return f"{function.__name__}({', '.join(words)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_by, self._call


_SIGNS: dict[Any, str] = {operator.mul: "*", operator.add: "+"}


def schedule(rate: Rate, *coefficients: Coefficient) -> Schedule:
    """A schedule of one of this package's own rates: a float becomes a float32 coefficient, an int a uint64 one."""
    made = Schedule.__new__(Schedule)
    made._bind(rate, [_coefficient(c) for c in coefficients], (schedule, (rate, *coefficients), {}))
    return made


def composite(combine: Callable[..., mx.array], parts: list[Schedule], *coefficients: Coefficient) -> Schedule:
    """A schedule made of schedules: ``combine(step, parts, *coefficients)``, each part a function of the step."""
    own = [_coefficient(c) for c in coefficients]
    arrays = [*own, *(c for part in parts for c in part.state)]
    sizes = tuple(len(part.state) for part in parts)
    rate = Composite(combine, len(own), tuple(part.rate for part in parts), sizes, (False,) * len(parts))
    made = schedule(rate, *arrays)
    made._rate = fused(rate, types(made))
    return made


def types(schedule: Schedule) -> tuple[tuple[tuple[int, ...], mx.Dtype], ...]:
    """Shape and type of each coefficient."""
    return tuple((c.shape, c.dtype) for c in schedule.state)


def rate_at(schedule: Schedule, step: Count) -> mx.array:
    """One rate of a schedule, as a coefficient of another; not compiled."""
    return applied(schedule.rate, mx.array(step, mx.uint64), *schedule.state)


def as_schedule(name: str, value: Operand) -> Schedule:
    """Any of the things that stand for a schedule: one, a plain function of the step, a number."""
    if isinstance(value, Schedule):
        return value
    if callable(value):
        return Schedule(value)
    return schedule(constant_rate, finite(name, value))


def factory(make: Callable[P, Schedule]) -> Callable[P, Schedule]:
    """Lets a schedule remember the call that made it, for ``repr``, ``pickle``, ``copy`` and ``retune``."""
    code = make.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    options = make.__kwdefaults__ or {}
    defaults = dict(zip(reversed(names[: code.co_argcount]), reversed(make.__defaults__ or ()), strict=False))

    @wraps(make)
    def called(*args: P.args, **kwargs: P.kwargs) -> Schedule:
        made = make(*args, **kwargs)
        given = {**defaults, **dict(zip(names, args, strict=False)), **kwargs}
        given = {n: list(v) if isinstance(v, list) else v for n, v in given.items()}  # the caller may change his
        shown = {n: given[n] for n in names if n in given and not (n in options and given[n] is options[n])}
        return named(made, called, **shown)

    return called


def named(made: Schedule, function: Callable[..., Schedule], /, **arguments: Any) -> Schedule:
    """A schedule like ``made``, made by a call of ``function``."""
    same = Schedule.__new__(Schedule)
    same._bind(made._rate, list(made._state), (function, (), arguments))
    return same


def _made_by(function: Callable[..., Schedule], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Schedule:
    return function(*args, **kwargs)


def _operation(sign: Callable[..., Any], combine: Callable[..., mx.array], a: Operand, b: Operand) -> Schedule:
    made = composite(combine, [as_schedule("the left operand", a), as_schedule("the right operand", b)])
    made._call = (sign, (a, b), {})
    return made


def _step(value: Any) -> mx.array:
    if hasattr(value, "__array__") and getattr(value, "ndim", 0) > 0:
        return mx.array(value)
    return mx.array(count("step", value, at_least=0), mx.uint64)


def _hyperparameter(position: int, value: Number) -> mx.array:
    if isinstance(value, mx.array):
        return value
    number = finite(f"hyperparameter {position}", value)
    if isinstance(value, int) and whole("", mx.array(number, mx.float32).item()) != value:
        raise ValueError(
            f"hyperparameter {position} must be exact in float32, but got {value}; pass mx.array({value}, mx.uint64)."
        )
    return mx.array(number, mx.float32)


def _coefficient(value: Coefficient) -> mx.array:
    if isinstance(value, mx.array):
        return value
    if isinstance(value, float):
        return mx.array(value, mx.float32)
    if value < 2**63:
        return mx.array(value, mx.uint64)
    return mx.array(value - 2**64, mx.int64).view(mx.uint64)
