"""What is traced, built and kept: once per shape of batch, never for a hyperparameter, and nothing after the end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

import mlxsched_compiled as ours

from .counting import libraries, requires_compile, run
from .training_loops import Step, batches, by_update, mlp, mse, train, warm_cosine, with_both_tools


class _Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.function(*args)


@requires_compile
def test_one_trace_per_shape_in_1000_steps() -> None:
    loss_fn, rate = _Counted(mse), _Counted(lambda step: 0.01 / (step + 1.0))
    model, optimizer = mlp(), optim.AdamW(rate)
    rate.calls = 0
    step = ours.compiled_step(loss_fn, model, optimizer)
    data = [batches(1, size=size)[0] for size in (4, 8, 16)]
    for i in range(1000):
        step(*data[i % 3])
        if i % 100 == 99:
            mx.eval(model.parameters(), optimizer.state)
    assert optimizer.step.item() == 1000
    assert (loss_fn.calls, rate.calls) == (3, 3)


@requires_compile
def test_one_trace_of_an_update_in_1000_steps() -> None:
    rate = _Counted(lambda step: 0.01 / (step + 1.0))
    model, optimizer = mlp(), optim.AdamW(rate)
    rate.calls = 0
    step = by_update(mse, model, optimizer)
    for i in range(1000):
        step(*batches(1, size=4 + i % 20)[0])
        if i % 100 == 99:
            mx.eval(model.parameters(), optimizer.state)
    assert optimizer.step.item() == 1000
    assert rate.calls == 1


@requires_compile
def test_a_step_that_accumulates_is_traced_twice() -> None:
    loss_fn = _Counted(mse)
    model, optimizer = mlp(), optim.AdamW(warm_cosine())
    train(ours.compiled_step(loss_fn, model, optimizer, accumulate=3), batches(30), model, optimizer)
    assert loss_fn.calls == 2


@requires_compile
def test_values_do_not_retrace() -> None:
    """Other weights, another learning rate, another step: arrays of the same layout."""
    loss_fn = _Counted(mse)
    model, optimizer = mlp(), optim.AdamW(0.01)
    step = ours.compiled_step(loss_fn, model, optimizer)
    for i, batch in enumerate(batches(20)):
        optimizer.learning_rate = 0.01 / (i + 1)
        optimizer.state["step"] = mx.array(i * 5, mx.uint64)
        model.update(mlp().parameters())
        model.train()
        model.layers[0].unfreeze()
        train(step, [batch], model, optimizer)
    assert loss_fn.calls == 1


def _stale_traces() -> None:
    """MLX drops a trace with the function it is of, or with the next call."""
    gc.collect()
    mx.eval(mx.compile(lambda x: x + 1)(mx.array(0.0)))


@with_both_tools
@pytest.mark.parametrize("fails", [False, True])
def test_what_is_dropped_is_released(tool: Callable[..., Step], fails: bool) -> None:
    """Model, optimizer and loss, also after a failure."""
    loss_fn = _Counted(mse)
    model, optimizer = mlp(), optim.AdamW(warm_cosine())
    step = tool(loss_fn, model, optimizer)
    train(step, batches(3), model, optimizer)
    if fails:
        with pytest.raises(ValueError, match="addmm"):
            step(mx.zeros((2, 3)), mx.zeros((2, 2)))
    watched = [weakref.ref(each) for each in (loss_fn, model, optimizer)]
    del loss_fn, model, optimizer, step
    _stale_traces()
    assert [reference() for reference in watched] == [None] * 3


@requires_compile
def test_a_sweep_builds_no_kernel_after_the_first_run(tmp_path: Path) -> None:
    """100 learning rates in one process, where none was built before, by both tools; memory stays where it was."""
    printed = run(
        """
        import gc, os, resource
        from pathlib import Path
        import mlx.core as mx, mlx.optimizers as optim
        import mlxsched_compiled as ours
        from tests.training_loops import TOOLS, batches, mlp, mse, train

        data = batches(3)

        def sweep(rates):
            for rate in rates:
                for tool in TOOLS.values():
                    schedule = ours.warmup_cosine_decay(rate, 2 + int(100 * rate), 100, end=rate / 7)
                    model, optimizer = mlp(), optim.AdamW(schedule)
                    train(tool(mse, model, optimizer), data, model, optimizer)

        def built():
            return {file.name for file in Path(os.environ["TMPDIR"]).rglob("*.so")}

        def pages():
            gc.collect()
            return int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0

        sweep([0.1])
        first = built()
        sweep([0.001 * k for k in range(1, 21)])
        memory = pages()
        sweep([0.0011 * k for k in range(1, 81)])
        print(len(first), len(built() - first), (pages() - memory) * resource.getpagesize() / 2**20)
        """,
        tmp_path,
    )
    first, later, grown = printed.split()
    assert int(first) == len(libraries(tmp_path)) > 0
    assert int(later) == 0
    assert float(grown) < 8, "MiB, of 160 runs"


def test_a_model_of_many_shapes_is_released_with_its_step() -> None:
    """Retraces leave no older model behind."""
    references = []
    for size in range(3, 9):
        model, optimizer = mlp(), optim.SGD(warm_cosine())
        step = ours.compiled_step(mse, model, optimizer)
        for replaced in range(3):
            model.layers[1] = nn.ReLU() if replaced % 2 else nn.Tanh()
            references.append(weakref.ref(model.layers[1]))
            train(step, batches(1, size=size), model, optimizer)
    del model, step, optimizer
    _stale_traces()
    assert [reference() for reference in references] == [None] * len(references)
