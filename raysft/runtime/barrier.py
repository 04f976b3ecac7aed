"""Barriers on Ray: `Fit`, `Partition` and `Gather` over the sealed rows of the stages before.

Tasks read narrow columns of each work shard; a hash shuffle moves whole keys together; one task gathers.
What comes out is stored with the pass (work.write_barrier) and laid over the rows as they stream on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from raysft.runtime.plan import Pass
from raysft.runtime.storage import Storage
from raysft.runtime.work import WorkShard, narrow_rows, read_fitted, read_marker, write_barrier
from raysft.sample import digest
from raysft.stage import Context, Fit, Fitted, Gather, Partition, fit_sample, merge_fitted

IN_FLIGHT = 64
RETRY_ADVICE = re.compile(r"\n?Failed to apply UDF transform after \d+/\d+ attempts .*\Z", re.DOTALL)


class GatherTooLarge(MemoryError):
    """A `Gather` would need more memory than its stage allows."""


def run_barriers(
    storage: Storage, p: Pass, shards: Sequence[WorkShard], seed: int, partitions: int
) -> list[WorkShard]:
    """Run a pass's barrier steps over all work shards and store what they found, unless that was done from
    the very same rows. Returns the shards, which now stand for the barrier's result too."""
    rows = digest(*(shard.digest for shard in shards))
    done = read_marker(storage, p.folder)
    if done is None or done.get("input") != rows:
        fitted, decided = _run(storage, p, shards, seed, partitions)
        done = write_barrier(storage, p.folder, fitted, decided, rows)
    return [replace(shard, barrier=done["id"]) for shard in shards]


def _run(
    storage: Storage, p: Pass, shards: Sequence[WorkShard], seed: int, partitions: int
) -> tuple[Fitted, pa.Table | None]:
    """What the pass's steps fitted and decided."""
    before = read_fitted(storage, p.earlier)
    context = p.context(seed, before)
    fitted, decided = Fitted(), None
    for index in p.barriers:
        step = p.steps[index]
        if isinstance(step, Fit):
            parts = _each(_narrow, shards, storage, p, index)
            found = ray.get(_fit.remote(p, index, context, list(parts)))
            fitted = merge_fitted(fitted, found)
            context = replace(context, fitted=merge_fitted(before, fitted))
        elif isinstance(step, Partition):
            decided = _shuffle(storage, p, index, shards, context, partitions)
        else:
            rows = decided if decided is not None else list(_each(_narrow, shards, storage, p, index))
            decided = [_gather.remote(p, index, context, rows)]
    tables = [t for t in ray.get(decided)] if decided is not None else None
    return fitted, pa.concat_tables(tables) if tables else None


def _each(task: Any, shards: Sequence[WorkShard], *arguments: Any, returns: int = 1) -> Iterator[Any]:
    """Start a task a work shard, at most IN_FLIGHT unfinished at once, and yield its references."""
    pending: list[Any] = []
    for shard in shards:
        if len(pending) >= IN_FLIGHT:
            _, pending = ray.wait(pending, num_returns=1)
        made = task.options(num_returns=returns).remote(shard.to_json(), *arguments)
        pending.append(made if returns == 1 else made[0])
        yield made


@ray.remote(num_cpus=1, max_retries=3)
def _narrow(shard: str, storage: Storage, p: Pass, index: int) -> pa.Table:
    return narrow_rows(storage, WorkShard.from_json(shard), p.steps[index], p.config)


@ray.remote(num_cpus=1, max_retries=3)
def _fit(p: Pass, index: int, context: Context, parts: list[Any]) -> Fitted:
    step = p.steps[index]
    assert isinstance(step, Fit)
    rows = pa.concat_tables(ray.get(parts)).combine_chunks()
    return step.fn(fit_sample(rows, step, context), p.config, context)


def _shuffle(
    storage: Storage, p: Pass, index: int, shards: Sequence[WorkShard], context: Context, n: int
) -> list[Any]:
    """One reference to a table of narrow rows a hash partition."""
    cut = [
        refs if n > 1 else [refs] for refs in _each(_keys, shards, storage, p, index, context, n, returns=n)
    ]
    return [_reduce.remote(p, index, context, [refs[part] for refs in cut]) for part in range(n)]


@ray.remote(num_cpus=1, max_retries=3)
def _keys(shard: str, storage: Storage, p: Pass, index: int, context: Context, n: int) -> Any:
    step = p.steps[index]
    assert isinstance(step, Partition)
    rows = narrow_rows(storage, WorkShard.from_json(shard), step, p.config)
    keyed = step.keys(rows, p.config, context).combine_chunks()
    part = pc.cast(keyed["key"], pa.uint64()).to_numpy() % np.uint64(n)
    tables = [keyed.filter(pa.array(part == np.uint64(i))) for i in range(n)]
    return tables if n > 1 else tables[0]


@ray.remote(num_cpus=1, max_retries=3)
def _reduce(p: Pass, index: int, context: Context, parts: list[Any]) -> pa.Table:
    step = p.steps[index]
    assert isinstance(step, Partition)
    rows = pa.concat_tables(ray.get(parts)).combine_chunks()
    return step.fn(rows.sort_by([("key", "ascending"), ("id", "ascending")]), p.config, context)


@ray.remote(num_cpus=1, max_retries=1)
def _gather(p: Pass, index: int, context: Context, parts: list[Any]) -> pa.Table:
    step = p.steps[index]
    assert isinstance(step, Gather)
    tables = ray.get(parts)
    size = sum(t.nbytes for t in tables)
    if size > step.max_bytes:
        raise GatherTooLarge(
            f"{p.stage} would gather {size / 2**20:,.0f} MiB in one task, its cap is "
            f"{step.max_bytes / 2**20:,.0f} MiB: put a stage that drops rows before it"
        )
    rows = pa.concat_tables(tables).combine_chunks()
    return step.fn(rows.sort_by("id") if "id" in rows.column_names else rows, p.config, context)


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
