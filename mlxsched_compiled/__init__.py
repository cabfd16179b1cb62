"""Learning-rate schedules for MLX, compiled into the optimizer update and exact at every step."""

__version__ = "0.1.0"

_HOMES = {
    "Schedule": "schedule",
    # The five of mlx.optimizers
    "exponential_decay": "exponentials",
    "step_decay": "exponentials",
    "cosine_decay": "decays",
    "linear_schedule": "decays",
    "join_schedules": "joins",
    # Decays
    "constant": "piecewise",
    "polynomial_decay": "decays",
    "sqrt_decay": "decays",
    "rex_decay": "decays",
    "tanh_decay": "exponentials",
    "inverse_time_decay": "inverse_decays",
    "inverse_sqrt_decay": "inverse_decays",
    # Piecewise and tables
    "piecewise_constant": "piecewise",
    "piecewise_interpolate": "piecewise",
    "table": "piecewise",
    "tabulate": "piecewise",
    # Cycles
    "cosine_restarts": "cycles",
    "cyclic": "cycles",
    "one_cycle": "cycles",
    # Warmups
    "warmup": "warmups",
    "warmup_cosine_decay": "warmups",
    "warmup_linear_decay": "warmups",
    "warmup_stable_decay": "warmups",
    "noam": "warmups",
    # Combinators
    "clip": "combinators",
    "delay": "combinators",
    "staircase": "combinators",
    "repeat": "combinators",
    "cooldown": "warmups",
    # Training
    "compiled_step": "training",
    "compiled_update": "training",
}
"""Each public name, and the module that is imported when it is first used: this one costs a program's start nothing."""

__all__ = [*_HOMES]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .combinators import clip as clip
    from .combinators import delay as delay
    from .combinators import repeat as repeat
    from .combinators import staircase as staircase
    from .cycles import cosine_restarts as cosine_restarts
    from .cycles import cyclic as cyclic
    from .cycles import one_cycle as one_cycle
    from .decays import cosine_decay as cosine_decay
    from .decays import linear_schedule as linear_schedule
    from .decays import polynomial_decay as polynomial_decay
    from .decays import rex_decay as rex_decay
    from .decays import sqrt_decay as sqrt_decay
    from .exponentials import exponential_decay as exponential_decay
    from .exponentials import step_decay as step_decay
    from .exponentials import tanh_decay as tanh_decay
    from .inverse_decays import inverse_sqrt_decay as inverse_sqrt_decay
    from .inverse_decays import inverse_time_decay as inverse_time_decay
    from .joins import join_schedules as join_schedules
    from .piecewise import constant as constant
    from .piecewise import piecewise_constant as piecewise_constant
    from .piecewise import piecewise_interpolate as piecewise_interpolate
    from .piecewise import table as table
    from .piecewise import tabulate as tabulate
    from .schedule import Schedule as Schedule
    from .training import compiled_step as compiled_step
    from .training import compiled_update as compiled_update
    from .warmups import cooldown as cooldown
    from .warmups import noam as noam
    from .warmups import warmup as warmup
    from .warmups import warmup_cosine_decay as warmup_cosine_decay
    from .warmups import warmup_linear_decay as warmup_linear_decay
    from .warmups import warmup_stable_decay as warmup_stable_decay


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    globals()[name] = found = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
