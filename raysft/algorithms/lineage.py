"""What was made of what: all descendants of some rows, over edges from parents to their children.

A breadth-first search from all starts at once, after the children are laid out by parent. Each row and each
edge is looked at once: time and memory grow with their number, whatever the number of generations.
"""

from __future__ import annotations

import numpy as np

from raysft.algorithms.compiled import njit


def nearest_ancestors(
    rows: int, parents: np.ndarray, children: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which of some rows each row descends from: the one fewest generations back, of several the first named.

    Args:
        rows: how many there are; rows are numbers from 0
        parents, children: int64 [edges]; their order and repeats do not matter, circles do no harm
        starts: int64, distinct rows; each is its own ancestor, 0 generations back

    Returns:
        int64 [rows]: position in `starts` of a row's ancestor, -1 for a row that descends from none
        int32 [rows]: generations between the two, -1 likewise
    """
    return _nearest(
        rows,
        np.ascontiguousarray(parents, np.int64),
        np.ascontiguousarray(children, np.int64),
        np.ascontiguousarray(starts, np.int64),
    )


@njit(cache=True, nogil=True)
def _nearest(
    rows: int, parents: np.ndarray, children: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    begins, of_parent = _by_parent(rows, parents, children)
    ancestor = np.full(rows, -1, np.int64)
    generation = np.full(rows, -1, np.int32)
    queue = np.empty(rows, np.int64)
    queued = 0
    for position in range(len(starts)):
        row = starts[position]
        ancestor[row], generation[row] = position, 0
        queue[queued] = row
        queued += 1
    # Rows of a generation stand in the queue by their ancestor's position. So the first parent to reach a
    # child is one with the first ancestor.
    head = 0
    while head < queued:
        row = queue[head]
        head += 1
        for at in range(begins[row], begins[row + 1]):
            child = of_parent[at]
            if ancestor[child] < 0:
                ancestor[child], generation[child] = ancestor[row], generation[row] + 1
                queue[queued] = child
                queued += 1
    return ancestor, generation


@njit(cache=True, nogil=True)
def _by_parent(rows: int, parents: np.ndarray, children: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [rows + 1]: where each row's children begin, int64 [edges]: the children), a counting sort."""
    begins = np.zeros(rows + 2, np.int64)
    for parent in parents:
        begins[parent + 2] += 1
    for row in range(rows):
        begins[row + 2] += begins[row + 1]
    of_parent = np.empty(len(parents), np.int64)
    for edge in range(len(parents)):
        parent = parents[edge]
        of_parent[begins[parent + 1]] = children[edge]
        begins[parent + 1] += 1
    return begins[: rows + 1], of_parent
