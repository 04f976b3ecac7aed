"""Components by rounds of stars are those of a union-find, whatever the partitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms import stars
from raysft.algorithms.union_find import components


def by_rounds(edges: np.ndarray, partitions: int, most_rounds: int = 50) -> np.ndarray:
    for _ in range(most_rounds):
        before = {tuple(e) for e in np.sort(edges, axis=1).tolist()}
        for keys, star in (
            (stars.large_star_keys, stars.large_star),
            (stars.small_star_keys, stars.small_star),
        ):
            pairs = keys(edges)
            parts = [star(pairs[pairs[:, 0] % partitions == i]) for i in range(partitions)]
            edges = np.concatenate(parts)
        if {tuple(e) for e in np.sort(edges, axis=1).tolist()} == before:
            return edges
    raise AssertionError("no end")


def labels(n: int, edges: np.ndarray) -> np.ndarray:
    found = np.arange(n)
    found[edges[:, 0]] = edges[:, 1]
    return found


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))), st.integers(1, 4))
def test_stars_give_the_components_of_a_union_find(pairs: list[tuple[int, int]], partitions: int) -> None:
    edges = np.array([p for p in pairs if p[0] != p[1]], np.int64).reshape(-1, 2)
    expected = components(31, edges[:, 0], edges[:, 1])
    assert np.array_equal(labels(31, by_rounds(edges, partitions)), expected)


@pytest.mark.parametrize("n", [2, 17, 1000])
def test_stars_of_a_long_chain_end_in_few_rounds(n: int) -> None:
    order = np.random.Generator(np.random.PCG64(1)).permutation(n)
    edges = np.stack([order[:-1], order[1:]], axis=1).astype(np.int64)
    assert not labels(n, by_rounds(edges, 3, most_rounds=12)).any()
