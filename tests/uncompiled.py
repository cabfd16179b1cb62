"""Rates without the C++ compiler: the same to the bit, as a test of the core says, and nothing to wait for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx


@contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, MLX compiles nothing."""
    mx.disable_compile()
    try:
        yield
    finally:
        if "MLX_DISABLE_COMPILE" not in os.environ:
            mx.enable_compile()
