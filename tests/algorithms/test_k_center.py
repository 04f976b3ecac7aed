import numpy as np
import pytest

from raysft.algorithms.k_center import k_center_greedy


def reference_k_center(vectors: np.ndarray, k: int, start: int) -> list[int]:
    chosen = [start]
    while len(chosen) < k:
        rest = [i for i in range(len(vectors)) if i not in chosen]
        nearest = {i: min(float(((vectors[i] - vectors[c]) ** 2).sum()) for c in chosen) for i in rest}
        chosen.append(max(rest, key=lambda i: (nearest[i], -i)))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_k_center_of_random_vectors_equals_the_reference(seed: int) -> None:
    vectors = np.random.default_rng(seed).integers(-50, 50, (40, 6)).astype(np.float32)
    centres, distance = k_center_greedy(vectors, 12, seed)
    assert centres.tolist() == reference_k_center(vectors, 12, seed)
    expected = np.linalg.norm(vectors[:, None] - vectors[None, centres], axis=2).min(axis=1)
    assert np.allclose(distance, expected, atol=1e-3)


def test_k_center_of_clusters_takes_one_of_each() -> None:
    corners = np.eye(4, dtype=np.float32).repeat(10, axis=0)
    centres, distance = k_center_greedy(corners, 4, 3)
    assert sorted(c // 10 for c in centres.tolist()) == [0, 1, 2, 3]
    assert distance.max() == 0


def test_k_center_of_identical_vectors_takes_different_rows() -> None:
    centres, _ = k_center_greedy(np.ones((5, 2), np.float32), 5, 2)
    assert sorted(centres.tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("k", [0, 4])
def test_k_center_with_impossible_k_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and the 3 rows, not {k}"):
        k_center_greedy(np.ones((3, 2), np.float32), k, 0)
