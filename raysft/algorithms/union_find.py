"""Connected components of a graph of duplicates, by union-find with path halving (Tarjan 1975)."""

from __future__ import annotations

import numpy as np

from raysft.algorithms.compiled import njit


def components(n: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The smallest node of each node's component.

    Callers number their nodes from best to worst, so that the label is the node to keep.

    Args:
        n: number of nodes
        left, right: int64 [edges], the ends of each edge; order and repeats do not matter

    Returns:
        int64 [n]
    """
    parent = np.arange(n, dtype=np.int64)
    union(parent, left.astype(np.int64), right.astype(np.int64))
    return roots(parent)


@njit(cache=True, nogil=True)
def union(parent: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Add edges to a forest in place; `parent` starts as arange(n). For graphs that come in pieces."""
    for i in range(len(left)):
        join(parent, left[i], right[i])


@njit(cache=True, nogil=True)
def join(parent: np.ndarray, a: int, b: int) -> bool:
    """Add one edge to a forest in place; whether it joined two trees."""
    a, b = find(parent, a), find(parent, b)
    if a == b:
        return False
    parent[max(a, b)] = min(a, b)
    return True


@njit(cache=True, nogil=True)
def roots(parent: np.ndarray) -> np.ndarray:
    """int64 [n]: the smallest node of each node's component."""
    out = np.empty(len(parent), np.int64)
    for i in range(len(parent)):
        out[i] = find(parent, i)
    return out


@njit(cache=True, nogil=True)
def find(parent: np.ndarray, node: int) -> int:
    """The smallest node of a node's tree."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
