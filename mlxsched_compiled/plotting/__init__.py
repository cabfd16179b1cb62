"""Schedules as pictures: in a notebook, in a terminal, and by matplotlib."""
