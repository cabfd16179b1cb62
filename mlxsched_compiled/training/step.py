"""Compiled training: a model's update, or its whole step, as one graph that always works on the present state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx.nn import Module, average_gradients, value_and_grad
from mlx.optimizers import Optimizer, clip_grad_norm

from ..core.checks import count, positive, static
from .gradients import Before, GradientSum, are_finite, shapes
from .stateful import Stateful


def compiled_update(
    model: Module, optimizer: Optimizer, *, skip_nonfinite: bool = False, data_parallel: bool = True
) -> CompiledUpdate:
    """The optimizer's update of a model, its schedules included, as one compiled graph.

    For loops whose batches change shape, or whose loss cannot be compiled: the gradients keep their shapes, so the
    graph is traced once.

    Args:
        model: The model to update.
        optimizer: Any optimizer of MLX, ``MultiOptimizer`` included, with or without schedules.
        skip_nonfinite: Whether an update whose gradients are not all finite changes nothing: neither weights nor the
            optimizer's state nor the step that schedules count. That is decided in the graph, and counted in
            ``update.skipped``.
        data_parallel: Whether to average the gradients over all processes of ``mx.distributed``.

    Returns:
        ``update(gradients)``, where the gradients are those of ``nn.value_and_grad(model, loss_fn)``. Evaluate
        ``model.state`` and ``optimizer.state`` after it, as ever. ``update.traces`` says how often it was traced.

    Raises:
        Exception: By the update, what MLX raises if the gradients do not fit the model. Model and optimizer are then as
            they were.

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
    _check_trained(model, optimizer)
    return CompiledUpdate(model, optimizer, skip_nonfinite, data_parallel)


