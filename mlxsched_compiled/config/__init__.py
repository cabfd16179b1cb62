"""Configurations that are schedules: text, mappings, ratios."""
