"""mlx-lm, which makes schedules of its configuration: ``from_config`` does that in its place, once it is imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from warnings import warn

from ..config.from_config import from_config
from ..core.schedule import Schedule, is_mutable
from .replacements import Replacements, takers

_MODULE, _NAME = "mlx_lm.tuner.utils", "build_schedule"


def build_schedule(schedule_config: Any) -> Schedule:
    """Build a learning rate schedule from the given config."""
    from ..config.mapping import at  # seldom needed, and slow to import

    if isinstance(schedule_config, Mapping) and "name" not in schedule_config:
        raise KeyError(f"lr_schedule names no schedule: {schedule_config!r} has no key 'name'.")  # mlx-lm's own error
    with at("lr_schedule"):
        schedule = from_config(schedule_config)
    for note in unobserved(schedule):
        warn(note, stacklevel=2)
    return schedule


def unobserved(schedule: Schedule) -> list[str]:
    """A note if metrics change a schedule, where nobody may tell it any."""
    return [f"{schedule} changes nothing unless a callback of yours calls observe."] if is_mutable(schedule) else []


class MlxLm:
    """Replaces mlx-lm's ``build_schedule``: a finder of modules, in ``sys.meta_path``.

    Args:
        replacements: Where it is noted.
    """

    def __init__(self, replacements: Replacements) -> None:
        self._replacements = replacements
        self._original: Any = None

    def install(self) -> None:
        """Has it replaced when mlx-lm is imported."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def catch_up(self) -> None:
        """Replaces it where mlx-lm is imported already. Not to be called with the lock of the replacements held."""
        if _MODULE in sys.modules:
            # Another thread may be importing it. This waits until that is done, which may need the lock.
            self._replace(importlib.import_module(_MODULE))

    def uninstall(self) -> None:
        """Puts mlx-lm's own back, also in modules that have taken ours from there."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for module, name, _ in takers([build_schedule]):
            if module.__name__ != __name__:
                setattr(module, name, self._original)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds that module as the other finders do."""
        if fullname != _MODULE:
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
            if self in sys.meta_path:  # and not uninstalled since
                self._replace_in(module)

    def _replace_in(self, module: ModuleType) -> None:
        if not hasattr(module, _NAME):
            warn(f"{_MODULE} has no {_NAME}: this mlx-lm makes schedules in another way, by itself.", stacklevel=4)
            return
        original = self._replacements.put(module, _NAME, build_schedule)
        if original is not build_schedule:
            self._original = original
            for taker, name, _ in takers([original]):
                self._replacements.put(taker, name, build_schedule)
