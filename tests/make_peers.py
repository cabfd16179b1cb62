"""Has PyTorch, Transformers, Optax and Keras compute the rates in peers.json anew: ``python tests/make_peers.py``.

A case of that file says which library and version ran (``peer``), what was run (``call``) and at which ``steps``. To
add one, write it there without ``values``. This computes the values and prints what has changed. It needs::

    pip install torch==2.13.0 transformers==5.23.0 optax==0.2.8 keras==3.15.1

PyTorch and Transformers compute in Python floats, Optax and, over JAX, Keras with JAX's 64 bits enabled.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"JAX_ENABLE_X64": "1", "KERAS_BACKEND": "jax"}

FILE = Path(__file__).with_name("peers.json")

Rates = Callable[[list[int]], list[float]]
"""What a call is made into: the rates at these steps."""


class Library(dict[str, Any]):
    """Names for ``eval``, each found when a call uses it."""

    def __init__(self, find: Callable[[str], Callable[..., Rates]]) -> None:
        self.find = find

    def __missing__(self, name: str) -> Callable[..., Rates]:
        return self.find(name)


def _stepped(make: Callable[[Any], Any], lr: float, what: str = "lr") -> Rates:
    """The rates of a scheduler that is made for an optimizer, and stepped; or what else of the optimizer it sets."""

    def rates(steps: list[int]) -> list[float]:
        import torch

        scheduler = make(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9))
        found = []
        for _ in range(max(steps) + 1):
            found.append(float(scheduler.optimizer.param_groups[0][what]))
            scheduler.step()
        return [found[step] for step in steps]

    return rates


def _torch(name: str) -> Callable[..., Rates]:
    def call(lr: float = 0.1, **options: Any) -> Rates:
        import torch

        sets_momentum = options.get("cycle_momentum", False)  # and then that is asked for
        if name in ("CyclicLR", "OneCycleLR"):
            options["cycle_momentum"] = sets_momentum
        make = getattr(torch.optim.lr_scheduler, name)
        return _stepped(lambda optimizer: make(optimizer, **options), lr, "momentum" if sets_momentum else "lr")

    return call


def _transformers(name: str) -> Callable[..., Rates]:
    def call(kind: str, lr: float, warmup: int, training: int | None = None, **options: Any) -> Rates:
        get = getattr(import_module("transformers"), name)
        return _stepped(lambda optimizer: get(kind, optimizer, warmup, training, scheduler_specific_kwargs=options), lr)

    return call


def _called(module: str, name: str) -> Callable[..., Rates]:
    def call(*arguments: Any, **options: Any) -> Rates:
        schedule = getattr(import_module(module), name)(*arguments, **options)
        return lambda steps: [float(schedule(step)) for step in steps]

    return call


LIBRARIES = {
    "torch": Library(_torch),
    "transformers": Library(_transformers),
    "optax": Library(partial(_called, "optax")),
    "keras": Library(partial(_called, "keras.optimizers.schedules")),
}


def main() -> None:
    """Computes all, and writes the file."""
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")  # no optimizer steps here
    versions = {library: version(library).partition("+")[0] for library in LIBRARIES}
    cases = json.loads(FILE.read_text())["cases"]
    for case in cases:
        library = case["peer"].split()[0]
        values = eval(case["call"], {}, LIBRARIES[library])(case["steps"])
        print(f"{case['id']}: {'as before' if values == case.get('values') else 'CHANGED'}")
        case |= {"peer": f"{library} {versions[library]}", "values": values}
    FILE.write_text(json.dumps({"versions": versions, "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
