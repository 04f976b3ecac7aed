"""Take out the rows that a list names, and all that was made from them.

Columns in: those of every row's history (id, parents, op, source), content_hash.
Columns out: none but the marks.
Drops: `removed`; the detail is the entry's reason, behind the ancestor's id where the row only descends from
    one that is named.

What a list names is in raysft/curate/removal_list.py. A row goes if an entry names it or if any row goes that
it was made from, over any number of generations: also through rows that other stages dropped or used up, and
through one parent of several. Of several ancestors the detail names the one fewest generations back, then
that of the first entry, then the smallest id; of several entries that name one row, the first.

Nothing is made later from rows that are taken out here, as they are not live. The stage belongs before those
that compare rows: else a row that goes may have won over another before.

Findings: of each entry how many rows it names and how many others were made from these; and the entries that
name no row: a typing mistake, or a request that is met already. All rows that the run ever wrote are counted.

Yardstick (docs/yardstick.md): nothing to find; it is told what to drop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from raysft.algorithms.lineage import nearest_ancestors
from raysft.curate.removal_list import Removal, Removals
from raysft.curate.removal_matches import integers, matches
from raysft.sample import mark_dropped
from raysft.stage import Context, Fit, Fitted, Map, TableConfig, finding

VERSION = 1
WRITES = "columns"
ID_BYTES = 32
SHOWN = 50


class Config(TableConfig):
    list: Removals = Field(
        description="what to remove and why: a file (.yaml, .json or .jsonl) or a list of entries, each with "
        "a reason and one of id, content_hash, source (and row, for one row of it) and licence"
    )


def columns(config: Config) -> tuple[str, ...]:
    """What the search reads beside the rows' history."""
    return ("content_hash",) if any(entry.content_hash for entry in config.list) else ()


def close(history: pa.Table, config: Config, context: Context) -> Fitted:
    """Arrays of all rows that go: `ids` uint8 [rows, 32], sorted; `entries` int64 [rows], the entry for which
    each goes; `ancestors` int64 [rows], the place in `ids` of the row that the entry names, maybe its own."""
    rows = _distinct(history)
    first, named = matches(rows, config.list)
    starts = np.flatnonzero(first >= 0)
    starts = starts[np.argsort(first[starts], kind="stable")]
    ancestor, generation = nearest_ancestors(len(rows), *_edges(rows), starts)
    gone = np.flatnonzero(ancestor >= 0)
    of = starts[ancestor[gone]]
    arrays = {
        "ids": _padded(rows["id"].take(pa.array(gone))),
        "entries": first[of],
        "ancestors": np.searchsorted(gone, of),
    }
    is_made = generation[gone] > 0
    made = np.bincount(first[of][is_made], minlength=len(config.list))
    note = (
        f"{len(starts):,} rows named, {np.count_nonzero(is_made):,} made of them; "
        f"{np.count_nonzero(named == 0):,} of {len(named):,} entries name none"
    )
    return Fitted(arrays, {"findings": findings(config.list, named, made), "notes": [note]})


def mark(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """Marks for the rows that go."""
    arrays = context.fitted.arrays
    known, own = _as_keys(arrays["ids"]), _as_keys(_padded(table["id"]))
    at = np.minimum(np.searchsorted(known, own), max(len(known) - 1, 0))
    hits = np.flatnonzero(known[at] == own) if len(known) else np.zeros(0, np.int64)
    if not len(hits):
        return table
    rules: list[str | None] = [None] * len(table)
    details: list[str | None] = [None] * len(table)
    for row, place in zip(hits.tolist(), at[hits].tolist(), strict=True):
        reason, ancestor = config.list[arrays["entries"][place]].reason, arrays["ancestors"][place]
        descends = f"descends from {known[ancestor].decode().rstrip()}: " if ancestor != place else ""
        rules[row], details[row] = "removed", f"{descends}{reason}"
    return mark_dropped(table, context.stage, rules, details)


def _distinct(history: pa.Table) -> pa.Table:
    """The history with each id once; it is sorted by id, and a row that several stages wrote stands there
    several times."""
    ids = history["id"].combine_chunks()
    is_first = np.ones(len(ids), bool)
    is_first[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    return history.filter(pa.array(is_first))


def _edges(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(parents, children), places among the rows, of all that were made from rows that are there."""
    parents = rows["parents"].combine_chunks()
    places = pc.index_in(pc.list_flatten(parents), rows["id"].combine_chunks())
    is_there = pc.is_valid(places)
    children = pc.list_parent_indices(parents).filter(is_there)
    return integers(places.filter(is_there)), integers(children)


def _padded(ids: pa.ChunkedArray) -> np.ndarray:
    """uint8 [ids, 32]: each id's bytes, blanks behind a shorter one."""
    padded = pc.cast(pc.ascii_rpad(ids.combine_chunks(), ID_BYTES), pa.binary()).cast(pa.binary(ID_BYTES))
    return np.frombuffer(padded.buffers()[1] or b"", np.uint8)[: len(padded) * ID_BYTES].reshape(-1, ID_BYTES)


def _as_keys(padded: np.ndarray) -> np.ndarray:
    """The same as an array of byte strings, which can be searched."""
    return np.ascontiguousarray(padded).view(f"S{ID_BYTES}").ravel()


def findings(entries: Sequence[Removal], named: np.ndarray, made: np.ndarray) -> list[dict[str, Any]]:
    """A table of the entries that name rows, most rows first, and one of those that name none."""
    order = np.lexsort((np.arange(len(entries)), -(named + made))).tolist()
    hits = [[entries[i].named, entries[i].reason, int(named[i]), int(made[i])] for i in order if named[i]]
    misses = [[entries[i].named, entries[i].reason] for i in range(len(entries)) if not named[i]]
    hits_table = _bounded("Removed: what the list names", ["entry", "reason", "rows", "made from them"], hits)
    misses_table = _bounded("Removed: entries that name no row", ["entry", "reason"], misses)
    return [table for table in (hits_table, misses_table) if table["rows"]]


def _bounded(title: str, heads: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    """A finding of `SHOWN` rows at most, which says how many more there are."""
    rest = [[f"and {len(rows) - SHOWN:,} more", *[None] * (len(heads) - 1)]] if len(rows) > SHOWN else []
    return finding(title, heads, rows[:SHOWN] + rest)


STEPS = (Fit(fn=close, columns=columns, history=True), Map(fn=mark))
