"""Shingles of texts: 64-bit hashes of their n-grams of tokens, straight from Arrow's string buffers.

Tokens, the same for English and Chinese and mixtures of both:
    a run of letters and digits of any alphabetic script is one token, ASCII letters in lower case;
    fullwidth letters, digits and signs count as their ASCII forms;
    every CJK ideograph, kana, emoji or other symbol is a token of its own, and so are `+ / = < ^ % $ & @`,
    without which "3 + 4" and "3 = 4" would be one text;
    whitespace and all other punctuation separate tokens and leave no trace.

A shingle starts at each token and holds `n` tokens, or `n_cjk` where it starts with a CJK character: a
Chinese word has about 1.5 characters, so 4 characters say as much as 3 words. If that leaves out the end
of the text, the last max(n, n_cjk) tokens are one more shingle. So a text shorter than a shingle has one,
over its whole length, and only a text without any token has none.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)
# multipliers of splitmix64's finaliser (Steele, Lea & Flood 2014)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)

SEPARATOR, WORD, SINGLE, CJK = 0, 1, 2, 3


def string_buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(data uint8, offsets int64 [n + 1]) of a string array without nulls; the bytes are not copied.

    Raises:
        ValueError: there are nulls, which have no text.
    """
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null")
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offsets, data = texts.buffers()
    if offsets is None or len(texts) == 0:
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    starts = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1]
    raw = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    return raw, starts.astype(np.int64)


def repeated_share(texts: pa.Array, n: int, n_cjk: int) -> tuple[np.ndarray, np.ndarray]:
    """How much of each text repeats itself.

    Returns:
        float64 [texts]: the share of its shingles that stand earlier in the text already, 0 if it has none
        int32 [texts]: its number of shingles
    """
    data, offsets = string_buffers(texts)
    return _repeated_share(data, offsets, n, n_cjk)


def shingles(text: str, n: int, n_cjk: int) -> np.ndarray:
    """uint64: the shingle hashes of one text in order, repeats included."""
    data, offsets = string_buffers(pa.array([text], pa.string()))
    found, _ = shingle_hashes(data, offsets[0], offsets[1], n, n_cjk)
    return found


@njit(cache=True, nogil=True)
def mix64(x: np.uint64) -> np.uint64:
    """A bijection of 64-bit integers in which every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * MIX_1
    x = (x ^ (x >> np.uint64(27))) * MIX_2
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def _decode(data: np.ndarray, at: int, end: int) -> tuple[int, int]:
    """(code point, bytes it takes) of valid UTF-8; Arrow strings are always valid."""
    first = int(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        size, point = 2, first & 0x1F
    elif first < 0xF0:
        size, point = 3, first & 0x0F
    else:
        size, point = 4, first & 0x07
    for i in range(at + 1, min(at + size, end)):
        point = (point << 6) | (int(data[i]) & 0x3F)
    return point, size


@njit(cache=True, nogil=True)
def _classify_ascii(point: int) -> int:
    if 48 <= point <= 57 or 97 <= point <= 122 or 65 <= point <= 90:
        return WORD
    # + / = < ^ % $ & @; the rest of ASCII's signs mark up text far more often than they carry meaning
    if point in (43, 47, 61, 60, 94, 37, 36, 38, 64):
        return SINGLE
    return SEPARATOR


@njit(cache=True, nogil=True)
def _classify(point: int) -> int:
    """SEPARATOR, WORD, SINGLE or CJK, by Unicode block."""
    if point < 0x80:
        return _classify_ascii(point)
    if point < 0xC0:
        # of Latin-1's signs, ordinals and micro are letters; currency, degree and ± carry meaning
        if point in (0xAA, 0xB5, 0xBA):
            return WORD
        return SINGLE if 0xA2 <= point <= 0xA5 or point in (0xB0, 0xB1) else SEPARATOR
    if point in (0xD7, 0xF7):
        return SINGLE
    if 0x2000 <= point < 0x2070 or point in (0x3000, 0xFEFF):
        return SEPARATOR
    if 0x3001 <= point < 0x3040:
        return CJK if point in (0x3005, 0x3007) else SEPARATOR
    # symbols: superscripts to dingbats, CJK strokes excluded
    if 0x20A0 <= point < 0x20D0 or 0x2100 <= point < 0x2C00:
        return SINGLE
    if 0x2E80 <= point < 0x3001 or 0x3040 <= point < 0xA4D0 or 0xF900 <= point < 0xFB00:
        return CJK
    if 0xFE00 <= point < 0xFE70 or 0xFF61 <= point < 0xFF66:
        return SEPARATOR
    if 0xFF66 <= point < 0xFFA0 or 0x20000 <= point < 0x40000:
        return CJK
    return SINGLE if 0x1F000 <= point < 0x20000 else WORD


@njit(cache=True, nogil=True)
def _fold(point: int) -> int:
    """Fullwidth forms as ASCII, ASCII capitals as small letters, all else as it is."""
    if 0xFF01 <= point <= 0xFF5E:
        point -= 0xFEE0
    return point + 32 if 65 <= point <= 90 else point


@njit(cache=True, nogil=True)
def token_hashes(data: np.ndarray, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint64 hashes, whether each is CJK) of the tokens of data[start:end]."""
    hashes = np.empty(end - start, np.uint64)
    is_cjk = np.empty(end - start, np.bool_)
    count = 0
    run = FNV_OFFSET
    in_run = False
    at = start
    while at < end:
        point, size = _decode(data, at, end)
        at += size
        point = _fold(point)
        kind = _classify(point)
        if kind == WORD:
            run = (run ^ np.uint64(point)) * FNV_PRIME
            in_run = True
            continue
        if in_run:
            hashes[count], is_cjk[count] = mix64(run), False
            count += 1
            run, in_run = FNV_OFFSET, False
        if kind != SEPARATOR:
            hashes[count] = mix64((FNV_OFFSET ^ np.uint64(point)) * FNV_PRIME)
            is_cjk[count] = kind == CJK
            count += 1
    if in_run:
        hashes[count], is_cjk[count] = mix64(run), False
        count += 1
    return hashes[:count], is_cjk[:count]


@njit(cache=True, nogil=True)
def _hash_range(hashes: np.ndarray, start: int, end: int) -> np.uint64:
    state = FNV_OFFSET
    for i in range(start, end):
        state = mix64(state ^ hashes[i])
    return state


@njit(cache=True, nogil=True)
def shingle_hashes(data: np.ndarray, start: int, end: int, n: int, n_cjk: int) -> tuple[np.ndarray, int]:
    """(uint64 hashes of the shingles of data[start:end] in order, number of tokens)."""
    hashes, is_cjk = token_hashes(data, start, end)
    total = len(hashes)
    found = np.empty(total + 1, np.uint64)
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
    return found[:count], total


@njit(cache=True, nogil=True)
def _repeated_share(
    data: np.ndarray, offsets: np.ndarray, n: int, n_cjk: int
) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    share = np.zeros(rows, np.float64)
    counts = np.zeros(rows, np.int32)
    for row in range(rows):
        found, _ = shingle_hashes(data, offsets[row], offsets[row + 1], n, n_cjk)
        counts[row] = len(found)
        if len(found) > 1:
            found.sort()
            share[row] = np.sum(found[1:] == found[:-1]) / len(found)
    return share, counts
