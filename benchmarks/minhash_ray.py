"""Near duplicates, the whole stage: ours on Ray, data-juicer's on Ray, and our kernels in a plain loop.

All sides find rows that share one of 16 bands of 8 MinHashes over word 3-grams, join them into components
and keep one row of each; they read Parquet and write Parquet. The rows are made up, with planted near
duplicates (benchmarks/instruction_rows.py).

    raysft            curate.minhash_dedup in a run, over sealed shards of samples, each pass committed and
                      sealed. `verify: false`: the bands alone decide, as they do for data-juicer.
    raysft_verified   the same with the stage's defaults: pairs must be similar enough, too
    plain_loop        our kernels in one process without Ray: a loop over the same shards, the same columns
                      read and written by the same storage (benchmarks/minhash_loop.py)
    data_juicer       py-data-juicer's ray_bts_minhash_deduplicator over files of (id, text), to files

Starting Ray, its workers and actors, imports and compiled code is not compared: every side first does the
same over a few rows.

    make bench NAME=minhash_ray [ARGS="--rows 200000"]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import harness
from benchmarks.harness import HERE, Benchmark, BenchmarkError, Side, Work

if TYPE_CHECKING:
    import numpy as np

    from raysft.runtime.driver import Run
    from raysft.runtime.manifest import Manifest
    from raysft.runtime.storage import Storage

CACHE = HERE / ".data"
WARM_UP_ROWS = 4096
BANDS, BAND_ROWS, NGRAM = 16, 8, 3
UNION_FIND_ACTORS = "auto"
"""data-juicer's default: one for two CPUs. On two cores that was the fastest of what was tried: a Ray with 2,
4 and 8 CPUs, 1, 2 and 4 actors, blocks as Ray cuts them and 32 of them (docs/benchmarks.md)."""
STRONG = 0.85
"""Similarity from which a planted duplicate should be found: 16 bands of 8 miss one in 160 there."""
LEAST_FOUND = 0.97
MOST_APART = 0.005
"""Share of rows by which two sides' numbers of kept rows may differ. Their hash functions are not the same,
so pairs in the steep part of the curve fall either way."""
MOST_LOST = 0.0005
"""Share of rows whose group may vanish because all of it was taken for another group's."""


def dedup_on_ray(rows: int) -> Work:
    """Ours, by the bands alone."""
    return _on_ray(rows, {"verify": False})


def dedup_verified_on_ray(rows: int) -> Work:
    """Ours as users get it."""
    return _on_ray(rows, {})


def _on_ray(rows: int, config: dict[str, Any]) -> Work:
    from raysft.runtime.cluster import connected

    with connected(None) as capacity:
        stage_run(WARM_UP_ROWS, capacity, {**config, "rows_per_shard": 256}).execute()
        run = stage_run(rows, capacity, config)
        with harness.measured():
            sealed = run.execute()
    passes = {m.folder.split("/")[-1].rsplit("-", 1)[0]: m.seconds for m in sealed[1:]}
    return work_of(rows, kept_of(run.storage, sealed), {"passes_s": passes})


def dedup_in_a_loop(rows: int) -> Work:
    """Our kernels without Ray."""
    from benchmarks.minhash_loop import Loop
    from raysft.curate.minhash_dedup import Config

    few, many = (Loop(*acquired(n), config=Config(**bands())) for n in (WARM_UP_ROWS, rows))
    few.run()
    with harness.measured():
        sealed = many.run()
    return work_of(rows, kept_of(many.storage, sealed), {})


def prepare(rows: int) -> Work:
    """The made-up rows, as files and as sealed shards of samples; they stay for the next time."""
    from benchmarks.instruction_rows import write
    from raysft.runtime.cluster import connected

    with connected(None) as capacity:
        for n in (WARM_UP_ROWS, rows):
            write(n, data_folder(n))
            run = stage_run(n, capacity, {})
            run.plan = run.plan.until("acquire")
            run.execute()
    return Work("")


def acquired(rows: int) -> tuple[Storage, list[Manifest]]:
    """The sealed samples that `prepare` left, and where they are."""
    from raysft.runtime.manifest import read_manifest

    run = stage_run(rows, None, {})
    sealed = read_manifest(run.storage, run.plan.acquire.folder)
    assert sealed is not None
    return run.storage, [sealed]


def stage_run(rows: int, capacity: Any, config: Mapping[str, Any]) -> Run:
    """A run that has the stage still before it."""
    from benchmarks.runs import run_of

    folder = data_folder(rows)
    tree = {
        "run": "run",
        "root": str(folder),
        "sources": [{"path": str(folder / "rows" / "*.parquet")}],
        "stages": [{"curate.minhash_dedup": {**bands(), **config}}],
    }
    run = run_of(tree, capacity)
    for p in run.plan.passes:
        shutil.rmtree(run.storage.full(p.folder), ignore_errors=True)
    return run


def bands() -> dict[str, int]:
    """Fields of the stage that all sides share."""
    return {"num_perm": BANDS * BAND_ROWS, "bands": BANDS, "rows": BAND_ROWS, "ngram": NGRAM}