def compiled_step(
    loss_fn: Callable[..., Any],
    model: Module,
    optimizer: Optimizer,
    *,
    max_grad_norm: float | None = None,
    accumulate: int = 1,
    weighted: bool = False,
    skip_nonfinite: bool = False,
    modules: Sequence[Module] = (),
    data_parallel: bool = True,
) -> CompiledStep:
    """A whole training step as one compiled graph: loss, gradients, update and schedule.

    Args:
        loss_fn: ``loss_fn(model, *batch)``, which returns the loss, or a tuple that starts with it. A batch may also be
            given by keywords.
        model: The model to train.
        optimizer: Any optimizer of MLX, ``MultiOptimizer`` included, with or without schedules.
        max_grad_norm: The norm that gradients are clipped to, above 0; None for no clipping.
        accumulate: How many calls make one update, with the mean of their gradients, which is summed in float32;
            schedules count updates. ``step.flush()`` makes an update of the calls left over.
        weighted: Whether ``loss_fn`` returns ``(loss, weight, ...)``, and updates go by the mean that is weighted so,
            over calls and processes: the right one where batches have different numbers of tokens.
        skip_nonfinite: Whether an update whose gradients are not all finite changes nothing: neither weights nor the
            optimizer's state nor the step that schedules count. That is decided in the graph, and counted in
            ``step.skipped``.
        modules: Other models that ``loss_fn`` uses, such as a teacher; they are followed like ``model``, and not
            trained.
        data_parallel: Whether to average the gradients over all processes of ``mx.distributed``.

    Returns:
        ``step(*batch)``, which returns what ``loss_fn`` does. Evaluate ``model.state`` and ``optimizer.state`` after
        it, as ever. It is traced once for each shape of batch; ``step.traces`` says how often it was. ``step.state`` is
        what it holds besides model and optimizer.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If ``max_grad_norm`` is not above 0 or ``accumulate`` is not a whole number >= 1.
        Exception: By the step, whatever ``loss_fn`` raises. Model, optimizer and schedules are then as they were.

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
    if isinstance(loss_fn, Module) or not callable(loss_fn):
        raise TypeError(f"loss_fn must be a function loss_fn(model, *batch), but got {loss_fn!r}.")
    _check_trained(model, optimizer)
    if isinstance(modules, Module) or not all(isinstance(module, Module) for module in modules):
        raise TypeError(f"modules must be a list of mlx.nn.Module, but got {modules!r}.")
    if max_grad_norm is not None:
        max_grad_norm = static("max_grad_norm", positive("max_grad_norm", max_grad_norm))
    accumulate = static("accumulate", count("accumulate", accumulate))
    return CompiledStep(
        loss_fn,
        model,
        optimizer,
        modules,
        accumulate=accumulate,
        weighted=weighted,
        max_grad_norm=max_grad_norm,
        skip_nonfinite=skip_nonfinite,
        data_parallel=data_parallel,
    )


class CompiledUpdate(Stateful):
    """What ``compiled_update`` returns."""

    def __init__(self, model: Module, optimizer: Optimizer, skip_nonfinite: bool, data_parallel: bool) -> None:
        self._apply = _Apply(model, optimizer, None, skip_nonfinite)

        def update(gradients: dict[str, Any]) -> None:
            before = self._apply.before()
            self._apply(average_gradients(gradients) if data_parallel else gradients, before)

        super().__init__(update, [optimizer], model, [], self._apply.state, reads_modules=False)

    @property
    def skipped(self) -> mx.array:
        """How many updates changed nothing, because gradients were not finite."""
        return self._apply.skipped[0]


class CompiledStep:
    """What ``compiled_step`` returns."""

    def __init__(
        self,
        loss_fn: Callable[..., Any],
        model: Module,
        optimizer: Optimizer,
        modules: Sequence[Module],
        *,
        accumulate: int,
        weighted: bool,
        max_grad_norm: float | None,
        skip_nonfinite: bool,
        data_parallel: bool,
    ) -> None:
        self._model = model
        self._accumulate = accumulate
        self._calls = 0
        self._sum = GradientSum()
        self._apply = _Apply(model, optimizer, max_grad_norm, skip_nonfinite)

        def differentiated(batch: Any, named: Any) -> tuple[Any, Any, mx.array]:
            value, gradients = value_and_grad(model, loss_fn)(model, *batch, **named)
            if not weighted:
                return value, gradients, mx.array(1.0)
            if not isinstance(value, (tuple, list)) or len(value) < 2:
                raise TypeError(
                    f"weighted needs a loss_fn that returns (loss, weight, ...), but it returned {value!r}."
                )
            return value, gradients, mx.array(value[1]).astype(mx.float32)

        def collect(*batch: Any, **named: Any) -> Any:
            value, gradients, weight = differentiated(batch, named)
            self._sum.add(gradients, weight)
            return value

        def update(*batch: Any, **named: Any) -> Any:
            before = self._apply.before()
            value, gradients, _ = differentiated(batch, named)
            self._apply(average_gradients(gradients) if data_parallel else gradients, before)
            return value

        def update_by_mean(*batch: Any, **named: Any) -> Any:
            before = self._apply.before()
            value, gradients, weight = differentiated(batch, named)
            self._sum.add(gradients, weight)
            self._apply(self._sum.take_mean(gradients, data_parallel), before)
            return value

        def flush() -> None:
            before = self._apply.before()
            self._apply(self._sum.take_mean(model.trainable_parameters(), data_parallel), before)

        def compiled(body: Callable[..., Any], carried: list[Any], *, updates: bool = True) -> Stateful:
            return Stateful(body, [optimizer], model, modules, carried, updates=updates, prepare=self._lay_out, depth=5)

        carried = [self._sum.tree, *self._apply.state]
        self._collect = compiled(collect, carried, updates=False)  # a loss may ask for the step
        self._update = compiled(update, [*self._apply.state])
        self._update_by_mean = compiled(update_by_mean, carried)
        self._flush = compiled(flush, carried)
        # Between processes, a weighted mean is one even of single calls.
        self._by_mean = accumulate > 1 or (weighted and data_parallel and mx.distributed.init().size() > 1)

    def __call__(self, *batch: Any, **named: Any) -> Any:
        """One step on a batch."""
        if self._calls < self._accumulate - 1:
            value = self._collect(*batch, **named)
            self._calls += 1
            return value
        update = self._update_by_mean if self._by_mean or self._calls else self._update
        value = update(*batch, **named)
        self._calls = 0
        return value

    def flush(self) -> None:
        """Makes an update of the calls since the last one, with their mean; none if there are none."""
        if self._calls:
            self._flush()
            self._calls = 0

    @property
    def traces(self) -> int:
        """How often the step was traced."""
        return sum(each.traces for each in (self._collect, self._update, self._update_by_mean, self._flush))

    @property
    def skipped(self) -> mx.array:
        """How many updates changed nothing, because gradients were not finite."""
        return self._apply.skipped[0]

    @property
    def state(self) -> dict[str, Any]:
        """The calls since the last update, and the sums of their gradients and weights; empty if each is an update.

        A tree of arrays, to be saved and set with those of model and optimizer, also for another ``accumulate``.
        """
        if self._accumulate == 1 and not self._calls:
            return {}
        self._lay_out()
        sums, weight = self._sum.tree
        return {"calls": mx.array(self._calls, mx.uint32), "gradients": sums, "weight": weight}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if not state:
            state = {"calls": 0, "gradients": {}}
        if missing := {"calls", "gradients"} - state.keys():
            raise ValueError(f"state must be what step.state was, or empty, but lacks {', '.join(sorted(missing))}.")
        parameters = self._model.trainable_parameters()
        if state["gradients"] and shapes(state["gradients"]) != shapes(parameters):
            raise ValueError("state must hold gradients for what this model trains, but holds others.")
        calls = int(state["calls"])
        self._sum.tree[:] = [state["gradients"], mx.array(state.get("weight", calls)).astype(mx.float32)]
        self._lay_out()
        self._calls = calls

    def _lay_out(self) -> None:
        self._sum.lay_out(self._model.trainable_parameters())


class _Apply:
    """The end of a step: gradients clipped and given to the optimizer, unless they are not finite."""

    def __init__(self, model: Module, optimizer: Optimizer, max_grad_norm: float | None, skip_nonfinite: bool) -> None:
        self._model = model
        self._optimizer = optimizer
        self._max_grad_norm = max_grad_norm
        self._skip_nonfinite = skip_nonfinite
        self.skipped = [mx.array(0, mx.uint32)]
        self.state = [self.skipped] if skip_nonfinite else []

    def before(self) -> Before | None:
        """What is to be put back if the step is skipped."""
        return Before(self._optimizer, self._model) if self._skip_nonfinite else None

    def __call__(self, gradients: Any, before: Before | None) -> None:
        if self._max_grad_norm is not None:
            gradients = clip_grad_norm(gradients, self._max_grad_norm)[0]
        self._optimizer.update(self._model, gradients)
        if before is not None:
            finite = are_finite(gradients)
            before.unless(finite)
            self.skipped[0] = self.skipped[0] + (1 - finite).astype(mx.uint32)


def _check_trained(model: Any, optimizer: Any) -> None:
    if not isinstance(model, Module):
        raise TypeError(
            f"model must be an mlx.nn.Module, but got {model!r}. The order is loss_fn, model, optimizer; of "
            f"compiled_update, model, optimizer."
        )
    if isinstance(optimizer, (Module, type)) or not hasattr(optimizer, "update"):
        raise TypeError(
            f"optimizer must be an mlx.optimizers.Optimizer, made and not its class, but got {optimizer!r}."
        )
