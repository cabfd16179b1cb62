"""What some functions need besides MLX, and how to get it."""

from __future__ import annotations


def missing(package: str, extra: str, user: str) -> ImportError:
    """The error of ``user``, which needs a package that is not there."""
    return ImportError(f"{user} needs {package}: pip install 'mlxsched_compiled[{extra}]'")
