"""``install`` puts our schedules in MLX's place, and ``uninstall`` leaves nothing of it."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import pickle
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers
import pytest
from mlx.utils import tree_flatten, tree_map, tree_unflatten

import mlxsched_compiled as ours

from .measuring import EMPTY_GROUPS, requires_compile, run
from .tiny import ONE, Weight, linear, weight


def _somebody_elses() -> None:
    pass


somebody_elses: Any = _somebody_elses
FIVE = ["exponential_decay", "step_decay", "cosine_decay", "linear_schedule", "join_schedules"]

optim: Any = mlx.optimizers  # whose names are replaced
schedulers, Optimizer = optim.schedulers, optim.Optimizer
OWNERS: list[Any] = [optim, schedulers, Optimizer]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Whatever a test has done to MLX, the next finds it as it was."""
    before = [(owner, dict(vars(owner))) for owner in OWNERS]
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours.uninstall()
    for owner, names in before:
        for name, value in names.items():
            if vars(owner)[name] is not value:
                setattr(owner, name, value)


def _everything() -> list[dict[str, Any]]:
    return [*(dict(vars(owner)) for owner in OWNERS), {"path": [*sys.meta_path]}]


def test_mlx_gets_ours_and_its_own_back() -> None:
    before = _everything()
    ours.install()
    for name in FIVE:
        assert getattr(optim, name) is getattr(schedulers, name) is getattr(ours, name)
    assert schedulers.warmup is ours.warmup
    assert schedulers.reduce_on_plateau is ours.reduce_on_plateau
    for name in ("Schedule", "compiled_step", "scheduled", "range_test", "from_config", "install"):
        assert not hasattr(schedulers, name)
    assert not hasattr(optim, "warmup")
    ours.uninstall()
    assert _everything() == before


def test_twice_is_once() -> None:
    before = _everything()
    ours.install()
    once = _everything()
    ours.install()
    assert _everything() == once
    ours.uninstall()
    ours.uninstall()
    assert _everything() == before


def test_what_mlx_has_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "warmup", somebody_elses, raising=False)
    ours.install()
    assert schedulers.warmup is somebody_elses
    ours.uninstall()
    assert schedulers.warmup is somebody_elses


def test_what_was_there_before_comes_back() -> None:
    optim.cosine_decay = somebody_elses
    ours.install()
    assert optim.cosine_decay is ours.cosine_decay
    ours.uninstall()
    assert optim.cosine_decay is somebody_elses


def test_what_somebody_else_put_there_since_stays() -> None:
    mlx_own = optim.cosine_decay
    ours.install()
    optim.cosine_decay = Optimizer.init = somebody_elses
    message = "^mlx.optimizers.cosine_decay, mlx.optimizers.optimizers.Optimizer.init was replaced by something else"
    with pytest.warns(UserWarning, match=message) as caught:
        ours.uninstall()
    assert [warning.filename for warning in caught] == [__file__]
    assert optim.cosine_decay is Optimizer.init is somebody_elses
    assert schedulers.cosine_decay is mlx_own
    ours.uninstall()


def test_installed_again_over_what_somebody_else_put_there() -> None:
    ours.install()
    optim.cosine_decay = somebody_elses
    ours.install()
    assert optim.cosine_decay is ours.cosine_decay
    ours.uninstall()
    assert optim.cosine_decay is somebody_elses


def test_a_module_that_has_mlx_own_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("trainer")
    module.__dict__.update(cosine_decay=optim.cosine_decay, linear=optim.linear_schedule, optim=optim)
    monkeypatch.setitem(sys.modules, "trainer", module)
    with pytest.warns(UserWarning, match=r"^trainer has imported cosine_decay, linear_schedule from MLX") as caught:
        ours.install()
    assert [warning.filename for warning in caught] == [__file__]
    ours.install()  # and not again
    ours.uninstall()


def test_a_notebook_loads_and_unloads_it() -> None:
    before = _everything()
    ours.load_ipython_extension(None)
    assert optim.cosine_decay is ours.cosine_decay
    ours.unload_ipython_extension(None)
    assert _everything() == before


# Something like mlx-lm, of which others take a function.

UTILS = """
import mlx.optimizers as opt

def build_schedule(schedule_config):
    return getattr(opt.schedulers, schedule_config["name"])(*schedule_config["arguments"])
"""
TAKER = "from mlx_lm.tuner.utils import build_schedule\n"
TEXT = "warmup(cosine_decay(0.1, 100), 10)"


