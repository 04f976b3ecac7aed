import numpy as np
import pytest

from raysft.algorithms.similar import similar_components
from tests.algorithms.test_union_find import reference_components


def unit_rows(rows: int, dimension: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("tile", [1, 7, 64, 1000])
def test_similar_components_with_any_tile_equal_all_pairs(tile: int) -> None:
    vectors = unit_rows(120, 3, 0)
    close = np.argwhere(vectors @ vectors.T >= 0.97)
    expected = reference_components(120, [tuple(p) for p in close.tolist()])
    assert 1 < len(set(expected)) < 120
    assert similar_components(vectors, 0.97, tile).tolist() == expected


def test_similar_components_of_identical_vectors_are_one() -> None:
    assert similar_components(np.repeat(unit_rows(1, 8, 1), 50, axis=0), 0.999, 16).tolist() == [0] * 50


def test_similar_components_of_nothing_are_nothing() -> None:
    assert similar_components(np.zeros((0, 8), np.float32), 0.9).tolist() == []
