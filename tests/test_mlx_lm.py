"""mlx-lm, unmodified, trains on the schedules of its configuration: a small model with random weights, on real text."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

import mlxsched_compiled as ours
from mlxsched_compiled.plotting.axes import number

from . import oracle
from .launching import can_launch, launch
from .measuring import ROOT

lora = pytest.importorskip("mlx_lm.lora")
callbacks = pytest.importorskip("mlx_lm.tuner.callbacks")
llama = pytest.importorskip("mlx_lm.models.llama")
tokenizers = pytest.importorskip("tokenizers")
yaml = pytest.importorskip("yaml")

Log = list[dict[str, Any]]

ITERS = 40
TEXT = "warmup_stable_decay(1e-2, 5, 15, 20, end=1e-5)"
MAPPING = {"name": "warmup_stable_decay", "arguments": [1e-2, 5, 15, 20], "end": 1e-5}
TRUTH = oracle.warmup_stable_decay(1e-2, 5, 15, 20, end=1e-5)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its tokenizer and data, in one folder."""
    folder = tmp_path_factory.mktemp("mlx-lm")
    text = [line for module in (textwrap, subprocess, json, logging) for line in _sentences(module)]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    bytewise = tokenizers.pre_tokenizers.ByteLevel
    tokenizer.pre_tokenizer, tokenizer.decoder = bytewise(), tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<unk>", "</s>"], show_progress=False, initial_alphabet=bytewise.alphabet()
    )
    tokenizer.train_from_iterator(text, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32, "num_attention_heads": 2}
    config = {"model_type": "llama", **sizes, "rms_norm_eps": 1e-5, "vocab_size": tokenizer.get_vocab_size()}
    (folder / "config.json").write_text(json.dumps(config))
    mx.random.seed(0)
    weights = dict(tree_flatten(llama.Model(llama.ModelArgs.from_dict(config)).parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    for name, lines in (("train", text[16:]), ("valid", text[:16])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return folder


def _sentences(module: Any) -> Iterator[str]:
    """The docstrings of a module's functions, in pieces."""
    for value in vars(module).values():
        for line in (getattr(value, "__doc__", None) or "").split("\n\n"):
            if 40 < len(line) < 200:
                yield " ".join(line.split())


def _configured(folder: Path, **settings: Any) -> dict[str, Any]:
    return {
        "model": str(folder),
        "data": str(folder),
        "train": True,
        "fine_tune_type": "full",
        "num_layers": 2,
        "batch_size": 4,
        "iters": ITERS,
        "steps_per_report": 1,
        "steps_per_eval": ITERS,
        "val_batches": 1,
        "max_seq_length": 64,
        "save_every": ITERS,
        "adapter_path": str(folder / "adapters"),
        "report_to": "wandb",
        **settings,
    }


STAND_IN = """
import json, os, sys

def init(dir, **options):
    global path
    path = os.path.join(dir, "rank " + os.environ.get("MLX_RANK", "0") + ".jsonl")
    os.makedirs(dir, exist_ok=True)

def log(values, step):
    with open(path, "a") as file:
        print(json.dumps({**values, "iteration": step}), file=file)
"""
"""Of ``wandb``, which mlx-lm reports to: writes all to a file."""


def _lora(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Log, Log]:
    """What mlx-lm reports of training and of validations, trained in this process."""
    log: Log = []
    reports = SimpleNamespace(init=lambda **_: None, log=lambda values, step: log.append(values))
    monkeypatch.setattr(callbacks, "wandb", reports)
    (folder / "config.yaml").write_text(yaml.safe_dump(_configured(folder, **settings)))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")  # which it sets itself, and leaves
    monkeypatch.setattr(sys, "argv", ["mlx_lm.lora", "--config", str(folder / "config.yaml")])
    lora.main()
    return _parted(log)


def _parted(log: Log) -> tuple[Log, Log]:
    return [report for report in log if "train_loss" in report], [report for report in log if "val_loss" in report]


def _read(path: Path) -> tuple[Log, Log]:
    return _parted([json.loads(line) for line in path.read_text().splitlines()])


def _rates(log: Log) -> list[float]:
    return [report["learning_rate"] for report in log]


def _losses(log: Log) -> list[float]:
    return [report["train_loss"] for report in log]


def _assert_follows(rates: list[float], truth: oracle.Curve, updates: range) -> None:
    expected = truth(np.array(updates, np.uint64))
    assert len(rates) == len(expected)
    assert (oracle.ulps(np.array(rates, np.float32), expected) <= 8).all()


@pytest.mark.parametrize("command", ["run mlx_lm.lora", "run -m mlx_lm lora"])
def test_the_command_line(folder: Path, tmp_path: Path, command: str) -> None:
    """Text, in a process of its own, where mlx-lm is imported after ``install``."""
    (tmp_path / "wandb.py").write_text(STAND_IN)
    settings = _configured(folder, lr_schedule=TEXT, adapter_path=str(tmp_path))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    words = [sys.executable, "-m", "mlxsched_compiled", *command.split(), "--config", "config.yaml"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (said,) = re.findall(r"^mlxsched: .*", done.stderr, re.MULTILINE)
    last = number(float(TRUTH(np.array([ITERS - 1]))[0]))
    assert said.endswith(f"end=1e-05): first 0, highest 0.01 at step 5, {last} at step {ITERS - 1}; {ITERS} updates.")
    log, _ = _read(tmp_path / "rank 0.jsonl")
    _assert_follows(_rates(log), TRUTH, range(ITERS))
    assert np.mean(_losses(log)[-5:]) < np.mean(_losses(log)[:5]) - 0.2


@pytest.mark.usefixtures("installed")
def test_text_and_mapping_are_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, where mlx-lm was imported before ``install``."""
    by_text, by_mapping = (_lora(folder, monkeypatch, lr_schedule=config)[0] for config in (TEXT, MAPPING))
    _assert_follows(_rates(by_text), TRUTH, range(ITERS))
    assert _rates(by_mapping) == _rates(by_text)
    assert _losses(by_mapping) == _losses(by_text)


DROPOUT = {"fine_tune_type": "lora", "lora_parameters": {"rank": 4, "dropout": 0.2, "scale": 2.0}}
ACCUMULATED = {"grad_accumulation_steps": 2}


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ({"name": "exponential_decay", "arguments": [1e-2, 0.9]}, {}),
        ({"name": "step_decay", "arguments": [1e-2, 0.5, 4]}, ACCUMULATED),
        ({"name": "cosine_decay", "arguments": [1e-3, 12, 1e-4], "warmup": 4}, DROPOUT),
        ({"name": "linear_schedule", "arguments": [1e-2, 0.0, 8], "warmup": 3, "warmup_init": 1e-3}, ACCUMULATED),
        ({"name": "cosine_decay", "arguments": [1e-3, 8], "warmup": 2}, {**DROPOUT, **ACCUMULATED}),
    ],
)
def test_the_five_train_as_mlx_lm_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], settings: dict[str, Any]
) -> None:
    settings = {**settings, "lr_schedule": config, "iters": 20}
    alone, _ = _lora(folder, monkeypatch, **settings)
    ours.install()
    try:
        log, _ = _lora(folder, monkeypatch, **settings)
    finally:
        ours.uninstall()
    assert len(log) == 20
    assert len(set(_rates(log))) >= 3
    np.testing.assert_allclose(_rates(log), _rates(alone), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(_losses(log), _losses(alone), rtol=1e-4)


@pytest.mark.usefixtures("installed")
def test_updates_are_counted_where_gradients_accumulate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = _lora(folder, monkeypatch, lr_schedule=TEXT, grad_accumulation_steps=4)
    _assert_follows(_rates(log)[3::4], TRUTH, range(ITERS // 4))


@pytest.mark.usefixtures("installed")
def test_resumed_with_skip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _lora(folder, monkeypatch, lr_schedule=TEXT, iters=25, save_every=25)
    resumed = {
        "lr_schedule": f"skip({TEXT}, 25)",
        "resume_adapter_file": str(folder / "adapters" / "adapters.safetensors"),
    }
    log, validations = _lora(folder, monkeypatch, iters=ITERS - 25, **resumed)
    _assert_follows(_rates(log), TRUTH, range(25, ITERS))
    _, at_first = _lora(folder, monkeypatch, lr_schedule=TEXT, iters=1)
    assert validations[0]["val_loss"] < at_first[0]["val_loss"] - 0.1


@can_launch
def test_two_ranks(folder: Path, tmp_path: Path) -> None:
    """The losses of mlx-lm alone on two ranks, each of which runs ``mlxsched run``."""
    (tmp_path / "wandb.py").write_text(STAND_IN)
    by_us, alone = tmp_path / "by us", tmp_path / "alone"
    for own, command in ((by_us, ["mlxsched_compiled.__main__", "run", "mlx_lm.lora"]), (alone, ["mlx_lm.lora"])):
        own.mkdir()
        config = {"name": "cosine_decay", "arguments": [1e-2, 12], "warmup": 4}
        settings = _configured(folder, lr_schedule=config, iters=12, adapter_path=str(own))
        (own / "config.yaml").write_text(yaml.safe_dump(settings))
        printed = launch(tmp_path / "kernels", *command, "--config", str(own / "config.yaml"), path=tmp_path)
        assert printed.count("mlxsched: warmup(") == (own is by_us)
    log, other = (_read(by_us / f"rank {rank}.jsonl")[0] for rank in (0, 1))
    assert len(log) == 12
    assert (_rates(log), _losses(log)) == (_rates(other), _losses(other))
    np.testing.assert_allclose(_losses(log), _losses(_read(alone / "rank 0.jsonl")[0]), rtol=1e-4)


@pytest.mark.usefixtures("installed")
def test_the_documented_callback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's own code, with the model and the data of this test: the next step of mlx-lm has the lower rate."""
    page = (ROOT / "docs" / "configurations.md").read_text()
    found = re.search(r"tests/test_mlx_lm.py runs this block -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    code = re.sub('"path/to/(model|data)"', repr(str(folder)), found[1])
    often = f"iters=12, steps_per_eval=1, steps_per_report=1, adapter_file={str(folder / 'adapter.safetensors')!r}"
    for words, others in (("iters=1000, steps_per_eval=50", often), ("patience=1", 'patience=0, mode="max"')):
        assert words in code
        code = code.replace(words, others)
    rates: list[float] = []
    losses: list[float] = []
    observe = ours.Schedule.observe

    def noted(self: ours.Schedule, loss: float) -> None:
        losses.append(loss)
        observe(self, loss)

    monkeypatch.setattr(
        callbacks.TrainingCallback, "on_train_loss_report", lambda _, log: rates.append(log["learning_rate"])
    )
    monkeypatch.setattr(ours.Schedule, "observe", noted)
    exec(code, {})
    scale, best, expected = 1.0, -np.inf, []
    for loss in losses:
        scale *= 1 if loss > best * (1 + 1e-4) else 0.5
        best = max(loss, best)
        expected.append(1e-4 * scale)
    assert rates == pytest.approx(expected)
    assert len(set(rates)) > 3


@pytest.mark.usefixtures("installed")
def test_what_the_tests_of_mlx_lm_ask_of_build_schedule() -> None:
    """A mapping that names no schedule is a ``KeyError``; a rate is a number that compares with others."""
    for malformed in ({}, {"warmup": 100}, {"cosine_decay": None}):
        with pytest.raises(KeyError, match="'name' must be the name"):
            lora.build_schedule(malformed)
    schedule = lora.build_schedule({"name": "cosine_decay", "warmup": 100, "arguments": [1e-5, 100]})
    assert schedule(0) == 0.0
    assert abs(schedule(101) - 1e-5) < 1e-9


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("config", ["cosin_decay(1, 2)", "cosine_decay(1, -2)", {"name": "cosine_decay", "x": 1}, True])
def test_an_error_says_where_it_is(config: Any) -> None:
    """Among all the keys of a configuration of mlx-lm."""
    with pytest.raises((ValueError, TypeError), match=r"^lr_schedule: \w"):
        lora.build_schedule(config)


@pytest.mark.usefixtures("installed")
def test_a_plateau_that_is_told_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(UserWarning, match="changes nothing unless a callback of yours calls observe"):
        _lora(folder, monkeypatch, lr_schedule="reduce_on_plateau(1e-3)", iters=1)
