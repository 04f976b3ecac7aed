"""Clustering of unit vectors with FAISS, on a GPU where FAISS has one.

Vectors are float32 [rows, dimension]. Importing this module imports faiss; a stage does so inside the
function that needs it.
"""

from __future__ import annotations

import faiss
import numpy as np


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


def _contiguous(vectors: np.ndarray) -> np.ndarray:
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"expected finite vectors [rows, dimension], got shape {vectors.shape}")
    return vectors
