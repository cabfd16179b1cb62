"""Ramps, powers and segments: the rates that schedules share."""
