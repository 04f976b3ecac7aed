"""Clustering of unit vectors with FAISS, on a GPU where FAISS has one.

Vectors are float32 [rows, dimension]. Importing this module imports faiss; a stage does so inside the
function that needs it.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

# of FAISS's nearest centroids, how many are compared again exactly
CANDIDATES = 4
ROWS_AT_ONCE = 8192


def gpus() -> int:
    """How many GPUs this build of FAISS can use: 0 for faiss-cpu."""
    return int(faiss.get_num_gpus())


def spherical_kmeans(vectors: np.ndarray, k: int, seed: int, iterations: int = 20) -> np.ndarray:
    """Centroids of unit length by k-means under cosine similarity.

    The same vectors in the same order give the same centroids. FAISS trains on at most 256 vectors a
    centroid, drawn by the seed.

    Returns:
        float32 [min(k, rows), dimension]

    Raises:
        ValueError: k < 1, or vectors are not a finite matrix.
    """
    vectors = _contiguous(vectors)
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    k = min(k, len(vectors))
    if k == 0:
        return np.zeros((0, vectors.shape[1]), np.float32)
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        k,
        niter=iterations,
        seed=seed % (1 << 31),
        spherical=True,
        gpu=gpus() > 0,
        min_points_per_centroid=1,
    )
    kmeans.train(vectors)
    centroids = np.asarray(kmeans.centroids, np.float32).reshape(k, -1)
    lengths = np.linalg.norm(centroids, axis=1, keepdims=True)
    return centroids / np.where(lengths > 0, lengths, 1)


def assign(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most similar centroid of each vector; of equal ones the first.

    FAISS finds candidates; they are compared again row by row in float64, because a matrix product rounds
    differently for other numbers of rows and a row's cluster must not depend on its neighbours.

    Returns:
        int64 [rows], float64 [rows]: number of the centroid, and the cosine with it

    Raises:
        ValueError: there are vectors but no centroids.
    """
    vectors, centroids = _contiguous(vectors), _contiguous(centroids)
    if len(vectors) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.float64)
    if len(centroids) == 0:
        raise ValueError(f"no centroids to assign {len(vectors)} vectors to")
    index: Any = faiss.IndexFlatIP(centroids.shape[1])
    if gpus():
        index = faiss.index_cpu_to_all_gpus(index)
    index.add(centroids)
    parts = [
        _nearest(index, vectors[start : start + ROWS_AT_ONCE], centroids)
        for start in range(0, len(vectors), ROWS_AT_ONCE)
    ]
    clusters, cosines = zip(*parts, strict=True)
    return np.concatenate(clusters), np.concatenate(cosines)


def _nearest(index: Any, vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, near = index.search(vectors, min(CANDIDATES, len(centroids)))
    near = np.sort(near, axis=1).astype(np.int64)
    exact = np.einsum("rcd,rd->rc", centroids[near].astype(np.float64), vectors.astype(np.float64))
    best = np.argmax(exact, axis=1)
    rows = np.arange(len(vectors))
    return near[rows, best], exact[rows, best]


def _contiguous(vectors: np.ndarray) -> np.ndarray:
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"expected finite vectors [rows, dimension], got shape {vectors.shape}")
    return vectors
