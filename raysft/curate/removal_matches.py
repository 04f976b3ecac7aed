"""Which rows the entries of a removal list name, all rows and all entries at once.

Rows have the columns id and source, and content_hash where an entry names one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysft.curate.removal_list import Removal


@dataclass(frozen=True)
class Choice:
    """What entries of one kind choose: `codes` int64 [rows] says which value a row has, -1 for none that
    matters; entry `entries[i]` chooses the rows of value `chosen[i]`."""

    codes: np.ndarray
    entries: Sequence[int]
    chosen: np.ndarray


def matches(rows: pa.Table, entries: Sequence[Removal]) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [rows]: the first entry that names each row, -1 for none; int64 [entries]: rows each names)."""
    first, named = np.full(len(rows), len(entries)), np.zeros(len(entries), np.int64)
    for choice in _choices(rows, entries):
        values = int(max(choice.codes.max(initial=-1), choice.chosen.max(initial=-1))) + 1
        size = np.bincount(choice.codes[choice.codes >= 0], minlength=values)
        np.add.at(named, choice.entries, size[choice.chosen])
        of_value = np.full(values + 1, len(entries))
        np.minimum.at(of_value, choice.chosen, choice.entries)
        first = np.minimum(first, of_value[choice.codes])  # of -1 the last, which nothing chooses
    first[first == len(entries)] = -1
    return first, named


def _choices(rows: pa.Table, entries: Sequence[Removal]) -> list[Choice]:
    source = rows["source"].combine_chunks()
    uris, licences, places = (pc.struct_field(source, name) for name in ("uri", "licence", "row"))
    told = list(enumerate(entries))
    found = [_by_value(rows["id"], [(i, e.id) for i, e in told if e.id])]
    if any(e.content_hash for e in entries):
        found.append(
            _by_value(rows["content_hash"], [(i, e.content_hash) for i, e in told if e.content_hash])
        )
    found.append(_by_pattern(uris, [(i, e.source) for i, e in told if e.source and e.row is None]))
    lowered = [(i, e.licence.lower()) for i, e in told if e.licence]
    found.append(_by_pattern(pc.utf8_lower(licences), lowered))
    found.append(
        _by_place(uris, places, [(i, e.source, e.row) for i, e in told if e.source and e.row is not None])
    )
    return found


def _by_value(column: pa.ChunkedArray, wanted: Sequence[tuple[int, str]]) -> Choice:
    """Entries that name a value."""
    values = pa.array([value for _, value in wanted], pa.string())
    distinct = pc.unique(values)
    codes = pc.fill_null(pc.index_in(column.combine_chunks(), distinct), -1)
    return Choice(integers(codes), [i for i, _ in wanted], integers(pc.index_in(values, distinct)))


def _by_pattern(column: pa.Array, wanted: Sequence[tuple[int, str]]) -> Choice:
    """Entries that name a pattern of values."""
    coded = column.dictionary_encode()
    fitting = _fitting(coded.dictionary, [pattern for _, pattern in wanted])
    pairs = [(i, code) for i, pattern in wanted for code in fitting[pattern]]
    codes = integers(pc.fill_null(coded.indices, -1))
    return Choice(codes, [i for i, _ in pairs], np.array([code for _, code in pairs], np.int64))


def _by_place(uris: pa.Array, places: pa.Array, wanted: Sequence[tuple[int, str, int]]) -> Choice:
    """Entries that name a row of a source; a value is (source, row) as one number."""
    coded = uris.dictionary_encode()
    fitting = _fitting(coded.dictionary, [pattern for _, pattern, _ in wanted])
    triples = [(i, code, row) for i, pattern, row in wanted for code in fitting[pattern]]
    uri, row = integers(pc.fill_null(coded.indices, -1)), integers(pc.fill_null(places, -1))
    stride = max(int(row.max(initial=0)), max((row for *_, row in triples), default=0)) + 1
    numbers = np.array([code * stride + row for _, code, row in triples], np.int64)
    distinct, chosen = np.unique(numbers, return_inverse=True)
    own = np.where((uri >= 0) & (row >= 0), uri * stride + row, -1)
    at = np.searchsorted(distinct, own)
    is_wanted = np.append(distinct, -2)[at] == own
    return Choice(np.where(is_wanted, at, -1), [i for i, *_ in triples], chosen)


def _fitting(values: pa.Array, patterns: Sequence[str]) -> dict[str, list[int]]:
    """Of each pattern the places of the values that fit it."""
    named = values.to_pylist()
    return {
        pattern: [at for at, value in enumerate(named) if value == pattern or fnmatchcase(value, pattern)]
        for pattern in dict.fromkeys(patterns)
    }


def integers(values: pa.Array) -> np.ndarray:
    """int64 of an array of integers without nulls."""
    return values.to_numpy(zero_copy_only=False).astype(np.int64)
