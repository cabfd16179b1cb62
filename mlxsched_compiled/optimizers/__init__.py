"""Schedules for any hyperparameter of an optimizer."""
