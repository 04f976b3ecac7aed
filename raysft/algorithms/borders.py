"""Which cluster a unit vector belongs to, and beyond which borders its near ones may lie.

A vector belongs to the most similar centroid. The border between two clusters is the plane through the origin
at right angles to the difference of their centroids a and b, and x · (a - b) / |a - b| is how far a vector x
of the one is from it. Two vectors on either side of it are at least as far apart as both are from it
together, so the nearer one is at most half their distance away. Who looks up every vector of a cluster
beyond all borders within half the distance of two duplicates misses no pair of duplicates; within a share
of that he misses few, since two neighbours seldom differ in just the direction of a border.

Places do not depend on which vectors come together: a product of matrices proposes, and what is within its
error (see `similar.py`) is decided in float64.
"""

from __future__ import annotations

import math

import numpy as np

from raysft.algorithms.compiled import njit
from raysft.algorithms.similar import LENGTH_TOLERANCE, dot

PRODUCTS_AT_ONCE = 1 << 20


def reach_of(threshold: float, margin: float) -> float:
    """`margin` of half the distance that two vectors of about unit length and cosine ≥ threshold can have."""
    stretched = (1 + LENGTH_TOLERANCE) ** 2 * (2 - 2 * threshold) + (2 * LENGTH_TOLERANCE) ** 2
    return margin * math.sqrt(stretched) / 2


def borders(centroids: np.ndarray, reach: float) -> np.ndarray:
    """float32 [k, k]: how much less similar to another centroid than to its own a vector may be and still be
    within `reach` of the border between them; -inf on the diagonal, and everywhere where reach is 0."""
    if reach == 0:
        return np.full((len(centroids), len(centroids)), -np.inf, np.float32)
    exact = centroids.astype(np.float64)
    squares = np.einsum("kd,kd->k", exact, exact)
    gaps = np.sqrt(np.maximum(squares[:, None] + squares - 2 * (exact @ exact.T), 0))
    limits = (reach * gaps + 1e-6).astype(np.float32)
    np.fill_diagonal(limits, -np.inf)
    return limits


def place(
    vectors: np.ndarray, centroids: np.ndarray, limits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cluster of each vector, and the clusters beyond borders that are near.

    Args:
        vectors: float32 [rows, dimension], of about unit length
        centroids: float32 [k, dimension], of about unit length; k ≥ 1 unless there are no vectors
        limits: float32 [k, k], see `borders`

    Returns:
        int64 [rows + 1]: where each row's clusters begin in the next, and its length
        int32 [places]: each row's own cluster, of equal ones the first; then the others, ascending
        float64 [rows]: the product with the own centroid

    Raises:
        ValueError: there are vectors but no centroids.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    centroids = np.ascontiguousarray(centroids, np.float32)
    if len(vectors) and not len(centroids):
        raise ValueError(f"no centroids to place {len(vectors)} vectors by")
    starts = np.zeros(len(vectors) + 1, np.int64)
    own = np.empty(len(vectors), np.float64)
    found = [np.zeros(0, np.int32)]
    error = np.float32(2 * ((vectors.shape[1] + 2) * 2.0**-24 * 1.01 * (1 + LENGTH_TOLERANCE) ** 2 + 1e-7))
    step = max(1, PRODUCTS_AT_ONCE // max(1, len(centroids)))
    for first in range(0, len(vectors), step):
        block = vectors[first : first + step]
        products = block @ centroids.T
        counts, places = _place(products, products.max(axis=1), block, centroids, limits, error, own[first:])
        starts[first + 1 : first + 1 + len(block)] = counts
        found.append(places)
    return np.cumsum(starts), np.concatenate(found), own


@njit(cache=True, nogil=True)
def _place(  # type: ignore[no-untyped-def]
    products, highest, vectors, centroids, limits, error, own
):
    rows, k = products.shape
    counts = np.zeros(rows, np.int64)
    places = np.empty(2 * rows, np.int32)
    filled = 0
    for i in range(rows):
        row = products[i]
        cluster, best = _own(row, highest[i] - error, vectors[i], centroids)
        own[i] = best
        least = np.float32(best) - limits[cluster]
        hits = 0
        for c in range(k):
            hits += row[c] >= least[c] - error
        if filled + hits + 1 > len(places):
            places = np.concatenate((places, np.empty(len(places) + k + 1, np.int32)))
        places[filled] = cluster
        counts[i] = 1
        if hits:
            for c in range(k):
                if row[c] < least[c] - error:
                    continue
                if row[c] <= least[c] + error and best - dot(vectors[i], centroids[c]) > limits[cluster, c]:
                    continue
                places[filled + counts[i]] = c
                counts[i] += 1
        filled += counts[i]
    return counts, places[:filled]


@njit(cache=True, nogil=True)
def _own(row, least, vector, centroids):  # type: ignore[no-untyped-def]
    """The most similar centroid, of equal ones the first, and the product with it."""
    cluster, best = -1, -np.inf
    for c in range(len(row)):
        if row[c] >= least:
            product = dot(vector, centroids[c])
            if product > best:
                cluster, best = c, product
    return cluster, best
