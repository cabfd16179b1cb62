"""Sums of gradients over several calls, in float32: in half precision a sum of many stands still."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map


def laid_out_like(tree: Any, sums: Any) -> Any:
    """``sums`` with the keys and places of ``tree``, and 0 where they have none. That takes 4 bytes for each number."""
    if isinstance(tree, dict):
        known = sums if isinstance(sums, dict) else {}
        return {key: laid_out_like(child, known.get(key)) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        known = dict(enumerate(sums)) if isinstance(sums, (list, tuple)) else {}
        return [laid_out_like(child, known.get(i)) for i, child in enumerate(tree)]
    if isinstance(sums, mx.array) and sums.shape == tree.shape:
        return sums.astype(mx.float32)
    return mx.zeros(tree.shape, mx.float32)


def added(sums: Any, gradients: Any, weight: mx.array | None) -> Any:
    """The sums with the gradients of one more call; of weight 0 they do not count, NaN or not."""

    def add(total: mx.array, gradient: mx.array) -> mx.array:
        gradient = gradient.astype(mx.float32)
        return total + (gradient if weight is None else mx.where(weight > 0, weight * gradient, 0))

    return tree_map(add, laid_out_like(gradients, sums), gradients)


def mean(sums: Any, weight: mx.array, like: Any) -> Any:
    """The sums over their weight, in the types of ``like``."""
    return tree_map(lambda g, total: mx.where(weight > 0, total / weight, 0).astype(g.dtype), like, sums)


def are_finite(gradients: Any) -> mx.array:
    """Whether all of them are."""
    leaves: Any = tree_flatten(gradients)
    return mx.all(mx.stack([mx.all(mx.isfinite(gradient)) for _, gradient in leaves]))


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a tree, by name."""
    leaves: Any = tree_flatten(tree)
    return {name: array.shape for name, array in leaves}