@pytest.fixture(name="mlx_lm")
def _mlx_lm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Something like mlx-lm, not imported yet."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlx_lm"]:
        monkeypatch.delitem(sys.modules, name)
    tuner = tmp_path / "mlx_lm" / "tuner"
    tuner.mkdir(parents=True)
    for folder in (tmp_path / "mlx_lm", tuner):
        (folder / "__init__.py").touch()
    (tuner / "utils.py").write_text(UTILS)
    (tmp_path / "mlx_lm" / "lora.py").write_text(TAKER)
    for name in ("early_taker", "late_taker"):
        (tmp_path / f"{name}.py").write_text(TAKER)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


def _build_schedules(*names: str) -> list[Any]:
    return [importlib.import_module(name).build_schedule for name in ("mlx_lm.tuner.utils", *names)]


@pytest.mark.usefixtures("mlx_lm")
@pytest.mark.parametrize("is_imported_before", [True, False])
def test_mlx_lm_gets_from_config(is_imported_before: bool) -> None:
    if is_imported_before:
        before = _build_schedules("early_taker")
    ours.install()
    for build_schedule in _build_schedules("mlx_lm.lora", "early_taker", "late_taker"):
        assert repr(build_schedule(TEXT)) == repr(ours.from_config(TEXT))
    ours.install()
    ours.uninstall()
    after = _build_schedules("early_taker", "late_taker")
    assert after[0].__module__ == "mlx_lm.tuner.utils"
    if is_imported_before:
        assert before == after[:2]
    assert repr(after[2](TEXT)) == repr(ours.from_config(TEXT))  # whoever has taken ours goes on with it


@pytest.mark.parametrize("is_imported_before", [True, False])
def test_a_copy_of_mlx_lm_inside_another_package(mlx_lm: Path, is_imported_before: bool) -> None:
    """Beside mlx-lm itself: each gets its own back, but for those who have taken ours."""
    vendor = mlx_lm / "program" / "_vendor"
    shutil.copytree(mlx_lm / "mlx_lm", vendor / "mlx_lm")
    for package in (vendor, vendor.parent):
        (package / "__init__.py").touch()
    (vendor.parent / "train.py").write_text(f"from program._vendor.{TAKER.removeprefix('from ')}")
    copy = "program._vendor.mlx_lm.tuner.utils"
    names = [copy, "program.train", "late_taker"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "program"]:
        del sys.modules[name]
    if is_imported_before:
        before = _build_schedules(*names)
    ours.install()
    for build_schedule in _build_schedules(*names):
        assert repr(build_schedule(TEXT)) == repr(ours.from_config(TEXT))
    ours.uninstall()
    after = _build_schedules(*names)
    assert [f.__module__ for f in after[:2]] == ["mlx_lm.tuner.utils", copy]
    if is_imported_before:
        assert before == after


def test_a_module_of_another_name_is_left_alone(mlx_lm: Path) -> None:
    package = mlx_lm / "not_mlx_lm"
    shutil.copytree(mlx_lm / "mlx_lm", package)
    ours.install()
    utils = importlib.import_module("not_mlx_lm.tuner.utils")
    assert utils.build_schedule.__module__ == "not_mlx_lm.tuner.utils"
    ours.uninstall()


@pytest.mark.usefixtures("mlx_lm")
def test_mlx_lm_imported_after_uninstall_has_its_own() -> None:
    ours.install()
    spec = importlib.util.find_spec("mlx_lm.tuner.utils")  # found while installed, and loaded later
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    ours.uninstall()
    spec.loader.exec_module(module)
    assert [f.__module__ for f in [module.build_schedule, *_build_schedules()]] == ["mlx_lm.tuner.utils"] * 2


@pytest.mark.usefixtures("mlx_lm")
def test_the_module_of_mlx_lm_stays_what_it_is() -> None:
    ours.install()
    utils: Any = importlib.import_module("mlx_lm.tuner.utils")
    assert utils.__spec__.loader.get_source("mlx_lm.tuner.utils") == UTILS
    importlib.reload(utils)
    assert repr(utils.build_schedule(TEXT)) == repr(ours.from_config(TEXT))
    ours.uninstall()
    assert utils.build_schedule.__module__ == "mlx_lm.tuner.utils"


def test_an_mlx_lm_without_that_function_is_named(mlx_lm: Path) -> None:
    (mlx_lm / "mlx_lm" / "tuner" / "utils.py").write_text("")
    ours.install()
    with pytest.warns(UserWarning, match="mlx_lm.tuner.utils has no build_schedule"):
        importlib.import_module("mlx_lm.tuner.utils")
    ours.uninstall()


