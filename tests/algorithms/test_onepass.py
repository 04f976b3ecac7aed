import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.onepass import leader_clusters, margin, nearest_leader, unit
from tests.algorithms.test_similar import unit_rows


def cosine(left: list[float], right: list[float]) -> float:
    """In float64, one product after the other."""
    dot = left_squared = right_squared = 0.0
    for a, b in zip(left, right, strict=True):
        dot, left_squared, right_squared = dot + a * b, left_squared + a * a, right_squared + b * b
    both = left_squared * right_squared
    return dot / math.sqrt(both) if both > 0 else 0.0


def plain_loop(vectors: np.ndarray, threshold: float, given: int) -> list[tuple[int, float]]:
    """(leader, cosine) of each row: one row after the other, compared with one leader after the other."""
    rows = vectors.astype(np.float64).tolist()
    leaders, out = list(range(given)), [(i, 1.0) for i in range(given)]
    for i in range(given, len(rows)):
        best, nearest = -1, 0.0
        for j in leaders:
            found = cosine(rows[i], rows[j])
            if found >= threshold and found > nearest:
                best, nearest = j, found
        if best < 0:
            best, nearest = i, 1.0
            leaders.append(i)
        out.append((best, nearest))
    return out


def clustered(rows: int, dimension: int, spread: float, seed: int) -> np.ndarray:
    """Unit rows about a few directions, some of them repeated."""
    rng = np.random.default_rng(seed)
    centres = unit_rows(max(1, rows // 6), dimension, seed)
    vectors = centres[rng.integers(0, len(centres), rows)] + spread * unit_rows(rows, dimension, seed + 1)
    vectors[rng.random(rows) < 0.2] = centres[0]
    return unit(vectors)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90),
    st.sampled_from([2, 3, 17, 64]),
    st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    st.integers(0, 999),
    st.sampled_from([0.3, 0.8, 0.95, 1.0]),
    st.integers(0, 9),
    st.sampled_from([1, 7, 32, 1000]),
)
def test_leader_clusters_of_any_block_equal_the_plain_loop(
    rows, dimension, spread, seed, threshold, owned, block
) -> None:
    vectors, owned = clustered(rows, dimension, spread, seed), min(owned, rows)
    leader, found = leader_clusters(vectors, threshold, owned, block)
    assert list(zip(leader.tolist(), found.tolist(), strict=True)) == plain_loop(vectors, threshold, owned)


@pytest.mark.parametrize("block", [1, 5, 64, 500])
def test_leader_clusters_with_cosines_at_the_threshold_decide_by_float64(block: int) -> None:
    """The threshold is one pair's own cosine: float32 products of it come out on both sides."""
    vectors = clustered(120, 96, 0.5, 3)
    rows = vectors.astype(np.float64).tolist()
    cosines = sorted({cosine(rows[i], rows[j]) for i in range(60) for j in range(i)} - {1.0})
    for threshold in (c for c in cosines[:: len(cosines) // 12] if c > 0):
        for at in (np.nextafter(threshold, 0), threshold, np.nextafter(threshold, 1)):
            leader, found = leader_clusters(vectors, float(at), 0, block)
            expected = plain_loop(vectors, float(at), 0)
            assert list(zip(leader.tolist(), found.tolist(), strict=True)) == expected


def test_leader_clusters_keep_leaders_apart_and_members_near() -> None:
    vectors = clustered(700, 24, 0.6, 5)
    leader, found = leader_clusters(vectors, 0.8)
    leaders = np.unique(leader)
    assert 1 < len(leaders) < 700
    assert np.array_equal(leader[leaders], leaders)
    between = vectors[leaders] @ vectors[leaders].T - np.eye(len(leaders))
    assert between.max() < 0.8
    assert (leader <= np.arange(700)).all()
    assert np.allclose(found, np.einsum("rd,rd->r", vectors, vectors[leader]), atol=1e-6)
    assert found.min() >= 0.8


def test_leader_clusters_with_more_leaders_than_a_tile_find_the_far_ones() -> None:
    directions = unit_rows(4500, 40, 8)
    vectors = np.concatenate([directions, directions[[0, 4499, 2000]]])
    leader, found = leader_clusters(vectors, 0.999)
    assert leader.tolist() == [*range(4500), 0, 4499, 2000]
    assert found[-3:].tolist() == [1, 1, 1]


def test_leader_clusters_of_given_rows_are_leaders_even_where_alike() -> None:
    vectors = np.repeat(unit_rows(1, 8, 1), 4, axis=0)
    assert leader_clusters(vectors, 0.9, given=2)[0].tolist() == [0, 1, 0, 0]


def test_leader_clusters_of_identical_or_no_or_zero_rows() -> None:
    leader, found = leader_clusters(np.repeat(unit_rows(1, 8, 1), 50, axis=0), 1.0)
    assert (leader.tolist(), found.tolist()) == ([0] * 50, [1.0] * 50)
    assert [len(part) for part in leader_clusters(np.zeros((0, 8), np.float32), 0.9)] == [0, 0]
    assert leader_clusters(np.zeros((3, 8), np.float32), 0.9)[0].tolist() == [0, 1, 2]


def test_leader_clusters_of_vectors_that_are_no_finite_matrix_are_refused() -> None:
    for wrong in (np.full((2, 3), np.nan), np.zeros(3)):
        with pytest.raises(ValueError, match="finite vectors"):
            leader_clusters(wrong, 0.9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 30), st.integers(0, 99), st.sampled_from([1, 9, 100]))
def test_nearest_leader_in_any_block_is_the_first_of_the_most_similar(rows, leaders, seed, block) -> None:
    vectors = clustered(rows + leaders, 16, 0.5, seed)
    known, asked = vectors[:leaders], vectors[leaders:]
    found = nearest_leader(asked, known, 0.85, block)
    expected = []
    for row in asked.astype(np.float64).tolist():
        cosines = [cosine(row, other) for other in known.astype(np.float64).tolist()]
        best = max(cosines, default=0.0)
        expected.append((cosines.index(best), best) if best >= 0.85 else (-1, 0.0))
    assert list(zip(found[0].tolist(), found[1].tolist(), strict=True)) == expected


@pytest.mark.parametrize("dimension", [2, 384, 1024, 4096])
def test_margin_of_a_dimension_holds_for_float32_products(dimension: int) -> None:
    vectors = clustered(64, dimension, 0.2, 4)
    exact = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    assert np.abs(vectors @ vectors.T - exact).max() < margin(dimension) < 1e-3
