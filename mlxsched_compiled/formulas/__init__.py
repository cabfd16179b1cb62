"""Ramps, powers and segments: what the rates of several schedules are made of."""
