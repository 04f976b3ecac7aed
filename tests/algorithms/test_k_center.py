import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.k_center import k_center_greedy


def plain_k_center(
    vectors: np.ndarray,
    k: int,
    radius: float = -1,
    existing: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    quotas: np.ndarray | None = None,
) -> tuple[list[int], np.ndarray]:
    """The plain loop: all rows against each new centre; positions of centres, and all distances."""
    nearest, chosen = np.full(len(vectors), np.inf, np.float32), []
    groups = np.zeros(len(vectors), int) if groups is None else groups
    left = np.array([k]) if quotas is None else quotas.copy()
    for centre in [] if existing is None else existing:
        nearest = np.minimum(nearest, np.linalg.norm(vectors - centre, axis=1))
    while len(chosen) < k:
        open_ = nearest.copy()
        open_[chosen] = -1
        open_[left[groups] == 0] = -1
        centre = int(np.argmax(open_))
        if open_[centre] <= max(radius, -1):
            break
        chosen.append(centre)
        left[groups[centre]] -= 1
        nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[centre], axis=1))
    return chosen, nearest


def smallest_radius(vectors: np.ndarray, k: int, existing: np.ndarray) -> float:
    """The best that any k rows beside the existing ones can do, by trying all."""
    best = np.inf
    for chosen in itertools.combinations(range(len(vectors)), k):
        centres = np.concatenate([vectors[list(chosen)], existing])
        distance = np.linalg.norm(vectors[:, None].astype(float) - centres[None], axis=2).min(axis=1)
        best = min(best, distance.max())
    return best


def vectors_of_kind(kind: str, rows: int, dimension: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "grid":
        return rng.integers(-1, 2, (rows, dimension)).astype(np.float32)
    vectors = rng.normal(size=(rows, dimension))
    if kind == "clusters":
        vectors = 4 * vectors[rng.integers(0, 1 + rows // 20, rows)] + rng.normal(size=(rows, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors * (1 + 2.0**-22 * rng.integers(0, 3, (rows, 1)))).astype(np.float32)


KINDS = st.sampled_from(["grid", "even", "clusters"])


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(1, 400), st.sampled_from([1, 2, 5, 40, 200]), st.integers(0, 99), st.data())
def test_k_center_greedy_takes_the_same_rows_as_the_plain_loop(kind, rows, dimension, seed, data) -> None:
    vectors = vectors_of_kind(kind, rows, dimension, seed)
    k = data.draw(st.integers(0, rows))
    radius = data.draw(st.sampled_from([None, 0.0, 0.5, 1.0]))
    existing = data.draw(st.sampled_from([None, vectors[:0], vectors[:3], vectors[: rows // 2]]))
    groups = quotas = None
    if data.draw(st.booleans()):
        groups, quotas = np.arange(rows) % 3, np.array(data.draw(st.tuples(*[st.integers(0, 60)] * 3)))
    found = k_center_greedy(vectors, k, radius=radius, existing=existing, groups=groups, quotas=quotas)
    centres, distance = plain_k_center(vectors, k, -1 if radius is None else radius, existing, groups, quotas)
    assert found.centres.tolist() == centres
    assert found.distance.tobytes() == distance.tobytes()
    assert found.radius == distance.max()


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_k_center_greedy_of_thousands_takes_the_same_rows_as_the_plain_loop(device: str) -> None:
    vectors = vectors_of_kind("clusters", 5000, 96, 5)
    found = k_center_greedy(vectors, 600, device=device)
    centres, distance = plain_k_center(vectors, 600)
    assert found.centres.tolist() == centres
    assert found.distance.tobytes() == distance.tobytes()
    own = np.linalg.norm(vectors - vectors[found.centres[found.place]], axis=1)
    assert own.tobytes() == distance.tobytes()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 3), st.integers(0, 2), st.integers(0, 10**6))
def test_k_center_greedy_is_within_twice_the_smallest_radius(rows, k, known, seed) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 2)).astype(np.float32)
    existing = rng.normal(size=(known, 2)).astype(np.float32)
    k = min(k, rows)
    found = k_center_greedy(vectors, k, existing=existing)
    assert found.radius <= 2 * smallest_radius(vectors, k, existing) + 1e-6


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 9), st.integers(1, 3), st.integers(0, 2), st.integers(0, 10**6))
def test_k_center_greedy_in_two_rounds_is_within_four_times_the_smallest_radius(rows, k, known, seed) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 2)).astype(np.float32)
    existing = rng.normal(size=(known, 2)).astype(np.float32)
    k, part = min(k, rows), rng.integers(0, 2, rows)
    union = []
    for mine in (vectors[part == 0], vectors[part == 1]):
        union.append(mine[k_center_greedy(mine, min(k, len(mine)), existing=existing).centres])
    together = np.concatenate(union)
    final = together[k_center_greedy(together, k, existing=existing).centres]
    chosen = np.concatenate([final, existing])
    radius = np.linalg.norm(vectors[:, None] - chosen[None], axis=2).min(axis=1).max()
    assert radius <= 4 * smallest_radius(vectors, k, existing) + 1e-6


