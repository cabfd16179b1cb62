"""The schedules of this package in the place of MLX's own, for programs that import those."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from warnings import warn

import mlx.optimizers
from mlx.optimizers import schedulers

from . import mlx_optimizers
from .mlx_lm import MlxLm
from .replacements import Replacements, importers

_THE_FIVE = ("exponential_decay", "step_decay", "cosine_decay", "linear_schedule", "join_schedules")

_replacements = Replacements()
_mlx_lm = MlxLm(_replacements)


def install() -> None:
    """Puts the schedules of this package in the place of MLX's and mlx-lm's.

    * The five of MLX become ours, in ``mlx.optimizers`` and ``mlx.optimizers.schedulers``. All the other schedules of
      this package are in ``mlx.optimizers.schedulers`` too, under names that MLX does not have itself.
    * Optimizers of MLX keep the coefficients of such a schedule in their state, under ``"schedules"``, as those made by
      ``scheduled`` do: a compiled step that captures ``optimizer.state`` follows ``retune`` and ``observe``.
    * ``build_schedule`` of mlx-lm becomes ``from_config``, whether it is imported already or will be, also that of
      a copy of mlx-lm inside another package.

    To call it again changes nothing, unless something else has replaced ours since.

    Warns:
        UserWarning: Naming the modules that have imported MLX's functions by name before, and go on with those.

    Example:
        >>> import mlx.optimizers as optim
        >>> from mlxsched_compiled import install, uninstall
        >>> install()
        >>> optim.cosine_decay(0.1, 100)
        cosine_decay(init=0.1, decay_steps=100, end=0.0)
        >>> optim.schedulers.noam(512, 4000)
        noam(model_size=512, warmup_steps=4000, factor=1.0)
        >>> uninstall()
    """
    from ..config.catalogue import catalogue  # slow to import

    originals: list[Any] = []
    with _replacements.lock:
        for name, ours in catalogue().items():
            if name in _THE_FIVE:
                for module in (mlx.optimizers, schedulers):
                    originals.append(_replacements.put(module, name, ours))
            elif not hasattr(schedulers, name):
                _replacements.put(schedulers, name, ours)
        mlx_optimizers.install(_replacements)
        _mlx_lm.install()
    _mlx_lm.catch_up()
    _warn_of_importers([original for original in originals if original.__module__ == schedulers.__name__])


def uninstall() -> None:
    """Puts back what ``install`` has replaced.

    Modules that have taken ours by name since, and optimizers made since, go on with ours.

    Warns:
        UserWarning: Naming what something else has replaced since, which is left as it is.
    """
    with _replacements.lock:
        theirs = _replacements.undo()
        _mlx_lm.uninstall()
    if theirs:
        warn(f"{', '.join(theirs)} was replaced by something else after install(), which stays.", stacklevel=2)


def load_ipython_extension(ipython: Any) -> None:
    """What ``%load_ext mlxsched_compiled`` does in a notebook: ``install()``."""
    install()


def unload_ipython_extension(ipython: Any) -> None:
    """What ``%unload_ext mlxsched_compiled`` does: ``uninstall()``."""
    uninstall()


def _warn_of_importers(originals: Collection[Any]) -> None:
    names: dict[str, set[str]] = {}
    for module, _, original in importers(originals):
        names.setdefault(module.__name__, set()).add(original.__name__)
    for name, imported in names.items():
        warn(
            f"{name} has imported {', '.join(sorted(imported))} from MLX before install(), and goes on with MLX's own. "
            f"Call install() first, or start the program by mlxsched run.",
            stacklevel=3,
        )
