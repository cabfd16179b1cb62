"""Compiled training: a model's update, or its whole step, as one graph that always works on the present state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx.nn import Module, average_gradients, value_and_grad
from mlx.optimizers import Optimizer, clip_grad_norm
from mlx.utils import tree_flatten, tree_map

from ._checks import count, positive, static
from ._stateful import Stateful


def compiled_update(
    model: Module, optimizer: Optimizer, *, data_parallel: bool = True
) -> Callable[[dict[str, Any]], None]:
    """The optimizer's update of a model, its schedules included, as one compiled graph.

    For loops whose batches change shape, or whose loss cannot be compiled: the gradients keep their shapes, so the
    graph is traced once.

    Args:
        model: The model to update.
        optimizer: Any optimizer of MLX, ``MultiOptimizer`` included, with or without schedules.
        data_parallel: Whether to average the gradients over all processes of ``mx.distributed``.

    Returns:
        ``update(gradients)``, where the gradients are those of ``nn.value_and_grad(model, loss_fn)``. Evaluate
        ``model.state`` and ``optimizer.state`` after it, as ever.

    Raises:
        Exception: By the update, what MLX raises if the gradients do not fit the model. Model and optimizer are then as
            they were.

    Source: the ``mx.compile`` examples of MLX.

    Example:
        >>> import mlx.core as mx, mlx.nn as nn, mlx.optimizers as optim
        >>> from mlxsched_compiled import compiled_update, cosine_decay
        >>> model = nn.Linear(4, 1)
        >>> optimizer = optim.SGD(learning_rate=cosine_decay(0.1, 100))
        >>> update = compiled_update(model, optimizer)
        >>> def loss_fn(model, x):
        ...     return (model(x) ** 2).mean()
        >>> for batch_size in (3, 5, 2):
        ...     loss, gradients = nn.value_and_grad(model, loss_fn)(model, mx.ones((batch_size, 4)))
        ...     update(gradients)
        >>> optimizer.step.item(), optimizer.learning_rate
        (3, array(0.0999013, dtype=float32))
    """

    def update(gradients: dict[str, Any]) -> None:
        optimizer.update(model, average_gradients(gradients) if data_parallel else gradients)

    return Stateful(update, model, [optimizer], [], reads_modules=False)


def compiled_step(
    loss_fn: Callable[..., Any],
    model: Module,
    optimizer: Optimizer,
    *,
    max_grad_norm: float | None = None,
    accumulate: int = 1,
    data_parallel: bool = True,
) -> CompiledStep:
    """A whole training step as one compiled graph: loss, gradients, update and schedule.

    Args:
        loss_fn: ``loss_fn(model, *batch)``, which returns the loss, or a tuple that starts with it.
        model: The model to train.
        optimizer: Any optimizer of MLX, ``MultiOptimizer`` included, with or without schedules.
        max_grad_norm: The norm that gradients are clipped to, above 0; None for no clipping.
        accumulate: How many calls make one update, with the mean of their gradients; schedules count updates.
        data_parallel: Whether to average the gradients over all processes of ``mx.distributed``.

    Returns:
        ``step(*batch)``, which returns what ``loss_fn`` does. Evaluate ``model.state`` and ``optimizer.state`` after
        it, as ever. It is traced once for each shape of batch. ``step.state`` is what it holds besides model and
        optimizer.

    Raises:
        ValueError: If ``max_grad_norm`` is not above 0 or ``accumulate`` is not a whole number >= 1. By the step,
            whatever ``loss_fn`` raises; model, optimizer and schedules are then as they were.

    Source: the ``mx.compile`` examples of MLX.

    Example:
        >>> import mlx.core as mx, mlx.nn as nn, mlx.optimizers as optim
        >>> from mlxsched_compiled import compiled_step, cosine_decay
        >>> model = nn.Linear(4, 1)
        >>> optimizer = optim.SGD(learning_rate=cosine_decay(0.1, 100))
        >>> def loss_fn(model, x, y):
        ...     return nn.losses.mse_loss(model(x), y)
        >>> step = compiled_step(loss_fn, model, optimizer, max_grad_norm=1.0)
        >>> for _ in range(3):
        ...     loss = step(mx.ones((2, 4)), mx.zeros((2, 1)))
        ...     mx.eval(loss, model.state, optimizer.state)
        >>> optimizer.step.item(), optimizer.learning_rate
        (3, array(0.0999013, dtype=float32))
    """
    if max_grad_norm is not None:
        max_grad_norm = static("max_grad_norm", positive("max_grad_norm", max_grad_norm))
    accumulate = static("accumulate", count("accumulate", accumulate))
    return CompiledStep(loss_fn, model, optimizer, max_grad_norm, accumulate, data_parallel)


class CompiledStep:
    """What ``compiled_step`` returns."""

    def __init__(
        self,
        loss_fn: Callable[..., Any],
        model: Module,
        optimizer: Optimizer,
        max_grad_norm: float | None,
        accumulate: int,
        data_parallel: bool,
    ) -> None:
        held: list[Any] = [{}]  # the sum of the gradients of the calls since the last update

        def collect(*batch: Any) -> Any:
            value, gradients = value_and_grad(model, loss_fn)(model, *batch)
            held[0] = tree_map(mx.add, _laid_out_like(gradients, held[0]), gradients)
            return value

        def update(*batch: Any) -> Any:
            value, gradients = value_and_grad(model, loss_fn)(model, *batch)
            if accumulate > 1:
                total = _laid_out_like(gradients, held[0])
                held[0] = tree_map(mx.zeros_like, gradients)
                gradients = tree_map(lambda g, rest: ((rest + g) / accumulate).astype(g.dtype), gradients, total)
            if data_parallel:
                gradients = average_gradients(gradients)
            if max_grad_norm is not None:
                gradients = clip_grad_norm(gradients, max_grad_norm)[0]
            optimizer.update(model, gradients)
            return value

        def hold() -> None:
            held[0] = _laid_out_like(model.trainable_parameters(), held[0])

        self._model = model
        self._held = held
        self._hold = hold
        self._accumulate = accumulate
        self._calls = 0
        if accumulate == 1:
            self._update = Stateful(update, model, [optimizer], [])
        else:
            self._collect = Stateful(collect, model, [], [held], prepare=hold)
            self._update = Stateful(update, model, [optimizer], [held], prepare=hold)

    def __call__(self, *batch: Any) -> Any:
        """One step on a batch."""
        if self._calls < self._accumulate - 1:
            value = self._collect(*batch)
            self._calls += 1
        else:
            value = self._update(*batch)
            self._calls = 0
        return value

    @property
    def state(self) -> dict[str, Any]:
        """The calls since the last update and the sum of their gradients; empty where each call is an update.

        A tree of arrays, to be saved and set with those of model and optimizer.
        """
        if self._accumulate == 1:
            return {}
        self._hold()
        return {"calls": mx.array(self._calls, mx.uint32), "gradients": self._held[0]}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if self._accumulate > 1:
            parameters = self._model.trainable_parameters()
            if _shapes(state["gradients"]) != _shapes(parameters):
                raise ValueError("state must hold gradients for what this model trains, but holds others.")
            self._calls = int(state["calls"].item())
            self._held[0] = _laid_out_like(parameters, state["gradients"])


def _laid_out_like(tree: Any, values: Any) -> Any:
    """``values`` with the keys and places of ``tree``, 0 where there is none."""
    if isinstance(tree, dict):
        known = values if isinstance(values, dict) else {}
        return {key: _laid_out_like(child, known.get(key)) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        known = dict(enumerate(values)) if isinstance(values, (list, tuple)) else {}
        return [_laid_out_like(child, known.get(i)) for i, child in enumerate(tree)]
    return values if isinstance(values, mx.array) and values.shape == tree.shape else mx.zeros_like(tree)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves: Any = tree_flatten(tree)
    return {name: array.shape for name, array in leaves}
