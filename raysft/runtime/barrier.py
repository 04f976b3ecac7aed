"""Barriers on Ray: `Fit`, `Partition`, `Components` and `Gather` over the sealed rows of the stages before.

Tasks read narrow columns of each work shard; a hash shuffle moves whole keys together; one task gathers.
What comes out is stored with the pass (work.write_barrier) and laid over the rows as they stream on.
Sets that are owned already (raysft/runtime/owned.py) are read beside the run's own rows.

Tasks get tables as arguments, never as references in a list: one that waits for references keeps its worker,
and Ray starts another beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from raysft import stage as stages
from raysft.algorithms import stars
from raysft.engines.spec import Engine
from raysft.executor import components_of, fit_sample, merge_fitted, narrow_of, with_components
from raysft.runtime import owned
from raysft.runtime.manifest import Manifest, shard_path
from raysft.runtime.passes import Pass
from raysft.runtime.segment import EngineBuilder, build_engine, remote_options
from raysft.runtime.storage import Storage
from raysft.runtime.work import (
    WorkShard,
    read_fitted,
    read_marker,
    read_rows,
    rows_between,
    same_arrays,
    write_barrier,
)
from raysft.sample import digest
from raysft.stage import (
    HISTORY,
    Components,
    Context,
    Fit,
    Fitted,
    Gather,
    Map,
    Partition,
    apply_map,
    columns_of,
)

IN_FLIGHT = 64
PARTITION_ROWS = 1 << 21  # rows of the stage's input for each hash partition
MOST_ROUNDS = 100
RETRY_ADVICE = re.compile(r"\n?Failed to apply UDF transform after \d+/\d+ attempts .*\Z", re.DOTALL)


class GatherTooLarge(MemoryError):
    """A `Gather` would need more memory than its stage allows."""


@dataclass(frozen=True)
class Part:
    """What one task of a barrier reads: a work shard, of this run or of an owned set. `is_sketched`: what the
    stage would add to an owned set's rows stands in them already, and fits."""

    storage: Storage
    shard: WorkShard
    is_owned: bool = False
    is_sketched: bool = False

    @property
    def rows(self) -> int:
        return self.shard.base.stop - self.shard.base.start


@dataclass(frozen=True)
class Barrier:
    """A pass's barrier at work: where, over which rows, with which engines."""

    storage: Storage
    p: Pass
    shards: Sequence[WorkShard]
    sealed: Sequence[Manifest]
    engines: Mapping[str, Engine]
    build_engine: EngineBuilder
    partitions: int

    def run(self, seed: int) -> tuple[Fitted, pa.Table | None]:
        """What the pass's steps fitted and decided, decisions by `row`."""
        p = self.p
        before = read_fitted(self.storage, p.earlier)
        known = [read_fitted(s.storage, s.sketches) for s in p.owned if s.sketches]
        context = replace(p.context(seed, before), owned_fitted=tuple(known))
        fitted, joined = Fitted(), None
        rows: list[Any] | None = None
        for index in p.barriers:
            step = p.steps[index]
            if isinstance(step, Fit):
                given = list(self._fit_rows(step, index, context, joined) if rows is None else rows)
                task, engine = self._fit_task(step), self._engine(step)
                found = ray.get(task.remote(p, index, context, *engine, *given))
                fitted, rows = merge_fitted(fitted, found), None
                context = replace(context, fitted=merge_fitted(before, fitted))
            elif isinstance(step, Partition):
                rows = self._shuffle(index, context, joined)
            elif isinstance(step, Components):
                assert rows is not None
                joined, rows = connect(rows, step.max_edges, self.partitions), None
            else:
                given = list(self._narrow(index, context, joined) if rows is None else rows)
                rows = [_gather.remote(p, index, context, *given)]
        return fitted, self._decisions(ray.get(rows)) if rows is not None else None

    def parts(self, context: Context, with_owned: bool = True) -> list[Part]:
        """All that the barrier reads: the run's work shards, then those of owned sets."""
        found = [Part(self.storage, shard) for shard in self.shards]
        for one in self.p.owned if with_owned else ():
            theirs = read_fitted(one.storage, one.sketches)
            has_same = bool(one.sketches) and same_arrays(theirs, context.fitted)
            more = owned.shards_of(one, self.p.config.rows_per_shard, len(found))
            found += [Part(one.storage, shard, True, has_same) for shard in more]
        return found

    def _narrow(self, index: int, context: Context, joined: Any, with_owned: bool = True) -> Iterator[Any]:
        parts, shared = self.parts(context, with_owned), ray.put(context)
        return _each(_narrow, ([part, self.p, index, shared, joined] for part in parts))

    def _fit_rows(self, step: Fit, index: int, context: Context, joined: Any) -> Iterator[Any]:
        if not step.history:
            return self._narrow(index, context, joined, step.owned)
        told = [(m.folder, record.name) for m in self.sealed if m.writes == "rows" for record in m.shards]
        columns = list(dict.fromkeys([*HISTORY, *columns_of(step, self.p.config)]))
        return _each(_history, ([self.storage, folder, name, columns] for folder, name in told))

    def _engine(self, step: Fit) -> tuple[Engine | None, EngineBuilder]:
        name = getattr(self.p.config, step.engine) if step.engine else None
        return (self.engines[name] if name else None), self.build_engine

    def _fit_task(self, step: Fit) -> Any:
        spec, _ = self._engine(step)
        return _fit.options(**remote_options(spec)) if spec else _fit

    def _shuffle(self, index: int, context: Context, joined: Any) -> list[Any]:
        """One reference to a table of narrow rows a hash partition."""
        parts, shared = self.parts(context), ray.put(context)
        n = max(self.partitions, math.ceil(sum(part.rows for part in parts) / PARTITION_ROWS))
        tasks = ([part, self.p, index, shared, joined, n] for part in parts)
        cut = [refs if n > 1 else [refs] for refs in _each(_keys, tasks, returns=n)]
        return [_reduce.remote(self.p, index, shared, *(refs[i] for refs in cut)) for i in range(n)]

    def _decisions(self, tables: Sequence[pa.Table]) -> pa.Table:
        """All decisions, sorted by row; none is about an owned row."""
        decided = pa.concat_tables(tables).sort_by("row")
        rows = decided["row"].to_numpy()
        if len(rows) and rows[-1] >= len(self.shards) << 32:
            raise stages.RowsLost(f"{self.p.stage}: it decided on rows that are owned already")
        return decided


