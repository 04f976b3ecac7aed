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

from raysft.algorithms.compiled import njit
from raysft.algorithms.union_find import find, roots

TILE = 512
PADDING = 128
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
    squares = np.einsum("rd,rd->r", vectors, vectors)
    error, coarse = (_error(squares, vectors.shape[1], in_bfloat16=b) for b in (False, True))
    least, sure = np.float32(threshold - error), np.float32(threshold + error)
    buffer = np.empty(min(tile, len(vectors)) ** 2, np.float32)
    propose = None
    if in_bfloat16 and threshold > coarse:
        propose = _bfloat16_products(vectors, tile)
        coarsely = _bits_below(threshold - coarse), _bits_above(threshold + coarse)
    for left, right in _tiles(compared or [((0, len(vectors)), (0, len(vectors)))], tile):
        sides = (left.start, left.stop, right.start, right.stop)
        size = (left.stop - left.start) * (right.stop - right.start)
        if propose is not None and _join(
            parent, propose(left, right), *sides, *coarsely, size // 64, vectors, threshold
        ):
            continue
        products = buffer[:size].reshape(left.stop - left.start, -1)
        np.matmul(vectors[left], vectors[right].T, out=products)
        _join(parent, products, *sides, least, sure, size, vectors, threshold)
    return roots(parent)


def cosines(vectors: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float64 [pairs]: the cosine of each pair of rows, the one by which `similar_components` decides."""
    return _cosines(np.ascontiguousarray(vectors, np.float32), left.astype(np.int64), right.astype(np.int64))


def nearest_kept(
    vectors: np.ndarray, starts: np.ndarray, is_owned: np.ndarray, threshold: float
) -> np.ndarray:
    """Keep each row that is similar to no row of its group kept before it.

    Args:
        vectors: float32 [rows, dimension], unit rows, group by group, the ones to keep first
        starts: int64 [groups + 1]: where each group begins
        is_owned: bool [rows]: kept in any case
        threshold: the least cosine of similar rows

    Returns:
        int64 [rows]: the most similar kept row of the group, of equally similar ones the first; its own place
            for a row that is kept
    """
    return _nearest_kept(np.ascontiguousarray(vectors, np.float32), starts, is_owned, threshold)


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
    """Products of tiles as int16: the bits of bfloat16, which for numbers above 0 sort as these do.

    Tiles come larger than asked for, in few sizes, because torch takes a millisecond to make itself ready for
    each new one. Each call writes over what the call before gave.
    """
    import torch

    rows = torch.zeros((len(vectors) + PADDING, vectors.shape[1]), dtype=torch.bfloat16)
    rows[: len(vectors)] = torch.from_numpy(vectors)
    buffer = torch.empty((tile + PADDING) ** 2, dtype=torch.bfloat16)

    def products(left: slice, right: slice) -> np.ndarray:
        height, width = (-(-(side.stop - side.start) // PADDING) * PADDING for side in (left, right))
        out = buffer[: height * width].view(height, width)
        one, other = rows[left.start : left.start + height], rows[right.start : right.start + width]
        torch.mm(one, other.T, out=out)
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
    parent, products, top, bottom, left, right, least, sure, most, vectors, threshold
):
    """Join the pairs of a tile; False, and not all of them, if more than `most` of them are in doubt.

    A pair whose product is below `least` is none, one whose product is at least `sure` is one for certain.
    """
    doubtful = 0
    for one in range(top, bottom):
        row = products[one - top, : right - left]
        hits = 0
        for j in range(len(row)):
            hits += row[j] >= least
        if hits == 0:
            continue
        for other in range(max(left, one + 1), right):
            if row[other - left] < least:
                continue
            a, b = find(parent, one), find(parent, other)
            if a == b:
                continue
            if row[other - left] < sure:
                doubtful += 1
                if doubtful > most:
                    return False
                if _cosine(vectors[one], vectors[other]) < threshold:
                    continue
            parent[max(a, b)] = min(a, b)
    return True


@njit(cache=True, nogil=True)
def _cosines(vectors: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    found = np.empty(len(left), np.float64)
    for pair in range(len(left)):
        found[pair] = _cosine(vectors[left[pair]], vectors[right[pair]])
    return found


@njit(cache=True, nogil=True)
def _nearest_kept(
    vectors: np.ndarray, starts: np.ndarray, is_owned: np.ndarray, threshold: float
) -> np.ndarray:
    winner = np.arange(len(vectors))
    kept = np.empty(len(vectors), np.int64)
    for group in range(len(starts) - 1):
        count = 0
        for row in range(starts[group], starts[group + 1]):
            best, similarity = -1, -1.0
            for i in range(0 if is_owned[row] else count):
                cosine = _cosine(vectors[kept[i]], vectors[row])
                if cosine >= threshold and cosine > similarity:
                    best, similarity = kept[i], cosine
            if best >= 0:
                winner[row] = best
                continue
            kept[count] = row
            count += 1
    return winner


@njit(cache=True, nogil=True)
def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return dot(one, other) / np.sqrt(dot(one, one) * dot(other, other))


@njit(cache=True, nogil=True)
def dot(one: np.ndarray, other: np.ndarray) -> float:
    """The product of two float32 vectors in float64, added up from the first term to the last."""
    total = 0.0
    for d in range(len(one)):
        total += np.float64(one[d]) * np.float64(other[d])
    return total
