"""The kernels of `curate.minhash_dedup` in a plain loop: what a script without Ray would do, for comparison.

It reads the columns that the stage reads from the same sealed shards, and commits what the stage commits: for
each work shard a sidecar with the rows' band keys, and one with their marks. Bands alone decide.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysft.algorithms import minhash
from raysft.algorithms.buckets import bucket_forest
from raysft.algorithms.union_find import roots
from raysft.curate.minhash_dedup import Config, bands_of
from raysft.curate.preference import ORDER, preference_columns, with_preference
from raysft.curate.texts import texts_of
from raysft.runtime import chain, manifest
from raysft.runtime.manifest import Manifest, Record
from raysft.runtime.storage import Storage
from raysft.runtime.work import WorkShard, read_rows
from raysft.sample import mark_dropped
from raysft.stage import Counts

STAGE, FOLDER = "curate.minhash_dedup", "stages/loop"


@dataclass(frozen=True)
class Loop:
    """Near duplicates among the rows of sealed stages, one work shard after the other."""

    storage: Storage
    sealed: Sequence[Manifest]
    config: Config

    def run(self) -> list[Manifest]:
        """The sealed stages, and two more: keys and marks. What an earlier run left is removed."""
        shutil.rmtree(self.storage.full(FOLDER), ignore_errors=True)
        shards = chain.work_shards(self.sealed, chain.ranges_of(self.sealed, self.config.rows_per_shard))
        sketched = [self._sketch(shard) for shard in shards]
        ranked = pa.concat_tables([table for _, _, table in sketched])
        winner = winners(np.concatenate([keys for _, keys, _ in sketched]), ranked)
        ids, first, marks = ranked["id"].combine_chunks(), 0, []
        for shard in shards:
            rows = np.arange(first, first + shard.base.stop - shard.base.start)
            marks.append(self._mark(shard, winner[rows], rows, ids))
            first += len(rows)
        return [
            *self.sealed,
            self._seal("keys", [record for record, _, _ in sketched]),
            self._seal("marks", marks),
        ]

    def _sketch(self, shard: WorkShard) -> tuple[Record, np.ndarray, pa.Table]:
        """uint64 [rows, bands] of a shard, which is committed, and what its rows are ranked by."""
        config = self.config
        table = read_rows(self.storage, shard, ["messages", *preference_columns(config)])
        texts = texts_of(table, config.on)
        bands, rows = bands_of(config)
        keys, shingles = minhash.band_keys(
            texts,
            bands=bands,
            rows=rows,
            n=config.ngram,
            n_cjk=config.ngram_cjk,
            seed=config.seed,
        )
        assert shingles.all(), "a text without any token is not expected here"
        starts = pa.array(np.arange(len(keys) + 1) * bands, pa.int32())
        lists = pa.ListArray.from_arrays(starts, pa.array(keys.ravel()))
        record = self._commit("keys", shard, pa.table({"id": table["id"], "minhash": lists}))
        table = table.append_column("row", pa.array(np.arange(len(table))))
        table = table.append_column("owned", pa.array(np.zeros(len(table), bool)))
        return record, keys, with_preference(table, config)

    def _mark(self, shard: WorkShard, winner: np.ndarray, rows: np.ndarray, ids: pa.Array) -> Record:
        table = read_rows(self.storage, shard, [])
        is_loser = winner != rows
        details = ids.take(pa.array(winner, mask=~is_loser)).to_pylist()
        rules = ["near_duplicate" if lost else None for lost in is_loser]
        marked = mark_dropped(table, STAGE, rules, details)
        return self._commit("marks", shard, marked.select(["id", "drop_stage", "drop_rule", "drop_detail"]))

    def _commit(self, name: str, shard: WorkShard, table: pa.Table) -> Record:
        base = (shard.base.name, shard.base.start, shard.base.stop)
        folder = f"{FOLDER}/{name}"
        return manifest.commit(
            self.storage, folder, shard.unit, table, base=base, input=shard.digest, counts=Counts()
        )

    def _seal(self, name: str, records: Sequence[Record]) -> Manifest:
        sealed = Manifest(STAGE, f"{FOLDER}/{name}", "", "columns", tuple(records), Counts())
        return manifest.seal(self.storage, sealed)


def winners(keys: np.ndarray, ranked: pa.Table) -> np.ndarray:
    """int64 [rows]: the best row of each row's component."""
    order = pc.sort_indices(ranked, sort_keys=list(ORDER)).to_numpy().astype(np.int64)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    parent = np.arange(len(order), dtype=np.int64)  # over ranks, so that a root is the best row
    for band in range(keys.shape[1]):
        bucket_forest(np.ascontiguousarray(keys[:, band]), rank, np.zeros(len(order), bool), parent)
    return order[roots(parent)][rank]
