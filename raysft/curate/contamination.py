"""Which evaluation items stand in which rows: the column `contamination` and the three ways to fill it.

An *entry* is a text of an evaluation item: its question, its answer, or both as one. Entries are arrays:
    set     int32 [entries]: place of the set among the config's
    item    int64 [entries]: number of the item in its set
    part    int8 [entries]: place in `PARTS`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysft.algorithms.normal_text import digests, normalised

PARTS = ("question", "answer", "both")
KINDS = ("exact", "ngram", "embedding")
CONTAMINATION = pa.list_(
    pa.struct(
        [
            ("set", pa.string()),
            ("item", pa.int64()),
            ("part", pa.string()),
            ("kind", pa.string()),
            ("share", pa.float64()),
        ]
    )
)
# A row that holds more items than that is contaminated all the same; the bound is there for sets whose items
# all share a long text, of which every row that has it would list every item.
MOST_HITS = 1000
TILE = 2048
MARGIN = 1e-3


@dataclass(frozen=True)
class Hits:
    """Entries that stand in rows, one of `KINDS` and a share each; all int64 but `share`, float64."""

    row: np.ndarray
    entry: np.ndarray
    kind: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, row: np.ndarray, entry: np.ndarray, kind: str, share: np.ndarray | float) -> Hits:
        place = np.full(len(row), KINDS.index(kind))
        return cls(row, entry, place, np.broadcast_to(np.asarray(share, np.float64), row.shape))

    @classmethod
    def all(cls, hits: Sequence[Hits]) -> Hits:
        """Several as one."""
        names = ("row", "entry", "kind", "share")
        return cls(*(np.concatenate([getattr(h, name) for h in hits]) for name in names))


def exact_hits(row: np.ndarray, texts: pa.Array, arrays: Mapping[str, np.ndarray]) -> Hits:
    """Entries that are one of the texts after normalisation; `row` is where each text stands.

    Of the arrays `exact_digest` (uint64 [texts, 2], ascending by its first column), `exact_entry` and
    `exact_bytes` (the lengths that there are) are needed; see `exact_arrays`.
    """
    known, entry = arrays["exact_digest"], arrays["exact_entry"]
    normal = normalised(texts)
    sizes = pc.binary_length(normal).to_numpy(zero_copy_only=False)
    looked_at = np.flatnonzero(np.isin(sizes, arrays["exact_bytes"]))
    found = _halves(normal.take(pa.array(looked_at)))
    first, last = (np.searchsorted(known[:, 0], found[:, 0], side) for side in ("left", "right"))
    # each text (place) with each entry (at) whose digest begins as its own does
    place = np.repeat(np.arange(len(found)), last - first)
    at = np.arange(len(place)) - np.repeat(np.cumsum(last - first) - last, last - first)
    is_same = known[at, 1] == found[place, 1]
    return Hits.of(row[looked_at[place[is_same]]], entry[at[is_same]], "exact", 1.0)


def exact_arrays(texts: pa.Array) -> dict[str, np.ndarray]:
    """What `exact_hits` needs to know of the texts of all entries."""
    normal = normalised(texts)
    sizes = pc.binary_length(normal).to_numpy(zero_copy_only=False)
    has_text = np.flatnonzero(sizes)
    halves = _halves(normal.take(pa.array(has_text)))
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    return {
        "exact_digest": halves[order],
        "exact_entry": has_text[order],
        "exact_bytes": np.unique(sizes[has_text]),
    }


def _halves(normal: pa.Array) -> np.ndarray:
    """uint64 [texts, 2]: digests of normalised texts that are not empty."""
    return np.frombuffer(b"".join(digests(normal).to_pylist()), np.uint64).reshape(len(normal), 2)


def embedding_hits(row: np.ndarray, vectors: np.ndarray, items: np.ndarray, threshold: float) -> Hits:
    """Pairs of rows and entries with a cosine of `threshold` or more, which is their share.

    Args:
        row: int64 [vectors]: the row of each vector
        vectors: float32 [vectors, dimension], unit rows
        items: float32 [entries, dimension], unit rows, or zeros where the embedder could not read the text
    """
    rows, entries = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for top in range(0, len(vectors), TILE):
        for left in range(0, len(items), TILE):
            # products of tiles differ in their last bits with the tile's size, so nothing is decided by them
            near = vectors[top : top + TILE] @ items[left : left + TILE].T >= threshold - MARGIN
            i, j = np.nonzero(near)
            rows.append(i + top)
            entries.append(j + left)
    i, j = np.concatenate(rows), np.concatenate(entries)
    cosines = np.einsum("rd,rd->r", vectors[i].astype(np.float64), items[j].astype(np.float64))
    is_near = cosines >= threshold
    return Hits.of(row[i[is_near]], j[is_near], "embedding", cosines[is_near])


def column_of(hits: Hits, rows: int, names: Sequence[str], entries: Mapping[str, np.ndarray]) -> pa.ListArray:
    """The column `contamination` of a table of `rows` rows: of each row its hits, those with the greatest
    share first, an item's part at most once a kind."""
    which, item, part = (entries[name][hits.entry] for name in ("set", "item", "part"))
    order = np.lexsort((-hits.share, hits.kind, part, item, which, hits.row))
    keys = np.stack([hits.row, which, item, part, hits.kind])[:, order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    order = order[is_first]
    order = order[np.lexsort((hits.kind[order], -hits.share[order], hits.row[order]))]
    starts = np.searchsorted(hits.row[order], np.arange(rows + 1))
    order = order[np.arange(len(order)) - starts[hits.row[order]] < MOST_HITS]
    starts = np.searchsorted(hits.row[order], np.arange(rows + 1))
    columns = [
        pa.array(names, pa.string()).take(pa.array(which[order])),
        pa.array(item[order], pa.int64()),
        pa.array(PARTS).take(pa.array(part[order])),
        pa.array(KINDS).take(pa.array(hits.kind[order])),
        pa.array(hits.share[order]),
    ]
    struct = pa.StructArray.from_arrays(columns, fields=list(CONTAMINATION.value_type))
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), struct)
