"""What a worker does with one work shard: read it, run passes on it, commit each, hand it on.

Nothing here imports Ray: the same functions run in tests, tasks and engine actors.

A work shard is a range of rows of one base shard. Stages that annotate write sidecars: the same rows in
the same order, with `id` and the new or changed columns. Reading lays the sidecars over the base and
compares the ids. Each commit records a digest of what was read (`Record.input`), so that a shard is only
taken over from an earlier attempt when it was made from the very rows that stand there now.
"""

from __future__ import annotations

import functools
import io
import json
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.numpy

from raysft.executor import merge_fitted
from raysft.runtime import manifest
from raysft.runtime.manifest import Record, shard_path
from raysft.runtime.metering import NOTHING_USED, Metered, Tally
from raysft.runtime.passes import Pass
from raysft.runtime.storage import ROW_GROUP_ROWS, Storage
from raysft.sample import digest, live_mask, rows_where, set_column, without_truth
from raysft.stage import COUNTED, MARKS, Fitted, Map, RowsLost, apply_map, count, join_decisions

DECISIONS = "_decisions.parquet"
FITTED_ARRAYS = "_fitted.safetensors"
FITTED_VALUES = "_fitted.json"
BARRIER = "_barrier.json"
ROW_BITS = 32  # of a handle: the place in the work shard


@dataclass(frozen=True)
class Piece:
    """Rows [start, stop) of one shard file."""

    folder: str
    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class WorkShard:
    """Rows to work on: a base piece, and for each annotating stage since then the pieces that cover it.
    `digest` stands for all that is read, `barrier` for what a barrier over these rows found just now.
    `number` is its place among the work shards of its segment, from which its rows' handles are made."""

    unit: str
    base: Piece
    sidecars: tuple[tuple[Piece, ...], ...] = ()
    digest: str = ""
    barrier: str = ""
    number: int = 0

    @property
    def first_row(self) -> int:
        """The handle (`row`) of its first row."""
        return self.number << ROW_BITS

    @property
    def input(self) -> str:
        """What the next pass works from, as its record says it."""
        return digest(self.digest, self.barrier) if self.barrier else self.digest

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> WorkShard:
        value = json.loads(text)
        sidecars = tuple(tuple(Piece(**p) for p in pieces) for pieces in value["sidecars"])
        return WorkShard(**{**value, "base": Piece(**value["base"]), "sidecars": sidecars})


@dataclass(frozen=True)
class Job:
    """What all work shards of an operator share: where, which passes, how chance is seeded, whether another
    operator takes the rows over, the driver's `session`, and the object `stop` in whose presence no work
    shard begins ("" for none)."""

    storage: Storage
    passes: tuple[Pass, ...]
    seed: int
    hands_on: bool = False
    session: str = ""
    stop: str = ""


