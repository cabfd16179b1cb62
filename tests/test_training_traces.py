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

from .measuring import Counted, libraries, requires_compile, run
from .training import Step, Training, batches, mlp, mse, with_both_tools


@requires_compile
@with_both_tools
def test_one_trace_per_shape_in_1000_steps(tool: Callable[..., Step]) -> None:
    """Of the step; the update is of no shape and so is traced once."""
    loss_fn, rate = Counted(mse), Counted(lambda step: 0.01 / (step + 1.0))
    training = Training(tool, optimizer=optim.AdamW(rate), loss_fn=loss_fn)
    rate.calls = 0
    data = [batches(1, size=size)[0] for size in (4, 8, 16)]
    for i in range(1000):
        training.step(*data[i % 3])
        if i % 100 == 99:
            mx.eval(training.model.parameters(), training.optimizer.state)
    assert training.optimizer.step.item() == 1000
    assert (loss_fn.calls, rate.calls) == ((3, 3) if tool is ours.compiled_step else (1000, 1))


@requires_compile
def test_a_step_that_accumulates_is_traced_twice() -> None:
    loss_fn = Counted(mse)
    Training(ours.compiled_step, loss_fn=loss_fn, accumulate=3).train(30)
    assert loss_fn.calls == 2


@requires_compile
def test_values_do_not_retrace() -> None:
    """Other weights, another learning rate, another step: arrays of the same layout."""
    loss_fn = Counted(mse)
    training = Training(ours.compiled_step, mlp(), optim.AdamW(0.01), loss_fn)
    for i, batch in enumerate(batches(20)):
        training.optimizer.learning_rate = 0.01 / (i + 1)
        training.optimizer.state["step"] = mx.array(i * 5, mx.uint64)
        training.model.update(mlp().parameters())
        training.model.train()
        training.model.layers[0].unfreeze()
        training.train([batch])
    assert loss_fn.calls == 1


def _stale_traces() -> None:
    """MLX drops a trace with the function it is of, or with the next call."""
    gc.collect()
    mx.eval(mx.compile(lambda x: x + 1)(mx.array(0.0)))


@with_both_tools
@pytest.mark.parametrize("fails", [False, True])
def test_what_is_dropped_is_released(tool: Callable[..., Step], fails: bool) -> None:
    """Model, optimizer and loss, also after a failure, and the layers that were replaced on the way."""
    loss_fn: Any = Counted(mse)
    training = Training(tool, loss_fn=loss_fn).train(3)
    watched = [weakref.ref(each) for each in (loss_fn, training.model, training.optimizer)]
    for activation in (nn.ReLU, nn.Tanh, nn.ReLU):
        training.model.layers[1] = activation()
        watched.append(weakref.ref(training.model.layers[1]))
        training.train(batches(1, size=5))
    if fails:
        with pytest.raises(ValueError, match="addmm"):
            training.step(mx.zeros((2, 3)), mx.zeros((2, 2)))
    del loss_fn, training
    _stale_traces()
    assert [reference() for reference in watched] == [None] * len(watched)


@requires_compile
def test_a_sweep_builds_no_kernel_after_the_first_run(tmp_path: Path) -> None:
    """100 learning rates in one process, where none was built before, by both tools; memory stays where it was."""
    printed = run(
        """
        import gc, os, resource
        from pathlib import Path
        import mlx.optimizers as optim
        import mlxsched_compiled as ours
        from tests.measuring import libraries
        from tests.training import TOOLS, Training, batches

        data, temp = batches(3), Path(os.environ["TMPDIR"])

        def sweep(rates):
            for rate in rates:
                for tool in TOOLS.values():
                    schedule = ours.warmup_cosine_decay(rate, 2 + int(100 * rate), 100, end=rate / 7)
                    Training(tool, optimizer=optim.AdamW(schedule)).train(data)

        def pages():
            gc.collect()
            return int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0

        sweep([0.1])
        first = libraries(temp)
        sweep([0.001 * k for k in range(1, 21)])
        memory = pages()
        sweep([0.0011 * k for k in range(1, 81)])
        print(len(first), len(libraries(temp) - first), (pages() - memory) * resource.getpagesize() / 2**20)
        """,
        tmp_path,
    )
    first, later, grown = printed.split()
    assert int(first) == len(libraries(tmp_path)) > 0
    assert int(later) == 0
    assert float(grown) < 8, "MiB, of 160 runs"
