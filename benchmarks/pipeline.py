"""What streaming through Ray costs: CPU kernels against a plain loop, and how well engines are kept fed.

Two comparisons in one run, each of our sides with a peer that has the same work and no Ray.

    raysft         the first pass of `curate.minhash_dedup` (band keys of 128 permutations), in a run: read
                   from sealed shards, computed, committed with digest and counts
    plain_loop     the same kernel over the same shards in a pool of as many processes as there are cores:
                   read by pyarrow, computed, written by pyarrow; no commits, no digests, no counts
    raysft_feed    `augment.respond` in a run with stub engines that take each request's time and no
                   processor (benchmarks/stub_llm.py), from the moment all are ready to the last commit
    ideal_feed     the same stub engines, in one process, each given its share of all requests at once
    raysft_killed  raysft_feed, in which one of the actors is killed (kill -9) at half of the time

The first two are compared at the margin: the time for all shards less that for a few of them, both in one
process that is warm, so that neither starting nor ending counts. A shard is a block of at least 64 MiB.
Service times are log-normal with a long tail, clipped at 16 times their mean.

    make bench NAME=pipeline [ARGS="--shards 24 --requests 16000"]

A ratio of a peer is its time over that of our side it stands beside; raysft_killed's is over raysft_feed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import harness
from benchmarks.harness import HERE, Benchmark, BenchmarkError, Side, Work

if TYPE_CHECKING:
    from raysft.runtime.driver import Run

CACHE = HERE / ".data" / "pipeline"
FEW_SHARDS = 4
FILES_A_SHARD = 8
"""Files of benchmarks/instruction_rows.py in one block: 131,072 rows."""
LEAST_BLOCK_BYTES = 64 << 20
ENGINES = 4
FEED_ROWS_PER_SHARD = 32


def keys_on_ray(shards: int, requests: int) -> Work:
    """Ours: a run with the pass still before it, once over few shards and once over all."""
    from raysft.runtime.cluster import connected

    with connected(None) as capacity:
        times = []
        for number in (FEW_SHARDS, FEW_SHARDS, shards):  # the first is a warm-up
            run = keys_run(number, capacity)
            started = time.monotonic()
            run.execute()
            times.append((started, time.monotonic()))
    _measure_margin(times[1], times[2])
    return _keys_of(run)


def keys_in_a_loop(shards: int, requests: int) -> Work:
    """The peer: a pool of processes, a shard at a time each."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    run = keys_run(shards, None)
    folder = Path(run.storage.full(run.plan.acquire.folder)) / "shards"
    sources = sorted(str(path) for path in folder.iterdir())
    target = CACHE / "loop"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    cores = len(os.sched_getaffinity(0))
    times = []
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        for number in (FEW_SHARDS, FEW_SHARDS, shards):
            started = time.monotonic()
            digests = list(pool.map(_keys_of_shard, sources[:number], [str(target)] * number))
            times.append((started, time.monotonic()))
    _measure_margin(times[1], times[2])
    return Work(_digest(digests), {"shards": shards})


def _measure_margin(few: tuple[float, float], all_shards: tuple[float, float]) -> None:
    """Compared is the end of the longer stretch: what it takes beyond the shorter one."""
    harness.measured_between(all_shards[0] + few[1] - few[0], all_shards[1])


