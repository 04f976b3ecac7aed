"""Each row's nearest centre and the distance to it, kept up to date while centres are added.

Distances are those of `np.linalg.norm(vectors - centre, axis=1)` over float32, to the last bit, so that who
compares them decides as the plain loop would, on any machine and however the rows are cut. A matrix product
of rows and a block of centres only tells which pairs cannot matter: with u = 2⁻²⁴ it errs by at most
d·u / (1 - d·u) · |x||c|, whatever order it adds in (Higham 2002, "Accuracy and Stability of Numerical
Algorithms", section 3.1). The few pairs within that of mattering are computed as numpy does: differences,
squares, and its pairwise sum, which halves down to 128 numbers and adds these in eight running sums.
"""

from __future__ import annotations

import shutil
from functools import cache
from typing import Any

import numpy as np

from raysft.algorithms.compiled import njit

BLOCK = 256  # centres that are compared at once
TILE = 2048  # rows of a product on a CPU: 3 MiB of rows of dimension 384 and 2 MiB of products
GPU_TILE = 1 << 18
LONGEST = 1e15  # its square, and the square of twice that, are finite in float32
ROUNDING = 2.0**-24  # of float32
FURTHER_ROUNDINGS = 32  # more than those of norms, bounds, differences, squares and roots together
LEAF = 128  # of numpy's pairwise sum
SMALLEST = 2.0**-126  # float32 may lose what is smaller


class NearestCentres:
    """`distance` float32 [rows] to the nearest centre so far, infinite before there is one, and `place`
    int64 [rows], its number in the order in which centres were added: of equally near ones the first."""

    def __init__(self, vectors: np.ndarray, device: str | None = None) -> None:
        """`vectors` are float32 [rows, dimension]. Products are numpy's where `device` is "cpu", and torch's
        on any other, such as "cuda"; if it is unset, on a GPU where torch may use one.

        Raises:
            ValueError: vectors are no matrix, not finite, or longer than 1e15.
        """
        self.vectors, self.squared = _checked(vectors)
        self.distance = np.full(len(vectors), np.inf, np.float32)
        self.place = np.full(len(vectors), -1, np.int64)
        self.count = 0
        self.leaves = leaves_of(self.vectors.shape[1])
        rounded = (self.vectors.shape[1] + FURTHER_ROUNDINGS) * ROUNDING
        self.error = rounded / (1 - rounded)
        self.lost = 8 * self.vectors.shape[1] * SMALLEST
        self._tensor: Any = None
        if (device or best_device()) != "cpu":
            import torch

            self._tensor = torch.tensor(self.vectors, device=device or best_device())

    def add(self, centres: np.ndarray) -> None:
        """Compare all rows with more centres, float32 [centres, dimension], in their order.

        Raises:
            ValueError: as for the rows, or another dimension.
        """
        centres, squared = _checked(centres)
        if centres.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"centres have {centres.shape[1]} dimensions, the rows have {self.vectors.shape[1]}"
            )
        improve = self._improve if self._tensor is None else self._improve_by_torch
        for top in range(0, len(centres), BLOCK):
            block = slice(top, top + BLOCK)
            improve(centres[block], squared[block])
            self.count += len(centres[block])

    def _improve(self, block: np.ndarray, squared: np.ndarray) -> None:
        products = np.empty((TILE, len(block)), np.float32)
        for top in range(0, len(self.vectors), TILE):
            rows = slice(top, top + TILE)
            part = self.vectors[rows]
            out = np.matmul(part, block.T, out=products[: len(part)])
            _improve_tile(
                part,
                self.squared[rows],
                block,
                squared,
                out,
                self.error,
                self.lost,
                self.count,
                self.distance[rows],
                self.place[rows],
                self.leaves,
            )

    def _improve_by_torch(self, block: np.ndarray, squared: np.ndarray) -> None:
        """The same bounds as in `_improve_tile`; pairs that may matter come back and are computed here."""
        import torch

        device = self._tensor.device
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        centres = torch.tensor(block, device=device)
        weighed = torch.tensor(np.float32((1 - self.error) / 2 * squared), device=device)
        for top in range(0, len(self.vectors), GPU_TILE):
            rows = slice(top, top + GPU_TILE)
            own = self.squared[rows]
            with np.errstate(over="ignore"):
                reach = np.float32((1 + 2 * self.error) / 2) * self.distance[rows] ** 2
            least = np.float32((1 - self.error) / 2 * own - self.lost) - reach
            slack = np.float32(6 * self.error * (own + squared.max()) + self.lost)
            lead = self._tensor[rows] @ centres.T - weighed
            near = lead.max(dim=1).values - torch.tensor(slack, device=device)
            bar = torch.maximum(torch.tensor(least, device=device), near)
            row, column = torch.nonzero(lead >= bar[:, None], as_tuple=True)
            _settle(
                self.vectors[rows],
                block,
                row.cpu().numpy(),
                column.cpu().numpy(),
                self.count,
                self.distance[rows],
                self.place[rows],
                self.leaves,
            )
        torch.set_float32_matmul_precision(precision)


