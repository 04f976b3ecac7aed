"""Shingles of texts: 64-bit hashes of their n-grams of tokens (raysft/algorithms/token_hashes.py).

A shingle starts at each token and holds `n` tokens, or `n_cjk` where it starts with a CJK character: a
Chinese word has about 1.5 characters, so 4 characters say as much as 3 words. If that leaves out the end
of the text, the last max(n, n_cjk) tokens are one more shingle. So a text shorter than a shingle has one,
over its whole length, and only a text without any token has none.

A shingle's hash is a polynomial in its tokens' hashes, mixed once more. All are 64 bits wide, so that sets of
hashes stand for sets of shingles: among a million different shingles two meet with a chance of 3 in 100
million, where 32 bits would make more than 100 pairs of them one.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from raysft.algorithms.compiled import njit
from raysft.algorithms.token_hashes import BLOCK, mix64, read_tokens, string_buffers

# of the polynomial over tokens: splitmix64's increment, and binary digits of pi as what it starts from
SHINGLE_PRIME = np.uint64(0x9E3779B97F4A7C15)
SHINGLE_START = np.uint64(0x243F6A8885A308D3)


def repeated_share(texts: pa.Array, n: int, n_cjk: int) -> tuple[np.ndarray, np.ndarray]:
    """How much of each text repeats itself.

    Returns:
        float64 [texts]: the share of its shingles that stand earlier in the text already, 0 if it has none
        int32 [texts]: its number of shingles
    """
    data, offsets = string_buffers(texts)
    return _repeated_share(data, offsets, n, n_cjk)


def shingle_sets(texts: pa.Array, n: int, n_cjk: int) -> tuple[np.ndarray, np.ndarray]:
    """The set of shingle hashes of each text.

    Returns:
        uint64: all texts' hashes one after the other, each text's ascending and once
        int64 [texts + 1]: where each text's begin, and the end
    """
    data, offsets = string_buffers(texts)
    return _shingle_sets(data, offsets, n, n_cjk)


def shingles(text: str, n: int, n_cjk: int) -> np.ndarray:
    """uint64: the shingle hashes of one text in order, repeats included."""
    data, offsets = string_buffers(pa.array([text], pa.string()))
    return _shingles(data, offsets, n, n_cjk)


@njit(cache=True, nogil=True)
def _hash_range(hashes: np.ndarray, start: int, end: int) -> np.uint64:
    state = SHINGLE_START
    for i in range(start, end):
        state = state * SHINGLE_PRIME + hashes[i]
    return mix64(state)


@njit(cache=True, nogil=True)
def _hash_windows(hashes: np.ndarray, total: int, n: int, found: np.ndarray) -> int:
    """`_hash_range` of every n tokens that stand together, in loops that can be vectorised."""
    count = total - n + 1
    for i in range(count):
        found[i] = SHINGLE_START * SHINGLE_PRIME + hashes[i]
    for token in range(1, n):
        for i in range(count):
            found[i] = found[i] * SHINGLE_PRIME + hashes[i + token]
    for i in range(count):
        found[i] = mix64(found[i])
    return count


@njit(cache=True, nogil=True)
def working_memory(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What `shingle_hashes` writes to, with room for the longest of these texts and three shingles more."""
    longest = 0
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    size = longest + 4
    return (
        np.empty(size, np.uint64),
        np.empty((2, longest // BLOCK + 1), np.uint64),
        np.empty(size, np.uint64),
        np.zeros(size, np.bool_),
    )


@njit(cache=True, nogil=True, forceinline=True)
def shingle_hashes(
    data: np.ndarray,
    start: int,
    end: int,
    n: int,
    n_cjk: int,
    memory: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> int:
    """Writes the hashes of the shingles of data[start:end], in order, to the first part of `memory`; returns
    how many there are."""
    found, masks, hashes, is_cjk = memory
    total, total_cjk = read_tokens(data, start, end, masks, hashes, is_cjk)
    if total_cjk == 0 and total >= n:
        return _hash_windows(hashes, total, n, found)
    if total_cjk == total and total >= n_cjk:
        is_cjk[:total] = False
        return _hash_windows(hashes, total, n_cjk, found)
    count = 0
    covered = 0
    for i in range(total):
        stop = i + (n_cjk if is_cjk[i] else n)
        if stop <= total:
            found[count] = _hash_range(hashes, i, stop)
            count += 1
            covered = max(covered, stop)
    if covered < total:
        found[count] = _hash_range(hashes, max(0, total - max(n, n_cjk)), total)
        count += 1
    is_cjk[:total] = False
    return count


@njit(cache=True, nogil=True)
def _shingles(data: np.ndarray, offsets: np.ndarray, n: int, n_cjk: int) -> np.ndarray:
    memory = working_memory(offsets)
    count = shingle_hashes(data, offsets[0], offsets[1], n, n_cjk, memory)
    return memory[0][:count].copy()


@njit(cache=True, nogil=True)
def _repeated_share(
    data: np.ndarray, offsets: np.ndarray, n: int, n_cjk: int
) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    share = np.zeros(rows, np.float64)
    counts = np.zeros(rows, np.int32)
    memory = working_memory(offsets)
    for row in range(rows):
        count = shingle_hashes(data, offsets[row], offsets[row + 1], n, n_cjk, memory)
        counts[row] = count
        if count > 1:
            found = memory[0][:count]
            found.sort()
            share[row] = np.sum(found[1:] == found[:-1]) / count
    return share, counts


@njit(cache=True, nogil=True)
def _shingle_sets(data: np.ndarray, offsets: np.ndarray, n: int, n_cjk: int) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    memory = working_memory(offsets)
    starts = np.zeros(rows + 1, np.int64)
    values = np.empty(64 * rows + 64, np.uint64)
    size = 0
    for row in range(rows):
        count = shingle_hashes(data, offsets[row], offsets[row + 1], n, n_cjk, memory)
        found = memory[0][:count]
        found.sort()
        if size + count > len(values):
            grown = np.empty(2 * (size + count), np.uint64)
            grown[:size] = values[:size]
            values = grown
        for i in range(count):
            if i == 0 or found[i] != found[i - 1]:
                values[size] = found[i]
                size += 1
        starts[row + 1] = size
    return values[:size].copy(), starts
