"""Components of vectors that are nearly parallel: all pairs, a tile of the product matrix at a time."""

from __future__ import annotations

import numpy as np

from raysft.algorithms.union_find import roots, union

TILE = 2048


def similar_components(vectors: np.ndarray, threshold: float, tile: int = TILE) -> np.ndarray:
    """The first vector of each vector's component, where pairs with cosine ≥ threshold are joined.

    Holds one tile × tile matrix at a time (16 MiB), however many vectors and pairs there are.

    Args:
        vectors: float32 [rows, dimension], unit rows, the ones to keep first

    Returns:
        int64 [rows]: positions
    """
    parent = np.arange(len(vectors), dtype=np.int64)
    for top in range(0, len(vectors), tile):
        for left in range(0, top + 1, tile):
            cosines = vectors[top : top + tile] @ vectors[left : left + tile].T
            i, j = np.nonzero(cosines >= threshold)
            is_lower = i + top > j + left
            union(parent, (i + top)[is_lower], (j + left)[is_lower])
    return roots(parent)
