"""Has other libraries compute the rates in peers.json anew: ``python -m tests.make_peers [library ...]``.

A case of that file says which library and version ran (``peer``), what was run (``call``) and at which ``steps``. To
add one, write it there without ``values``. This computes the values and prints what has changed. It needs::

    pip install torch==2.13.0 transformers==5.23.0 optax==0.2.8 keras==3.15.1 pytorch-scheduler==0.2.2 lrsched==0.5.0

PyTorch, what builds on it and lrsched compute in Python floats, Optax and, over JAX, Keras with JAX's 64 bits enabled.
What is no library, but the script that trains a model, is written anew in training_scripts.py.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .training_scripts import SCRIPTS

os.environ |= {"JAX_ENABLE_X64": "1", "KERAS_BACKEND": "jax"}

FILE = Path(__file__).with_name("peers.json")


class Names(dict[str, Any]):
    """Names for ``eval``, each found when a call uses it."""

    def __init__(self, find: Callable[[str], Any]) -> None:
        self.find = find

    def __missing__(self, name: str) -> Any:
        return self.find(name)


@dataclass
class Scheduler:
    """A scheduler that is made for an optimizer and stepped, as a function of the step."""

    make: Callable[[Any], Any]
    lr: float
    sets: str = "lr"
    """Which of the optimizer's numbers is asked for."""

    def rates(self, steps: list[int]) -> list[float]:
        """What is set at each of the ``steps``."""
        import torch

        scheduler = self.make(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=self.lr, momentum=0.9))
        found = []
        for _ in range(max(steps) + 1):
            found.append(float(scheduler.optimizer.param_groups[0][self.sets]))
            scheduler.step()
        return [found[step] for step in steps]


def _torch(name: str) -> Callable[..., Scheduler]:
    def call(lr: float = 0.1, **options: Any) -> Scheduler:
        import torch

        sets_momentum = options.get("cycle_momentum", False)  # and then that is asked for
        if name in ("CyclicLR", "OneCycleLR"):
            options["cycle_momentum"] = sets_momentum
        make = getattr(torch.optim.lr_scheduler, name)
        return Scheduler(lambda optimizer: make(optimizer, **options), lr, "momentum" if sets_momentum else "lr")

    return call


def _transformers(name: str) -> Callable[..., Scheduler]:
    def call(kind: str, lr: float, warmup: int, training: int | None = None, **options: Any) -> Scheduler:
        get = getattr(import_module("transformers"), name)
        return Scheduler(
            lambda optimizer: get(kind, optimizer, warmup, training, scheduler_specific_kwargs=options), lr
        )

    return call


def _pytorch_scheduler(name: str) -> Callable[..., Scheduler]:
    def call(*arguments: Any, lr: float = 1e-3, **options: Any) -> Scheduler:
        make = getattr(import_module("pytorch_scheduler"), name, None)
        make = make or getattr(import_module("pytorch_scheduler.experimental"), name)
        return Scheduler(lambda optimizer: make(optimizer, *_made(arguments, optimizer), **options), lr)

    return call


def _made(value: Any, optimizer: Any) -> Any:
    """``value`` with the schedulers in it made for ``optimizer``."""
    if isinstance(value, (list, tuple)):
        return [_made(each, optimizer) for each in value]
    return value.make(optimizer) if isinstance(value, Scheduler) else value


def _from(module: str) -> Names:
    """What is called makes functions of the step."""
    return Names(lambda name: getattr(import_module(module), name))


LIBRARIES = {
    "torch": Names(_torch),
    "transformers": Names(_transformers),
    "optax": _from("optax"),
    "keras": _from("keras.optimizers.schedules"),
    "pytorch-scheduler": Names(_pytorch_scheduler),
    "lrsched": _from("lrsched"),
}


def _found(library: str) -> tuple[dict[str, Any], str]:
    """Its names and its version."""
    if library in SCRIPTS:
        return SCRIPTS[library]
    return LIBRARIES[library], version(library).partition("+")[0]


def _rates(schedule: Any, steps: list[int]) -> list[float]:
    if isinstance(schedule, Scheduler):
        return schedule.rates(steps)
    rates = [schedule(step) for step in steps]
    # Of rates by group, there is one.
    return [float(*rate.values()) if isinstance(rate, dict) else float(rate) for rate in rates]


def main(chosen: list[str]) -> None:
    """Computes those of the ``chosen`` libraries, and writes the file."""
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")  # no optimizer steps here
    made = json.loads(FILE.read_text())
    for case in made["cases"]:
        library = case["peer"].split()[0]
        if library not in chosen:
            continue
        names, made["versions"][library] = _found(library)
        values = _rates(eval(case["call"], {}, names), case["steps"])
        print(f"{case['id']}: {'as before' if values == case.get('values') else 'CHANGED'}")
        case |= {"peer": f"{library} {made['versions'][library]}", "values": values}
    FILE.write_text(json.dumps(made, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:] or [*LIBRARIES, *SCRIPTS])
