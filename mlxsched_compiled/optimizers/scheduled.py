"""Stub."""
def scheduled(*a, **k):
    """Stub."""
    raise NotImplementedError
