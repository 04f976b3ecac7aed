import numpy as np
import pytest

from raysft.engines.vectors import spherical_kmeans


def clustered(k: int, each: int, dimension: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors about k random directions, and the direction each belongs to."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, dimension))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    label = np.arange(k).repeat(each)
    vectors = centres[label] + 0.05 * rng.normal(size=(k * each, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), label


def test_kmeans_of_separate_clusters_finds_them() -> None:
    vectors, label = clustered(4, 50)
    centroids = spherical_kmeans(vectors, 4, seed=3)
    cluster = (vectors @ centroids.T).argmax(axis=1)
    assert len({(a, b) for a, b in zip(cluster.tolist(), label.tolist(), strict=True)}) == 4
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-6)


def test_kmeans_twice_with_one_seed_gives_equal_centroids() -> None:
    vectors, _ = clustered(7, 40)
    first = spherical_kmeans(vectors, 5, seed=1)
    assert np.array_equal(first, spherical_kmeans(vectors, 5, seed=1))
    assert not np.array_equal(first, spherical_kmeans(vectors, 5, seed=2))


def test_kmeans_with_fewer_rows_than_clusters_has_a_centroid_a_row() -> None:
    vectors, _ = clustered(3, 1)
    assert spherical_kmeans(vectors, 10, seed=1).shape == (3, 16)
    assert spherical_kmeans(vectors[:1], 1, seed=1) == pytest.approx(vectors[:1], abs=1e-6)
    assert spherical_kmeans(vectors[:0], 10, seed=1).shape == (0, 16)


def test_vectors_that_cannot_be_clustered_are_refused() -> None:
    good, _ = clustered(2, 2)
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        spherical_kmeans(good, 0, seed=1)
    with pytest.raises(ValueError, match="finite"):
        spherical_kmeans(np.full((2, 3), np.nan, np.float32), 1, seed=1)
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        spherical_kmeans(np.ones(3, np.float32), 1, seed=1)
