"""K-Center-Greedy: choose rows so that no row is far from a chosen one.

Gonzalez 1985, "Clustering to minimize the maximum intercluster distance" (within twice the optimum); as a
way to choose training data: Sener & Savarese 2018, "Active Learning for Convolutional Neural Networks: A
Core-Set Approach".
"""

from __future__ import annotations

import numpy as np


def k_center_greedy(vectors: np.ndarray, k: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres in the order they are chosen: `start`, then always the row farthest from all centres so far.

    Among equally far rows the first is chosen. Time is rows × k × dimension, memory that of the vectors.

    Args:
        vectors: float32 [rows, dimension]
        k: number of centres, at most the number of rows
        start: position of the first centre

    Returns:
        int64 [k]: positions of the centres
        float64 [rows]: Euclidean distance of each row to its nearest centre

    Raises:
        ValueError: k is not between 1 and the number of rows.
    """
    if not 1 <= k <= len(vectors):
        raise ValueError(f"k must be between 1 and the {len(vectors)} rows, not {k}")
    squared = np.einsum("rd,rd->r", vectors, vectors)
    nearest = np.full(len(vectors), np.inf, vectors.dtype)
    is_chosen = np.zeros(len(vectors), bool)
    centres = np.empty(k, np.int64)
    centre = start
    for i in range(k):
        centres[i] = centre
        is_chosen[centre] = True
        distance = squared + squared[centre] - 2 * (vectors @ vectors[centre])
        np.minimum(nearest, distance, out=nearest)
        nearest[centre] = 0
        centre = int(np.argmax(np.where(is_chosen, -1, nearest)))
    return centres, np.sqrt(np.maximum(nearest, 0).astype(np.float64))
