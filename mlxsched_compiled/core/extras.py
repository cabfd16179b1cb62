"""What some functions need besides MLX, and how to get it."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def needed(module: str, extra: str, user: str) -> Any:
    """A module that ``user`` needs.

    Raises:
        ImportError: If it is not there. The message says how to get it.
    """
    package = module.partition(".")[0]
    try:
        import_module(package)
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{user} needs {package}: pip install 'mlxsched_compiled[{extra}]'") from error