def run_barriers(
    storage: Storage,
    p: Pass,
    shards: Sequence[WorkShard],
    seed: int,
    partitions: int,
    *,
    sealed: Sequence[Manifest] = (),
    engines: Mapping[str, Engine] | None = None,
    build_engine: EngineBuilder = build_engine,
) -> list[WorkShard]:
    """Run a pass's barrier steps over all work shards and store what they found, unless that was done from
    the very same rows. `sealed` are the run's stages so far. Returns the shards, which now stand for the
    barrier's result too."""
    rows = digest(*(shard.digest for shard in shards))
    done = read_marker(storage, p.folder)
    if done is None or done.get("input") != rows:
        barrier = Barrier(storage, p, shards, sealed, engines or {}, build_engine, partitions)
        done = write_barrier(storage, p.folder, *barrier.run(seed), rows)
    return [replace(shard, barrier=done["id"]) for shard in shards]


def connect(edges: Sequence[Any], max_edges: int, partitions: int) -> Any:
    """A reference to (row, component), sorted by row, of tables of edges (row, other)."""
    sizes = ray.get([_length.remote(table) for table in edges])
    if sum(sizes) <= max_edges:
        return _components.remote(*edges)
    parts = [_pairs.remote(table) for table in edges]
    before = None
    for _ in range(MOST_ROUNDS):
        for name in ("large_star", "small_star"):
            keys = _star_keys.options(num_returns=partitions)
            cut = [keys.remote(part, name, partitions) for part in parts]
            if partitions > 1:
                parts = [_star.remote(name, *(refs[i] for refs in cut)) for i in range(partitions)]
            else:
                parts = [_star.remote(name, *cut)]
        told = [_edges_digest.remote(part) for part in parts]
        now = ray.get(told)
        if now == before:
            return _labels.remote(*parts)
        before = now
    raise RuntimeError(f"components did not settle in {MOST_ROUNDS} rounds")


def _each(task: Any, arguments: Iterator[Sequence[Any]], returns: int = 1) -> Iterator[Any]:
    """Start a task for each list of arguments, at most IN_FLIGHT unfinished at once; yields references."""
    pending: list[Any] = []
    for given in arguments:
        if len(pending) >= IN_FLIGHT:
            _, pending = ray.wait(pending, num_returns=1)
        made = task.options(num_returns=returns).remote(*given)
        pending.append(made if returns == 1 else made[0])
        yield made


def read_part(part: Part, p: Pass, index: int, context: Context, joined: pa.Table | None) -> pa.Table:
    """What a barrier step reads of one part."""
    step = p.steps[index]
    assert isinstance(step, Fit | Partition | Gather)
    columns = columns_of(step, p.config)
    added = set(stages.columns_added(stages.load(p.stage), p.config)) if part.is_owned else set()
    if added.intersection(columns) and not part.is_sketched:
        table = read_rows(part.storage, part.shard)
        for before in p.steps[:index]:
            if isinstance(before, Map):
                table = apply_map(before, table, p.config, context, p.writes)
    else:
        table = read_rows(part.storage, part.shard, columns)
    first = part.shard.first_row
    narrow = narrow_of(table, step, p.config, first=first, owned=part.is_owned)
    if joined is None:
        return narrow
    return with_components(narrow, rows_between(joined, first, len(table)))


