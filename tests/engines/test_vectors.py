import numpy as np
import pytest

from raysft.engines.vectors import assign, spherical_kmeans


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
    cluster, cosine = assign(vectors, centroids)
    assert len({(a, b) for a, b in zip(cluster.tolist(), label.tolist(), strict=True)}) == 4
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-6)
    assert np.allclose(cosine, np.einsum("rd,rd->r", vectors, centroids[cluster]), atol=1e-6)


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


def test_assign_in_blocks_of_any_size_gives_equal_bits() -> None:
    vectors, _ = clustered(8, 60, dimension=384)
    centroids = spherical_kmeans(vectors, 20, seed=1)
    whole = assign(vectors, centroids)
    for size in (1, 7, 100):
        blocks = [assign(vectors[i : i + size], centroids) for i in range(0, len(vectors), size)]
        assert np.array_equal(whole[0], np.concatenate([b[0] for b in blocks]))
        assert np.array_equal(whole[1], np.concatenate([b[1] for b in blocks]))


def test_assign_between_equal_centroids_takes_the_first() -> None:
    centroid = np.eye(1, 4, dtype=np.float32)
    cluster, cosine = assign(centroid, np.repeat(centroid, 3, axis=0))
    assert (cluster.tolist(), cosine.tolist()) == ([0], [1.0])


def test_vectors_that_cannot_be_clustered_are_refused() -> None:
    good, _ = clustered(2, 2)
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        spherical_kmeans(good, 0, seed=1)
    with pytest.raises(ValueError, match="finite"):
        spherical_kmeans(np.full((2, 3), np.nan, np.float32), 1, seed=1)
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        assign(np.ones(3, np.float32), good)
    with pytest.raises(ValueError, match="no centroids to assign 4 vectors"):
        assign(good, good[:0])
    assert len(assign(good[:0], good)[0]) == 0