def test_k_center_greedy_of_clusters_takes_one_of_each() -> None:
    corners = np.eye(4, dtype=np.float32).repeat(10, axis=0)
    found = k_center_greedy(corners, 4)
    assert sorted(c // 10 for c in found.centres.tolist()) == [0, 1, 2, 3]
    assert found.radius == 0


def test_k_center_greedy_of_identical_vectors_takes_them_in_their_order() -> None:
    assert k_center_greedy(np.ones((5, 2), np.float32), 5).centres.tolist() == [0, 1, 2, 3, 4]


def test_k_center_greedy_with_a_radius_stops_once_all_rows_are_within_it() -> None:
    line = np.arange(11, dtype=np.float32)[:, None]
    assert k_center_greedy(line, 11, radius=2.5).centres.tolist() == [0, 10, 5]
    assert k_center_greedy(line, 2, radius=2.5).centres.tolist() == [0, 10]
    assert k_center_greedy(line, 11, radius=1.9).centres.tolist() == [0, 10, 5, 2, 7]
    assert k_center_greedy(np.ones((5, 2), np.float32), 5, radius=0).centres.tolist() == [0]


def test_k_center_greedy_beside_an_existing_selection_takes_what_is_far_from_it() -> None:
    line = np.arange(11, dtype=np.float32)[:, None]
    found = k_center_greedy(line, 2, existing=np.array([[9.0], [3.0]], np.float32))
    assert found.centres.tolist() == [0, 6]
    assert found.place.tolist() == [2, 2, 1, 1, 1, 3, 3, 3, 0, 0, 0]
    covered = k_center_greedy(line, 5, existing=line, radius=0)
    assert (covered.centres.tolist(), covered.radius) == ([], 0)


def test_k_center_greedy_with_quotas_takes_the_farthest_row_whose_group_is_not_full() -> None:
    line = np.arange(11, dtype=np.float32)[:, None]
    groups = np.array([0] * 10 + [1])
    found = k_center_greedy(line, 11, groups=groups, quotas=np.array([2, 5]))
    assert found.centres.tolist() == [0, 10, 5]
    assert k_center_greedy(line, 11, groups=groups, quotas=np.array([3, 0])).centres.tolist() == [0, 9, 4]


@pytest.mark.parametrize("k", [-1, 4])
def test_k_center_greedy_with_impossible_k_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"between 0 and the 3 rows, not {k}"):
        k_center_greedy(np.ones((3, 2), np.float32), k)


def test_k_center_greedy_of_nothing_is_nothing() -> None:
    found = k_center_greedy(np.ones((0, 2), np.float32), 0)
    assert (len(found.centres), len(found.distance), found.radius) == (0, 0, 0.0)
    assert k_center_greedy(np.ones((1, 2), np.float32), 0).radius == np.inf
    assert k_center_greedy(np.ones((1, 2), np.float32), 1).centres.tolist() == [0]