def _keys_of_shard(source: str, target: str) -> str:
    """Read a shard, make its band keys and write them; returns their digest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from raysft.curate.minhash_dedup import Config
    from raysft.sample import SCHEMA

    table = pq.read_table(source, columns=SCHEMA.names).combine_chunks()
    keys = _band_keys(table, Config())
    out = pa.table({"id": table["id"], "minhash": keys})
    pq.write_table(out, f"{target}/{Path(source).name}", compression="zstd", use_dictionary=["id"])
    return _column_digest(keys)


def _band_keys(table: Any, config: Any) -> Any:
    """The column that the pass adds."""
    from raysft.curate import minhash_dedup
    from raysft.stage import Context, Map

    step = next(s for s in minhash_dedup.STEPS if isinstance(s, Map))
    return step.fn(table, config, Context("curate.minhash_dedup", "", 0))["minhash"].combine_chunks()


def keys_run(shards: int, capacity: Any) -> Run:
    """A run over so many shards, acquired, with the one pass still before it."""
    from dataclasses import replace

    from benchmarks.runs import run_of

    tree = {
        "run": f"keys-{shards}",
        "root": str(CACHE / "runs"),
        "sources": [{"path": str(path)} for path in _sources(shards)],
        "stages": [{"curate.minhash_dedup": {"rows_per_shard": 1 << 20}}],
    }
    run = run_of(tree, capacity)
    run.plan = replace(run.plan, passes=run.plan.passes[:1])
    for p in run.plan.passes:
        shutil.rmtree(run.storage.full(p.folder), ignore_errors=True)
    return run


def _sources(shards: int) -> list[Path]:
    return [CACHE / "rows" / f"{i:03d}.parquet" for i in range(shards)]


def _keys_of(run: Run) -> Work:
    from raysft.runtime.manifest import read_manifest

    folder = run.plan.passes[0].folder
    sealed = read_manifest(run.storage, folder)
    assert sealed is not None
    digests = [
        _column_digest(run.storage.read_table(f"{folder}/shards/{r.name}")["minhash"].combine_chunks())
        for r in sealed.shards
    ]
    return Work(_digest(digests), {"shards": len(digests)})


def _column_digest(keys: Any) -> str:
    return hashlib.sha256(keys.flatten().to_numpy().tobytes()).hexdigest()


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()


def feed_on_ray(shards: int, requests: int) -> Work:
    """Ours: requests of a sealed stage through actors with stub engines."""
    return _feed(requests, killed=False)


def feed_killed(shards: int, requests: int) -> Work:
    """The same; one actor is killed when half of the time is over that the work takes at best."""
    return _feed(requests, killed=True)


def _feed(requests: int, killed: bool) -> Work:
    from benchmarks import stub_llm
    from raysft.runtime.cluster import connected

    with tempfile.TemporaryDirectory(prefix="raysft-bench-") as folder, connected(None) as capacity:
        run = stub_llm.feed_run(Path(folder), requests, ENGINES, FEED_ROWS_PER_SHARD, capacity)
        clock = stub_llm.Clock()
        run.progress = clock
        if killed:
            after = 0.5 * stub_llm.least_seconds(requests, ENGINES)
            threading.Thread(target=_kill_one, args=(Path(folder), after), daemon=True).start()
        sealed = run.execute()
        ready = stub_llm.ready_of(Path(folder))
        harness.measured_between(max(ready[:ENGINES]), clock.last)
        answers = stub_llm.answers_of(run.storage, sealed[-1])
    if killed and len(ready) == ENGINES:
        raise BenchmarkError("the work was over before an actor was killed")
    return Work(_digest(answers), {"completions": len(answers), "engines_started": len(ready)})


def _kill_one(folder: Path, after: float) -> None:
    """Kill the process of the engine that was ready first, `after` seconds after all are."""
    from benchmarks import stub_llm

    while len(stub_llm.ready_of(folder)) < ENGINES:
        time.sleep(0.05)
    time.sleep(after)
    os.kill(stub_llm.processes_of(folder)[0], signal.SIGKILL)


def feed_at_once(shards: int, requests: int) -> Work:
    """The peer: every engine has its share of the requests from the beginning, in their order."""
    from concurrent.futures import ThreadPoolExecutor

    from benchmarks import stub_llm

    engines = [stub_llm.StubEngine("model") for _ in range(ENGINES)]
    asked = stub_llm.requests(requests)
    with ThreadPoolExecutor(ENGINES) as pool, harness.measured():
        parts = list(pool.map(lambda i: engines[i].generate(asked[i::ENGINES]), range(ENGINES)))
    answers = [completion.outputs[0].text for part in parts for completion in part]
    return Work(_digest(answers), {"completions": len(answers)})


def prepare(shards: int, requests: int) -> Work:
    """The rows as sources of one block each, and their sealed shards; they stay for the next time."""
    import pyarrow.parquet as pq

    from benchmarks.instruction_rows import ROWS_PER_FILE, write
    from raysft.runtime.cluster import connected

    if shards <= FEW_SHARDS:
        raise BenchmarkError(f"--shards is {shards}; the margin needs more than {FEW_SHARDS}")
    rows = shards * FILES_A_SHARD * ROWS_PER_FILE
    made = HERE / ".data" / str(rows)
    write(rows, made)
    files = sorted((made / "rows").iterdir())
    (CACHE / "rows").mkdir(parents=True, exist_ok=True)
    for i, path in enumerate(_sources(shards)):
        if not path.exists():
            table = pq.read_table(files[i * FILES_A_SHARD : (i + 1) * FILES_A_SHARD])
            if table.nbytes < LEAST_BLOCK_BYTES:
                raise BenchmarkError(f"{path.name}: a block of {table.nbytes} bytes is too small")
            pq.write_table(table, path, compression="zstd")
    with connected(None) as capacity:
        for number in (FEW_SHARDS, shards):
            run = keys_run(number, capacity)
            run.plan = run.plan.until("acquire")
            run.execute()
    return Work("")


def same_work(works: Mapping[str, Work]) -> str:
    """Both sides of a comparison made the same."""
    keys = {works[name].digest for name in ("raysft", "plain_loop")}
    fed = {works[name].digest for name in ("raysft_feed", "ideal_feed", "raysft_killed")}
    if len(keys) > 1 or len(fed) > 1:
        raise BenchmarkError(f"outputs differ: { ({n: w.digest[:12] for n, w in works.items()}) }")
    completions = works["raysft_feed"].facts["completions"]
    return f"the same band keys; the same {completions:,} completions, none lost or twice"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shards", type=int, default=24, help=f"blocks of 131,072 rows, over {FEW_SHARDS}")
    parser.add_argument("--requests", type=int, default=16_000)


PACKAGES = ("ray", "pyarrow", "numpy")
BENCHMARK = Benchmark(
    name="pipeline",
    sides=(
        Side(harness.OURS, keys_on_ray, packages=PACKAGES),
        Side("plain_loop", keys_in_a_loop, packages=PACKAGES[1:]),
        Side("raysft_feed", feed_on_ray, packages=PACKAGES),
        Side("ideal_feed", feed_at_once, packages=PACKAGES[1:], beside="raysft_feed"),
        Side("raysft_killed", feed_killed, packages=PACKAGES, beside="raysft_feed"),
    ),
    rounds=3,
    check=same_work,
    prepare=prepare,
    options=options,
)

if __name__ == "__main__":
    sys.exit(harness.main(BENCHMARK))
