import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.similar import cosines, similar_components
from tests.algorithms.test_union_find import reference_components


def unit_rows(rows: int, dimension: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near_one(rows: int, dimension: int, spread: float, seed: int = 0) -> np.ndarray:
    """Unit rows about one direction, as far from each other as `spread` says."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=dimension) / dimension**0.5 + spread * rng.normal(size=(rows, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def all_cosines(vectors: np.ndarray) -> np.ndarray:
    """float64 [rows, rows], by the rule that decides."""
    one, other = np.meshgrid(np.arange(len(vectors)), np.arange(len(vectors)), indexing="ij")
    return cosines(vectors, one.ravel(), other.ravel()).reshape(one.shape)


def reference(vectors: np.ndarray, threshold: float) -> list[int]:
    return reference_components(len(vectors), np.argwhere(all_cosines(vectors) >= threshold).tolist())


@pytest.mark.parametrize("in_bfloat16", [True, False])
@pytest.mark.parametrize("tile", [1, 7, 64, 1000])
def test_similar_components_with_any_tile_equal_all_pairs(tile: int, in_bfloat16: bool) -> None:
    vectors = unit_rows(120, 3, 0)
    expected = reference(vectors, 0.97)
    assert 1 < len(set(expected)) < 120
    assert similar_components(vectors, 0.97, tile=tile, in_bfloat16=in_bfloat16).tolist() == expected


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.integers(2, 60), st.integers(1, 70), st.booleans(), st.data())
def test_similar_components_with_a_pair_just_at_the_threshold_decide_by_float64(
    seed: int, rows: int, tile: int, in_bfloat16: bool, data: st.DataObject
) -> None:
    vectors = near_one(rows, 24, 0.1, seed)
    exact = np.unique(all_cosines(vectors))
    threshold = min(1.0, float(exact[data.draw(st.integers(0, len(exact) - 1))]))
    for value in (threshold, float(np.nextafter(threshold, 0)), min(1.0, float(np.nextafter(threshold, 2)))):
        found = similar_components(vectors, value, tile=tile, in_bfloat16=in_bfloat16)
        assert found.tolist() == reference(vectors, value)


def test_similar_components_in_another_order_are_the_same() -> None:
    vectors = near_one(300, 48, 0.05, 2)
    threshold = float(np.quantile(all_cosines(vectors)[np.triu_indices(300, 1)], 0.998))
    order = np.random.default_rng(3).permutation(300)
    first, again = similar_components(vectors, threshold), similar_components(vectors[order], threshold)
    groups = {frozenset(np.flatnonzero(first == i)) for i in first}
    assert {frozenset(order[np.flatnonzero(again == i)]) for i in again} == groups
    assert 1 < len(groups) < 300


def test_similar_components_of_many_pairs_in_doubt_fall_back_to_float32() -> None:
    """All cosines are within bfloat16's error of the threshold."""
    vectors = near_one(400, 64, 0.01, 1)
    exact = all_cosines(vectors)[np.triu_indices(400, 1)]
    threshold = float(np.quantile(exact, 0.998))
    assert np.abs(exact - threshold).max() < 3 * 2.0**-8
    found = similar_components(vectors, threshold, in_bfloat16=True)
    assert found.tolist() == reference(vectors, threshold)
    assert 1 < len(set(found)) < 400


@pytest.mark.parametrize("in_bfloat16", [True, False])
@pytest.mark.parametrize("threshold", [0.999, 1.0])
def test_similar_components_of_identical_vectors_are_one(threshold: float, in_bfloat16: bool) -> None:
    vectors = np.repeat(unit_rows(2, 8, 1), 50, axis=0)
    found = similar_components(vectors, threshold, tile=16, in_bfloat16=in_bfloat16)
    assert found.tolist() == [0] * 50 + [50] * 50


def test_similar_components_of_a_threshold_below_bfloat16s_error_are_exact() -> None:
    vectors = unit_rows(40, 30, 5)
    assert similar_components(vectors, 0.005, in_bfloat16=True).tolist() == reference(vectors, 0.005)


def test_similar_components_of_vectors_of_about_unit_length_compare_their_directions() -> None:
    lengths = np.random.default_rng(6).uniform(0.999, 1.001, (80, 1)).astype(np.float32)
    vectors = near_one(80, 16, 0.1, 6) * lengths
    threshold = float(np.quantile(all_cosines(vectors), 0.99))
    for in_bfloat16 in (True, False):
        found = similar_components(vectors, threshold, in_bfloat16=in_bfloat16)
        assert found.tolist() == reference(vectors, threshold)


def test_similar_components_of_some_pairs_look_at_no_others() -> None:
    vectors = np.repeat(unit_rows(1, 8, 1), 6, axis=0)
    assert similar_components(vectors, 0.9, [((0, 2), (0, 6))]).tolist() == [0] * 6
    assert similar_components(vectors, 0.9, [((1, 2), (3, 5))]).tolist() == [0, 1, 2, 1, 1, 5]
    assert similar_components(vectors, 0.9, [((2, 2), (0, 6)), ((4, 6), (0, 5))]).tolist() == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]


def test_similar_components_of_nothing_are_nothing() -> None:
    assert similar_components(np.zeros((0, 8), np.float32), 0.9).tolist() == []
    assert similar_components(unit_rows(1, 8, 0), 0.9).tolist() == [0]


def test_cosines_of_pairs_are_numpys_and_of_a_vector_with_itself_1() -> None:
    vectors = unit_rows(20, 7, 4) * np.float32(1.0007)
    left, right = np.arange(20), np.roll(np.arange(20), 3)
    exact = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    found = cosines(vectors, left, right)
    assert np.allclose(found, np.einsum("rd,rd->r", exact[left], exact[right]), rtol=0, atol=1e-14)
    assert np.array_equal(found, cosines(vectors, right, left))
    assert cosines(vectors, left, left).tolist() == [1.0] * 20
