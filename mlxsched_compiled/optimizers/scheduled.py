"""Any hyperparameter of an optimizer on a schedule.

Before each update, an optimizer of MLX calls the schedule of every name among its ``_schedulers`` and puts the value
into its state. But it reads its hyperparameters from attributes. So a class is derived from its own, in which the
attributes that are scheduled are properties that return what is in the state.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from functools import cache
from typing import Any, TypeVar
from warnings import warn

import mlx.core as mx
from mlx.optimizers import MultiOptimizer, Optimizer
from mlx.utils import tree_flatten

from ..core.checks import finite
from ..core.schedule import Schedule
from .arguments import check, elements_of, is_number, is_numeric, parameters_of
from .reads import Reads
from .state import (
    ScheduleList,
    as_count,
    check_names,
    follow,
    load,
    number_array,
    scheduler_of,
    store_leaves,
    value_at,
)
from .weak_scalar import WeakScalar

O = TypeVar("O", bound=Optimizer)  # noqa: E741


def scheduled(optimizer_class: type[O], /, **arguments: Any) -> O:
    r"""An optimizer, any of whose numeric hyperparameters may follow a schedule.

    .. math:: h_t = \mathrm{schedule}_h(t), \qquad w_{t+1} = \mathrm{update}(w_t, g_t; \eta_t, h_t, \ldots)

    The values of the step stand in ``optimizer.state``, under the names of the arguments, as the learning rate does;
    ``optimizer.weight_decay`` shows the value as a number. What is assigned there, a number or another schedule, counts
    from then on, in compiled steps too. The same goes for ``optimizer.learning_rate``.

    A hyperparameter that is given as a number is the plain attribute that it is in MLX, and part of what is compiled;
    ``constant(0.1)`` in its place can be changed while a compiled step goes on.

    The leaves of the schedules stand in ``optimizer.state["schedules"]``. So a compiled step that captures
    ``optimizer.state`` follows ``retune`` and ``observe``. A state that is assigned, as from a checkpoint, does not
    change them: hyperparameters are what the program says. What metrics have done (``observe``) is restored.

    Args:
        optimizer_class: A class of ``mlx.optimizers``, or one derived from them.
        **arguments: What to make it with, by name. In place of a number, or of a number in a list (``betas``), there
            may be a schedule or a plain function of the step.

    Returns:
        An optimizer of that class.

    Raises:
        TypeError: If there is no such argument, it has a schedule and is not a number (``nesterov``, ``ns_steps``), or
            the class does not keep it in an attribute of its name.
        ValueError: If a number is not finite, or what the class raises for the numbers and the first values.

    Warns:
        UserWarning: By an update, if updates do not read a hyperparameter that is on a schedule. When a state is
            loaded, if it lacks what metrics have told a schedule.

    Source: ``inject_hyperparams`` in Optax.

    Example:
        >>> import mlx.core as mx, mlx.nn as nn, mlx.optimizers as optim
        >>> from mlxsched_compiled import compiled_step, cosine_decay, linear_schedule, scheduled
        >>> optimizer = scheduled(
        ...     optim.AdamW,
        ...     learning_rate=cosine_decay(1e-3, 100),
        ...     weight_decay=linear_schedule(0.1, 0.2, 100),
        ...     betas=[0.9, linear_schedule(0.95, 0.999, 100)],
        ... )
        >>> model = nn.Linear(4, 1)
        >>> step = compiled_step(lambda model, x: (model(x) ** 2).mean(), model, optimizer)
        >>> for _ in range(51):
        ...     loss = step(mx.ones((2, 4)))
        >>> optimizer.weight_decay, optimizer.betas
        (0.15, (0.9, 0.9745))
    """
    if not (isinstance(optimizer_class, type) and issubclass(optimizer_class, Optimizer)):
        raise TypeError(f"optimizer_class must be a class of optimizers, but got {optimizer_class!r}.")
    if issubclass(optimizer_class, MultiOptimizer):
        raise TypeError(
            "optimizer_class must not be MultiOptimizer: make the optimizers that it is given by scheduled."
        )
    if issubclass(optimizer_class, _Scheduled):  # the type of what was made here before
        optimizer_class = next(each for each in optimizer_class.__mro__ if not issubclass(each, _Scheduled))
    parameters = parameters_of(optimizer_class)
    known = [name for name, parameter in parameters.items() if is_numeric(parameter)]
    for name, value in arguments.items():
        check(optimizer_class.__name__, name, value, parameters, known)
    schedulers = {
        name: scheduler
        for name, value in arguments.items()
        if name != "learning_rate" and name in known and is_number(parameters[name], value)
        if (scheduler := scheduler_of(value)) is not None
    }
    values = {name: value_at(scheduler, mx.array(0, mx.uint64)) for name, scheduler in schedulers.items()}
    optimizer, names = _constructed(optimizer_class, arguments, values)
    optimizer.__class__ = _derived(optimizer_class, names)  # type: ignore[arg-type]
    optimizer._hyperparameters = _Hyperparameters(optimizer_class, names, arguments)
    state = optimizer._state
    for name in names:
        del vars(optimizer)[name]  # a property takes its place
        optimizer._schedulers[name], state[name] = schedulers[name], values[name]
    rate = optimizer._schedulers.get("learning_rate")
    if isinstance(rate, Schedule):
        state["learning_rate"] = value_at(rate, state["step"])  # without a graph, unlike MLX's
    store_leaves(optimizer._schedulers, state)
    with suppress(ValueError, RuntimeError):  # of what is made inside of a trace
        mx.eval(state)  # another thread, as that of a process pool, cannot
    made: O = optimizer
    return made


def _constructed(
    optimizer_class: type[Optimizer], arguments: dict[str, Any], values: dict[str, Any]
) -> tuple[Any, tuple[str, ...]]:
    """An optimizer made with first values in place of schedules, and the names of those that it keeps as attributes.

    A schedule that it does not keep as an attribute is given to it again, as it is: it may give it on to MLX, as its
    learning rate. If it does not, it is refused.
    """
    numbers = {name: _as_number(arguments[name], value) for name, value in values.items()}  # which it may check
    optimizer: Any = optimizer_class(**{**arguments, **numbers})
    kept = vars(optimizer)
    names = tuple(name for name in numbers if elements_of(kept.get(name)) == elements_of(numbers[name]))
    if others := [name for name in numbers if name not in names]:
        try:
            optimizer = optimizer_class(**{**arguments, **{name: numbers[name] for name in names}})
            followed = [*optimizer._schedulers.values()]
        except TypeError:  # it computes with what should be a number
            followed = []
        for name in others:
            if all(arguments[name] is not scheduler for scheduler in followed):
                raise TypeError(
                    f"{name} of {optimizer_class.__name__} cannot be scheduled: the constructor does not keep what it "
                    f"is given in an attribute of that name, and a property is none."
                )
    return optimizer, names


def _as_number(given: Any, value: Any) -> Any:
    if isinstance(given, (list, tuple)):
        return type(given)([_as_number(*pair) for pair in zip(given, value, strict=True)])
    return (value.item() or _USED) if callable(given) else given


_USED = 1e-38
"""In place of a first value of 0, so that the constructor takes the hyperparameter for one that is in use."""


class _Hyperparameters:
    """What a scheduled optimizer knows of itself, in one attribute that no compiled step looks into."""

    def __init__(self, optimizer_class: type[Optimizer], names: tuple[str, ...], arguments: dict[str, Any]) -> None:
        self.optimizer_class = optimizer_class
        self.names = names
        self.arguments = {n: list(v) if isinstance(v, list) else v for n, v in arguments.items()}
        self.reads = Reads()


class _Scheduled:
    """The methods that a scheduled optimizer has before those of its class."""

    _hyperparameters: _Hyperparameters
    _schedulers: dict[str, Any]
    _state: dict[str, Any]

    def init(self, parameters: dict[str, Any]) -> None:
        """Initializes the state."""
        its = self._hyperparameters
        check_names(parameters, {"schedules", *its.names})
        with its.reads.within(is_updating=False):  # what only this reads is not read by updates
            super().init(parameters)  # type: ignore[misc]
        its.reads.initialized = len(tree_flatten(parameters))

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """Initializes the state of one parameter."""
        with self._hyperparameters.reads.within(dtype=parameter.dtype):
            super().init_single(parameter, state)  # type: ignore[misc]

    def apply_gradients(self, gradients: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
        """The updates of all parameters."""
        its = self._hyperparameters
        its.reads.updated = 0
        with its.reads.within(is_updating=True):
            updated: dict[str, Any] = super().apply_gradients(gradients, parameters)  # type: ignore[misc]
        for name in its.reads.unread([*self._schedulers], self._state["step"]):
            warn(
                f"The update of {its.optimizer_class.__name__} does not read {name}, so its schedule changes nothing: "
                f"with these arguments it is not used, or the constructor computes with its first value.",
                stacklevel=3,
            )
        return updated

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        """The update of one parameter."""
        reads = self._hyperparameters.reads
        before, reads.dtype = reads.dtype, gradient.dtype
        reads.updated += 1
        try:  # and not ``within``, which takes longer, for each parameter
            updated: mx.array = super().apply_single(gradient, parameter, state)  # type: ignore[misc]
        finally:
            reads.dtype = before
        return updated

    @property
    def step(self) -> mx.array:
        """The number of updates."""
        return as_count(self._state["step"])

    @property
    def state(self) -> dict[str, Any]:
        """The optimizer's state."""
        reads = self._hyperparameters.reads
        if reads.dtype is not None:  # the update of a parameter may read the rate there
            reads.note("learning_rate")
        its: dict[str, Any] = super().state  # type: ignore[misc]
        return its

    @state.setter
    def state(self, state: Any) -> None:
        its = self._hyperparameters
        load(self._schedulers, state)
        if isinstance(state, dict) and "step" in state:
            for name in its.names:
                if name not in self._schedulers:  # a number that was assigned: it is what the program says
                    state[name] = number_array(name, its.arguments[name])
                elif name not in state:
                    state[name] = value_at(self._schedulers[name], as_count(state["step"]))
        super(_Scheduled, type(self)).state.fset(self, state)  # type: ignore[misc]

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the last step."""
        self._hyperparameters.reads.note("learning_rate")
        return super().learning_rate  # type: ignore[misc]

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        arguments = self._hyperparameters.arguments
        if not callable(value):
            number = finite("learning_rate", value)
            super(_Scheduled, type(self)).learning_rate.fset(self, number)  # type: ignore[misc]
        follow(self._schedulers, self._state, "learning_rate", value if callable(value) else None)
        if "learning_rate" in arguments:
            arguments["learning_rate"] = value

    def _get(self, name: str) -> Any:
        reads, state = self._hyperparameters.reads, self._state[name]
        reads.note(name)
        if not isinstance(state, (list, tuple)):
            return self._shown(state)
        scheduler = self._schedulers.get(name)
        given = scheduler.given if isinstance(scheduler, ScheduleList) else [None] * len(state)
        pairs = zip(given, state, strict=True)
        return tuple(self._shown(value) if each is None or callable(each) else each for each, value in pairs)

    def _shown(self, value: Any) -> WeakScalar:
        reads = self._hyperparameters.reads
        array = value if isinstance(value, mx.array) else mx.array(value, mx.float32)
        return WeakScalar(array, reads.dtype or mx.float32, in_use=reads.is_updating or reads.dtype is not None)

    def _set(self, name: str, value: Any) -> None:
        its = self._hyperparameters
        check(its.optimizer_class.__name__, name, value, parameters_of(its.optimizer_class), [name])
        scheduler = scheduler_of(value)
        if scheduler is None:
            self._state[name] = number_array(name, value)
        follow(self._schedulers, self._state, name, scheduler)
        its.arguments[name] = list(value) if isinstance(value, list) else value

    def __repr__(self) -> str:
        its = self._hyperparameters
        present = {name: vars(self).get(name, given) for name, given in its.arguments.items()}
        words = [its.optimizer_class.__name__, *(f"{name}={value!r}" for name, value in present.items())]
        return f"scheduled({', '.join(words)})"

    def __reduce__(self) -> tuple[Any, ...]:
        its = self._hyperparameters
        attributes = {name: value for name, value in vars(self).items() if name != "_hyperparameters"}
        attributes |= {"_schedulers": copy(self._schedulers), "_state": copy(self._state)}
        return _copied, (its.optimizer_class, its.names, its.arguments, attributes)


def _copied(
    optimizer_class: type[Optimizer], names: tuple[str, ...], arguments: dict[str, Any], attributes: dict[str, Any]
) -> Any:
    derived: Any = _derived(optimizer_class, names)  # type: ignore[arg-type]
    optimizer = derived.__new__(derived)
    vars(optimizer).update(attributes)
    optimizer._hyperparameters = _Hyperparameters(optimizer_class, names, arguments)
    store_leaves(optimizer._schedulers, optimizer._state)
    return optimizer


@cache
def _derived(optimizer_class: type[Optimizer], names: tuple[str, ...]) -> type[Optimizer]:
    properties = {name: _attribute(name) for name in names}
    about = {n: getattr(optimizer_class, n) for n in ("__module__", "__qualname__", "__doc__")}
    return type(optimizer_class.__name__, (_Scheduled, optimizer_class), {**properties, **about})


def _attribute(name: str) -> property:
    return property(lambda self: self._get(name), lambda self, value: self._set(name, value))
