"""Settings of the test run."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

import mlxsched_compiled as ours

from .measuring import uncompiled

# A first example may wait for a C++ compiler, and one run must be like the next.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")


@pytest.fixture(name="uncompiled")
def _uncompiled() -> Iterator[None]:
    with uncompiled():
        yield


@pytest.fixture(name="installed")
def _installed() -> Iterator[None]:
    ours.install()
    yield
    ours.uninstall()
