"""The arguments that a class of optimizers takes, and which of them are numbers."""

from __future__ import annotations

import numbers
import re
from typing import Any

import mlx.core as mx
from mlx.optimizers import Optimizer

from ..core.checks import finite, nearest
from ..core.schedule import Schedule


def parameters_of(optimizer_class: type[Optimizer]) -> dict[str, Any]:
    """The parameters of the constructor, and if it takes ``**kwargs``, of those of its base classes."""
    from inspect import Parameter, signature  # slow to import

    found: dict[str, Any] = {}
    for each in optimizer_class.__mro__:
        if "__init__" in vars(each):
            parameters = list(signature(each.__init__).parameters.values())[1:]  # type: ignore[misc]
            for parameter in parameters:
                if parameter.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL):
                    found.setdefault(parameter.name, parameter)
            if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
                break
    return found


def is_numeric(parameter: Any) -> bool:
    """Whether a hyperparameter is a number, or a list of them, rather than structure (a flag, a count)."""
    defaults = [each for each in elements_of(parameter.default) if each is not parameter.empty]
    if any(isinstance(each, (bool, str)) or callable(each) for each in defaults):
        return False
    if any(isinstance(each, float) for each in defaults):
        return True
    annotation = _FUNCTION.sub("", str(parameter.annotation))
    says_nothing = parameter.annotation is parameter.empty
    return says_nothing or any(word in annotation for word in ("float", "array", "Any"))


_FUNCTION = re.compile(r"Callable(\[(\[[^]]*\]|[^],]*),[^]]*\])?")
"""The type of a function, in which the types of numbers may stand."""


def is_number(parameter: Any, value: Any) -> bool:
    """Whether an argument is a number, or a schedule of one. If the class has no type for it, a function is not."""
    if value is None:
        return False
    says_nothing = parameter.annotation is parameter.empty and parameter.default in (None, parameter.empty)
    kinds = (Schedule, mx.array, numbers.Number)
    return not says_nothing or all(isinstance(element, kinds) for element in elements_of(value))


def check(class_name: str, name: str, value: Any, parameters: dict[str, Any], known: list[str]) -> None:
    """Refuses what there is no argument for, schedules where no number is, and what is no number where one is."""
    if name not in parameters:
        raise TypeError(f"{class_name} has no argument {name!r}.{nearest(name, parameters)} {_listing(known)}")
    elements = elements_of(value)
    if name not in known:
        functions = () if _takes_functions(parameters[name]) else filter(callable, elements)
        schedules = [element for element in elements if isinstance(element, Schedule)]
        if schedules or any(not isinstance(function, type) for function in functions):
            raise TypeError(
                f"{name} of {class_name} is not a number but structure: part of the graph. {_listing(known)}"
            )
        return
    if not is_number(parameters[name], value):
        return
    default = parameters[name].default
    if isinstance(default, (list, tuple)):
        if not isinstance(value, (list, tuple)) or len(value) != len(default):
            raise TypeError(f"{name} of {class_name} must be a list of {len(default)}, but got {value!r}.")
    elif isinstance(default, (int, float)) and isinstance(value, (list, tuple)):
        raise TypeError(f"{name} of {class_name} must be a number or a schedule, but got {value!r}.")
    for i, element in enumerate(elements):
        if not callable(element):
            finite(f"{name}[{i}]" if isinstance(value, (list, tuple)) else name, element)


def _takes_functions(parameter: Any) -> bool:
    return callable(parameter.default) or parameter.default is None or "Callable" in str(parameter.annotation)


def _listing(known: list[str]) -> str:
    return f"What can be scheduled: {', '.join(known)}."


def elements_of(value: Any) -> list[Any]:
    """The elements of a list; of anything else, itself."""
    return list(value) if isinstance(value, (list, tuple)) else [value]
