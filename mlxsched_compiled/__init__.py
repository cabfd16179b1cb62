"""Learning-rate schedules for MLX, compiled into the optimizer update and exact at every step."""

from .core.schedule import Schedule as Schedule

# The five of mlx.optimizers
from .schedules.exponentials import exponential_decay as exponential_decay
from .schedules.exponentials import step_decay as step_decay
from .schedules.decays import cosine_decay as cosine_decay
from .schedules.decays import linear_schedule as linear_schedule
from .schedules.combinators import join_schedules as join_schedules

# Decays
from .schedules.decays import constant as constant
from .schedules.decays import polynomial_decay as polynomial_decay
from .schedules.decays import sqrt_decay as sqrt_decay
from .schedules.decays import rex_decay as rex_decay
from .schedules.exponentials import tanh_decay as tanh_decay
from .schedules.decays import inverse_time_decay as inverse_time_decay
from .schedules.decays import inverse_sqrt_decay as inverse_sqrt_decay
from .schedules.decays import power_law_decay as power_law_decay
from .schedules.hyperbolic import hyperbolic_decay as hyperbolic_decay
from .schedules.hyperbolic import exp_hyperbolic_decay as exp_hyperbolic_decay

# Pieces and tables
from .schedules.piecewise import piecewise_constant as piecewise_constant
from .schedules.piecewise import piecewise_interpolate as piecewise_interpolate
from .schedules.piecewise import table as table
from .schedules.piecewise import tabulate as tabulate

# Cycles
from .schedules.cycles import cosine_restarts as cosine_restarts
from .schedules.cycles import cyclic as cyclic
from .schedules.cycles import one_cycle as one_cycle
from .schedules.cycles import one_cycle_momentum as one_cycle_momentum

# Warmups
from .schedules.warmups import warmup as warmup
from .schedules.warmups import warmup_cosine_decay as warmup_cosine_decay
from .schedules.warmups import warmup_linear_decay as warmup_linear_decay
from .schedules.warmups import warmup_stable_decay as warmup_stable_decay
from .schedules.warmups import noam as noam

# Schedules made of schedules
from .schedules.combinators import clip as clip
from .schedules.combinators import delay as delay
from .schedules.combinators import skip as skip
from .schedules.combinators import staircase as staircase
from .schedules.combinators import repeat as repeat
from .schedules.combinators import cooldown as cooldown

# Beyond the step: every hyperparameter, and what metrics say
from .optimizers.scheduled import scheduled as scheduled
from .schedules.plateau import reduce_on_plateau as reduce_on_plateau

# Training
from .training.step import compiled_step as compiled_step
from .training.step import compiled_update as compiled_update
from .training.range_test import range_test as range_test

# Configurations
from .config.from_config import from_config as from_config

# In the place of MLX's own
from .drop_in.install import install as install
from .drop_in.install import uninstall as uninstall

__all__ = [name for name, value in [*vars().items()] if callable(value) and not name.startswith("_")]
__version__ = "0.2.0"

# Called by a notebook's %load_ext and %unload_ext
from .drop_in.install import load_ipython_extension as load_ipython_extension
from .drop_in.install import unload_ipython_extension as unload_ipython_extension