def test_without_mlx_lm(mlx_lm: Path) -> None:
    (mlx_lm / "mlx_lm" / "tuner" / "utils.py").unlink()
    ours.install()
    with pytest.raises(ModuleNotFoundError, match=r"mlx_lm\.tuner\.utils"):
        importlib.import_module("mlx_lm.tuner.utils")
    ours.uninstall()


@pytest.mark.usefixtures("mlx_lm")
def test_from_several_threads() -> None:
    before = _everything()
    barrier = threading.Barrier(8)

    def work(i: int) -> None:
        barrier.wait()
        ours.install() if i % 2 else importlib.import_module("mlx_lm.tuner.utils")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (build_schedule,) = _build_schedules()
    assert repr(build_schedule(TEXT)) == repr(ours.from_config(TEXT))
    ours.uninstall()
    assert _everything() == before


def test_while_another_thread_imports_mlx_lm(mlx_lm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate: Any = ModuleType("gate")
    gate.entered, gate.opened = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "gate", gate)
    utils = mlx_lm / "mlx_lm" / "tuner" / "utils.py"
    utils.write_text("import gate\ngate.entered.set()\ngate.opened.wait()\n" + UTILS)
    importing = threading.Thread(target=importlib.import_module, args=("mlx_lm.tuner.utils",))
    installing = threading.Thread(target=ours.install)
    importing.start()
    gate.entered.wait()
    installing.start()
    installing.join(0.2)  # time to do wrong
    gate.opened.set()
    installing.join()
    importing.join()
    (build_schedule,) = _build_schedules()
    assert repr(build_schedule(TEXT)) == repr(ours.from_config(TEXT))


# Optimizers

OPTIMIZERS = [optim.SGD, optim.AdamW, optim.Muon, partial(optim.Adafactor, relative_step=False)]


def _step(optimizer: Any, model: Any, **options: Any) -> Any:
    """A step compiled by hand that captures what nearly everybody's does."""
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state, mx.random.state]

    def step(x: mx.array) -> mx.array:
        loss: mx.array
        loss, gradients = nn.value_and_grad(model, linear)(model, x)
        optimizer.update(model, gradients)
        return loss

    return mx.compile(step, inputs=state, outputs=state)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_step_by_hand_follows_retune_and_observe(make: Any) -> None:
    inner = ours.reduce_on_plateau(optim.exponential_decay(0.5, 0.5), patience=0)
    schedule = ours.warmup(inner, 2, 0.5)
    optimizer, model = make(learning_rate=schedule), Weight()
    step, rates = _step(optimizer, model), []
    for metrics in ([], [], [], [1], [1]):
        for metric in metrics:
            inner.observe(metric)
        step(ONE)
        rates.append(optimizer.learning_rate.item())
    schedule.retune(init=0.25, steps=8)
    step(ONE)
    rates.append(optimizer.learning_rate.item())
    assert rates == pytest.approx([0.5, 0.5, 0.5, 0.25, 0.0125, 0.25 + (0.05 - 0.25) * 5 / 8])


@pytest.mark.usefixtures("installed")
def test_the_state_of_a_plain_optimizer_has_nothing_more() -> None:
    for rate in (0.1, lambda step: 0.1 / (step + 1)):
        assert set(optim.SGD(rate).state) == {"step", "learning_rate"}


@pytest.mark.usefixtures("installed")
def test_a_state_that_is_assigned() -> None:
    def make() -> Any:
        return ours.reduce_on_plateau(ours.constant(1.0), patience=0)

    first, second = make(), make()
    trained, resumed = optim.SGD(first), optim.SGD(second)
    for metric in (1, 1):
        first.observe(metric)
    trained.update(Weight(), {"w": ONE})
    resumed.state = tree_unflatten(tree_flatten(tree_map(mx.array, trained.state)))
    model = Weight()
    step = _step(resumed, model)
    step(ONE)
    assert (resumed.learning_rate.item(), resumed.step.item()) == (pytest.approx(0.1), 2)  # what metrics have done
    second.retune(schedule=ours.constant(4.0))
    step(ONE)
    assert resumed.learning_rate.item() == pytest.approx(0.4)
    resumed.state = {"step": mx.array(0, mx.uint64), "learning_rate": mx.array(0.0)}  # of MLX without us
    step = _step(resumed, model)
    second.retune(schedule=ours.constant(2.0))
    step(ONE)
    assert resumed.learning_rate.item() == pytest.approx(0.2)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_copies_and_pickles(make: Any, copied: Any) -> None:
    again = copied(make(learning_rate=optim.cosine_decay(0.5, 100)))
    step = _step(again, Weight())
    step(ONE)
    again._schedulers["learning_rate"].retune(init=2.0)
    step(ONE)
    assert again.learning_rate.item() == ours.cosine_decay(2.0, 100)(1).item()


