"""What ``mlxsched`` does: a module for each command, and what they need."""

from . import list as list
from . import run as run
from . import show as show
