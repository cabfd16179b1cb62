"""Any hyperparameter of an optimizer on a schedule.

An optimizer of MLX puts every name among its ``_schedulers`` through its schedule, before each update, into its state.
It only has to be read from there, and the optimizer reads an attribute: so the class is derived from, with properties
in place of the attributes.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar
from warnings import warn

import mlx.core as mx
from mlx.optimizers import MultiOptimizer, Optimizer
from mlx.utils import tree_flatten, tree_map

from ..core.kernels import nodes
from ..core.schedule import Schedule
from ..training.undo import contents, put_back, refill, replace_arrays
from .arguments import check, elements_of, is_number, is_numeric, parameters_of
from .carried import carry, check_names
from .values import Hyperparameter, Number, OnSchedule, Values, from_portable

O = TypeVar("O", bound=Optimizer)  # noqa: E741


def scheduled(optimizer_class: type[O], /, **arguments: Any) -> O:
    r"""An optimizer, any of whose numeric hyperparameters may follow a schedule.

    .. math:: h_t = \mathrm{schedule}_h(t), \qquad w_{t+1} = \mathrm{update}(w_t, g_t; \eta_t, h_t, \ldots)

    The values of the step stand in ``optimizer.state``, under the names of the arguments, as the learning rate does;
    ``optimizer.weight_decay`` shows the value as a number. Assigning a number there replaces the schedule; assigning a
    number to a number is seen by compiled steps, and nothing is traced again.

    The coefficients of the schedules stand in ``optimizer.state["schedules"]``. So a compiled step that captures
    ``optimizer.state`` follows ``retune`` and ``observe``. A state that is assigned, as from a checkpoint, does not
    change them: hyperparameters are what the program says. What metrics have done (``observe``) is restored.

    Args:
        optimizer_class: A class of ``mlx.optimizers``, or one derived from them.
        **arguments: What to make it with, by name. In place of a number, or of a number in a list (``betas``), there
            may be a schedule or a plain function of the step. A number is data of the graph as well; a
            ``learning_rate`` is what it always is in MLX.

    Returns:
        An optimizer of that class.

    Raises:
        TypeError: If there is no such argument, it has a schedule and is not a number (``nesterov``, ``ns_steps``), or
            the class does not keep it in an attribute of its name.
        ValueError: If a number is not finite, or what the class raises for the numbers and the first values.

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
    # MLX itself has the learning rate in the state.
    given = [name for name, value in arguments.items() if name in known and is_number(parameters[name], value)]
    candidates = [name for name in given if name != "learning_rate"]
    optimizer, kept = _made(optimizer_class, arguments, candidates)
    passed = {name: elements_of(_for_constructor(name, arguments[name])) for name in candidates}
    names = [name for name in candidates if name in kept and elements_of(kept[name]) == passed[name]]
    if names != candidates:  # the others are for the class to compute with, and for MLX to schedule
        optimizer, _ = _made(optimizer_class, arguments, names)
    for name in candidates:
        followed = [*map(id, optimizer._schedulers.values())]
        if name not in names and any(callable(v) and id(v) not in followed for v in elements_of(arguments[name])):
            raise TypeError(
                f"{name} of {optimizer_class.__name__} cannot be scheduled: the constructor does not keep what it is "
                f"given in an attribute of that name."
            )
    optimizer._hyperparameters.in_constructor = None
    for name in names:
        optimizer._put(name, arguments[name])
    optimizer._adopt(optimizer._state)
    made: O = optimizer
    return made


def _made(optimizer_class: type[Optimizer], arguments: dict[str, Any], names: list[str]) -> tuple[Any, dict[str, Any]]:
    """An optimizer with properties of these names, still as in its constructor, and what that has set them to."""
    derived: Any = _derived(optimizer_class, tuple(names))  # type: ignore[arg-type]
    optimizer = derived.__new__(derived)
    hyperparameters = optimizer._hyperparameters = _Hyperparameters(optimizer_class, arguments)
    optimizer.__init__(**{**arguments, **{name: _for_constructor(name, arguments[name]) for name in names}})
    return optimizer, hyperparameters.in_constructor


