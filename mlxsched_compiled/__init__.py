"""Learning-rate schedules for MLX, compiled into the optimizer update and exact at every step."""

__version__ = "0.1.0"

# ruff: isort: off
from .schedule import Schedule as Schedule

from .exponentials import exponential_decay as exponential_decay
from .exponentials import step_decay as step_decay
from .decays import cosine_decay as cosine_decay
from .decays import linear_schedule as linear_schedule
from .joins import join_schedules as join_schedules

from .decays import polynomial_decay as polynomial_decay
from .decays import rex_decay as rex_decay
from .decays import sqrt_decay as sqrt_decay
from .decays import tanh_decay as tanh_decay
from .inverse_decays import inverse_sqrt_decay as inverse_sqrt_decay
from .inverse_decays import inverse_time_decay as inverse_time_decay

from .piecewise import constant as constant
from .piecewise import piecewise_constant as piecewise_constant
from .piecewise import piecewise_interpolate as piecewise_interpolate
from .piecewise import table as table
from .piecewise import tabulate as tabulate

from .cycles import cosine_restarts as cosine_restarts
from .cycles import cyclic as cyclic
from .cycles import one_cycle as one_cycle

from .warmups import noam as noam
from .warmups import warmup as warmup
from .warmups import warmup_cosine_decay as warmup_cosine_decay
from .warmups import warmup_linear_decay as warmup_linear_decay
from .warmups import warmup_stable_decay as warmup_stable_decay

from .combinators import clip as clip
from .combinators import delay as delay
from .combinators import repeat as repeat
from .combinators import staircase as staircase
from .warmups import cooldown as cooldown

from .training import compiled_step as compiled_step
from .training import compiled_update as compiled_update
