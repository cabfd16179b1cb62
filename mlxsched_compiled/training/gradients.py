"""Gradients of several calls: their sum, their mean, and what depends on whether they are finite."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.nn import average_gradients
from mlx.utils import tree_flatten, tree_map

from .guards import Guards, Places


class GradientSum:
    """The weighted sum of gradients, in float32 whatever their type: in half precision a sum of many stands still.

    It takes 4 bytes for each number that is trained.
    """

    def __init__(self) -> None:
        self.tree: list[Any] = [{}, mx.array(0.0)]
        """The sum, and the sum of the weights, as a list that can be captured."""

    def lay_out(self, parameters: Any) -> None:
        """Makes room for gradients of ``parameters``, and keeps what is there of them."""
        self.tree[0] = _laid_out_like(parameters, self.tree[0])

    def add(self, gradients: Any, weight: mx.array) -> None:
        """Adds the gradients of a call."""
        sums = _laid_out_like(gradients, self.tree[0])
        self.tree[0] = tree_map(lambda s, g: s + weight * g.astype(mx.float32), sums, gradients)
        self.tree[1] = self.tree[1] + weight

    def take_mean(self, like: Any, data_parallel: bool) -> Any:
        """The mean, over all processes if ``data_parallel``, in the types of ``like``; the sum starts again."""
        sums, weight = average_gradients(self.tree) if data_parallel else self.tree
        self.tree[:] = tree_map(mx.zeros_like, self.tree)
        return tree_map(lambda g, s: mx.where(weight > 0, s / weight, 0).astype(g.dtype), like, sums)


def are_finite(gradients: Any) -> mx.array:
    """Whether all of them are."""
    leaves: Any = tree_flatten(gradients)
    return mx.all(mx.stack([mx.all(mx.isfinite(gradient)) for _, gradient in leaves]))


class Before:
    """The arrays that models and optimizers hold now."""

    def __init__(self, *roots: Any) -> None:
        self._roots = roots
        self._arrays = [list(places.present()) for places in self._places()]

    def unless(self, condition: mx.array) -> None:
        """Puts them back, unless ``condition`` holds."""
        all_places = self._places()
        if [len(places) for places in all_places] != [len(arrays) for arrays in self._arrays]:
            raise ValueError(
                "skip_nonfinite needs the optimizer to have all its arrays before the first update, but this one makes "
                "some in it; let its init or init_single make them."
            )
        for places, arrays in zip(all_places, self._arrays, strict=True):
            present = zip(places.present(), arrays, strict=True)
            places.put([now if now is before else mx.where(condition, now, before) for now, before in present])

    def _places(self) -> list[Places]:
        guards = Guards(*self._roots)  # made again, since an update may replace dicts and lists
        return [guards.arrays, guards.attribute_arrays]


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a tree, by name."""
    leaves: Any = tree_flatten(tree)
    return {name: array.shape for name, array in leaves}


def _laid_out_like(tree: Any, values: Any) -> Any:
    """``values`` with the keys and places of ``tree``, in float32, 0 where there is none."""
    if isinstance(tree, dict):
        known = values if isinstance(values, dict) else {}
        return {key: _laid_out_like(child, known.get(key)) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        known = dict(enumerate(values)) if isinstance(values, (list, tuple)) else {}
        return [_laid_out_like(child, known.get(i)) for i, child in enumerate(tree)]
    if isinstance(values, mx.array) and values.shape == tree.shape:
        return values.astype(mx.float32)
    return mx.zeros(tree.shape, mx.float32)
