"""Learning-rate schedules for MLX, compiled into the optimizer update and exact at every step."""

from .schedule import Schedule as Schedule

# The five of mlx.optimizers
from .exponentials import exponential_decay as exponential_decay
from .exponentials import step_decay as step_decay
from .decays import cosine_decay as cosine_decay
from .decays import linear_schedule as linear_schedule
from .compose import join_schedules as join_schedules

# Decays
from .decays import constant as constant
from .decays import polynomial_decay as polynomial_decay
from .decays import sqrt_decay as sqrt_decay
from .decays import rex_decay as rex_decay
from .exponentials import tanh_decay as tanh_decay
from .decays import inverse_time_decay as inverse_time_decay
from .decays import inverse_sqrt_decay as inverse_sqrt_decay
from .decays import power_law_decay as power_law_decay
from .hyperbolic import hyperbolic_decay as hyperbolic_decay
from .hyperbolic import exp_hyperbolic_decay as exp_hyperbolic_decay

# Pieces and tables
from .piecewise import piecewise_constant as piecewise_constant
from .piecewise import piecewise_interpolate as piecewise_interpolate
from .piecewise import table as table
from .piecewise import tabulate as tabulate

# Cycles
from .cycles import cosine_restarts as cosine_restarts
from .cycles import cyclic as cyclic
from .cycles import one_cycle as one_cycle
from .cycles import one_cycle_momentum as one_cycle_momentum

# Warmups
from .compose import warmup as warmup
from .recipes import warmup_cosine_decay as warmup_cosine_decay
from .recipes import warmup_linear_decay as warmup_linear_decay
from .recipes import warmup_stable_decay as warmup_stable_decay
from .recipes import noam as noam

# Schedules made of schedules
from .compose import clip as clip
from .compose import delay as delay
from .compose import skip as skip
from .compose import staircase as staircase
from .compose import repeat as repeat
from .compose import cooldown as cooldown

# Beyond the step: every hyperparameter, and what metrics say
from .hyperparameters import scheduled as scheduled
from .plateau import reduce_on_plateau as reduce_on_plateau

# Training
from .training import compiled_step as compiled_step
from .training import compiled_update as compiled_update
from .range_test import range_test as range_test

# Configurations
from .config import from_config as from_config

# In the place of MLX's own
from .install import install as install
from .install import uninstall as uninstall

__all__ = [name for name, value in [*vars().items()] if callable(value) and not name.startswith("_")]
__version__ = "0.2.0"

# Called by a notebook's %load_ext and %unload_ext
from .install import load_ipython_extension as load_ipython_extension
from .install import unload_ipython_extension as unload_ipython_extension
