"""Tests: an independent oracle, a table of schedules, and what must hold for each of its rows."""