class _Hyperparameters:
    """What a scheduled optimizer knows of itself: not in its attributes, which are part of a graph."""

    def __init__(self, optimizer_class: type[Optimizer], arguments: dict[str, Any]) -> None:
        self.optimizer_class = optimizer_class
        self.arguments = {n: list(v) if isinstance(v, list) else v for n, v in arguments.items()}
        self.values: dict[str, Values] = {}
        self.in_constructor: Any = {}
        """The attributes that the constructor has set; None when it is done."""
        self.kept_in: dict[str, str] = {}
        """Attributes in which properties of the class keep hyperparameters, with the names of these."""
        self.dtype: mx.Dtype | None = None
        """Of the parameter or gradient at hand, where one is initialized or updated."""
        self.read: set[str] = set()
        """The names of those that were read since the state was initialized."""
        self.is_tried = False
        """Whether the update is only to find out what it reads."""
        self.reads_step = False
        """Whether it computes with the step."""


class _Scheduled:
    """The methods that a scheduled optimizer has before those of its class."""

    _hyperparameters: _Hyperparameters
    _schedulers: dict[str, Any]
    _state: dict[str, Any]

    def init(self, parameters: dict[str, Any]) -> None:
        """Initializes the state."""
        its = self._hyperparameters
        check_names(parameters, {"schedules", *its.values})
        super().init(parameters)  # type: ignore[misc]
        its.read = set()
        if self._try_update(parameters) and tree_flatten(parameters):
            for name in self._unread():
                warn(
                    f"The update of {its.optimizer_class.__name__} does not read {name}, so its schedule changes "
                    f"nothing: with these arguments it is not used, or the constructor computes with its first value.",
                    stacklevel=2,
                )

    def _try_update(self, parameters: dict[str, Any]) -> bool:
        """Finds out what an update computes of the hyperparameters. Nothing of it is kept, or evaluated.

        Returns whether that was possible.
        """
        its = self._hyperparameters
        random: Any = mx.random.state
        before, key = [*contents(vars(self))], random[0]
        its.is_tried = True
        try:
            for container, _ in before:
                replace_arrays(container, mx.array)  # by copies: an update may work in place
            gradients, parameters = tree_map(mx.array, parameters), tree_map(mx.array, parameters)
            if rate := self._schedulers.get("learning_rate"):
                self._schedulers["learning_rate"] = lambda step: mx.erfinv(rate(step))
            for _ in range(2):  # the first update of all may be another than those that follow
                parameters = self.apply_gradients(gradients, parameters)
                operations = nodes(parameters)
                if _RATE in operations:
                    its.read.add("learning_rate")
                if not self._unread():
                    break
            its.reads_step = _STEP in operations
            return True
        except Exception:  # its next update will say so; until then, all is computed in the graph
            its.reads_step = True
            return False
        finally:
            its.is_tried = False
            put_back(before)
            for values in its.values.values():
                values.lay_out()
            if random[0] is not key:
                random[0][()] = key  # which may be in a trace, where its numbers are not known

    def _unread(self) -> list[str]:
        """The names under which there are schedules that were not read."""
        its = self._hyperparameters
        names = [name for name, values in its.values.items() if values.schedules]
        names += ["learning_rate"] if "learning_rate" in self._schedulers else []
        return [name for name in names if name not in its.read]

    def apply_gradients(self, gradients: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
        """The updates of all parameters."""
        its = self._hyperparameters
        # One schedule can be computed in the kernel that counts the step, unless others wait for that one.
        merges = "learning_rate" not in self._schedulers and not its.reads_step
        everything = [each for values in its.values.values() for each in values.hyperparameters]
        for place, each in enumerate(each for each in everything if isinstance(each, OnSchedule)):
            each.place = place
            each.merges = merges and each.can_merge
            merges = merges and not each.merges
        try:
            updated: dict[str, Any] = super().apply_gradients(gradients, parameters)  # type: ignore[misc]
        finally:
            for values in its.values.values():
                values.end()
        return updated

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """Initializes the state of one parameter."""
        its = self._hyperparameters
        its.dtype = parameter.dtype
        try:
            super().init_single(parameter, state)  # type: ignore[misc]
        finally:
            its.dtype = None

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        """The update of one parameter."""
        its = self._hyperparameters
        its.dtype = gradient.dtype
        try:
            updated: mx.array = super().apply_single(gradient, parameter, state)  # type: ignore[misc]
        finally:
            its.dtype = None
        return updated

    @property
    def step(self) -> mx.array:
        """The number of updates."""
        step: mx.array = super().step  # type: ignore[misc]
        return _marked(step) if self._hyperparameters.is_tried and self._hyperparameters.dtype is not None else step

    @property
    def state(self) -> dict[str, Any]:
        """The optimizer's state."""
        its: dict[str, Any] = super().state  # type: ignore[misc]
        return its

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if self._hyperparameters.in_constructor is None:
            self._adopt(state)
        super(_Scheduled, type(self)).state.fset(self, state)  # type: ignore[misc]

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the last step."""
        return super().learning_rate  # type: ignore[misc]

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        its = self._hyperparameters
        if "learning_rate" in its.arguments:
            its.arguments["learning_rate"] = value
        self._schedulers.pop("learning_rate", None)
        self._state.get("schedules", {}).pop("learning_rate", None)
        if isinstance(value, Schedule):
            self._state["schedules"]["learning_rate"] = value.state
        if callable(value):
            self._schedulers["learning_rate"] = value
            value = value(self._state["step"])
        super(_Scheduled, type(self)).learning_rate.fset(self, value)  # type: ignore[misc]

    def _get(self, name: str) -> Any:
        its = self._hyperparameters
        if its.in_constructor is not None:
            if name not in its.in_constructor:
                raise AttributeError(f"{its.optimizer_class.__name__} has no {name} yet.")
            return its.in_constructor[name]
        its.read.add(name)
        values, state = its.values[name], self._state[name]
        return values.shown(state) if its.dtype is None else values.seen(state, its.dtype, is_tried=its.is_tried)

    def _set(self, name: str, value: Any) -> None:
        its = self._hyperparameters
        if its.in_constructor is not None:
            its.in_constructor[name] = value
            self._ask_class(name, value)
            return
        parameters = parameters_of(its.optimizer_class)
        check(its.optimizer_class.__name__, name, value, parameters, [name])
        self._ask_class(name, _for_constructor(name, value))
        self._put(name, value)

    def _ask_class(self, name: str, value: Any) -> None:
        """Has a property of the class check a number, and notes where that keeps it, to be read there."""
        its = self._hyperparameters
        own = getattr(its.optimizer_class, name, None)
        if not isinstance(own, property) or own.fset is None:
            return
        before = dict(vars(self))
        try:
            own.fset(self, value)
            after = {n: v for n, v in vars(self).items() if n not in before or before[n] is not v}
            if any(elements_of(each) != elements_of(value) for each in (*after.values(), getattr(super(), name))):
                raise TypeError(
                    f"{name} of {its.optimizer_class.__name__} cannot be scheduled: its property does not keep, or "
                    f"give, the number itself."
                )
            its.kept_in.update(dict.fromkeys(after, name))
        finally:
            refill(vars(self), before)

    def __getattr__(self, name: str) -> Any:
        kept_in = self._hyperparameters.kept_in if "_hyperparameters" in vars(self) else {}
        if name in kept_in:
            return self._get(kept_in[name])
        return getattr(super(), "__getattr__", super().__getattribute__)(name)

    def _put(self, name: str, value: Any) -> None:
        """Makes ``value`` the hyperparameter. A number in a number's place becomes its schedule's coefficient."""
        its = self._hyperparameters
        elements = elements_of(value)
        before = its.values[name].hyperparameters if name in its.values else [None] * len(elements)
        present = [_changed(name, *each) for each in zip(before, elements, strict=True)]
        if present != before:
            its.values[name] = self._schedulers[name] = Values(present, isinstance(value, (list, tuple)))
            if "schedules" in self._state:
                self._state["schedules"][name] = self._schedulers[name].state
        its.arguments[name] = list(value) if isinstance(value, list) else value
        self._state[name] = its.values[name].first(self._state["step"])

    def _adopt(self, state: dict[str, Any]) -> None:
        """Puts the coefficients of the schedules into a state, and takes out of it what metrics have done."""
        carry(self._schedulers, state)
        for name, values in self._hyperparameters.values.items():
            if name not in state:
                state[name] = values.first(state["step"])

    def __repr__(self) -> str:
        its = self._hyperparameters
        words = [its.optimizer_class.__name__, *(f"{name}={value!r}" for name, value in its.arguments.items())]
        return f"scheduled({', '.join(words)})"

    def __reduce__(self) -> tuple[Any, ...]:
        its = self._hyperparameters
        attributes = {n: v for n, v in vars(self).items() if n not in ("_hyperparameters", "_schedulers")}
        attributes["_state"] = {n: v for n, v in self._state.items() if n != "schedules"}
        readings = {name: [each.portable() for each in values.hyperparameters] for name, values in its.values.items()}
        rate = self._schedulers.get("learning_rate")
        return _copied, (its.optimizer_class, its.arguments, attributes, rate, readings, its.reads_step)


_STEP, _RATE = "Arange", "ErfInv"
"""Operations that no update needs, by which step and learning rate are found in the graph of one."""


def _marked(step: mx.array) -> mx.array:
    return mx.squeeze(mx.arange(1, dtype=step.dtype)) + step


def _copied(
    optimizer_class: type[Optimizer],
    arguments: dict[str, Any],
    attributes: dict[str, Any],
    rate: Any,
    readings: dict[str, list[list[Any]]],
    reads_step: bool,
) -> Any:
    copied: Any = scheduled(optimizer_class, **arguments)
    if rate is not copied._schedulers.get("learning_rate"):  # assigned, where the class has another name for it
        copied.learning_rate = 0 if rate is None else rate
    vars(copied).update(attributes)
    copied._hyperparameters.reads_step = reads_step
    for name, values in copied._hyperparameters.values.items():
        for each, its_readings in zip(values.hyperparameters, readings[name], strict=True):
            for reading in its_readings:
                each.want(*from_portable(reading))
        values.lay_out()
    copied._adopt(copied._state)
    return copied


@cache
def _derived(optimizer_class: type[Optimizer], names: tuple[str, ...]) -> type[Optimizer]:
    properties = {name: _attribute(name) for name in names}
    about = {n: getattr(optimizer_class, n) for n in ("__module__", "__qualname__", "__doc__")}
    return type(optimizer_class.__name__, (_Scheduled, optimizer_class), {**properties, **about})


def _attribute(name: str) -> property:
    return property(lambda self: self._get(name), lambda self, value: self._set(name, value))


def _changed(name: str, before: Hyperparameter | None, value: Any) -> Hyperparameter:
    """What stands for ``value`` in the place of another, which goes on where it can."""
    if isinstance(before, Number) and not callable(value):
        before.assign(value)
        return before
    if before is not None and value is before.given:
        return before
    changed: Hyperparameter = OnSchedule(value) if callable(value) else Number(name, value)
    for reading in before.readings if before is not None else ():
        changed.want(*reading)
    changed.lay_out()
    return changed


def _for_constructor(name: str, value: Any) -> Any:
    """Numbers in place of schedules, which a constructor may check: the first values."""
    if isinstance(value, (list, tuple)):
        return type(value)(_for_constructor(name, element) for element in value)
    if not callable(value):
        return value
    first = OnSchedule(value).first(mx.array(0, mx.uint64)).item()
    return first or _USED


_USED = 1e-38
"""In place of 0, from which a schedule may start: what does is in use all the same."""
