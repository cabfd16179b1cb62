"""The learning-rate range test: the loss at each of many rates, on a model that is afterwards as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import mlx.core as mx
from mlx.nn import Module
from mlx.optimizers import Optimizer

from ..core.checks import count, positive, static
from ..optimizers.state import schedules_of
from .layout import Layout
from .snapshots import Snapshot, random_key, set_random_key
from .step import compiled_step

_WORSE = 4
"""How many times the best loss ends the test."""
_REACH = 20
"""A twentieth of the steps to each side is what a loss is smoothed over: 0.4 decades of the 8 from 1e-7 to 10."""


def range_test(
    loss_fn: Callable[..., Any],
    model: Module,
    optimizer: Optimizer,
    batches: Iterable[Any],
    *,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
) -> RangeTest:
    r"""Trains a little at rates from low to high, to see which one to choose, and undoes it all.

    .. math:: \eta_i = \mathrm{low} \cdot (\mathrm{high} / \mathrm{low})^{\,i / (\mathrm{steps} - 1)}

    All rates share one graph, that of ``compiled_step``. Model, optimizer, schedules and random numbers are bit by bit
    as they were before, also where the test is interrupted or fails; a running ``compiled_step`` goes on as if there
    had been no test. The model is trained in its present mode, ``train()`` or ``eval()``, from its present weights and
    the present state of the optimizer. The rates take the place of a schedule, and all groups of a ``MultiOptimizer``
    get them. Other hyperparameters stay as they are.

    The test ends early where the smoothed loss exceeds 4 times the best (of a loss below zero: where it is worse by 3
    times the size of the best), where a loss is not finite, and where ``batches`` ends.

    Args:
        loss_fn: ``loss_fn(model, *batch)``, which returns the loss, or a tuple that starts with it.
        model: The model.
        optimizer: Any optimizer of MLX, ``MultiOptimizer`` included, with or without schedules.
        batches: The batches, each a tuple or a list of the arguments of ``loss_fn``, or its only argument. What can be
            iterated again, such as a list, is repeated. An iterator is used up as far as the test goes.
        low: The first rate, above 0.
        high: The last rate, above ``low``.
        steps: The number of rates, at least 2. Each rate trains on from the one before: with twice the steps the loss
            falls at about half the rate.

    Returns:
        A ``RangeTest``: ``rates`` and ``losses``, ``suggestion`` or the ``reason`` why there is none, and ``plot()``.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If ``low`` and ``high`` are not two rates above 0 in this order, ``steps`` is not a whole number >=
            2, there is no batch, or the optimizer takes no learning rate (``Adafactor`` with ``relative_step``).
            Whatever ``loss_fn`` and ``batches`` raise passes through.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (2015); fast.ai's and Lightning's ``lr_find``.

    Example:
        >>> import mlx.core as mx, mlx.nn as nn, mlx.optimizers as optim
        >>> from mlxsched_compiled import range_test
        >>> def loss_fn(model, x, y):
        ...     return nn.losses.mse_loss(model(x), y)
        >>> model = nn.Linear(4, 1)
        >>> test = range_test(loss_fn, model, optim.SGD(0.1), [(mx.ones((8, 4)), mx.full((8, 1), 3.0))])
        >>> 1e-3 < test.suggestion < 0.2  # from 0.2 on, a rate diverges
        True
    """
    low = static("low", positive("low", low))
    high = static("high", positive("high", high))
    steps = static("steps", count("steps", steps, at_least=2))
    if low >= high:
        raise ValueError(f"high must be above low, {low!r}, but got {high!r}.")
    if not isinstance(batches, Iterable):
        raise TypeError(f"batches must be a list or another iterable of batches, but got {batches!r}.")
    step = compiled_step(loss_fn, model, optimizer)
    test = RangeTest(steps)
    # At both ends one of the powers is 1 and the other one the rate: exact.
    rates = [low ** (1 - i / (steps - 1)) * high ** (i / (steps - 1)) for i in range(steps)]
    undo = _undoing(model, optimizer)
    try:
        tested = _without_schedules(optimizer)
        with _shown(rates) as shown:
            for rate, batch in zip(shown, _repeated(batches), strict=False):
                for state in tested:
                    state["learning_rate"] = mx.array(rate)
                value = step(*batch) if isinstance(batch, (tuple, list)) else step(batch)
                loss: Any = value[0] if isinstance(value, (tuple, list)) else value
                # All processes must see one loss, or one would end while the others wait for its gradients.
                loss = mx.distributed.all_sum(loss) / mx.distributed.init().size()
                mx.eval(loss, model.state, optimizer.state)
                if test._ends_with(rate, loss.item()):
                    break
    finally:
        try:
            undo()
        except KeyboardInterrupt:  # a Ctrl-C in the midst of it
            undo()
            raise
    if not test.rates:
        raise ValueError("batches must hold at least one batch, but is empty.")
    return test


class RangeTest:
    """What ``range_test`` returns."""

    def __init__(self, steps: int) -> None:
        self.rates: list[float] = []
        """The rates tested."""
        self.losses: list[float] = []
        """The loss of each step, which is that before the update by its rate."""
        self.diverged = False
        """Whether the last loss ended the test, because it was not finite or, smoothed, more than 4 times the best."""
        self._steps = steps
        self._reach = max(steps // _REACH, 1)
        self._best = math.inf  # of the smoothed losses, each as it was when it was the latest

    @property
    def smoothed(self) -> list[float]:
        """The mean of each loss and those around it, in a triangular window; without the loss that ended the test."""
        losses = self._before_divergence(self.losses)
        return [_mean_around(i, losses, self._reach) for i in range(len(losses))]

    @property
    def suggestion(self) -> float | None:
        """The rate whose update made the smoothed loss fall most, on its way to its minimum; None for ``reason``."""
        if self.reason:
            return None
        smoothed = self.smoothed
        best = smoothed.index(min(smoothed))
        return self.rates[min(range(best), key=lambda i: smoothed[i + 1] - smoothed[i])]

    @property
    def reason(self) -> str:
        """Why there is no suggestion; empty where there is one."""
        smoothed = self.smoothed
        if not smoothed or smoothed[0] == min(smoothed):
            return "the loss never falls"
        if self.diverged or len(self.rates) == self._steps:
            return ""
        differences = [abs(loss - mean) for loss, mean in zip(self.losses, smoothed, strict=True)]
        noise = max(3 * sum(differences) / len(differences), abs(smoothed[0]) / 100)
        if smoothed[0] - min(smoothed) <= noise:
            return f"the batches end after {len(self.rates)} of {self._steps} rates, before the loss has moved"
        return ""

    def plot(self, ax: Any = None) -> Any:
        """Draws the losses over the rates, and the suggestion.

        Args:
            ax: The axes of matplotlib to draw on; None for new ones.

        Returns:
            The axes.

        Raises:
            ImportError: If there is no matplotlib.
        """
        from ..plotting.plot import new_axes  # seldom needed, and slow to import

        ax = new_axes() if ax is None else ax
        rates = self._before_divergence(self.rates)
        ax.plot(rates, self._before_divergence(self.losses), color="#b8c4e8", linewidth=1, label="loss")
        ax.plot(rates, self.smoothed, color="#4269d0", label="smoothed")
        if self.suggestion is not None:
            ax.axvline(self.suggestion, color="#ff725c", linestyle="--", label=f"suggestion: {self.suggestion:.2g}")
        ax.set_xscale("log")
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        if not self.rates:
            return "RangeTest()"
        suggestion = self.suggestion
        parts = [f"no suggestion: {self.reason}" if suggestion is None else f"suggestion {suggestion:.2g}"]
        parts.append(f"{len(self.rates)} rates from {self.rates[0]:.2g} to {self.rates[-1]:.2g}")
        if smoothed := self.smoothed:
            best = min(smoothed)
            parts.append(f"loss {smoothed[0]:.3g}, at best {best:.3g} at {self.rates[smoothed.index(best)]:.2g}")
        if self.diverged:
            parts.append(f"ended by a loss of {self.losses[-1]:.3g}")
        return f"RangeTest({', '.join(parts)})"

    def _before_divergence(self, values: list[float]) -> list[float]:
        return values[:-1] if self.diverged else values

    def _ends_with(self, rate: float, loss: float) -> bool:
        """Notes a step. Whether the test ends with it."""
        self.rates.append(rate)
        self.losses.append(loss)
        latest = _mean_around(len(self.losses) - 1, self.losses, self._reach)
        self._best = min(self._best, latest)  # a NaN leaves what there is
        limit = self._best + (_WORSE - 1) * abs(self._best)
        self.diverged = not math.isfinite(loss) or latest > limit
        return self.diverged


def _mean_around(i: int, values: list[float], reach: int) -> float:
    """The mean of the values up to ``reach`` away from the one at ``i``, weighted by how near they are."""
    first = max(i - reach, 0)
    near = values[first : i + reach + 1]
    weights = [reach + 1 - abs(i - j) for j in range(first, first + len(near))]
    return sum(weight * value for weight, value in zip(weights, near, strict=True)) / sum(weights)


def _shown(rates: list[float]) -> AbstractContextManager[Iterable[float]]:
    """The rates, with a progress bar if there is tqdm and a terminal."""
    try:
        from tqdm import tqdm
    except ImportError:
        return nullcontext(rates)
    bar: AbstractContextManager[Iterable[float]] = tqdm(rates, desc="range_test", unit="step", disable=None)
    return bar


def _repeated(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches, over and over if they can be iterated again and there are any."""
    again = True
    while again:
        again = False  # an iterator that has ended yields no more
        for batch in batches:
            again = True
            yield batch


def _without_schedules(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The states in which optimizers look for their learning rate, which nothing else sets from now on."""
    states = []
    for each in Layout([optimizer]).optimizers:
        if "learning_rate" in each.state and not getattr(each, "relative_step", False):
            getattr(each, "_schedulers", {}).pop("learning_rate", None)
            states.append(each.state)
    if not states:
        raise ValueError(f"optimizer must take a learning rate, but {type(optimizer).__name__} as it is takes none.")
    return states


def _undoing(model: Module, optimizer: Optimizer) -> Callable[[], None]:
    """What undoes all that is done from now on to model, optimizer, its schedules, and random numbers.

    Steps replace arrays and do not write into them, so it holds references, not copies.
    """
    layout = Layout([optimizer], [model])
    schedules = [Snapshot(_containers(schedule.state)) for schedule in schedules_of(layout.optimizers)]
    snapshots = [Snapshot(layout.containers), *schedules]
    key = random_key()
    mx.eval(key)

    def undo() -> None:
        for snapshot in snapshots:
            snapshot.restore()
        set_random_key(key)

    return undo


def _containers(state: list[Any]) -> Iterator[Any]:
    """A list, and the lists in it."""
    yield state
    for child in state:
        if isinstance(child, list):
            yield from _containers(child)