def _checked(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vectors as a float32 matrix, row by row in memory, and float64 [rows], their squared lengths.

    Raises:
        ValueError: they are no matrix, not finite, or longer than 1e15.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2:
        raise ValueError(f"expected vectors [rows, dimension], got shape {vectors.shape}")
    squared = np.einsum("rd,rd->r", vectors, vectors, dtype=np.float64)
    if not np.all(squared <= LONGEST**2):
        raise ValueError(f"vectors must be finite and of length {LONGEST:g} at most")
    return vectors, squared


@cache
def best_device() -> str:
    """ "cuda" where torch may use a GPU, else "cpu". Without an NVIDIA driver torch is not even imported."""
    if shutil.which("nvidia-smi") is None:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def leaves_of(dimension: int) -> np.ndarray:
    """int64 [leaves, 2]: of each run of numbers that numpy's pairwise sum adds on its own, in order, the
    length, and how many times the two latest sums are added to each other after it.

    A list instead of a function that halves and calls itself: numba's cache breaks those.
    """
    if dimension <= LEAF:
        return np.array([[dimension, 0]])
    half = dimension // 2
    half -= half % 8
    leaves = np.concatenate([leaves_of(half), leaves_of(dimension - half)])
    leaves[-1, 1] += 1
    return leaves


@njit(cache=True, nogil=True)
def distance_between(left: np.ndarray, right: np.ndarray, leaves: np.ndarray, sums: np.ndarray) -> np.float32:
    """float32: what `np.linalg.norm(left - right, axis=-1)` is for float32 vectors, to the last bit.

    `leaves` are those of their dimension, `sums` is float32 [leaves] to work in.
    """
    start, known = 0, 0
    for leaf in range(len(leaves)):
        sums[known] = _squared_distance_of_leaf(left, right, start, leaves[leaf, 0])
        for _ in range(leaves[leaf, 1]):
            sums[known - 1] += sums[known]
            known -= 1
        start += leaves[leaf, 0]
        known += 1
    return np.sqrt(sums[0])


@njit(cache=True, nogil=True)
def _squared_distance_of_leaf(left: np.ndarray, right: np.ndarray, start: int, n: int) -> np.float32:
    """Unsigned positions spare a test for negative ones each time: half of the time that this takes."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0)
    i, end = np.uint64(start), np.uint64(start + n - n % 8)
    while i < end:
        d0 = left[i] - right[i]
        d1 = left[i + np.uint64(1)] - right[i + np.uint64(1)]
        d2 = left[i + np.uint64(2)] - right[i + np.uint64(2)]
        d3 = left[i + np.uint64(3)] - right[i + np.uint64(3)]
        d4 = left[i + np.uint64(4)] - right[i + np.uint64(4)]
        d5 = left[i + np.uint64(5)] - right[i + np.uint64(5)]
        d6 = left[i + np.uint64(6)] - right[i + np.uint64(6)]
        d7 = left[i + np.uint64(7)] - right[i + np.uint64(7)]
        s0 += d0 * d0
        s1 += d1 * d1
        s2 += d2 * d2
        s3 += d3 * d3
        s4 += d4 * d4
        s5 += d5 * d5
        s6 += d6 * d6
        s7 += d7 * d7
        i += np.uint64(8)
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    end = np.uint64(start + n)
    while i < end:
        d0 = left[i] - right[i]
        total += d0 * d0
        i += np.uint64(1)
    return total


@njit(cache=True, nogil=True)
def _settle(
    vectors: np.ndarray,
    centres: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    first: int,
    distance: np.ndarray,
    place: np.ndarray,
    leaves: np.ndarray,
) -> None:
    """Compare these pairs, the columns of a row in ascending order."""
    sums = np.empty(len(leaves), np.float32)
    for i in range(len(rows)):
        row = rows[i]
        found = distance_between(vectors[row], centres[columns[i]], leaves, sums)
        if found < distance[row]:
            distance[row] = found
            place[row] = first + columns[i]


@njit(cache=True, nogil=True)
def _improve_tile(
    vectors: np.ndarray,
    squared: np.ndarray,
    centres: np.ndarray,
    centres_squared: np.ndarray,
    products: np.ndarray,
    error: float,
    lost: float,
    first: int,
    distance: np.ndarray,
    place: np.ndarray,
    leaves: np.ndarray,
) -> None:
    """Compare the pairs that may bring a row nearer, and may be the nearest of this block.

    |x - c|² = |x|² + |c|² - 2x·c is below v² only if x·c - |c|²/2 is above (|x|² - v²)/2. Half of each square
    is weighed with (1 - error) or (1 + 2·error), and what the highest may be above another that could still
    win is more than the errors of both, each a few times error·(|x|² + |c|²).
    """
    inward, outward = np.float32((1 - error) / 2), np.float32((1 + 2 * error) / 2)
    weighed = (np.float64(inward) * centres_squared).astype(np.float32)
    farthest = centres_squared.max()
    sums = np.empty(len(leaves), np.float32)
    for row in range(len(vectors)):
        least = np.float32(np.float64(inward) * squared[row] - lost)
        bar = least - outward * distance[row] * distance[row]
        lead = products[row]
        above = 0
        for column in range(len(weighed)):
            above += lead[column] - weighed[column] >= bar
        if above == 0:
            continue
        highest = np.float32(-np.inf)
        for column in range(len(weighed)):
            highest = max(highest, lead[column] - weighed[column])
        bar = max(bar, highest - np.float32(6 * error * (squared[row] + farthest) + lost))
        for column in range(len(weighed)):
            if lead[column] - weighed[column] >= bar:
                found = distance_between(vectors[row], centres[column], leaves, sums)
                if found < distance[row]:
                    distance[row] = found
                    place[row] = first + column
