"""Compiled training: a model's update, or its whole step, as one graph that always works on the present state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx.nn import Module, average_gradients, value_and_grad
from mlx.optimizers import Optimizer, clip_grad_norm
from mlx.utils import tree_flatten, tree_map

from ..core.checks import count, positive, static
from .compiled import Compiled
from .gradients import added, are_finite, laid_out_like, mean, shapes
from .inputs import Inputs
from .layout import Layout
from .watch import Watch


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


class CompiledUpdate:
    """What ``compiled_update`` returns."""

    def __init__(self, model: Module, optimizer: Optimizer, skip_nonfinite: bool, data_parallel: bool) -> None:
        apply = _Apply(model, optimizer, None, skip_nonfinite)
        self._carry: dict[str, Any] = {"skipped": mx.array(0, mx.uint32)}

        def update(inputs: Inputs, carry: dict[str, Any], gradients: dict[str, Any]) -> None:
            apply(inputs, carry, average_gradients(gradients) if data_parallel else gradients)

        carried = ["skipped"] if skip_nonfinite else []
        watch = Watch(Layout([optimizer]).optimizers)
        options: dict[str, Any] = {"reads_modules": False, "records_writes": skip_nonfinite}
        self._update = Compiled(update, optimizer, [model], self._carry, carried, watch, **options)

    def __call__(self, gradients: dict[str, Any]) -> None:
        """One update by these gradients."""
        self._update(gradients)

    @property
    def traces(self) -> int:
        """How often the update was traced."""
        return self._update.traces

    @property
    def skipped(self) -> mx.array:
        """How many updates changed nothing, because gradients were not finite."""
        skipped: mx.array = self._carry["skipped"]
        return skipped


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
        self._carry: dict[str, Any] = {"skipped": mx.array(0, mx.uint32), **_nothing_summed()}
        apply = _Apply(model, optimizer, max_grad_norm, skip_nonfinite)
        watch = Watch(Layout([optimizer]).optimizers)

        def differentiated(inputs: Inputs, batch: Any, named: Any) -> tuple[Any, Any, mx.array | None]:
            value, gradients = value_and_grad(model, inputs.recorded(loss_fn))(model, *batch, **named)
            return value, gradients, _weight(value) if weighted else None

        def add(inputs: Inputs, carry: dict[str, Any], batch: Any, named: Any) -> Any:
            """One more call of several that make an update."""
            value, gradients, weight = differentiated(inputs, batch, named)
            if weight is not None:
                inputs.restore_unless(weight > 0, inputs.by_loss)
            if skip_nonfinite:
                carry["before"] = {**inputs.by_loss, **carry["before"]}
            carry["sums"] = added(carry["sums"], gradients, weight)
            carry["weight"] = carry["weight"] + (1.0 if weight is None else mx.where(weight > 0, weight, 0))
            return value, gradients

        def apply_mean(inputs: Inputs, carry: dict[str, Any], like: Any) -> None:
            sums = [carry["sums"], carry["weight"]]
            gradients, weight = average_gradients(sums) if data_parallel else sums
            carry["sums"], carry["weight"] = tree_map(mx.zeros_like, sums)
            apply(inputs, carry, mean(gradients, weight, like), weight if weighted else None)

        def collect(inputs: Inputs, carry: dict[str, Any], *batch: Any, **named: Any) -> Any:
            return add(inputs, carry, batch, named)[0]

        def update(inputs: Inputs, carry: dict[str, Any], *batch: Any, **named: Any) -> Any:
            value, gradients, weight = differentiated(inputs, batch, named)
            apply(inputs, carry, average_gradients(gradients) if data_parallel else gradients, weight)
            return value

        def update_by_mean(inputs: Inputs, carry: dict[str, Any], *batch: Any, **named: Any) -> Any:
            value, gradients = add(inputs, carry, batch, named)
            apply_mean(inputs, carry, gradients)
            return value

        def flush(inputs: Inputs, carry: dict[str, Any]) -> None:
            apply_mean(inputs, carry, model.trainable_parameters())

        def compiled(body: Callable[..., Any], *carried: str, updates: bool = True) -> Compiled:
            options: dict[str, Any] = {
                "updates": updates,
                "records_writes": weighted or skip_nonfinite,
                "prepare": self._lay_out,
            }
            return Compiled(body, optimizer, [model, *modules], self._carry, carried, watch, **options)

        summed = [*_nothing_summed()]
        counted = ["skipped"] if weighted or skip_nonfinite else []
        self._collect = compiled(collect, *summed, updates=False)  # a loss may ask for the step
        self._update = compiled(update, *counted)
        self._update_by_mean = compiled(update_by_mean, *counted, *summed)
        self._flush = compiled(flush, *counted, *summed)
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
        """How many updates changed nothing, because gradients were not finite or all weights were 0."""
        skipped: mx.array = self._carry["skipped"]
        return skipped

    @property
    def state(self) -> dict[str, Any]:
        """The calls since the last update, with the sums of their gradients and weights; empty if each is an update.

        A tree of arrays, to be saved and set with those of model and optimizer, also for another ``accumulate``. With
        ``skip_nonfinite`` it has what else these calls changed, as it was ``before``.
        """
        if self._accumulate == 1 and not self._calls:
            return {}
        self._lay_out()
        carry = self._carry
        state = {"calls": mx.array(self._calls, mx.uint32), "gradients": carry["sums"], "weight": carry["weight"]}
        return {**state, "before": dict(carry["before"])} if carry["before"] else state

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
        before: Any = tree_flatten(state.get("before", {}))  # in a file, names with dots become trees
        self._carry |= {
            "sums": state["gradients"],
            "weight": mx.array(state.get("weight", calls)).astype(mx.float32),
            "before": dict(before),
        }
        self._lay_out()
        self._calls = calls

    def _lay_out(self) -> None:
        """Makes room for the sums of gradients."""
        if self._accumulate > 1 or self._by_mean or self._calls:
            self._carry["sums"] = laid_out_like(self._model.trainable_parameters(), self._carry["sums"])


class _Apply:
    """The end of a step: gradients clipped and given to the optimizer, and all undone if they do not count."""

    def __init__(self, model: Module, optimizer: Optimizer, max_grad_norm: float | None, skip_nonfinite: bool) -> None:
        self._model = model
        self._optimizer = optimizer
        self._max_grad_norm = max_grad_norm
        self._skip_nonfinite = skip_nonfinite

    def __call__(self, inputs: Inputs, carry: dict[str, Any], gradients: Any, weight: mx.array | None = None) -> None:
        if self._max_grad_norm is not None:
            gradients = clip_grad_norm(gradients, self._max_grad_norm)[0]
        self._optimizer.update(self._model, gradients)
        conditions = [] if weight is None else [weight > 0]
        if self._skip_nonfinite:
            conditions.append(are_finite(gradients))
        if conditions:
            counts = mx.all(mx.stack(conditions))
            inputs.restore_unless(counts, {**inputs.written(), **carry.get("before", {})})
            carry["skipped"] = carry["skipped"] + (1 - counts).astype(mx.uint32)
        if "before" in carry:
            carry["before"] = {}


def _nothing_summed() -> dict[str, Any]:
    """The sums of gradients and of weights, and what else the calls of an update have changed, as it was before."""
    return {"sums": {}, "weight": mx.array(0.0), "before": {}}


def _weight(value: Any) -> mx.array:
    """The weight that a loss returned."""
    weight = value[1] if isinstance(value, (tuple, list)) and len(value) > 1 else None
    if not isinstance(weight, (int, float)) and not (isinstance(weight, mx.array) and weight.size == 1):
        returned = f"{len(value)} values" if isinstance(value, (tuple, list)) else f"one {type(value).__name__}"
        raise TypeError(
            f"weighted needs a loss_fn that returns (loss, weight, ...), where weight is a number or an array of one, "
            f"but it returned {returned}" + ("." if weight is None else f", of which the second is {_kind(weight)}.")
        )
    return mx.array(weight).reshape(()).astype(mx.float32)


def _kind(value: Any) -> str:
    return f"an array of shape {value.shape}" if isinstance(value, mx.array) else f"{type(value).__name__}"


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
