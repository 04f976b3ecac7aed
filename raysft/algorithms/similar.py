"""Components of vectors that are nearly parallel: all pairs, tile by tile, each pair decided exactly.

A product of matrices rounds differently for other shapes, other machines and other places in a tile, so it
only proposes pairs: those within its error of the threshold are decided by their cosine in float64, added
up in one fixed order. What is joined depends on the two vectors and on nothing else.

Errors are bounds, not estimates. A product of n terms in float32 is off by at most n 2⁻²⁴ Σ|xᵢyᵢ|, whatever
the order of additions (Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1), and
Σ|xᵢyᵢ| is at most the product of the lengths. Where the processor multiplies matrices of bfloat16 (Intel's
AMX), pairs are proposed in bfloat16, whose error is at most 3 · 2⁻⁸ more: two roundings of what comes in
and one of what comes out. A tile with many pairs that near to the threshold is proposed in float32 instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numba import njit

from raysft.algorithms.union_find import find, roots

TILE = 512
LENGTH_TOLERANCE = 1e-3
Ranges = tuple[tuple[int, int], tuple[int, int]]


def similar_components(
    vectors: np.ndarray,
    threshold: float,
    compared: Sequence[Ranges] | None = None,
    *,
    tile: int = TILE,
    in_bfloat16: bool = False,
) -> np.ndarray:
    """The first vector of each vector's component, where pairs with cosine ≥ threshold are joined.

    Holds one tile × tile matrix at a time, however many vectors and pairs there are.

    Args:
        vectors: float32 [rows, dimension], of about unit length
        compared: which pairs are looked at: (start, end) of the one and of the other, of which those count
            where the one comes before the other; all pairs if not given
        tile: rows and columns of a tile
        in_bfloat16: propose pairs in bfloat16, see `prefers_bfloat16`; the result is the same

    Returns:
        int64 [rows]: positions
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    parent = np.arange(len(vectors), dtype=np.int64)
    if len(vectors) < 2:
        return parent
    squares = _squares(vectors)
    error, coarse = (_error(squares, vectors.shape[1], in_bfloat16=b) for b in (False, True))
    least, sure = np.float32(threshold - error), np.float32(threshold + error)
    propose = None
    if in_bfloat16 and threshold > coarse:
        propose = _bfloat16_products(vectors, tile)
        coarsely = _bits_below(threshold - coarse), _bits_above(threshold + coarse)
    for left, right in _tiles(compared or [((0, len(vectors)), (0, len(vectors)))], tile):
        pair = (left.start, right.start, vectors, squares, threshold)
        if propose is not None:
            proposed = propose(left, right)
            if _join(parent, proposed, *coarsely, proposed.size // 64, *pair):
                continue
        proposed = vectors[left] @ vectors[right].T
        _join(parent, proposed, least, sure, proposed.size, *pair)
    return roots(parent)


def cosines(vectors: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float64 [pairs]: the cosine of each pair of rows, the one by which `similar_components` decides."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    return _cosines(vectors, _squares(vectors), left.astype(np.int64), right.astype(np.int64))


def prefers_bfloat16(terms: int) -> bool:
    """Whether so many products of numbers are done sooner in bfloat16, counting in the second or two that it
    takes to import torch: on a processor with AMX, from a fraction of a second's work on."""
    return terms >= 1 << 33 and _has_amx()


@functools.cache
def _has_amx() -> bool:
    known = Path("/proc/cpuinfo")
    return known.exists() and " amx_bf16 " in known.read_text(errors="replace").replace("\n", " ")


def _tiles(compared: Sequence[Ranges], tile: int) -> Iterator[tuple[slice, slice]]:
    """The tiles that have a pair of which the left position comes first."""
    for (left_start, left_end), (right_start, right_end) in compared:
        for top in range(left_start, left_end, tile):
            for left in range(right_start, right_end, tile):
                if left + tile > top + 1:
                    yield slice(top, min(top + tile, left_end)), slice(left, min(left + tile, right_end))


def _error(squares: np.ndarray, dimension: int, *, in_bfloat16: bool) -> float:
    """By how much a product of two rows may differ from their cosine, at most."""
    rounding = (dimension + 2) * 2.0**-24 + (3.05 * 2.0**-8 if in_bfloat16 else 0.0)
    return float(1.01 * (rounding * squares.max() + np.abs(squares - 1).max()) + 1e-6)


def _bfloat16_products(vectors: np.ndarray, tile: int) -> Callable[[slice, slice], np.ndarray]:
    """Products of tiles as int16: the bits of bfloat16, which for numbers above 0 sort as these do. Each
    call writes over what the call before gave."""
    import torch

    rows = torch.from_numpy(vectors).bfloat16()
    buffer = torch.empty(tile * tile, dtype=torch.bfloat16)

    def products(left: slice, right: slice) -> np.ndarray:
        height, width = left.stop - left.start, right.stop - right.start
        out = buffer[: height * width].view(height, width)
        torch.mm(rows[left], rows[right].T, out=out)
        bits: np.ndarray = out.view(torch.int16).numpy()
        return bits

    return products


def _bits_below(number: float) -> np.int16:
    """The bits of the largest bfloat16 that is not above a positive number."""
    return np.int16(np.float32(number).view(np.int32) >> 16)


def _bits_above(number: float) -> np.int16:
    """The bits of a bfloat16 that is above a positive number."""
    return np.int16(_bits_below(number) + 1)


@njit(cache=True, nogil=True)
def _join(  # type: ignore[no-untyped-def]
    parent, proposed, least, sure, most, top, left, vectors, squares, threshold
):
    """Join the pairs of a tile; False, and not all of them, if more than `most` of them are in doubt."""
    doubtful = 0
    for i in range(proposed.shape[0]):
        row = proposed[i]
        hits = 0
        for j in range(len(row)):
            hits += row[j] >= least
        if hits == 0:
            continue
        one = top + i
        for j in range(max(0, one + 1 - left), len(row)):
            if row[j] < least:
                continue
            other = left + j
            a, b = find(parent, one), find(parent, other)
            if a == b:
                continue
            if row[j] < sure:
                doubtful += 1
                if doubtful > most:
                    return False
                if _cosine(vectors, squares, one, other) < threshold:
                    continue
            parent[max(a, b)] = min(a, b)
    return True


@njit(cache=True, nogil=True)
def _cosines(vectors: np.ndarray, squares: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    found = np.empty(len(left), np.float64)
    for pair in range(len(left)):
        found[pair] = _cosine(vectors, squares, left[pair], right[pair])
    return found


@njit(cache=True, nogil=True)
def _cosine(vectors: np.ndarray, squares: np.ndarray, one: int, other: int) -> float:
    return dot(vectors[one], vectors[other]) / np.sqrt(squares[one] * squares[other])


@njit(cache=True, nogil=True)
def _squares(vectors: np.ndarray) -> np.ndarray:
    found = np.empty(len(vectors), np.float64)
    for row in range(len(vectors)):
        found[row] = dot(vectors[row], vectors[row])
    return found


@njit(cache=True, nogil=True)
def dot(one: np.ndarray, other: np.ndarray) -> float:
    """The product of two float32 vectors in float64: every fourth term is added up, then the four sums."""
    a = b = c = d = 0.0
    end = len(one) // 4 * 4
    for i in range(0, end, 4):
        a += np.float64(one[i]) * np.float64(other[i])
        b += np.float64(one[i + 1]) * np.float64(other[i + 1])
        c += np.float64(one[i + 2]) * np.float64(other[i + 2])
        d += np.float64(one[i + 3]) * np.float64(other[i + 3])
    for i in range(end, len(one)):
        a += np.float64(one[i]) * np.float64(other[i])
    return (a + b) + (c + d)
