"""Texts in the form in which equal ones are equal byte for byte, and digests of them, a whole array at once.

The form is Unicode NFKC, then case folded, then every run of white space one blank and none at the ends:
`normalise` says it for one text, and `normalised` gives the same for an array. It takes most texts through a
table of characters, straight from Arrow's buffers. A character is in the table if what becomes of it does not
depend on its neighbours and is no longer than it is: nearly all of English and Chinese, fullwidth forms and
emoji. A text with any other character (a combining mark, a Hangul jamo, ½) goes through `normalise`.

A table can do it because normalised strings are normalised when joined, if each begins with a character
that neither combines with the one before nor moves ahead of it (Unicode Standard Annex 15, section 9). Case
folding and white space look at one character at a time anyway.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysft.algorithms.compiled import njit
from raysft.algorithms.token_hashes import string_buffers

DIGEST_BYTES = 16
# behind the table's end stand ideographs and tags, which are as they are, and compatibility ideographs
TABLE_END = 0x20000
COMPATIBILITY_START, COMPATIBILITY_END = 0x2F800, 0x2FA20
SURROGATES = range(0xD800, 0xE000)
# jamo that join the syllable before them by arithmetic and not by a decomposition of their own
TRAILING_JAMO = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))
# values of the table's sizes
SAME, UNKNOWN = 254, 255
BLANK = 32


def normalise(text: str) -> str:
    """NFKC, case folded, white space collapsed and trimmed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def normalised(texts: pa.Array) -> pa.LargeStringArray:
    """`normalise` of each text of a string array without nulls."""
    data, offsets = string_buffers(texts)
    out, ends, is_known = _normalised(data, offsets, *_table())
    found = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(out))
    if is_known.all():
        return found
    is_unknown = pa.array(~is_known)
    others = [normalise(text) for text in texts.filter(is_unknown).to_pylist()]
    return pc.replace_with_mask(found, is_unknown, pa.array(others, pa.large_string()))


def digests(texts: pa.Array) -> pa.FixedSizeBinaryArray:
    """BLAKE2b-128 of each text of a string array without nulls; null of an empty one."""
    data, offsets = string_buffers(texts)
    view = data.data
    found = b"".join(
        hashlib.blake2b(view[start:end], digest_size=DIGEST_BYTES).digest()
        for start, end in pairwise(offsets.tolist())
    )
    all_found = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(DIGEST_BYTES), len(texts), [None, pa.py_buffer(found)]
    )
    return pc.if_else(pa.array(offsets[1:] > offsets[:-1]), all_found, None)


@cache
def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What becomes of each character below TABLE_END: where it begins in the bytes that come last (int32)
    and how many bytes it is (uint8), SAME if they are its own, UNKNOWN if its neighbours have a say."""
    joining = {_second_part(chr(point)) for point in range(TABLE_END)} | {chr(j) for j in TRAILING_JAMO}
    starts, sizes = np.zeros(TABLE_END, np.int32), np.full(TABLE_END, UNKNOWN, np.uint8)
    forms = bytearray()
    for point in range(TABLE_END):
        if point in SURROGATES:
            continue
        own = chr(point)
        composed = unicodedata.normalize("NFKC", own)
        if composed[0] in joining or unicodedata.combining(composed[0]):
            continue
        form = "".join(" " if c.isspace() else c for c in composed.casefold()).encode()
        if len(form) <= len(own.encode()):
            starts[point], sizes[point] = len(forms), SAME if form == own.encode() else len(form)
            forms += form
    return starts, sizes, np.frombuffer(bytes(forms), np.uint8)


def _second_part(character: str) -> str | None:
    """The character that joins another to make this one, if it is made of two."""
    parts = unicodedata.decomposition(character).split()
    return chr(int(parts[1], 16)) if len(parts) == 2 and not parts[0].startswith("<") else None


@njit(cache=True, nogil=True)
def _character(data: np.ndarray, at: int) -> tuple[int, int]:
    """(code point, bytes it takes) of a character beyond ASCII, in valid UTF-8."""
    first, second = int(data[at]), int(data[at + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = int(data[at + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | int(data[at + 3]) & 0x3F, 4


@njit(cache=True, nogil=True)
def _size(point: int, sizes: np.ndarray) -> int:
    if point < TABLE_END:
        return int(sizes[point])
    return UNKNOWN if COMPATIBILITY_START <= point < COMPATIBILITY_END else SAME


@njit(cache=True, nogil=True)
def _normalised(
    data: np.ndarray, offsets: np.ndarray, starts: np.ndarray, sizes: np.ndarray, forms: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(uint8 bytes, int64 [texts + 1] where each text begins in them, bool [texts]: whether it is known)."""
    rows = len(offsets) - 1
    # a blank at the end is written before it is taken back
    out = np.empty(offsets[rows] - offsets[0] + 1, np.uint8)
    ends = np.zeros(rows + 1, np.int64)
    is_known = np.ones(rows, np.bool_)
    ascii_forms = forms[starts[:128]]
    to = 0
    for row in range(rows):
        begin, at, end = to, offsets[row], offsets[row + 1]
        is_after_blank = True
        while at < end:
            byte = data[at]
            if byte < 0x80:
                at += 1
                byte = ascii_forms[byte]
                out[to] = byte
                to += byte != BLANK or not is_after_blank
                is_after_blank = byte == BLANK
                continue
            point, width = _character(data, at)
            size = _size(point, sizes)
            if size == UNKNOWN:
                is_known[row] = False
                break
            if size == SAME:
                for i in range(at, at + width):
                    out[to] = data[i]
                    to += 1
                is_after_blank = False
            else:
                for i in range(starts[point], starts[point] + size):
                    byte = forms[i]
                    out[to] = byte
                    to += byte != BLANK or not is_after_blank
                    is_after_blank = byte == BLANK
            at += width
        if to > begin and is_after_blank:
            to -= 1
        if not is_known[row]:
            to = begin
        ends[row + 1] = to
    return out, ends, is_known
