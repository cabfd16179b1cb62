"""The old place of ``schedules_of``, until training/ takes it from ``state``."""

from .state import schedules_of as schedules_of
