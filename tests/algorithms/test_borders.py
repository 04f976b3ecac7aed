import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.borders import borders, place, reach_of
from tests.algorithms.test_similar import all_cosines, unit_rows
from tests.engines.test_vectors import clustered


def places_of(vectors: np.ndarray, centroids: np.ndarray, reach: float) -> list[list[int]]:
    starts, clusters, _ = place(vectors, centroids, borders(centroids, reach))
    return [clusters[a:b].tolist() for a, b in itertools.pairwise(starts)]


def test_place_without_reach_is_the_most_similar_centroid_alone() -> None:
    vectors, centroids = unit_rows(200, 12, 0), unit_rows(9, 12, 1)
    exact = vectors.astype(np.float64) @ centroids.astype(np.float64).T
    assert places_of(vectors, centroids, 0) == exact.argmax(axis=1)[:, None].tolist()
    _, _, own = place(vectors, centroids, borders(centroids, 0))
    assert np.allclose(own, exact.max(axis=1), rtol=0, atol=1e-12)


def test_place_with_reach_names_the_clusters_beyond_near_borders() -> None:
    vectors, centroids, reach = unit_rows(300, 5, 2), unit_rows(8, 5, 3), 0.1
    exact = vectors.astype(np.float64) @ centroids.astype(np.float64).T
    for row, (own, *others) in enumerate(places_of(vectors, centroids, reach)):
        difference = (centroids[own] - centroids).astype(np.float64)
        gaps = np.linalg.norm(difference, axis=1)
        distance = np.divide(exact[row, own] - exact[row], gaps, out=np.full(8, np.inf), where=gaps > 0)
        assert others == np.flatnonzero(distance <= reach + 1e-5).tolist()
    assert sum(map(len, places_of(vectors, centroids, reach))) > 330


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.integers(1, 12), st.floats(0.3, 1))
def test_place_with_the_whole_margin_lets_every_pair_meet_in_a_home(
    seed: int, k: int, threshold: float
) -> None:
    vectors, centroids = unit_rows(60, 4, seed), unit_rows(k, 4, seed + 1)
    places = places_of(vectors, centroids, reach_of(threshold, 1))
    for one, other in np.argwhere(np.triu(all_cosines(vectors) >= threshold, 1)).tolist():
        assert places[one][0] in places[other] or places[other][0] in places[one]


def test_reach_of_a_margin_is_its_share_of_half_the_distance_of_duplicates() -> None:
    assert reach_of(0.95, 1) == pytest.approx(math.sqrt(0.1) / 2, rel=2e-3)
    assert reach_of(0.95, 1) > math.sqrt(0.1) / 2
    assert reach_of(0.95, 0.5) == pytest.approx(reach_of(0.95, 1) / 2)
    assert reach_of(0.95, 0) == 0


def test_place_in_blocks_of_any_size_gives_equal_bits() -> None:
    vectors, _ = clustered(8, 60, dimension=384)
    centroids = vectors[::24]
    limits = borders(centroids, reach_of(0.9, 0.5))
    starts, clusters, own = place(vectors, centroids, limits)
    assert len(clusters) > len(vectors)
    for size in (1, 7, 100):
        blocks = [place(vectors[i : i + size], centroids, limits) for i in range(0, len(vectors), size)]
        assert np.array_equal(np.diff(starts), np.concatenate([np.diff(b[0]) for b in blocks]))
        assert np.array_equal(clusters, np.concatenate([b[1] for b in blocks]))
        assert np.array_equal(own, np.concatenate([b[2] for b in blocks]))


def test_place_between_equal_centroids_takes_the_first_and_looks_beyond_to_the_others() -> None:
    centroid = np.eye(1, 4, dtype=np.float32)
    centroids = np.repeat(centroid, 3, axis=0)
    assert places_of(centroid, centroids, 0) == [[0]]
    assert places_of(centroid, centroids, 0.1) == [[0, 1, 2]]


def test_place_of_no_vectors_is_nothing_and_by_no_centroids_is_refused() -> None:
    none, some = np.zeros((0, 4), np.float32), np.eye(2, 4, dtype=np.float32)
    for centroids in (none, some):
        starts, clusters, own = place(none, centroids, borders(centroids, 0.1))
        assert (starts.tolist(), clusters.tolist(), own.tolist()) == ([0], [], [])
    with pytest.raises(ValueError, match="no centroids to place 2 vectors by"):
        place(some, none, borders(none, 0.1))
