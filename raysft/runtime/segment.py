"""A segment on Ray Data: work shards stream through all its worker pools at once.

A block is one row: a work shard's place and, as an Arrow stream, its rows. So a block is never empty,
never split and never merged, and one work shard stays one from end to end. Every pass commits its own
shard before the next pass sees it; the driver only learns what was committed.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, TaskPoolStrategy

from raysft.engines.build import build
from raysft.engines.spec import PROTOCOLS, Engine
from raysft.runtime.ledger import ENGINE, Ledger
from raysft.runtime.manifest import Record
from raysft.runtime.metering import Tally
from raysft.runtime.metrics import EngineMetrics, MeasuredEngine, run_name
from raysft.runtime.storage import Storage
from raysft.runtime.work import Job, WorkShard, pack_table, run_passes, unpack_table
from raysft.train.chat import encode

if TYPE_CHECKING:  # planning reads sources: imports that no worker needs
    from raysft.runtime.plan import Operator

CALLS_PER_ENGINE = {"llm": 8, "embedder": 2, "scorer": 2, "classifier": 2}

EngineBuilder = Callable[[Engine], Any]


def build_engine(spec: Engine) -> Any:
    """The engine of a spec; scorers see conversations as training does, and vLLM's own metrics go to Ray."""
    return build(spec, encode=encode, tells_ray=True)


def remote_options(spec: Engine) -> dict[str, Any]:
    """What Ray is asked for a place for one engine: CPUs, GPUs and labels, all of them on one node."""
    return {
        "num_cpus": spec.cpus,
        "num_gpus": spec.gpus,
        "label_selector": dict(spec.placement) or None,
    }


def stream(
    storage: Storage,
    operators: Sequence[Operator],
    shards: Sequence[WorkShard],
    engines: dict[str, Engine],
    seed: int,
    build_engine: EngineBuilder = build_engine,
    *,
    session: str,
    stop: str = "",
) -> Iterator[tuple[list[tuple[str, Record]], dict[str, float]]]:
    """Run a segment; yields, for each work shard as it ends, (folder, record) of every pass and the
    seconds that engines took to start, by process. Engines tell what they use below the driver's `session`;
    in the presence of the object `stop`, work shards pass untouched, with the records of what was done
    before."""
    items = [{"shard": s.to_json(), "records": "[]", "starts": "{}", "rows": b""} for s in shards]
    data: Any = ray.data.from_items(items, override_num_blocks=len(items))
    for operator in operators:
        job = Job(storage, operator.passes, seed, operator is not operators[-1], session, stop)
        if operator.engine is None:
            data = data.map_batches(
                _run_block,
                fn_args=(job,),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=1,
                compute=TaskPoolStrategy(),
            )
        else:
            data = _through_engine(data, job, operator.engine, engines[operator.engine], build_engine)
    for batch in data.iter_batches(batch_size=None, batch_format="pyarrow"):
        for records, starts in zip(batch["records"].to_pylist(), batch["starts"].to_pylist(), strict=True):
            yield [(f, Record.from_json(r)) for f, r in json.loads(records)], json.loads(starts)


def _through_engine(data: Any, job: Job, name: str, spec: Engine, build_engine: EngineBuilder) -> Any:
    calls = CALLS_PER_ENGINE[PROTOCOLS[spec.kind]]
    return data.map_batches(
        EngineWorker,
        fn_constructor_args=(job, name, spec, build_engine),
        batch_size=1,  # a block's one row; with GPUs, Ray Data takes no None
        batch_format="pyarrow",
        **remote_options(spec),
        compute=ActorPoolStrategy(
            min_size=spec.replicas.min,
            max_size=spec.replicas.max,
            max_tasks_in_flight_per_actor=2 * calls,
            max_concurrent_calls_per_actor=calls,
        ),
    )


def _run_block(
    block: pa.Table, job: Job, engine: Callable[[], Any] | None = None, tally: Tally | None = None
) -> pa.Table:
    """Run a job's passes on the work shards of a block (one a row). A shard that was stopped goes on as
    ""."""
    rows = []
    for row in block.to_pylist():
        if not row["shard"] or (job.stop and job.storage.exists(job.stop)):
            rows.append({**row, "shard": "", "rows": b""})
            continue
        table = unpack_table(pa.py_buffer(row["rows"])) if row["rows"] else None
        shard, table, records = run_passes(
            job, WorkShard.from_json(row["shard"]), table, engine or _no_engine, tally
        )
        told = json.loads(row["records"]) + [
            (p.folder, asdict(r)) for p, r in zip(job.passes, records, strict=True)
        ]
        rows.append(
            {
                "shard": shard.to_json(),
                "records": json.dumps(told),
                "starts": row["starts"],
                "rows": pack_table(table) if job.hands_on else b"",
            }
        )
    schema = pa.schema(
        [
            ("shard", pa.string()),
            ("records", pa.string()),
            ("starts", pa.string()),
            ("rows", pa.large_binary()),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def _no_engine() -> Any:
    raise RuntimeError("a step without an engine asked for one")


class EngineWorker:
    """An actor around one engine, built at its first use and shared by all calls of the actor.

    Stage functions run in threads, several work shards at a time, so that an engine with continuous
    batching always has requests waiting.
    """

    def __init__(self, job: Job, name: str, spec: Engine, build_engine: EngineBuilder) -> None:
        self._ledger = Ledger(job.storage, job.session, ENGINE, name, spec.cpus, spec.gpus)
        self._job = job
        self._spec = spec
        self._build = build_engine
        self._lock = threading.Lock()
        self._engine: Any = None
        self._starts: dict[str, float] = {}
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="work")

    def engine(self) -> Any:
        """The engine; the first call builds it and the others wait."""
        with self._lock:
            if self._engine is None:
                began = time.monotonic()
                built = self._build(self._spec)
                seconds = getattr(built, "start_seconds", 0.0)
                self._starts[f"{self._spec.kind}-{os.getpid()}"] = seconds
                self._ledger.started(time.monotonic() - began)
                self._engine = MeasuredEngine(built, self._metrics())
            return self._engine

    def _metrics(self) -> EngineMetrics:
        name = next(p.engine for p in self._job.passes if p.engine)
        return EngineMetrics(run_name(self._job.storage.root), name, on_gpu=self._spec.gpus > 0)

    async def __call__(self, block: pa.Table) -> AsyncIterator[pa.Table]:
        loop = asyncio.get_running_loop()
        tally = self._ledger.tally
        result = await loop.run_in_executor(self._threads, _run_block, block, self._job, self.engine, tally)
        await loop.run_in_executor(self._threads, self._ledger.write)
        starts = [json.dumps({**json.loads(s), **self._starts}) for s in result["starts"].to_pylist()]
        yield result.set_column(
            result.schema.get_field_index("starts"), "starts", pa.array(starts, pa.string())
        )

    def __del__(self) -> None:
        self._ledger.close()
        close = getattr(self._engine, "close", None)
        if close:
            close()
