"""Settings of the test run."""

from hypothesis import settings

# A first example may wait for a C++ compiler, and one run must be like the next.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")
