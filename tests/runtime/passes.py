"""Passes of real stages over a folder, run shard by shard in this process, as workers run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from raysft import stage as stages
from raysft.runtime import chain, manifest
from raysft.runtime.manifest import Manifest, Record
from raysft.runtime.passes import Pass
from raysft.runtime.storage import Storage
from raysft.runtime.work import Job, WorkShard, read_rows, run_passes
from raysft.stage import Counts

SEED = 7


def a_pass(stage: str, number: int, maps: tuple[int, ...] = (0,), **config: Any) -> Pass:
    """A pass of a stage whose steps are all maps."""
    module = stages.load(stage)
    folder = f"stages/{number:02d}-{stage.split('.')[1]}-{number:012d}"
    parsed = module.Config(**config)
    engine = getattr(parsed, "engine", None)
    made = f"print-{number}"
    return Pass(stage, parsed, 1, made, folder, module.WRITES, (), maps, engine, made)


def acquired(storage: Storage, *tables: pa.Table) -> Manifest:
    """A sealed stage of rows, one shard a table."""
    folder = "stages/00-acquire-000000000000"
    records = [
        manifest.commit(
            storage,
            folder,
            f"{n:05d}",
            table,
            base=None,
            input=f"source {n}",
            counts=Counts(rows_in=len(table), passed=len(table)),
        )
        for n, table in enumerate(tables)
    ]
    return seal(storage, Pass("acquire", None, 1, "print-0", folder, "rows"), records)


def seal(storage: Storage, p: Pass, records: Sequence[Record]) -> Manifest:
    return manifest.seal(
        storage,
        Manifest(p.stage, p.folder, p.fingerprint, p.writes, tuple(records), manifest.total(records)),
    )


def run(
    storage: Storage, sealed: Sequence[Manifest], passes: Sequence[Pass], engine: Any = None
) -> tuple[list[Manifest], list[WorkShard]]:
    """Run the passes over the last sealed stage as one segment; returns all manifests, and its shards."""
    shards = chain.work_shards(sealed, chain.plan_ranges(storage, sealed, passes))
    job = Job(storage, tuple(passes), SEED)
    done = [run_passes(job, shard, None, lambda: engine)[2] for shard in shards]
    made = [seal(storage, p, [records[i] for records in done]) for i, p in enumerate(passes)]
    return [*sealed, *made], shards


def rows_after(storage: Storage, sealed: Sequence[Manifest], rows_per_shard: int = 1 << 40) -> pa.Table:
    """All rows after these stages, read in ranges of this size."""
    shards = chain.work_shards(sealed, chain.ranges_of(sealed, rows_per_shard))
    tables = [read_rows(storage, shard) for shard in shards]
    return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