def kept_of(storage: Storage, sealed: Sequence[Manifest]) -> np.ndarray:
    """Numbers of the made-up rows that live at the end of a chain of sealed stages."""
    import numpy as np
    import pyarrow.compute as pc

    from benchmarks.instruction_rows import ROWS_PER_FILE
    from raysft.runtime import chain
    from raysft.runtime.work import read_rows
    from raysft.sample import live

    found = []
    for shard in chain.work_shards(sealed, chain.ranges_of(sealed, ROWS_PER_FILE)):
        source = live(read_rows(storage, shard, ["source"]))["source"].combine_chunks()
        file = pc.replace_substring_regex(source.field("uri"), r".*/(\d+)\.parquet", r"\1")
        found.append(pc.cast(file, "int64").to_numpy() * ROWS_PER_FILE + source.field("row").to_numpy())
    return np.concatenate(found)


def dedup_with_data_juicer(rows: int) -> Work:
    """The peer: its operator on a Ray dataset, from files to files."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import pyarrow.parquet as pq
    import ray

    cores = len(os.sched_getaffinity(0))
    ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    with tempfile.TemporaryDirectory(prefix="raysft-bench-") as scratch:
        few, many = Path(scratch) / "few", Path(scratch) / "many"
        operator(few, WARM_UP_ROWS)()
        run = operator(many, rows)
        with harness.measured():
            run()
        kept = pq.read_table(many / "out", columns=["id"])["id"].to_numpy()
    ray.shutdown()
    return work_of(rows, kept, {})


def operator(folder: Path, rows: int) -> Callable[[], None]:
    """The peer's operator with its actors ready; calling it works from files to files."""
    import ray
    from data_juicer.ops.deduplicator.ray_bts_minhash_deduplicator import RayBTSMinhashDeduplicator

    source = str(data_folder(rows) / "texts")
    folder.mkdir()
    dedup = RayBTSMinhashDeduplicator(
        tokenization="space",
        window_size=NGRAM,
        num_permutations=BANDS * BAND_ROWS,
        num_bands=BANDS,
        num_rows_per_band=BAND_ROWS,
        union_find_parallel_num=UNION_FIND_ACTORS,
        work_dir=str(folder),
    )
    dedup._ensure_actors()
    return lambda: dedup.run(ray.data.read_parquet(source)).write_parquet(str(folder / "out"))


def data_folder(rows: int) -> Path:
    """Where `prepare` leaves the made-up rows."""
    return CACHE / f"instruction-rows-{rows}"


def work_of(rows: int, kept: np.ndarray, facts: Mapping[str, Any]) -> Work:
    """What a side did, by the numbers of the rows that it kept."""
    import numpy as np
    import pyarrow.parquet as pq

    truth = pq.read_table(data_folder(rows) / "truth.parquet")
    base, similarity = truth["base"].to_numpy(), truth["similarity"].to_numpy()
    is_kept = np.zeros(rows, bool)
    is_kept[kept] = True
    is_strong = similarity >= STRONG  # a row that repeats none is the base of its own group
    planted, left = (np.bincount(base[mask], minlength=rows) for mask in (is_strong, is_strong & is_kept))
    most = int(np.sum(np.maximum(planted - 1, 0)))
    found = most - int(np.sum(np.maximum(left - 1, 0)))
    lost = int(np.sum(np.bincount(base[is_kept], minlength=rows)[np.unique(base)] == 0))
    told = {"rows": rows, "kept": len(kept), "planted_found": round(found / max(1, most), 5)}
    digest = hashlib.sha256(np.sort(kept).astype("<i8").tobytes()).hexdigest()
    return Work(digest, {**told, "groups_lost": lost, **facts})


def same_duplicates(works: Mapping[str, Work]) -> str:
    """All sides found the planted duplicates, lost next to no group, and those that the bands alone decide
    kept nearly as many rows."""
    for name, work in works.items():
        told = work.facts
        if told["planted_found"] < LEAST_FOUND:
            raise BenchmarkError(f"{name} found only {told['planted_found']:.2%} of the planted duplicates")
        if told["groups_lost"] > MOST_LOST * told["rows"]:
            raise BenchmarkError(f"{name} kept no row of {told['groups_lost']} groups")
    rows = works[harness.OURS].facts["rows"]
    kept = {name: work.facts["kept"] for name, work in works.items() if name != VERIFIED}
    if max(kept.values()) - min(kept.values()) > MOST_APART * rows:
        raise BenchmarkError(f"not the same number of rows is kept: {kept}")
    least = min(work.facts["planted_found"] for work in works.values())
    kept_by = ", ".join(f"{name} {work.facts['kept']}" for name, work in works.items())
    return f"of {rows} rows kept by {kept_by}; {least:.2%} of planted duplicates or more found by each"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=200_000)


VERIFIED = "raysft_verified"
PACKAGES = ("ray", "pyarrow", "numpy", "numba")
BENCHMARK = Benchmark(
    name="minhash_ray",
    sides=(
        Side(harness.OURS, dedup_on_ray, packages=PACKAGES),
        Side(VERIFIED, dedup_verified_on_ray, packages=PACKAGES),
        Side("plain_loop", dedup_in_a_loop, packages=PACKAGES),
        Side(
            "data_juicer",
            dedup_with_data_juicer,
            peer="data_juicer",
            packages=("py-data-juicer", "ray", "pyarrow", "numpy"),
        ),
    ),
    rounds=3,
    prepare=prepare,
    check=same_duplicates,
    options=options,
    timeout_s=3600,
)

if __name__ == "__main__":
    sys.exit(harness.main(BENCHMARK))
