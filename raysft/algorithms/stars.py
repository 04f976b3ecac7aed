"""Connected components by rounds over edges that no single task need hold.

Kiveris et al. 2014, "Connected Components in MapReduce and Beyond", section 3: large-star and small-star in
turn, each of which hangs the neighbours of a node on the smallest of them, until nothing changes; then every
node hangs on the smallest node of its component. A round is one function call for each hash partition of
the nodes; it takes O(log² n) rounds.

Edges are int64 [edges, 2]; which end comes first does not matter between rounds.
"""

from __future__ import annotations

import numpy as np


def large_star_keys(edges: np.ndarray) -> np.ndarray:
    """int64 [2 × edges, 2] (node, neighbour): what `large_star` is given, to be partitioned by node."""
    return np.concatenate([edges, edges[:, ::-1]])


def small_star_keys(edges: np.ndarray) -> np.ndarray:
    """int64 [edges, 2] (node, neighbour) with the larger end as node: what `small_star` is given."""
    return np.sort(edges, axis=1)[:, ::-1]


def large_star(neighbours: np.ndarray) -> np.ndarray:
    """Edges from each larger neighbour of a node to the smallest of the node and its neighbours."""
    node, neighbour, smallest = _smallest(neighbours)
    is_larger = neighbour > node
    return _distinct(np.stack([neighbour[is_larger], smallest[is_larger]], axis=1))


def small_star(neighbours: np.ndarray) -> np.ndarray:
    """Edges from a node and its smaller neighbours to the smallest of these."""
    node, neighbour, smallest = _smallest(neighbours)
    ends = np.concatenate([np.stack([neighbour, smallest], axis=1), np.stack([node, smallest], axis=1)])
    return _distinct(ends[ends[:, 0] != ends[:, 1]])


def _smallest(neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(node, neighbour, smallest of the node and all its neighbours), sorted by node."""
    ordered = neighbours[np.lexsort((neighbours[:, 1], neighbours[:, 0]))]
    node, neighbour = ordered[:, 0], ordered[:, 1]
    if not len(node):
        return node, neighbour, node
    starts = np.flatnonzero(np.concatenate([[True], node[1:] != node[:-1]]))
    least = np.minimum(node[starts], neighbour[starts])
    return node, neighbour, np.repeat(least, np.diff(np.append(starts, len(node))))


def _distinct(edges: np.ndarray) -> np.ndarray:
    return np.unique(edges, axis=0) if len(edges) else edges.reshape(0, 2)
