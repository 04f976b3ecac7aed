import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raysft.algorithms.union_find import components


def reference_components(n: int, edges: list[tuple[int, int]]) -> list[int]:
    """Smallest reachable node, by spreading labels until nothing changes."""
    label = list(range(n))
    changed = True
    while changed:
        changed = False
        for a, b in edges:
            least = min(label[a], label[b])
            changed |= (label[a], label[b]) != (least, least)
            label[a] = label[b] = least
    return label


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40)
        )
    ),
    st.randoms(use_true_random=False),
)
def test_components_of_any_graph_equal_the_reference_in_any_order(graph, random) -> None:
    n, edges = graph
    expected = reference_components(n, edges)
    random.shuffle(edges)
    ends = np.array(edges, np.int64).reshape(-1, 2)
    assert components(n, ends[:, 0], ends[:, 1]).tolist() == expected


def test_components_of_a_long_chain_have_one_root() -> None:
    n = 200_000
    nodes = np.arange(n)
    assert components(n, nodes[1:], nodes[:-1]).max() == 0


def test_components_without_edges_are_single_nodes() -> None:
    empty = np.zeros(0, np.int64)
    assert components(3, empty, empty).tolist() == [0, 1, 2]
    assert components(0, empty, empty).tolist() == []
