"""K-Center-Greedy: choose rows so that no row is far from a chosen one.

Gonzalez 1985, "Clustering to minimize the maximum intercluster distance": within twice the smallest possible
radius, which is the best factor that polynomial time allows unless P = NP. As a way to choose training
data: Sener & Savarese 2018, "Active Learning for Convolutional Neural Networks: A Core-Set Approach".

Rows that do not fit into one process are covered in two rounds, by calling this twice: greedy in each
part, then greedy over the union of all parts' centres. Malkomes et al. 2015, "Fast Distributed k-Center
Clustering with Outliers on Massive Data", show a factor of 4 for it, however the rows are parted, as long as
each part may have the whole budget; that what parts choose can be put together is the idea of a composable
core-set (Indyk et al. 2014; of parts at random, Mirrokni & Zadimoghaddam 2015, for submodular functions).
Both factors hold with an `existing` selection too, against the best that extends it; with quotas, neither.

Distances only shrink as centres are added, so one that is not up to date is an upper bound (the lazy greedy
of Minoux 1978): only rows whose bound is above all others are compared with the latest centres, and all rows
with a block of them at once, as a matrix product (raysft/algorithms/nearest_centre.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysft.algorithms.compiled import njit
from raysft.algorithms.nearest_centre import BLOCK, NearestCentres, distance_between

CLOSED = np.float32(-1)  # bound of a row that cannot be chosen


@dataclass(frozen=True)
class Cover:
    """Chosen rows and what they cover.

    centres   int64 [chosen]: positions of the rows, in the order in which they were chosen
    distance  float32 [rows]: Euclidean distance to the nearest centre, infinite where there is none
    place     int64 [rows]: which that is, its number among the existing vectors followed by the centres; the
              first of equally near ones, -1 where there is none
    """

    centres: np.ndarray
    distance: np.ndarray
    place: np.ndarray

    @property
    def radius(self) -> float:
        """The largest distance of a row to its nearest centre; 0 without rows."""
        return float(self.distance.max(initial=0))


def k_center_greedy(
    vectors: np.ndarray,
    k: int,
    *,
    radius: float | None = None,
    existing: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    quotas: np.ndarray | None = None,
    device: str | None = None,
) -> Cover:
    """Centres in the order they are chosen: always the row farthest from all centres and existing vectors so
    far, the first of equally far ones; so without existing vectors the first row comes first.

    The choice is that of the plain loop over `np.linalg.norm(vectors - centre, axis=1)` in float32.

    Args:
        vectors: float32 [rows, dimension]
        k: number of centres at most
        radius: stop as soon as no row that could be chosen is farther than this from its nearest centre
        existing: float32 [existing, dimension], vectors that are chosen already
        groups: int64 [rows], each row's place in `quotas`
        quotas: int64 [groups], centres of each group at most
        device: of `NearestCentres`; if unset a GPU where there is one

    Raises:
        ValueError: k is not between 0 and the number of rows, or vectors are not finite.
    """
    if not 0 <= k <= len(vectors):
        raise ValueError(f"k must be between 0 and the {len(vectors)} rows, not {k}")
    nearest = NearestCentres(vectors, device)
    if existing is not None:
        nearest.add(existing)
    if groups is None or quotas is None:
        groups, quotas = np.zeros(len(vectors), np.int64), np.array([k])
    left = quotas.astype(np.int64)
    stop = CLOSED if radius is None else radius
    is_chosen = np.zeros(len(vectors), bool)
    centres, count = np.empty(k, np.int64), 0
    while count < k:
        bounds = np.where(~is_chosen & (left[groups] > 0), nearest.distance, CLOSED)
        heap = np.argsort(-bounds, kind="stable")
        found = _choose(nearest.vectors, bounds, heap, groups, left, centres, count, stop, nearest.leaves)
        if found == count:
            break
        is_chosen[centres[count:found]] = True
        nearest.add(nearest.vectors[centres[count:found]])
        count = found
    return Cover(centres[:count], nearest.distance, nearest.place)


@njit(cache=True, nogil=True)
def _choose(
    vectors: np.ndarray,
    bounds: np.ndarray,
    heap: np.ndarray,
    groups: np.ndarray,
    left: np.ndarray,
    centres: np.ndarray,
    count: int,
    radius: float,
    leaves: np.ndarray,
) -> int:
    """Add centres until there are a block of them, or as many comparisons as one pass over all rows has.

    Args:
        bounds: float32 [rows], no row is farther from the nearest of the first `count` centres; changed
        heap: int64 [rows], the rows with the largest bound first, of equal ones the first; changed
        left: int64 [groups], what is left of each group's quota; changed

    Returns:
        how many centres there are now
    """
    rows, known, compared = len(heap), count, 0
    sums = np.empty(len(leaves), np.float32)
    seen = np.full(rows, count)  # the centres that a row's bound knows of
    while rows and count < len(centres) and count - known < BLOCK and compared <= rows:
        row = heap[0]
        bound = bounds[row]
        if bound <= radius:
            break
        next_best = (
            max(bounds[heap[min(1, rows - 1)]], bounds[heap[min(2, rows - 1)]]) if rows > 1 else CLOSED
        )
        at = seen[row]
        if left[groups[row]] == 0:
            bounds[row] = CLOSED
        elif at == count:
            centres[count] = row
            count += 1
            left[groups[row]] -= 1
            bounds[row] = CLOSED
        else:
            while at < count and bound >= next_best:
                bound = min(bound, distance_between(vectors[row], vectors[centres[at]], leaves, sums))
                at += 1
                compared += 1
            seen[row] = at
            bounds[row] = bound
        _sink(heap, bounds)
    return count


@njit(cache=True, nogil=True)
def _sink(heap: np.ndarray, bounds: np.ndarray) -> None:
    """Put the heap in order again after the bound of its top became smaller."""
    row, place = heap[0], 0
    while True:
        child = 2 * place + 1
        if child >= len(heap):
            break
        if child + 1 < len(heap) and _is_before(heap[child + 1], heap[child], bounds):
            child += 1
        if _is_before(row, heap[child], bounds):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = row


@njit(cache=True, nogil=True)
def _is_before(row: int, other: int, bounds: np.ndarray) -> bool:
    return bounds[row] > bounds[other] or (bounds[row] == bounds[other] and row < other)
