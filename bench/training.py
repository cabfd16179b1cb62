"""Training steps to be timed: the smallest one, a real update, and batches of many shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from cases import CASES, INIT, LIFE

from mlxsched_compiled import Schedule, compiled_step, compiled_update

STEPS = 100
"""Steps queued before one evaluation."""

Step = Callable[..., mx.array]

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD": optim.SGD,
    "AdamW": optim.AdamW,
    "Adam, bias correction": lambda rate: optim.Adam(rate, bias_correction=True),
}
SCHEDULES = ["exponential", "cosine", "warmup + cosine"]

CONSTANT, CONSTANT_TOOL, FLOAT = "constant", "constant, compiled_step", "float assigned"
MLX, MLX_TOOL = "mlx", "mlx, compiled_step"
HAND, TOOL = "ours", "ours, compiled_step"
VARIANTS = [CONSTANT, CONSTANT_TOOL, FLOAT, MLX, MLX_TOOL, HAND, TOOL]
"""Where it does not say ``compiled_step``, the step is compiled by hand."""


def mean_square(model: nn.Module, x: mx.array) -> mx.array:
    """A loss without a target."""
    return mx.mean(mx.square(model(x)))


def by_hand(loss_fn: Step, model: nn.Module, optimizer: optim.Optimizer, captured: Sequence[mx.array] = ()) -> Step:
    """The compiled step of MLX's documentation, with ``captured`` among its inputs."""
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state]

    @partial(mx.compile, inputs=[*state, captured], outputs=state)
    def step(*batch: mx.array) -> mx.array:
        loss: mx.array
        loss, gradients = nn.value_and_grad(model, loss_fn)(model, *batch)
        optimizer.update(model, gradients)
        return loss

    return step


class Training:
    """One 8x8 layer, so that the schedule is as large a part of the step as it can be."""

    def __init__(self, optimizer: str, schedule: str, variant: str) -> None:
        case = CASES[schedule]
        self.expected: Callable[[int], float] = _constant if variant in (CONSTANT, CONSTANT_TOOL) else _true(schedule)
        self.assign = variant == FLOAT
        rate: Any = INIT
        if variant in (MLX, MLX_TOOL):
            rate = case.theirs(INIT)
        elif variant in (HAND, TOOL):
            rate = case.ours(INIT)
        self.model = nn.Linear(8, 8)
        self.optimizer = OPTIMIZERS[optimizer](rate)
        self.batch = mx.ones((4, 8))
        mx.eval(self.model.state, self.optimizer.state, self.batch)
        if variant in (TOOL, CONSTANT_TOOL, MLX_TOOL):
            self.step: Step = compiled_step(mean_square, self.model, self.optimizer)
        else:
            captured = rate.state if isinstance(rate, Schedule) else []
            self.step = by_hand(mean_square, self.model, self.optimizer, captured)
        self.taken = 0
        self(1)  # builds what has to be built

    def __call__(self, times: int = STEPS) -> None:
        """So many steps, evaluated at once."""
        loss = None
        for _ in range(times):
            if self.assign:
                self.optimizer.learning_rate = self.expected(self.taken)
            loss = self.step(self.batch)
            self.taken += 1
        mx.eval(loss, self.model.state, self.optimizer.state)

    def check(self) -> None:
        """That the rate is right, within MLX's own error after so many steps."""
        rate, expected = self.optimizer.learning_rate.item(), self.expected(self.taken - 1)
        assert isinstance(rate, float)
        assert math.isclose(rate, expected, rel_tol=1e-2), (rate, expected)


def _constant(step: int) -> float:
    return INIT


def _true(schedule: str) -> Callable[[int], float]:
    """The schedule in plain Python, as a loop that assigns floats computes it."""
    end = 1e-5
    warm = LIFE // 2

    def cosine(step: int) -> float:
        return end + (INIT - end) * (1 + math.cos(math.pi * min(step / LIFE, 1))) / 2

    def warm_cosine(step: int) -> float:
        if step < warm:
            return INIT * step / warm
        return INIT * (1 + math.cos(math.pi * min((step - warm) / warm, 1))) / 2

    return {"exponential": lambda step: INIT * 0.9999**step, "cosine": cosine, "warmup + cosine": warm_cosine}[schedule]


