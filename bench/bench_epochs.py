"""Epochs of batches of many shapes: when to compile what. Run as a program, this file is one first epoch."""

from __future__ import annotations

import sys
from functools import partial
from time import perf_counter
from typing import Any

import formulas
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from cases import CASES
from formulas import INIT
from measure import Row, Times, Turns, fresh
from training import Call, whole_step

import mlxsched_compiled
from mlxsched_compiled import compiled_step, compiled_update

LENGTHS = 20
EAGER, UPDATE, STEP = "eager", "`compiled_update`", "`compiled_step`"


class Training:
    """A small transformer on batches of so many different lengths, two batches of each an epoch."""

    def __init__(self, variant: str, lengths: int) -> None:
        mx.random.seed(0)
        self.model = nn.Sequential(nn.Embedding(50, 32), nn.TransformerEncoder(2, 32, 4), nn.Linear(32, 50))
        self.optimizer = optim.AdamW(CASES["warmup + cosine"](mlxsched_compiled, INIT))
        self.data = [mx.random.randint(0, 50, (8, 5 + 3 * i)) for i in range(lengths) for _ in range(2)]
        mx.eval(self.model.state, self.optimizer.state, self.data)
        if variant == STEP:
            self.step: Call = compiled_step(_loss, self.model, self.optimizer)
        elif variant == UPDATE:
            self.step = whole_step(_loss, self.model, compiled_update(self.model, self.optimizer))
        else:
            self.step = whole_step(_loss, self.model, partial(self.optimizer.update, self.model))

    def epoch(self) -> mx.array:
        """One pass; the last loss."""
        loss: mx.array
        for tokens in self.data:
            loss = self.step(tokens)
            mx.eval(loss, self.model.state, self.optimizer.state)
        return loss


def _loss(model: Any, tokens: mx.array) -> mx.array:
    embedding, encoder, head = model.layers
    mask = nn.MultiHeadAttention.create_additive_causal_mask(tokens.shape[1] - 1)
    logits = head(encoder(embedding(tokens[:, :-1]), mask))
    return nn.losses.cross_entropy(logits, tokens[:, 1:], reduction="mean")


def test_epochs(turns: Turns, row: Row) -> None:
    """The first one in a new interpreter with no kernel built, the later ones here."""
    lengths = LENGTHS if turns.enabled else 1
    trainings = {variant: Training(variant, lengths) for variant in (EAGER, UPDATE, STEP)}
    fresh_ones = trainings if turns.enabled else [EAGER]  # which builds least
    firsts = {variant: Times([float(fresh(__file__, variant, str(lengths))[0])]) for variant in fresh_ones}
    turns.record(f"first epoch of {lengths} lengths", firsts)
    runs = {variant: training.epoch for variant, training in trainings.items()}
    found = turns(f"later epoch of {lengths} lengths", runs, rounds=9)

    truth = CASES["warmup + cosine"](formulas, INIT)
    for variant, training in trainings.items():
        assert float(training.optimizer.learning_rate) == pytest.approx(truth(int(training.optimizer.step) - 1))
        assert float(found[variant].result) == pytest.approx(float(found[EAGER].result), rel=1e-2)
        first = f"{firsts[variant].us / 1e6:.1f}" if variant in firsts else ""
        row({"seconds": variant, "first epoch": first, "later epochs": f"{found[variant].us / 1e6:.2f}"})


if __name__ == "__main__":
    training = Training(sys.argv[1], int(sys.argv[2]))
    start = perf_counter()
    training.epoch()
    print(perf_counter() - start)