@ray.remote(num_cpus=1, max_retries=3)
def _narrow(part: Part, p: Pass, index: int, context: Context, joined: Any) -> pa.Table:
    rows, step = read_part(part, p, index, context, joined), p.steps[index]
    # what is not of the smallest here is not of the smallest of all
    return fit_sample(rows, step, p.config, context) if isinstance(step, Fit) else rows


@ray.remote(num_cpus=1, max_retries=3)
def _history(storage: Storage, folder: str, name: str, columns: list[str]) -> pa.Table:
    return storage.read_table(shard_path(folder, name), columns)


@ray.remote(num_cpus=1, max_retries=3)
def _fit(
    p: Pass, index: int, context: Context, spec: Engine | None, build: EngineBuilder, *parts: pa.Table
) -> Fitted:
    step = p.steps[index]
    assert isinstance(step, Fit)
    rows = pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    engine = build(spec) if spec is not None else None
    try:
        return step.fn(fit_sample(rows, step, p.config, context), p.config, replace(context, engine=engine))
    finally:
        close = getattr(engine, "close", None)
        if close:
            close()


@ray.remote(num_cpus=1, max_retries=3)
def _keys(part: Part, p: Pass, index: int, context: Context, joined: Any, n: int) -> Any:
    step = p.steps[index]
    assert isinstance(step, Partition)
    rows = read_part(part, p, index, context, joined)
    keyed = step.keys(rows, p.config, context).combine_chunks()
    if n == 1:
        return keyed
    of = (pc.cast(keyed["key"], pa.uint64()).to_numpy() % np.uint64(n)).astype(np.uint16)
    ordered = keyed.take(pa.array(np.argsort(of, kind="stable")))  # of 16 bits, by counting
    sizes = np.bincount(of, minlength=n)
    return [ordered.slice(end - size, size) for end, size in zip(np.cumsum(sizes), sizes, strict=True)]


@ray.remote(num_cpus=1, max_retries=3)
def _reduce(p: Pass, index: int, context: Context, *parts: pa.Table) -> pa.Table:
    step = p.steps[index]
    assert isinstance(step, Partition)
    rows = pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    return step.fn(rows, p.config, context)


@ray.remote(num_cpus=1, max_retries=1)
def _gather(p: Pass, index: int, context: Context, *parts: pa.Table) -> pa.Table:
    step = p.steps[index]
    assert isinstance(step, Gather)
    size = sum(t.nbytes for t in parts)
    if size > step.max_bytes:
        raise GatherTooLarge(
            f"{p.stage} would gather {size / 2**20:,.0f} MiB in one task, its cap is "
            f"{step.max_bytes / 2**20:,.0f} MiB: put a stage that drops rows before it"
        )
    rows = pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    return step.fn(rows.sort_by("id") if "id" in rows.column_names else rows, p.config, context)


@ray.remote(num_cpus=1, max_retries=3)
def _length(table: pa.Table) -> int:
    return len(table)


@ray.remote(num_cpus=1, max_retries=3)
def _components(*edges: pa.Table) -> pa.Table:
    return components_of(pa.concat_tables(edges).combine_chunks())


@ray.remote(num_cpus=1, max_retries=3)
def _pairs(edges: pa.Table) -> np.ndarray:
    """int64 [edges, 2]."""
    return np.stack([edges["row"].to_numpy(), edges["other"].to_numpy()], axis=1)


@ray.remote(num_cpus=1, max_retries=3)
def _star_keys(edges: np.ndarray, name: str, n: int) -> Any:
    pairs = getattr(stars, f"{name}_keys")(edges)
    cut = [pairs[pairs[:, 0] % n == i] for i in range(n)]
    return cut if n > 1 else cut[0]


@ray.remote(num_cpus=1, max_retries=3)
def _star(name: str, *parts: np.ndarray) -> np.ndarray:
    return getattr(stars, name)(np.concatenate(parts))


@ray.remote(num_cpus=1, max_retries=3)
def _edges_digest(edges: np.ndarray) -> str:
    return digest(np.sort(edges, axis=1).tobytes().hex())


@ray.remote(num_cpus=1, max_retries=3)
def _labels(*parts: np.ndarray) -> pa.Table:
    """(row, component) of edges that all lead from a row to the smallest of its component."""
    edges = np.concatenate(parts)
    row = np.concatenate([edges[:, 0], np.unique(edges[:, 1])])
    component = np.concatenate([edges[:, 1], np.unique(edges[:, 1])])
    return pa.table({"row": row, "component": component}).sort_by("row")


def with_cause(error: BaseException) -> BaseException:
    """The error a worker's own code raised, out of Ray's wrappings, without Ray Data's advice behind it."""
    while True:
        inner = getattr(error, "cause", None) or (
            error.__cause__ if type(error).__module__.startswith("ray.") else None
        )
        if not isinstance(inner, BaseException):
            break
        error = inner
    texts = [RETRY_ADVICE.sub("", a) if isinstance(a, str) else a for a in error.args]
    error.args = tuple(after for after, before in zip(texts, error.args, strict=True) if after or not before)
    return error
