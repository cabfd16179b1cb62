"""The values of hyperparameters in an update, with at most one kernel for each schedule.

What several kernels of an update use, such as ``1 - beta``, MLX computes in a kernel of its own. So a schedule that an
optimizer subtracts from 1 is computed in two lanes, the second of which is the difference: one kernel, and views of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx

from ._carried import Several
from ._checks import finite
from ._fusion import complement_fits, with_complement
from ._graph import applied
from ._weak import Weak
from .decays import constant
from .schedule import Schedule


class Value(NamedTuple):
    """A hyperparameter in an update."""

    value: mx.array
    complement: mx.array | None = None
    """1 minus the value, where that is no kernel of its own."""
    lanes: mx.array | None = None
    """Both, where they are views of it."""

    @classmethod
    def of(cls, lanes: mx.array) -> Value:
        """The one with these lanes."""
        return cls(mx.squeeze(lanes[:1], 0), mx.squeeze(lanes[1:], 0), lanes)

    def in_type(self, dtype: mx.Dtype) -> Value:
        """The same in another type."""
        if self.lanes is not None:
            return Value.of(self.lanes.astype(dtype))
        return Value(self.value.astype(dtype), None if self.complement is None else self.complement.astype(dtype))


class Hyperparameter:
    """A number, or a schedule, in one place of an optimizer's arguments.

    Args:
        name: What errors call it.
        given: A number, a schedule or a function of the step.
    """

    def __init__(self, name: str, given: Any) -> None:
        self.given = given
        self.is_number = not callable(given)
        self.in_lanes = False
        """Whether it is computed together with 1 minus it, since the optimizer wants that too."""
        self.merges = False
        """Whether it can be computed in the kernel that counts the step, as one schedule of an update can."""
        if self.is_number:
            number = finite(name, given)
            self.schedules = [constant(number), constant(1 - number)]
        else:
            self.schedules = [given if isinstance(given, Schedule) else Schedule(given)]

    def assign(self, number: Any) -> None:
        """Makes it another number."""
        value, complement = self.schedules
        value.retune(value=number)
        complement.retune(value=1 - number)

    def at(self, step: mx.array) -> Value:
        """Its value in the update of a step."""
        if self.is_number:
            return Value(*(schedule(step) for schedule in self.schedules))
        (schedule,) = self.schedules
        if not self.in_lanes:
            # Of another shape than the step, it shares nothing with a schedule that merges, and so no kernel either.
            return Value(schedule(step) if self.merges else mx.squeeze(schedule(mx.expand_dims(step, 0)), 0))
        return Value.of(with_complement(schedule(mx.broadcast_to(step, (2,)))))

    def seen(self, value: Value, dtype: mx.Dtype) -> Weak:
        """Its value, as an optimizer sees it that updates arrays of this type."""
        in_type = value.in_type(dtype)

        def one_minus() -> Weak:
            if value.complement is not None:
                return Weak(value.complement, in_type.complement, is_used=True)
            self._want_complement()
            complement = 1 - value.value
            return Weak(complement, complement.astype(dtype), is_used=True)

        return Weak(value.value, in_type.value, is_used=True, one_minus=one_minus)

    def _want_complement(self) -> None:
        schedule = self.schedules[0]
        self.in_lanes = complement_fits(schedule.structure, schedule._types)


class Values(Several):
    """The hyperparameters of one name, as an optimizer's scheduler.

    Args:
        hyperparameters: Of the name.
        is_list: Whether there is a list of them.
    """

    def __init__(self, hyperparameters: list[Hyperparameter], is_list: bool) -> None:
        super().__init__([schedule for each in hyperparameters for schedule in each.schedules])
        self.hyperparameters = hyperparameters
        self.is_list = is_list
        self.present: list[Value] | None = None
        """Of an update that is under way."""

    def __call__(self, step: mx.array) -> Any:
        self.present = [each.at(step) for each in self.hyperparameters]
        return self._state_of([value.value for value in self.present])

    def first(self, step: mx.array) -> Any:
        """What is in the optimizer's state before the first update, without a kernel being built."""
        schedules = [each.schedules[0] for each in self.hyperparameters]
        return self._state_of([applied(s.structure, step, *s.state) for s in schedules])

    def _state_of(self, values: list[mx.array]) -> Any:
        return values if self.is_list else values[0]
