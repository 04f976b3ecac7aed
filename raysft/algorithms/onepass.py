"""Single-pass clustering: a row joins the most similar leader so far, or becomes a leader itself.

The leader algorithm (Hartigan 1975, "Clustering Algorithms", chapter 3) under cosine similarity. Who leads
depends on the order of the rows alone, not on whether a row joins the first or the most similar leader that
is near enough: it becomes one where none is. So the most similar is taken, at no cost.

Rows are compared with leaders by matrix products in float32, block by block; what could decide anything is
compared again in float64, one product after the other. A float32 product of two unit vectors is off by less
than `margin`, in whatever order it is summed (Higham 2002, "Accuracy and Stability of Numerical Algorithms",
section 3.1), so the decisions are those of a plain loop over rows and leaders, for every block and BLAS.
"""

from __future__ import annotations

import numpy as np

from raysft.algorithms.compiled import njit

ROWS = 1024
LEADERS = 4096


def leader_clusters(
    vectors: np.ndarray, threshold: float, given: int = 0, rows: int = ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """Each row's leader and the cosine with it.

    Time is rows × leaders × dimension; memory the vectors once more, at most, for the leaders.

    Args:
        vectors: float32 [rows, dimension], in the order in which rows may become leaders
        threshold: least cosine with a leader, above 0
        given: so many rows at the start are leaders from the start, compared with nothing
        rows: of a block

    Returns:
        int64 [rows]: position of the leader, its own for a leader; of equally similar ones the first
        float64 [rows]: the cosine, 1 for a leader

    Raises:
        ValueError: vectors are not a finite matrix.
    """
    vectors = _finite(vectors)
    slack = margin(vectors.shape[1])
    leader = np.full(len(vectors), -1, np.int64)
    cosine = np.zeros(len(vectors), np.float64)
    leader[:given], cosine[:given] = np.arange(given), 1
    found = _Leaders(vectors, np.arange(given))
    for start in range(given, len(vectors), rows):
        end = min(start + rows, len(vectors))
        block = unit(vectors[start:end])
        mine, own = leader[start:end], cosine[start:end]
        found.search(block, vectors[start:end], threshold, slack, mine, own)
        is_open = np.flatnonzero(mine < 0)
        among = block @ block[is_open].T
        _lead(among, is_open + start, vectors, start, threshold, slack, mine, own)
        found.add(np.flatnonzero(mine == np.arange(start, end)) + start, block, start)
    return leader, cosine


def nearest_leader(
    vectors: np.ndarray, leaders: np.ndarray, threshold: float, rows: int = ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar of given leaders for each row, by the same cosines as `leader_clusters`.

    Args:
        vectors: float32 [rows, dimension]
        leaders: float32 [leaders, dimension]

    Returns:
        int64 [rows]: position of the leader, of equally similar ones the first; -1 where none has `threshold`
        float64 [rows]: the cosine, 0 where there is none

    Raises:
        ValueError: either is not a finite matrix.
    """
    vectors, leaders = _finite(vectors), _finite(leaders)
    slack = margin(vectors.shape[1])
    leader = np.full(len(vectors), -1, np.int64)
    cosine = np.zeros(len(vectors), np.float64)
    found = _Leaders(leaders, np.arange(len(leaders)))
    for start in range(0, len(vectors), rows):
        part = slice(start, start + rows)
        found.search(unit(vectors[part]), vectors[part], threshold, slack, leader[part], cosine[part])
    return leader, cosine


def margin(dimension: int) -> float:
    """More than a float32 product of two rounded unit vectors can be off: n·u / (1 - n·u), with some places
    more for the rounding of the vectors themselves."""
    rounding = (dimension + 16) * 2.0**-24
    return rounding / (1 - rounding)


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32 rows of unit length; zeros stay zeros."""
    lengths = np.sqrt(np.einsum("rd,rd->r", vectors, vectors, dtype=np.float64))
    out = np.empty(vectors.shape, np.float32)
    return np.divide(vectors, np.where(lengths > 0, lengths, 1)[:, None], out=out, casting="same_kind")


class _Leaders:
    """Positions of leaders, and their unit vectors in an array that doubles when it is full."""

    def __init__(self, vectors: np.ndarray, positions: np.ndarray) -> None:
        self.vectors = vectors
        self.count = len(positions)
        self.positions = positions.astype(np.int64)
        self.units = unit(vectors[positions])

    def add(self, positions: np.ndarray, block: np.ndarray, start: int) -> None:
        """Append rows of the block that begins at `start`."""
        wanted = self.count + len(positions)
        if wanted > len(self.units):
            room = min(max(wanted, 2 * self.count), len(self.vectors))
            units = np.empty((room, self.units.shape[1]), np.float32)
            units[: self.count] = self.units[: self.count]
            self.units, self.positions = units, np.resize(self.positions, room)
        self.units[self.count : wanted] = block[positions - start]
        self.positions[self.count : wanted] = positions
        self.count = wanted

    def search(
        self,
        block: np.ndarray,
        rows: np.ndarray,
        threshold: float,
        slack: float,
        leader: np.ndarray,
        cosine: np.ndarray,
    ) -> None:
        """Fill in leader and cosine of rows with a leader near enough; `block` are their unit vectors."""
        for left in range(0, self.count, LEADERS):
            right = min(left + LEADERS, self.count)
            products = block @ self.units[left:right].T
            positions = self.positions[left:right]
            _join(products, rows, positions, self.vectors, threshold, slack, leader, cosine)


def _finite(vectors: np.ndarray) -> np.ndarray:
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"expected finite vectors [rows, dimension], got shape {vectors.shape}")
    return vectors


@njit(cache=True, nogil=True)
def _cosine(left: np.ndarray, right: np.ndarray) -> float:
    """Cosine in float64, summed from first to last; exactly 1 for equal vectors, 0 for a vector of zeros."""
    dot = 0.0
    left_squared = 0.0
    right_squared = 0.0
    for i in range(len(left)):
        a, b = np.float64(left[i]), np.float64(right[i])
        dot += a * b
        left_squared += a * a
        right_squared += b * b
    both = left_squared * right_squared
    return dot / np.sqrt(both) if both > 0 else 0.0


@njit(cache=True, nogil=True)
def _join(
    products: np.ndarray,
    rows: np.ndarray,
    positions: np.ndarray,
    vectors: np.ndarray,
    threshold: float,
    slack: float,
    leader: np.ndarray,
    cosine: np.ndarray,
) -> None:
    """Let `rows` join the leaders at `positions` of `vectors`, later ones than those they were compared with
    before."""
    for row in range(len(products)):
        bar = max(threshold, cosine[row]) - slack
        for i in range(len(positions)):
            if products[row, i] >= bar:
                exact = _cosine(rows[row], vectors[positions[i]])
                if exact >= threshold and exact > cosine[row]:
                    leader[row], cosine[row] = positions[i], exact
                    bar = exact - slack


@njit(cache=True, nogil=True)
def _lead(
    among: np.ndarray,
    is_open: np.ndarray,
    vectors: np.ndarray,
    start: int,
    threshold: float,
    slack: float,
    leader: np.ndarray,
    cosine: np.ndarray,
) -> None:
    """Go through a block row by row: rows at the positions `is_open`, which have no leader yet, lead or join
    one that came before them in the block; all others join such a one where it is more similar.

    `among` are the products [rows, open rows] of the block.
    """
    led = np.empty(len(is_open), np.int64)
    count = 0
    turn = 0
    for row in range(len(among)):
        bar = max(threshold, cosine[row]) - slack
        for i in range(count):
            if among[row, led[i]] >= bar:
                exact = _cosine(vectors[start + row], vectors[is_open[led[i]]])
                if exact >= threshold and exact > cosine[row]:
                    leader[row], cosine[row] = is_open[led[i]], exact
                    bar = exact - slack
        if turn < len(is_open) and is_open[turn] == start + row:
            if leader[row] < 0:
                leader[row], cosine[row] = start + row, 1.0
                led[count] = turn
                count += 1
            turn += 1
