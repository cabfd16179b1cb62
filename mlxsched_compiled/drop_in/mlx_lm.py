"""mlx-lm, which makes schedules of its configuration: ``from_config`` does that in its place, once it is imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from warnings import warn

from ..config.from_config import from_config
from ..core.schedule import Schedule, is_mutable
from .replacements import Replacements, importers

_MODULE, _NAME = "mlx_lm.tuner.utils", "build_schedule"


class ConfigurationError(ValueError, KeyError):
    """What stands in an ``lr_schedule`` is no schedule. mlx-lm's own function raises a ``KeyError``."""

    __str__ = Exception.__str__


def is_mlx_lm(module: str) -> bool:
    """Whether a module is the one of mlx-lm that makes schedules, or a copy of it inside another package."""
    return module == _MODULE or module.endswith(f".{_MODULE}")


def unobserved(schedule: Schedule) -> list[str]:
    """A note if metrics change a schedule, where nobody may tell it any."""
    return [f"{schedule} changes nothing unless a callback of yours calls observe."] if is_mutable(schedule) else []


def build_schedule(schedule_config: Any) -> Schedule:
    """Build a learning rate schedule from the given config."""
    try:
        schedule = from_config(schedule_config)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"lr_schedule: {error}") from error
    for note in unobserved(schedule):
        warn(note, stacklevel=2)
    return schedule


class MlxLm:
    """Replaces mlx-lm's ``build_schedule``: a finder of modules, in ``sys.meta_path``.

    Args:
        replacements: Where it is noted.
    """

    def __init__(self, replacements: Replacements) -> None:
        self._replacements = replacements

    def install(self) -> None:
        """Has it replaced when mlx-lm is imported."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def catch_up(self) -> None:
        """Replaces it where mlx-lm is imported already. Not to be called with the lock of the replacements held."""
        for name in filter(is_mlx_lm, [*sys.modules]):
            # Another thread may be importing it. This waits until that is done, which may need the lock.
            self._replace(importlib.import_module(name))

    def uninstall(self) -> None:
        """Has it replaced no more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds that module as the other finders do."""
        if not is_mlx_lm(fullname):
            return None
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def execute_and_replace(module: ModuleType) -> None:
                execute(module)
                self._replace(module)

            loader.exec_module = execute_and_replace
        return spec

    def _replace(self, module: ModuleType) -> None:
        with self._replacements.lock:
            if self not in sys.meta_path:  # uninstalled since
                return
            original = getattr(module, _NAME, None)
            if original is None:
                warn(f"{module.__name__} has no {_NAME}: it makes schedules in another way, by itself.", stacklevel=3)
            elif original is not build_schedule:
                self._replacements.put(module, _NAME, build_schedule)
                for importer, name, _ in importers([original]):
                    self._replacements.put(importer, name, build_schedule)