def read_rows(storage: Storage, shard: WorkShard, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a work shard with all sidecars laid over; of `columns`, `id` and the marks if given.

    Every stage, the curated set and training get their rows here, so truth columns are left out here.

    Raises:
        RowsLost: a sidecar does not have the base's ids.
    """
    wanted = None if columns is None else list(dict.fromkeys(["id", *columns, *MARKS]))
    base = shard.base
    table = storage.read_table(shard_path(base.folder, base.name), wanted, base.start, base.stop)
    for pieces in shard.sidecars:
        done, parts = 0, []
        for piece in pieces:
            layer = storage.read_table(shard_path(piece.folder, piece.name), wanted, piece.start, piece.stop)
            parts.append(overlay(table.slice(done, len(layer)), layer))
            done += len(layer)
        if done != len(table):
            raise RowsLost(f"{shard.unit}: sidecars hold {done} rows of {len(table)}")
        table = pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    return without_truth(table)


def overlay(table: pa.Table, layer: pa.Table) -> pa.Table:
    """The table with the columns of a sidecar set."""
    if not layer["id"].combine_chunks().equals(table["id"].combine_chunks()):
        raise RowsLost("a sidecar's ids are not those of its base")
    for name in layer.column_names:
        if name != "id":
            table = set_column(table, name, layer[name])
    return table


def run_passes(
    job: Job,
    shard: WorkShard,
    table: pa.Table | None,
    engine: Callable[[], Any],
    tally: Tally | None = None,
) -> tuple[WorkShard, pa.Table, list[Record]]:
    """Run a job's passes on a work shard, committing each; a pass that was committed is read instead.

    `table` is the shard's rows where the caller has them; `tally` is that of the process which holds the
    engine. Returns what the next operator goes on with.
    """
    records = []
    for p in job.passes:
        done = manifest.read_record(job.storage, p.folder, shard.unit)
        if done is not None and is_of(done, shard):
            shard, table, record = advance(shard, p, done), None, done
        else:
            if table is None:
                table = read_rows(job.storage, shard, _needed(job))
            record, table = _run_pass(job, p, shard, table, engine, tally or Tally())
            shard = advance(shard, p, record)
        records.append(record)
    if table is None:
        table = read_rows(job.storage, shard, _needed(job))
    return shard, table, records


def _needed(job: Job) -> list[str] | None:
    """The columns that a job reads, None for all: who only lays a barrier's decisions over rows needs those
    alone that it changes, and what counts are told by."""
    if job.hands_on or any(p.maps or p.writes == "rows" for p in job.passes):
        return None
    markers = [read_marker(job.storage, p.folder) or {} for p in job.passes]
    return ["op", *(name for marker in markers for name in marker.get("columns", ()))]


def is_of(record: Record, shard: WorkShard) -> bool:
    """Whether a record was made from this work shard: from rows like these, and, for a sidecar, beside this
    very base shard, since two attempts at one can both have written it."""
    base = shard.base
    return record.input == shard.input and record.base in (None, (base.name, base.start, base.stop))


def advance(shard: WorkShard, p: Pass, record: Record) -> WorkShard:
    """The work shard after a pass: its rows if it wrote rows, else one more sidecar."""
    piece, part = Piece(p.folder, record.name, 0, record.rows), (record, 0, record.rows)
    if p.writes == "rows":
        return replace(shard, base=piece, sidecars=(), digest=digest_of([part]), barrier="")
    sidecars = (*shard.sidecars, (piece,))
    return replace(shard, sidecars=sidecars, digest=digest_of([part], shard.digest), barrier="")


def digest_of(parts: Sequence[tuple[Record, int, int]], below: str = "") -> str:
    """What stands for rows [start, stop) of shards laid over what `below` stands for. It tells content, not
    names, so that it is the same whether a segment goes on or a later run begins here."""
    return digest(below, *(part for record, *span in parts for part in (record.sha256, *span)))


def _run_pass(
    job: Job, p: Pass, shard: WorkShard, table: pa.Table, engine: Callable[[], Any], tally: Tally
) -> tuple[Record, pa.Table]:
    started = time.monotonic()
    mask = live_mask(table)
    rows = rows_where(table, mask) if p.writes == "rows" else table
    fitted = read_fitted(job.storage, (*p.earlier, p.folder))
    context = p.context(job.seed, fitted)
    own = read_decisions(job.storage, p.folder, shard.first_row, len(table)) if p.barriers else None
    after = rows
    if own is not None:
        places = own["row"].to_numpy() - shard.first_row
        if p.writes == "rows":  # then `rows` are the live ones alone
            places = np.cumsum(mask.to_numpy(zero_copy_only=False))[places] - 1
        after = join_decisions(rows, set_column(own, "row", pa.array(places)), p.stage)
    meter = Metered(engine(), tally) if p.engine else None
    for index in p.maps:
        step = p.steps[index]
        assert isinstance(step, Map)
        used = replace(context, engine=meter) if step.engine else context
        after = apply_map(step, after, p.config, used, p.writes)
    counted = after.select([name for name in COUNTED if name in after.column_names])
    counted = counted if p.writes == "rows" else rows_where(counted, mask)
    counts = count(rows_where(table.select(["id"]), mask), counted)
    stored = after if p.writes == "rows" else sidecar(table, after)
    base = None if p.writes == "rows" else (shard.base.name, shard.base.start, shard.base.stop)
    record = manifest.commit(
        job.storage,
        p.folder,
        shard.unit,
        stored,
        base=base,
        input=shard.input,
        counts=counts,
        seconds=time.monotonic() - started,
        usage=meter.used if meter else NOTHING_USED,
    )
    return record, after


def sidecar(before: pa.Table, after: pa.Table) -> pa.Table:
    """`id` and the columns of `after` that are new or differ."""
    names = [
        name
        for name in after.column_names
        if name != "id" and (name not in before.column_names or not after[name].equals(before[name]))
    ]
    return after.select(["id", *names])


def read_decisions(storage: Storage, folder: str, first: int = 0, rows: int | None = None) -> pa.Table | None:
    """What a pass's barrier decided, or what of it is about handles from `first` on, `rows` of them at most;
    None where its barrier only fitted."""
    starts = storage.read_json(f"{folder}/{BARRIER}")["starts"]
    if starts is None:
        return None
    if rows is None:
        return storage.read_table(f"{folder}/{DECISIONS}")
    begin, end = max(bisect_right(starts, first) - 1, 0), bisect_left(starts, first + rows)
    span = (begin * ROW_GROUP_ROWS, end * ROW_GROUP_ROWS)
    return rows_between(storage.read_table(f"{folder}/{DECISIONS}", None, *span), first, rows)


def read_fitted(storage: Storage, folders: Sequence[str]) -> Fitted:
    """What the `Fit` steps of these passes found, merged; empty where they have none."""
    found = Fitted()
    for folder in folders:
        marker = read_marker(storage, folder)
        if marker is not None:
            found = merge_fitted(found, _read_fitted(storage.root, folder, marker["id"]))
    return found


def read_marker(storage: Storage, folder: str) -> dict[str, Any] | None:
    """What `write_barrier` returned, or None while a pass's barrier has not ended."""
    try:
        return storage.read_json(f"{folder}/{BARRIER}")
    except FileNotFoundError:
        return None


@functools.lru_cache(maxsize=4)
def _read_fitted(root: str, folder: str, _id: str) -> Fitted:
    storage = Storage(root)
    arrays = safetensors.numpy.load(storage.read_bytes(f"{folder}/{FITTED_ARRAYS}"))
    return Fitted(arrays, storage.read_json(f"{folder}/{FITTED_VALUES}"))


def write_barrier(
    storage: Storage, folder: str, fitted: Fitted, decisions: pa.Table | None, input: str
) -> dict[str, Any]:
    """Store what a barrier found, decisions sorted by `row`.

    The marker is written last and returned: the files' digests, an `id` over them, `input`, which stands for
    the rows they were found in, and of the decisions their `columns` and, in `starts`, the first `row` of
    each row group, by which a work shard finds its own.
    """
    files: dict[str, str] = {}
    columns: list[str] = []
    starts = None
    if decisions is not None:
        files[DECISIONS] = storage.write_table(f"{folder}/{DECISIONS}", decisions).sha256
        columns = decisions.column_names
        starts = decisions["row"].to_numpy()[::ROW_GROUP_ROWS].tolist()
    arrays = safetensors.numpy.save(dict(fitted.arrays))
    files[FITTED_ARRAYS] = storage.write_bytes(f"{folder}/{FITTED_ARRAYS}", arrays).sha256
    files[FITTED_VALUES] = storage.write_json(f"{folder}/{FITTED_VALUES}", fitted.values).sha256
    told = {"files": files, "id": digest(*files.values()), "input": input}
    marker = {**told, "columns": columns, "starts": starts}
    storage.write_json(f"{folder}/{BARRIER}", marker)
    return marker


def pack_table(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def unpack_table(data: pa.Buffer) -> pa.Table:
    """The table of `pack_table`, without a copy."""
    return pa.ipc.open_stream(data).read_all()


def rows_between(table: pa.Table, first: int, rows: int) -> pa.Table:
    """Of a table sorted by `row` those with a handle from `first` on, `rows` of them at most."""
    start, stop = np.searchsorted(table["row"].to_numpy(), [first, first + rows])
    return table.slice(start, stop - start)


def same_arrays(one: Fitted, other: Fitted) -> bool:
    """Whether two results hold the same arrays."""
    return one.arrays.keys() == other.arrays.keys() and all(
        np.array_equal(array, other.arrays[name]) for name, array in one.arrays.items()
    )
