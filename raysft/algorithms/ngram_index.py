"""An index of short texts by their n-grams: which of them stand, wholly or in part, in other texts.

Tokens are those of `raysft.algorithms.token_hashes`: words, and CJK characters one by one. An
n-gram is a run of tokens that is as long as `n` words or as `n_cjk` CJK characters, or a mixture that comes
to as much (a word counts 1/n, a CJK character 1/n_cjk), and that is no longer than that needs: without its
last token, or without its first, it would be too short. So a text of words has the n-grams that everybody
means, a text of CJK characters those of `n_cjk` characters, and every token of a text that is long enough is
in one.

A text too short for an n-gram, but with the length of `least` words or more, is one n-gram by itself: windows
of its number of tokens are looked up. A shorter one is never found here.

The join is complete: each n-gram of each text that is looked through is looked up, and each that the index
has is found. A found n-gram is compared token by token, so that two n-grams are only ever confused where two
words have one 64-bit hash: among ten million different words some two do with a probability of 3 in a
million.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import pyarrow as pa

from raysft.algorithms.compiled import njit
from raysft.algorithms.token_hashes import mix64, string_buffers, token_hashes

# An odd multiplier of the rolling hash: the golden ratio's fraction in 64 bits (Knuth 1998, section 6.4).
BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class NgramIndex:
    """Indexed texts; all of it is arrays, see `arrays`.

    tokens      uint64 [tokens]: the texts' token hashes, one text after the other
    bounds      int64 [texts + 1]: where each text's tokens begin
    starts      int32 [ngrams]: the first token of each n-gram
    stops       int32 [ngrams]: the token behind its last
    owners      int32 [ngrams]: the text it stands in
    following   int32 [ngrams]: the next place of the same n-gram, or -1
    slots       int32 [a power of two]: a hash table; the first place of an n-gram, or -1
    bits        uint8 [slots]: a bit for each of 8 · slots hashes: whether any n-gram has it. Most n-grams of
                other texts go no further, and these bits fit a cache where the table does not
    lengths     int32 [lengths]: numbers of tokens that texts of one n-gram have
    settings    int64 [3]: n, n_cjk, least
    """

    tokens: np.ndarray
    bounds: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    owners: np.ndarray
    following: np.ndarray
    slots: np.ndarray
    bits: np.ndarray
    lengths: np.ndarray
    settings: np.ndarray

    @classmethod
    def of(cls, texts: pa.Array, n: int, n_cjk: int, least: int) -> Self:
        """The index of a string array without nulls."""
        data, offsets = string_buffers(texts)
        arrays = (*_build(data, offsets, n, n_cjk, least), np.array([n, n_cjk, least], np.int64))
        return cls.from_arrays(dict(zip((field.name for field in fields(cls)), arrays, strict=True)))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The index that `arrays` came from; other names are passed over."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def arrays(self) -> dict[str, np.ndarray]:
        """The index as arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def is_indexed(self) -> np.ndarray:
        """bool [texts]: whether each text is long enough to be found."""
        found = np.zeros(len(self.bounds) - 1, bool)
        found[self.owners] = True
        return found

    def found_in(self, texts: pa.Array, min_share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The indexed texts that stand in each of a string array without nulls.

        Args:
            min_share: only those of whose tokens at least this share is in n-grams that both have

        Returns:
            int64 [hits]: the text that was looked through, ascending
            int64 [hits]: the indexed text, ascending for each
            float64 [hits]: the share of the indexed text's tokens that is in n-grams that both have
        """
        data, offsets = string_buffers(texts)
        *index, settings = self.arrays().values()
        row, text, covered = _found(data, offsets, *index, *settings.tolist(), min_share)
        return row, text, covered / np.diff(self.bounds)[text]


def holds_ngram(texts: pa.Array, n: int, n_cjk: int) -> np.ndarray:
    """bool [texts]: whether each text of a string array without nulls is as long as an n-gram or longer."""
    data, offsets = string_buffers(texts)
    return _weights(data, offsets, n, n_cjk) >= n * n_cjk


@njit(cache=True, nogil=True)
def _weights(data: np.ndarray, offsets: np.ndarray, n: int, n_cjk: int) -> np.ndarray:
    weights = np.zeros(len(offsets) - 1, np.int64)
    for text in range(len(weights)):
        _, is_cjk = token_hashes(data, offsets[text], offsets[text + 1])
        weights[text] = len(is_cjk) * n_cjk + np.sum(is_cjk) * (n - n_cjk)
    return weights


@njit(cache=True, nogil=True)
def _ngrams(is_cjk: np.ndarray, n: int, n_cjk: int) -> tuple[np.ndarray, np.ndarray]:
    """int32 (starts, stops) of a text's n-grams. A word weighs n_cjk, a CJK character n, an n-gram
    n · n_cjk or as little more as can be."""
    total, whole = len(is_cjk), n * n_cjk
    starts, stops = np.empty(2 * total, np.int32), np.empty(2 * total, np.int32)
    count, weight, start, before = 0, 0, 0, -1
    for last in range(total):
        weight += n if is_cjk[last] else n_cjk
        if weight < whole:
            continue
        # move to the latest start that suffices for this end; all starts passed on the way end here too
        while weight - (n if is_cjk[start] else n_cjk) >= whole:
            weight -= n if is_cjk[start] else n_cjk
            start += 1
        for first in range(min(before + 1, start), start + 1):
            starts[count], stops[count] = first, last + 1
            count += 1
        before = start
    return starts[:count], stops[:count]


@njit(cache=True, nogil=True)
def _running(hashes: np.ndarray) -> np.ndarray:
    """uint64 [tokens + 1]: hashes of the first 0, 1, … tokens, from which that of any window follows."""
    running = np.zeros(len(hashes) + 1, np.uint64)
    for i in range(len(hashes)):
        running[i + 1] = running[i] * BASE + hashes[i]
    return running


@njit(cache=True, nogil=True)
def _hash(running: np.ndarray, powers: np.ndarray, start: int, stop: int) -> np.uint64:
    return mix64(running[stop] - running[start] * powers[stop - start])


@njit(cache=True, nogil=True)
def _bit(hashed: np.uint64, bits: np.ndarray) -> tuple[np.uint64, np.uint8]:
    """The byte of a hash in `bits`, and its bit there; the hash table goes by other bits of the hash."""
    place = (hashed >> np.uint64(30)) & np.uint64(8 * len(bits) - 1)
    return place >> np.uint64(3), np.uint8(1) << np.uint8(place & np.uint64(7))


@njit(cache=True, nogil=True)
def _powers(count: int) -> np.ndarray:
    powers = np.ones(count + 1, np.uint64)
    for i in range(count):
        powers[i + 1] = powers[i] * BASE
    return powers


@njit(cache=True, nogil=True)
def _slot(
    hashed: np.uint64,
    hashes: np.ndarray,
    start: int,
    stop: int,
    tokens: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    slots: np.ndarray,
) -> np.int64:
    """The slot of the n-gram hashes[start:stop]: the one that holds it, or the free one where it belongs."""
    mask = len(slots) - 1
    slot = np.int64(hashed & np.uint64(mask))
    while slots[slot] >= 0:
        known = slots[slot]
        first = starts[known]
        if stops[known] - first == stop - start:
            i = 0
            while i < stop - start and tokens[first + i] == hashes[start + i]:
                i += 1
            if i == stop - start:
                break
        slot = np.int64((slot + 1) & mask)
    return slot


@njit(cache=True, nogil=True)
def _places(
    data: np.ndarray, offsets: np.ndarray, n: int, n_cjk: int, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """tokens, bounds, starts, stops, owners and lengths of an index."""
    size = offsets[-1] - offsets[0]
    tokens, bounds = np.empty(size, np.uint64), np.zeros(len(offsets), np.int64)
    starts, stops, owners = (
        np.empty(2 * size, np.int32),
        np.empty(2 * size, np.int32),
        np.empty(2 * size, np.int32),
    )
    has_length = np.zeros(n + n_cjk, np.bool_)
    end, count = 0, 0
    for text in range(len(offsets) - 1):
        hashes, is_cjk = token_hashes(data, offsets[text], offsets[text + 1])
        total, cjk = len(hashes), np.sum(is_cjk)
        weight = (total - cjk) * n_cjk + cjk * n
        tokens[end : end + total] = hashes
        if least * n_cjk <= weight < n * n_cjk:
            starts[count], stops[count], owners[count] = end, end + total, text
            has_length[total] = True
            count += 1
        elif weight >= least * n_cjk:
            first, behind = _ngrams(is_cjk, n, n_cjk)
            for i in range(len(first)):
                starts[count], stops[count], owners[count] = end + first[i], end + behind[i], text
                count += 1
        end += total
        bounds[text + 1] = end
    lengths = np.flatnonzero(has_length).astype(np.int32)
    return (
        tokens[:end].copy(),
        bounds,
        starts[:count].copy(),
        stops[:count].copy(),
        owners[:count].copy(),
        lengths,
    )


@njit(cache=True, nogil=True)
def _build(data: np.ndarray, offsets: np.ndarray, n: int, n_cjk: int, least: int) -> tuple[np.ndarray, ...]:
    tokens, bounds, starts, stops, owners, lengths = _places(data, offsets, n, n_cjk, least)
    size = 2
    while size < 2 * len(starts):
        size *= 2
    slots, following = np.full(size, np.int32(-1)), np.full(len(starts), np.int32(-1))
    bits = np.zeros(size, np.uint8)
    running, powers = _running(tokens), _powers(n + n_cjk)
    for ngram in range(len(starts)):
        start, stop = starts[ngram], stops[ngram]
        hashed = _hash(running, powers, start, stop)
        byte, bit = _bit(hashed, bits)
        bits[byte] |= bit
        slot = _slot(hashed, tokens, start, stop, tokens, starts, stops, slots)
        if slots[slot] >= 0:
            following[ngram] = following[slots[slot]]
            following[slots[slot]] = ngram
        else:
            slots[slot] = ngram
    return tokens, bounds, starts, stops, owners, following, slots, bits, lengths


@njit(cache=True, nogil=True)
def _ngrams_of_row(
    is_cjk: np.ndarray, lengths: np.ndarray, n: int, n_cjk: int, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """int32 (starts, stops) of a text's n-grams, and of its windows that could be a whole short text."""
    starts, stops = _ngrams(is_cjk, n, n_cjk)
    total, count = len(is_cjk), len(starts)
    room = count + total * len(lengths)
    all_starts, all_stops = np.empty(room, np.int32), np.empty(room, np.int32)
    all_starts[:count], all_stops[:count] = starts, stops
    for length in lengths:
        weight = 0
        for last in range(total):
            weight += n if is_cjk[last] else n_cjk
            if last >= length:
                weight -= n if is_cjk[last - length] else n_cjk
            if last + 1 >= length and least * n_cjk <= weight < n * n_cjk:
                all_starts[count], all_stops[count] = last + 1 - length, last + 1
                count += 1
    return all_starts[:count], all_stops[:count]


@njit(cache=True, nogil=True)
def _found(
    data: np.ndarray,
    offsets: np.ndarray,
    tokens: np.ndarray,
    bounds: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    owners: np.ndarray,
    following: np.ndarray,
    slots: np.ndarray,
    bits: np.ndarray,
    lengths: np.ndarray,
    n: int,
    n_cjk: int,
    least: int,
    min_share: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64 (row, indexed text, tokens of it that are covered) of each hit."""
    rows, texts, counts = [0 for _ in range(0)], [0 for _ in range(0)], [0 for _ in range(0)]
    # by n-gram and by token of the index: the last row that has it; by indexed text: tokens it covers
    seen, marked = np.full(len(starts), -1, np.int32), np.full(len(tokens), -1, np.int32)
    covered = np.zeros(len(bounds) - 1, np.int64)
    powers = _powers(n + n_cjk)
    for row in range(len(offsets) - 1):
        hashes, is_cjk = token_hashes(data, offsets[row], offsets[row + 1])
        running = _running(hashes)
        own_starts, own_stops = _ngrams_of_row(is_cjk, lengths, n, n_cjk, least)
        touched = [0 for _ in range(0)]
        for i in range(len(own_starts)):
            start, stop = own_starts[i], own_stops[i]
            hashed = _hash(running, powers, start, stop)
            byte, bit = _bit(hashed, bits)
            if not bits[byte] & bit:
                continue
            ngram = slots[_slot(hashed, hashes, start, stop, tokens, starts, stops, slots)]
            if ngram < 0 or seen[ngram] == row:
                continue
            seen[ngram] = row
            while ngram >= 0:
                text = owners[ngram]
                if covered[text] == 0:
                    touched.append(text)
                for token in range(starts[ngram], stops[ngram]):
                    if marked[token] != row:
                        marked[token] = row
                        covered[text] += 1
                ngram = following[ngram]
        touched.sort()
        for text in touched:
            if covered[text] >= min_share * (bounds[text + 1] - bounds[text]) - 1e-9:
                rows.append(row)
                texts.append(text)
                counts.append(covered[text])
            covered[text] = 0
    return np.array(rows, np.int64), np.array(texts, np.int64), np.array(counts, np.int64)
