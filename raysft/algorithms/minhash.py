"""MinHash signatures and their bands: texts that share most of their shingles meet in some band.

Broder 1997, "On the resemblance and containment of documents": the share of equal positions in two
signatures estimates the Jaccard similarity of the two sets of shingles, with standard deviation
sqrt(J(1 - J) / num_perm). Banding is that of Indyk & Motwani 1998: with b bands of r rows two texts
share a band with probability 1 - (1 - J^r)^b, which turns steep about J = (1/b)^(1/r).

The permutations are multiply-add modulo 2^64, odd multipliers, of which the upper 32 bits are kept
(Dietzfelbinger et al. 1997); shingle hashes are well mixed before, see `raysft.algorithms.shingles`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numba import njit

from raysft.algorithms.shingles import mix64, shingle_hashes, string_buffers

WINDOW = 128


def permutations(num_perm: int, seed: int) -> np.ndarray:
    """uint64 [2, num_perm]: odd multipliers and addends, drawn from `seed`."""
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(0, 1 << 64, (2, num_perm), np.uint64)
    drawn[0] |= np.uint64(1)
    return drawn


def signatures(
    texts: pa.Array, *, num_perm: int, n: int, n_cjk: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """MinHash signatures of string arrays without nulls.

    Returns:
        uint32 [texts, num_perm]: the signatures; all ones for a text without shingles
        int32 [texts]: number of shingles, repeats included; 0 for a text without any token
    """
    data, offsets = string_buffers(texts)
    return _signatures(data, offsets, permutations(num_perm, seed), n, n_cjk)


def band_keys(signature: np.ndarray, bands: int) -> np.ndarray:
    """uint64 [texts, bands]: a hash of each band and its number, of signatures [texts, num_perm].

    Raises:
        ValueError: num_perm is no multiple of bands.
    """
    if signature.shape[1] % bands:
        raise ValueError(f"{signature.shape[1]} permutations do not divide into {bands} bands")
    return _band_keys(np.ascontiguousarray(signature), bands)


def one_byte(signature: np.ndarray) -> np.ndarray:
    """uint8 [texts, num_perm]: the lowest byte of each position (Li & König 2010, b-bit minwise hashing).

    A quarter of the size; `estimate` corrects for the 1 in 256 unequal positions that look equal.
    """
    return signature.astype(np.uint8)


def estimate(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float64 [...]: Jaccard similarity estimated from `one_byte` signatures [..., num_perm]."""
    equal = np.mean(left == right, axis=-1)
    return np.maximum(0.0, (equal - 1 / 256) / (1 - 1 / 256))


def leader_edges(
    bounds: np.ndarray, signatures: Sequence[np.ndarray], thresholds: Sequence[float], window: int = WINDOW
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows in one bucket that are similar enough by every kind of signature.

    Row by row, in the order given, a row is linked to every one of the last `window` leaders of its bucket
    that is near enough, and becomes a leader where there is none. So rows that are all alike cost one
    comparison each, and thousands that share a template and nothing else cost `window` each, not one for
    each pair; who wants these compared with their like sorts like rows together.

    Args:
        bounds: int64 [buckets + 1], ascending, from 0 to the number of rows
        signatures: of each kind uint8 [rows, its num_perm], see `one_byte`
        thresholds: of each kind, the least `estimate`
        window: leaders a row is compared with, from the latest back

    Returns:
        int64 [edges], int64 [edges]: positions of leaders, and of the rows linked to them
    """
    widths = np.array([s.shape[1] for s in signatures], np.int64)
    least = np.array(
        [
            np.ceil((t * (1 - 1 / 256) + 1 / 256) * w - 1e-9) if t > 0 else 0
            for t, w in zip(thresholds, widths, strict=True)
        ],
        np.int64,
    )
    return _leader_edges(bounds, np.ascontiguousarray(np.hstack(signatures)), widths, least, window)


@njit(cache=True, nogil=True)
def _signatures(
    data: np.ndarray, offsets: np.ndarray, perms: np.ndarray, n: int, n_cjk: int
) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    num_perm = perms.shape[1]
    multiply, add = perms[0].copy(), perms[1].copy()
    out = np.full((rows, num_perm), np.uint32(0xFFFFFFFF), np.uint32)
    counts = np.zeros(rows, np.int32)
    for row in range(rows):
        found, _ = shingle_hashes(data, offsets[row], offsets[row + 1], n, n_cjk)
        counts[row] = len(found)
        signature = out[row]
        for shingle in found:
            for p in range(num_perm):
                value = np.uint32((shingle * multiply[p] + add[p]) >> np.uint64(32))
                signature[p] = min(signature[p], value)
    return out, counts


@njit(cache=True, nogil=True)
def _band_keys(signature: np.ndarray, bands: int) -> np.ndarray:
    rows, num_perm = signature.shape
    width = num_perm // bands
    keys = np.empty((rows, bands), np.uint64)
    for row in range(rows):
        for band in range(bands):
            state = mix64(np.uint64(band + 1))
            for p in range(band * width, (band + 1) * width):
                state = mix64(state ^ np.uint64(signature[row, p]))
            keys[row, band] = state
    return keys


@njit(cache=True, nogil=True)
def _is_near(left: np.ndarray, right: np.ndarray, widths: np.ndarray, least: np.ndarray) -> bool:
    start = 0
    for kind in range(len(widths)):
        equal = 0
        for p in range(start, start + widths[kind]):
            equal += left[p] == right[p]
        if equal < least[kind]:
            return False
        start += widths[kind]
    return True


@njit(cache=True, nogil=True)
def _leader_edges(
    bounds: np.ndarray, signature: np.ndarray, widths: np.ndarray, least: np.ndarray, window: int
) -> tuple[np.ndarray, np.ndarray]:
    leaders = np.empty(len(signature), np.int64)
    lefts = [0 for _ in range(0)]
    rights = [0 for _ in range(0)]
    for bucket in range(len(bounds) - 1):
        count = 0
        for row in range(bounds[bucket], bounds[bucket + 1]):
            is_linked = False
            for i in range(max(0, count - window), count):
                if _is_near(signature[leaders[i]], signature[row], widths, least):
                    lefts.append(leaders[i])
                    rights.append(row)
                    is_linked = True
            if not is_linked:
                leaders[count] = row
                count += 1
    return np.array(lefts, np.int64), np.array(rights, np.int64)