def test_a_pickle_is_read_where_nothing_is_installed() -> None:
    ours.install()
    written = pickle.dumps(optim.SGD(optim.cosine_decay(0.5, 100)))
    ours.uninstall()
    again = pickle.loads(written)
    again.update(Weight(), {"w": ONE})
    assert again.learning_rate.item() == 0.5


@pytest.mark.usefixtures("installed")
def test_an_optimizer_with_slots_and_a_copy_of_its_own() -> None:
    class Slotted(mlx.optimizers.SGD):
        __slots__ = ("extra",)

    optimizer: Any = Slotted(optim.cosine_decay(0.5, 100))
    optimizer.extra = 1
    again = copy.copy(optimizer)
    assert (again.extra, again.momentum) == (1, 0.0)


@pytest.mark.skipif(not EMPTY_GROUPS, reason="this MLX fails where one of several optimizers has nothing to train")
@pytest.mark.usefixtures("installed")
def test_several_optimizers() -> None:
    one, other = optim.cosine_decay(0.5, 100), optim.linear_schedule(0.5, 0, 100)
    optimizer = optim.MultiOptimizer([optim.SGD(one), optim.AdamW(other)], [lambda name, _: name == "w"])
    model = Weight()
    optimizer.state = tree_unflatten(tree_flatten(optimizer.state))
    step = _step(optimizer, model)
    step(ONE)
    one.retune(init=2.0)
    step(ONE)
    assert optimizer.learning_rate.item() == one(1).item() > 1


@pytest.mark.usefixtures("installed")
def test_an_optimizer_that_calls_no_constructor_of_mlx() -> None:
    class Apart(mlx.optimizers.Optimizer):
        def __init__(self) -> None:
            self.state = {"learning_rate": 0.1}

    optimizer: Any = Apart()
    optimizer.learning_rate = 0.5
    assert copy.copy(optimizer).learning_rate.item() == 0.5


@pytest.mark.usefixtures("installed")
def test_an_assigned_rate_lasts() -> None:
    optimizer = optim.SGD(optim.cosine_decay(0.5, 100))
    optimizer.learning_rate = 7.0
    assert optimizer.learning_rate.item() == 7
    optimizer.update(Weight(), {"w": ONE})
    assert optimizer.learning_rate.item() == 7
    optimizer.learning_rate = optim.cosine_decay(0.5, 100)
    optimizer.update(Weight(), {"w": ONE})
    assert optimizer.learning_rate.item() == ours.cosine_decay(0.5, 100)(1).item()


@pytest.mark.usefixtures("installed")
def test_a_parameter_that_is_called_schedules() -> None:
    optim.SGD(0.1).update({"schedules": ONE}, {"schedules": ONE})
    with pytest.raises(ValueError, match="schedules is a parameter of the model"):
        optim.SGD(optim.cosine_decay(0.1, 10)).init({"schedules": ONE})


@requires_compile
@pytest.mark.usefixtures("installed")
def test_our_tools_and_scheduled_as_ever() -> None:
    schedule = optim.cosine_decay(0.5, 100)
    decay = ours.linear_schedule(0.5, 1, 10)
    for make in (optim.AdamW, partial(ours.scheduled, optim.AdamW, weight_decay=decay)):
        optimizer, model = make(learning_rate=schedule), Weight()
        step = ours.compiled_step(linear, model, optimizer)
        step(ONE)
        optimizer.state = tree_unflatten(tree_flatten(optimizer.state))
        schedule.retune(init=2.0)
        step(ONE)
        assert optimizer.learning_rate.item() == schedule(1).item() > 1
        assert weight(model) < 0
        schedule.retune(init=0.5)


def test_in_ipython(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    printed = run(
        """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        for line in ("load", "reload", "unload", "load"):
            shell.run_line_magic(f"{line}_ext", "mlxsched_compiled")
            shell.run_cell("import mlx.optimizers as optim; print(optim.cosine_decay.__module__)")
        """,
        tmp_path,
        IPYTHONDIR=str(tmp_path),
    )
    here, mlx_own = "mlxsched_compiled", "mlx.optimizers.schedulers"
    assert printed.split() == [here, here, mlx_own, here]
