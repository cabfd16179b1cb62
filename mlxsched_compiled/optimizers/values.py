"""The hyperparameters of an update, in every expression that the optimizer makes of them.

What an update computes of Python numbers alone, such as ``1 - beta``, Python computes while it is traced. So a number
is there in each such expression, as data. Of a schedule, MLX would compute each in a kernel of its own, since several
kernels use it, and split what is too deep for one: so what is read of a schedule is laid out in few kernels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import mlx.core as mx

from ..core.checks import finite
from ..core.data import as_data
from ..core.fusion import cast_fits, in_lanes, lanes_fit, takes_several
from ..core.graph import applied
from ..core.rates import RateFunction, Types, own_kernel
from ..core.schedule import Schedule, check_not_constant
from ..core.traces import is_concrete, is_shapeless, is_update_traced
from .carried import Several
from .weak import Expression, Weak, evaluated

Reading = tuple[Expression, mx.Dtype]
"""What an update computes with: an expression of a hyperparameter, in a type."""
_ITSELF: Expression = ()
_FOLLOWING = 2
"""Operations with other scalars, as in ``1 - learning_rate * weight_decay``, that an update may go on with."""


class Hyperparameter(ABC):
    """One place of an optimizer's arguments.

    Args:
        given: What stands there.
    """

    def __init__(self, given: Any) -> None:
        self.given = given
        self.readings: list[Reading] = []
        """Those of an update."""
        self.present: dict[Reading, mx.array] = {}
        """What they are, in an update that is under way."""

    @property
    @abstractmethod
    def state(self) -> list[mx.array]:
        """What a graph has of it as input."""

    @abstractmethod
    def first(self, step: mx.array) -> mx.array:
        """The value before an update, without a kernel being built."""

    @abstractmethod
    def begin(self, step: mx.array) -> mx.array:
        """Begins an update. Returns the value."""

    @abstractmethod
    def lay_out(self) -> None:
        """Makes ready what is wanted, before an update."""

    def want(self, expression: Expression, dtype: mx.Dtype) -> None:
        """Notes that updates read this."""
        if (expression, dtype) not in self.readings:
            self.readings.append((expression, dtype))

    def read(self, expression: Expression, dtype: mx.Dtype) -> mx.array | None:
        """An expression of the present value, if it is there."""
        return self.present.get((expression, dtype))

    def portable(self) -> list[tuple[Expression, str]]:
        """The readings, as they can be pickled."""
        return [(expression, str(dtype).rpartition(".")[2]) for expression, dtype in self.readings]


def from_portable(reading: tuple[Expression, str]) -> Reading:
    """One of ``portable()``, as it was."""
    expression, name = reading
    return expression, getattr(mx, name)


class Number(Hyperparameter):
    """A number.

    Args:
        name: What errors call it.
        given: The number.
    """

    def __init__(self, name: str, given: Any) -> None:
        super().__init__(given)
        self._name = name
        self._number = finite(name, given)
        self._state = self._arrays(self._number)
        self._is_constant = False

    def assign(self, given: Any) -> None:
        """Makes it another number."""
        number = finite(self._name, given)
        check_not_constant(self._name, self._is_constant)
        self._state[:] = self._arrays(number)
        self.given, self._number = given, number

    @property
    def state(self) -> list[mx.array]:
        return self._state

    def first(self, step: mx.array) -> mx.array:
        return self._state[0]

    def begin(self, step: mx.array) -> mx.array:
        value, *others = self._inputs()
        self.present = dict(zip(self.readings, others, strict=True))
        return value

    def lay_out(self) -> None:
        self._state.extend(self._arrays(self._number)[len(self._state) :])

    def _inputs(self) -> list[mx.array]:
        if not is_update_traced():
            return self._state
        self._is_constant |= is_concrete(self._state[0])
        return as_data(self._state)

    def _arrays(self, number: Any) -> list[mx.array]:
        readings = [(_ITSELF, mx.float32), *self.readings]
        return [mx.array(evaluated(expression, number), dtype) for expression, dtype in readings]


class OnSchedule(Hyperparameter):
    """A schedule, or a function of the step.

    A kernel gives one result to other kernels, and besides, in the same shape, what the whole graph returns: here the
    value, for the optimizer's state. So a value and its cast are one kernel. Where updates read more expressions of it,
    it is a lane of one kernel with them, or they are lanes of a second.

    Args:
        given: The schedule.
    """

    def __init__(self, given: Any) -> None:
        super().__init__(given)
        self.schedule = given if isinstance(given, Schedule) else Schedule(given)
        self.expressions: tuple[Expression, ...] = (_ITSELF,)
        """The value, which is the first, and what else updates read, in whatever types."""
        self.is_lane = False
        """Whether the value is a lane, where it does not merge."""
        self.can_merge = True
        """Whether a kernel may be saved if it does."""
        self.merges = False
        """Whether the value is computed in the kernel that counts the step, as one of an update can be."""
        self.place = 0
        """Which of the schedules of an update it is."""

    @property
    def state(self) -> list[mx.array]:
        return self.schedule.state

    @state.setter
    def state(self, state: list[mx.array]) -> None:
        self.schedule.state = state

    def first(self, step: mx.array) -> mx.array:
        return applied(self.schedule.structure, step, *self.schedule.state)

    def begin(self, step: mx.array) -> mx.array:
        if not is_update_traced() or is_shapeless():  # no kernels to save, or no slices to take lanes by
            return self.schedule(step)
        # In a shape, or from a view, of its own it shares no operation with other schedules, which would take a kernel.
        if self.is_lane and not self.merges:
            lanes = in_lanes(self.schedule(self._broadcast(step)), self.expressions)
            self._take(lanes)
            return mx.squeeze(lanes[..., :1])
        value = self.schedule(step if self.merges else own_kernel(step, self.place + 1))
        if len(self.expressions) > 1:
            self._take(in_lanes(self._broadcast(value), self.expressions))
        elif not self._has_room(_FOLLOWING, counts=self.merges):
            # Casts end the kernel that they are in: the value's, or where that is full one of their own.
            near = value if self._has_room(0, counts=self.merges) else own_kernel(value)
            self.present = {reading: own_kernel(near.astype(reading[1])) for reading in self.readings}
        return value

    def lay_out(self) -> None:
        self.expressions = tuple(dict.fromkeys([_ITSELF, *(expression for expression, _ in self.readings)]))
        reads_float32 = any(dtype == mx.float32 for _, dtype in self.readings)
        if len(self.expressions) > 1:
            self.is_lane = lanes_fit(*self._graph, self.expressions) and takes_several(*self._graph)
            self.can_merge = not (self.is_lane and reads_float32)
        else:
            fills = reads_float32 and not self._has_room(_FOLLOWING, counts=False)
            self.is_lane = fills and takes_several(*self._graph)
            self.can_merge = self._has_room(0, counts=True) or not self._has_room(0, counts=False)

    @property
    def _graph(self) -> tuple[RateFunction, Types]:
        return self.schedule.structure, self.schedule._types

    def _has_room(self, following: int, *, counts: bool) -> bool:
        """Whether the kernel of the value, which may count the step too, has room for a cast and what follows."""
        return all(cast_fits(*self._graph, dtype, following, counts=counts) for _, dtype in self.readings)

    def _broadcast(self, array: mx.array) -> mx.array:
        return mx.broadcast_to(array, (1,) * self.place + (len(self.expressions),))

    def _take(self, lanes: mx.array) -> None:
        """Takes the readings from lanes."""
        cast = {dtype: lanes.astype(dtype) for _, dtype in self.readings}
        for expression, dtype in self.readings:
            lane = self.expressions.index(expression)
            self.present[expression, dtype] = mx.squeeze(cast[dtype][..., lane : lane + 1])


class Values(Several):
    """The hyperparameters of one name, as an optimizer's scheduler.

    Args:
        hyperparameters: Of the name.
        is_list: Whether there is a list of them.
    """

    def __init__(self, hyperparameters: list[Hyperparameter], is_list: bool) -> None:
        super().__init__([each.schedule for each in hyperparameters if isinstance(each, OnSchedule)])
        self.hyperparameters = hyperparameters
        self.is_list = is_list

    @property
    def state(self) -> list[list[mx.array]]:
        """Those of the hyperparameters."""
        return [each.state for each in self.hyperparameters]

    @state.setter
    def state(self, state: list[list[mx.array]]) -> None:
        for each, its in zip(self.hyperparameters, state, strict=False):
            if isinstance(each, OnSchedule) and its:
                each.state = its

    def __call__(self, step: mx.array) -> Any:
        return self._state_of([each.begin(step) for each in self.hyperparameters])

    def lay_out(self) -> None:
        """Makes ready what is wanted."""
        for each in self.hyperparameters:
            each.lay_out()

    def end(self) -> None:
        """Ends an update."""
        for each in self.hyperparameters:
            each.present = {}

    def first(self, step: mx.array) -> Any:
        """What is in the optimizer's state before the first update."""
        return self._state_of([each.first(step) for each in self.hyperparameters])

    def shown(self, state: Any) -> Any:
        """What stands in the state, as numbers."""
        return self._all([Weak(value) for value in self._elements(state)])

    def seen(self, state: Any, dtype: mx.Dtype, *, is_tried: bool) -> Any:
        """The same as an update sees it of arrays of this type; ``is_tried``, it is to find out what it reads."""
        pairs = zip(self.hyperparameters, self._elements(state), strict=True)
        reads = [(each.want if is_tried else each.read, value) for each, value in pairs]
        return self._all([Weak(value, read, dtype=dtype, is_used=True) for read, value in reads])

    def _elements(self, state: Any) -> list[mx.array]:
        return list(state) if self.is_list else [state]

    def _all(self, values: list[Weak]) -> Any:
        return tuple(values) if self.is_list else values[0]

    def _state_of(self, values: list[mx.array]) -> Any:
        return values if self.is_list else values[0]
