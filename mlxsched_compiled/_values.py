"""The hyperparameters of an update, in every expression that the optimizer makes of them.

What an update computes of Python numbers alone, such as ``1 - beta``, Python computes while it is traced. So a number
is there in each such expression, as data. Of a schedule, MLX would compute it in a kernel of its own, since several
kernels use it: so a schedule is computed in lanes, an expression in each, which are one kernel and views of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import mlx.core as mx

from ._carried import Several
from ._checks import finite
from ._data import as_data
from ._fusion import in_lanes, lanes_fit
from ._graph import applied
from ._traces import is_concrete, is_shapeless, is_update_traced
from ._weak import Expression, Weak, evaluated
from .schedule import Schedule, check_not_constant

Reading = tuple[Expression, mx.Dtype]
"""What an update computes with: an expression of a hyperparameter, in a type."""
_ITSELF: Expression = ()


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
        self._state = self._arrays()
        self._is_constant = False

    def assign(self, given: Any) -> None:
        """Makes it another number."""
        number = finite(self._name, given)
        check_not_constant(self._name, self._is_constant)
        self.given, self._number = given, number
        self._state[:] = self._arrays()

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
        self._state.extend(self._arrays()[len(self._state) :])

    def _inputs(self) -> list[mx.array]:
        if not is_update_traced():
            return self._state
        self._is_constant |= is_concrete(self._state[0])
        return as_data(self._state)

    def _arrays(self) -> list[mx.array]:
        return [self._array(*reading) for reading in [(_ITSELF, mx.float32), *self.readings]]

    def _array(self, expression: Expression, dtype: mx.Dtype) -> mx.array:
        return mx.array(evaluated(expression, self._number)).astype(dtype)


class OnSchedule(Hyperparameter):
    """A schedule, or a function of the step.

    Args:
        given: The schedule.
    """

    def __init__(self, given: Any) -> None:
        super().__init__(given)
        self.schedule = given if isinstance(given, Schedule) else Schedule(given)
        self.expressions: tuple[Expression, ...] = (_ITSELF,)
        """What is computed in lanes."""
        self.merges = False
        """Whether it is computed in the kernel that counts the step, as one schedule of an update can be."""
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
        if self.merges or is_shapeless():
            return self.schedule(step)
        # Of another shape than other schedules, it shares no operation with them: that would be one more kernel.
        shape = (1,) * self.place + (len(self.expressions),)
        rate = self.schedule(mx.broadcast_to(step, shape))
        if len(self.expressions) == 1:  # cast where it is used, in a kernel that there is already
            return mx.squeeze(rate)
        lanes = {mx.float32: in_lanes(rate, self.expressions)}
        for expression, dtype in [(_ITSELF, mx.float32), *self.readings]:
            if expression in self.expressions:
                if dtype not in lanes:
                    lanes[dtype] = lanes[mx.float32].astype(dtype)
                lane = self.expressions.index(expression)
                self.present[expression, dtype] = mx.squeeze(lanes[dtype][..., lane : lane + 1])
        return self.present[_ITSELF, mx.float32]

    def lay_out(self) -> None:
        for expression, _ in self.readings:
            more = (*self.expressions, expression)
            if expression not in self.expressions and lanes_fit(self.schedule.structure, self.schedule._types, more):
                self.expressions = more


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
