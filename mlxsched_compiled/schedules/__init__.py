"""The catalogue, by kind."""
