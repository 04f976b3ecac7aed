"""Sixteen pools at once on a mini-cluster: how much of the time their engines work, beside an ideal feed.

A recipe with `POOLS` stages of `curate.perplexity`, each with an engine of its own, is one segment: all its
pools are alive at once, and a work shard goes through them one after the other. Engines are stubs that take
each row's time and no processor (benchmarks/stub_llm.py); a row's time at one engine says nothing about the
next. So what is measured is Ray Data's scheduling, our reading and committing, and nothing of models.

    raysft       a run on a Ray cluster of a head without work and three nodes, from the moment the first
                 engine is ready to the last commit
    ideal_feed   the same stubs in one process: every work shard is there from the beginning, and at the next
                 engine the moment it leaves the one before

    make bench NAME=many_pools [ARGS="--rows 12800"]

`utilisation` in the facts is the share of the time that slots were busy, the mean over the pools.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Benchmark, BenchmarkError, Side, Work

POOLS = 16
NODES = 3
ROWS_PER_SHARD = 64


def pools_on_ray(rows: int) -> Work:
    """Ours: one segment of 16 pools on three nodes."""
    from benchmarks import stub_llm
    from raysft.runtime.cluster import connected

    with (
        tempfile.TemporaryDirectory(prefix="raysft-bench-") as folder,
        mini_cluster() as address,
        connected(address) as capacity,
    ):
        run = pools_run(Path(folder), rows, capacity)
        run.progress = clock = stub_llm.Clock()
        sealed = run.execute()
        begin = stub_llm.ready_of(Path(folder))[0]
        harness.measured_between(begin, clock.last)
        tokens = [sum(record.usage.tokens_in for record in m.shards) for m in sealed[1:]]
    return _work(rows, clock.last - begin, tokens)


@contextmanager
def mini_cluster() -> Iterator[str]:
    """The address of a cluster on this machine: a head without CPUs, and nodes of eight."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 256 << 20})
    try:
        for _ in range(NODES):
            cluster.add_node(num_cpus=8, object_store_memory=256 << 20)
        yield cluster.address
    finally:
        cluster.shutdown()


def pools_run(folder: Path, rows: int, capacity: Any) -> Any:
    """The run, with nothing done yet."""
    from benchmarks import stub_llm
    from benchmarks.runs import run_of

    engines, stages = {}, []
    for i in range(POOLS):
        model = folder / f"model-{i}"
        model.mkdir()
        (model / "config.json").write_text(json.dumps({"pool": i}))
        engines[f"e{i}"] = {"kind": "transformers", "model": str(model), "cpus": 0.5}
        config = {"engine": f"e{i}", "suffix": f"_{i}", "rows_per_shard": ROWS_PER_SHARD}
        stages.append({"curate.perplexity": config})
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps({"messages": list(m)}) + "\n" for m in conversations(rows)))
    tree = {
        "run": "pools",
        "root": str(folder),
        "engines": engines,
        "sources": [{"path": str(source)}],
        "stages": stages,
    }
    return run_of(tree, capacity, stub_llm.Builder(str(folder)))


def conversations(rows: int) -> list[tuple[dict[str, str], ...]]:
    """A request and an answer each."""
    return [
        ({"role": "user", "content": f"request {i}"}, {"role": "assistant", "content": f"answer {i}"})
        for i in range(rows)
    ]


def pools_at_best(rows: int) -> Work:
    """The peer: nothing between the engines."""
    from benchmarks import stub_llm

    asked = conversations(rows)
    shards = [asked[i : i + ROWS_PER_SHARD] for i in range(0, rows, ROWS_PER_SHARD)]

    async def go() -> list[int]:
        engines = [stub_llm.Slots(f"model-{i}") for i in range(POOLS)]
        tokens = [0] * POOLS

        async def through(shard: list[Any]) -> None:
            for i, engine in enumerate(engines):
                tokens[i] += sum(score.tokens for score in await engine.score(shard))

        await asyncio.gather(*(through(shard) for shard in shards))
        return tokens

    with harness.measured():
        tokens = asyncio.run(go())
        seconds = harness.measured_so_far()
    return _work(rows, seconds, tokens)


def _work(rows: int, seconds: float, tokens: list[int]) -> Work:
    from benchmarks import stub_llm

    asked = conversations(rows)
    busy = [
        sum(stub_llm.service_seconds(f"model-{i}", m[-1]["content"]) for m in asked) for i in range(POOLS)
    ]
    share = sum(busy) / (POOLS * stub_llm.SLOTS * seconds)
    return Work(json.dumps(tokens), {"utilisation": round(share, 3), "seconds": round(seconds, 2)})


def same_scores(works: Mapping[str, Work]) -> str:
    """Both sides scored every row at every pool once."""
    if len({work.digest for work in works.values()}) != 1:
        raise BenchmarkError(f"not the same rows were scored: {[w.digest[:60] for w in works.values()]}")
    return "every row was scored once by each pool"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=12_800)


BENCHMARK = Benchmark(
    name="many_pools",
    sides=(
        Side(harness.OURS, pools_on_ray, packages=("ray", "pyarrow")),
        Side("ideal_feed", pools_at_best),
    ),
    rounds=3,
    check=same_scores,
    options=options,
)

if __name__ == "__main__":
    sys.exit(harness.main(BENCHMARK))