EAGER, HAND_UPDATE, FLOAT_UPDATE, UPDATE = "eager", "by hand", "by hand, float assigned", "compiled_update"


class Update:
    """AdamW over 100 tensors."""

    def __init__(self, variant: str) -> None:
        self.model = nn.Sequential(*(nn.Linear(16, 16) for _ in range(50)))
        schedule = CASES["warmup + cosine"].ours(INIT)
        self.assign = variant == FLOAT_UPDATE
        self.optimizer = optim.AdamW(INIT if self.assign else schedule)
        self.taken = 0
        self.optimizer.init(self.model.trainable_parameters())
        self.gradients = self.model.parameters()
        mx.eval(self.model.state, self.optimizer.state)
        if variant == EAGER:
            self.update: Callable[[Any], None] = partial(self.optimizer.update, self.model)
        elif variant == UPDATE:
            self.update = compiled_update(self.model, self.optimizer)
        else:
            state = [self.model.state, self.optimizer.state]
            compile_ = partial(mx.compile, inputs=[*state, schedule.state], outputs=state)
            self.update = compile_(partial(self.optimizer.update, self.model))
        self(1)

    def __call__(self, times: int = 10) -> None:
        """So many updates, evaluated one by one: there is enough in each."""
        for _ in range(times):
            if self.assign:
                self.optimizer.learning_rate = _true("warmup + cosine")(self.taken)
            self.update(self.gradients)
            self.taken += 1
            mx.eval(self.model.state, self.optimizer.state)


SHAPES = range(5, 65, 3)
"""The 20 lengths of a batch of sequences."""

EAGER_STEP, UPDATE_STEP, WHOLE_STEP = "eager", "compiled_update", "compiled_step"


class Lengths:
    """A small transformer on batches of 20 different lengths, two batches of each an epoch."""

    def __init__(self, variant: str) -> None:
        self.model = nn.Sequential(nn.Embedding(50, 32), nn.TransformerEncoder(2, 32, 4), nn.Linear(32, 50))
        self.optimizer = optim.AdamW(CASES["warmup + cosine"].ours(INIT))
        mx.eval(self.model.state, self.optimizer.state)
        self.data = [mx.random.randint(0, 50, (8, length)) for length in SHAPES for _ in range(2)]
        mx.eval(self.data)
        loss_and_gradients = nn.value_and_grad(self.model, self._loss)
        if variant == WHOLE_STEP:
            self.step: Step = compiled_step(self._loss, self.model, self.optimizer)
            return
        update: Callable[[Any], None] = partial(self.optimizer.update, self.model)
        if variant == UPDATE_STEP:
            update = compiled_update(self.model, self.optimizer)

        def step(tokens: mx.array) -> mx.array:
            loss: mx.array
            loss, gradients = loss_and_gradients(self.model, tokens)
            update(gradients)
            return loss

        self.step = step

    def _loss(self, model: Any, tokens: mx.array) -> mx.array:
        embedding, encoder, head = model.layers
        mask = nn.MultiHeadAttention.create_additive_causal_mask(tokens.shape[1] - 1)
        logits = head(encoder(embedding(tokens[:, :-1]), mask))
        return nn.losses.cross_entropy(logits, tokens[:, 1:], reduction="mean")

    def epoch(self) -> float:
        """One pass; the last loss."""
        loss = mx.array(0.0)
        for tokens in self.data:
            loss = self.step(tokens)
            mx.eval(loss, self.model.state, self.optimizer.state)
        return float(loss)


def sweep(variant: str, count: int) -> Iterator[float]:
    """The rates of the first steps of so many runs, each with another peak, as in a search for the best one."""
    for i in range(count):
        peak = INIT * (1 + i / 7)
        case = CASES["warmup + cosine"]
        model = nn.Linear(8, 8)
        if variant == MLX:
            optimizer = optim.AdamW(case.theirs(peak))
            step = by_hand(mean_square, model, optimizer)
        else:
            optimizer = optim.AdamW(case.ours(peak))
            step = compiled_step(mean_square, model, optimizer)
        for _ in range(2):
            mx.eval(step(mx.ones((4, 8))), model.state, optimizer.state)
        yield float(optimizer.learning_rate)
