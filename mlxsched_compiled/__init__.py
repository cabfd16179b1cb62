"""Learning-rate schedules for MLX, compiled into the optimizer update and exact at every step."""

__version__ = "0.1.0"

from .schedule import Schedule as Schedule  # isort: skip

from .decays import cosine_decay as cosine_decay
from .decays import linear_schedule as linear_schedule
from .exponentials import exponential_decay as exponential_decay
from .exponentials import step_decay as step_decay
from .joins import join_schedules as join_schedules
from .combinators import clip as clip
from .combinators import delay as delay
from .combinators import repeat as repeat
from .combinators import staircase as staircase
