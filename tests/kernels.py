"""What a graph costs: its nodes, and those of them that launch a kernel."""

from __future__ import annotations

import io
import re
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

LAUNCH_NOTHING = frozenset(
    {
        "Load",  # read once; later calls have no such node
        # Views, which only describe the data of another array
        "AsStrided",
        "Broadcast",
        "BroadcastAxes",
        "ExpandDims",
        "Flatten",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unflatten",
    }
)
"""Nodes that launch no kernel."""


def nodes(*outputs: Any) -> list[str]:
    """The operations of the graph that computes ``outputs``, trees of arrays. Ask before these are evaluated."""
    graph = io.StringIO()
    leaves: Any = tree_flatten(list(outputs))
    mx.export_to_dot(graph, *(array for _, array in leaves))
    return re.findall(r'label ="([^"]*)", shape=rectangle', graph.getvalue())


def kernels(*outputs: Any) -> list[str]:
    """The operations of that graph that launch a kernel."""
    return launching(nodes(*outputs))


def launching(nodes: list[str]) -> list[str]:
    """Those of some operations that launch a kernel."""
    return [name for name in nodes if name not in LAUNCH_NOTHING]
