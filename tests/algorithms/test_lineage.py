import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.lineage import nearest_ancestors

ROWS = 12
NODE = st.integers(0, ROWS - 1)


def ancestors_of(rows, edges, starts):
    """The first start on a shortest way to each row, by repeated relaxation: (generations, position)."""
    far = (ROWS + 1, len(starts))
    best = {row: far for row in range(rows)} | {row: (0, i) for i, row in enumerate(starts)}
    for _ in range(rows):
        for parent, child in edges:
            generation, position = best[parent]
            best[child] = min(best[child], (generation + 1, position))
    return {row: value for row, value in best.items() if value < (ROWS + 1, 0)}


@settings(deadline=None)
@given(
    st.lists(st.tuples(NODE, NODE), max_size=30),
    st.lists(NODE, unique=True, max_size=4),
    st.randoms(use_true_random=False),
)
def test_nearest_ancestors_in_any_order_of_edges_are_those_of_plain_relaxation(edges, starts, random) -> None:
    expected = ancestors_of(ROWS, edges, starts)
    random.shuffle(edges)
    ends = np.array(edges, np.int64).reshape(-1, 2)
    ancestor, generation = nearest_ancestors(ROWS, ends[:, 0], ends[:, 1], np.array(starts, np.int64))
    found = {r: (int(generation[r]), int(ancestor[r])) for r in range(ROWS) if ancestor[r] >= 0}
    assert found == expected
    assert (generation >= 0).tolist() == (ancestor >= 0).tolist()


def test_nearest_ancestors_of_a_row_with_several_are_the_nearest_then_the_first_named() -> None:
    # 0 → 2 → 4, 1 → 4, and 3 has 0 and 1 as parents
    parents, children = np.array([0, 2, 1, 0, 1]), np.array([2, 4, 4, 3, 3])
    ancestor, generation = nearest_ancestors(6, parents, children, np.array([1, 0]))
    assert ancestor.tolist() == [1, 0, 1, 0, 0, -1]
    assert generation.tolist() == [0, 0, 1, 1, 1, -1]


@pytest.mark.parametrize("rows", [0, 3])
def test_nearest_ancestors_without_starts_or_edges_are_none(rows: int) -> None:
    none = np.zeros(0, np.int64)
    ancestor, generation = nearest_ancestors(rows, none, none, none)
    assert ancestor.tolist() == generation.tolist() == [-1] * rows


def test_nearest_ancestors_of_a_long_line_reach_its_end() -> None:
    rows = 100_000
    line = np.arange(rows)
    ancestor, generation = nearest_ancestors(rows, line[:-1], line[1:], np.array([10]))
    assert (ancestor[:10] == -1).all()
    assert (ancestor[10:] == 0).all()
    assert generation[-1] == rows - 11
