"""Semantic deduplication: our stage, and raw FAISS k-means with BLAS products within clusters.

Rows are made up: unit vectors about random topics, of which a tenth are neighbours of others at a planted
cosine from 0.955 to 1, and a twentieth at one from 0.90 to 0.945, which are no duplicates at 0.95. All sides
make the same k clusters, k = √(rows / iterations), in the same iterations from the same training sample, on
one thread.

    make bench NAME=semantic [ARGS="--rows 100000"]

    raysft              the functions of `curate.semantic_dedup`, with its own margin, one after the other:
                        from an Arrow table of rows to decisions, with winners and cosines. Not in it: what an
                        executor does between them (reading, writing, shuffling), and measuring the recall
    margin_0            the same, where a row is looked up in its own cluster alone: SemDeDup's way, and the
                        work of the raw side
    margin_0_float32    the same on a processor without AMX, to which pairs are proposed in float32
    raw_faiss           FAISS's spherical k-means, its search of each vector's centroid, a product of matrices
                        for each cluster, and the pairs above the threshold. Nothing is joined, ranked or told

The last three must find the same components; the first all of these, and no fewer planted pairs.
Starting, compiling and importing are not compared, nor is the joining of raw pairs for the check.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import math
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmarks import harness
from benchmarks.harness import Benchmark, BenchmarkError, Side, Work

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from raysft.curate.semantic_dedup import Config

SEED = 5
ITERATIONS = 20
THRESHOLD = 0.95
MARGIN_0, FLOAT32 = "margin_0", "margin_0_float32"
RAW = "raw_faiss"


def with_stage(rows: int, dimension: int) -> Work:
    """Ours."""
    from raysft.curate.semantic_dedup import Config

    return run_stage(rows, dimension, float(Config().margin))


def with_margin_0(rows: int, dimension: int) -> Work:
    """Ours, with the raw side's work."""
    return run_stage(rows, dimension, 0.0)


def with_float32(rows: int, dimension: int) -> Work:
    """Ours, with the raw side's work and its arithmetic."""
    from raysft.algorithms import similar

    similar._has_amx = lambda: False  # type: ignore[assignment]
    return run_stage(rows, dimension, 0.0)


def run_stage(rows: int, dimension: int, margin: float) -> Work:
    import numpy as np

    from raysft.algorithms.similar import prefers_bfloat16, similar_components
    from raysft.curate.semantic_dedup import Config

    vectors, planted = rows_and_neighbours(rows, dimension)
    settings = {"clusters": clusters(rows), "iterations": ITERATIONS, "margin": margin}
    config = Config(threshold=THRESHOLD, chains="drop", **settings)
    table = rows_of(vectors)
    decisions_of(table.slice(0, 50), config.model_copy(update={"clusters": 2}))  # compiles, or loads it
    similar_components(vectors[:50], THRESHOLD, in_bfloat16=prefers_bfloat16(1 << 62))
    with harness.measured():
        decisions = decisions_of(table, config)
    winner = np.arange(rows)
    winners = [int(detail.split()[0], 16) for detail in decisions["drop_detail"].to_pylist()]
    winner[decisions["row"].to_numpy()] = winners
    return work_of(winner, planted)


def decisions_of(table: pa.Table, config: Config) -> pa.Table:
    """The stage's steps, each over all rows at once."""
    from dataclasses import replace

    from raysft.curate import semantic_dedup as stage
    from raysft.executor import components_of, with_components
    from raysft.stage import Context

    context = Context("curate.semantic_dedup", "benchmark", 0)
    context = replace(context, fitted=stage.fit_centroids(table, config, context))
    table = stage.locate(table, config, context)
    pairs = stage.edges(stage.cluster_keys(table, config, context), config, context)
    joined = with_components(table, components_of(pairs))
    return stage.decide(stage.component_keys(joined, config, context), config, context)


def with_raw_faiss(rows: int, dimension: int) -> Work:
    """The peer."""
    import faiss
    import numpy as np

    from raysft.algorithms.union_find import components

    vectors, planted = rows_and_neighbours(rows, dimension)
    left, right = [], []
    with harness.measured():
        kmeans = faiss.Kmeans(
            dimension,
            clusters(rows),
            niter=ITERATIONS,
            seed=1,
            spherical=True,
            min_points_per_centroid=1,
        )
        kmeans.train(vectors)
        _, nearest = kmeans.index.search(vectors, 1)
        cluster = nearest[:, 0]
        order = np.argsort(cluster, kind="stable")
        starts = np.concatenate([[0], np.flatnonzero(np.diff(cluster[order])) + 1, [rows]])
        for start, end in itertools.pairwise(starts):
            members = order[start:end]
            own = vectors[members]
            close = np.flatnonzero(own @ own.T >= THRESHOLD)
            one, other = np.divmod(close, end - start)
            is_pair = one < other
            left.append(members[one[is_pair]])
            right.append(members[other[is_pair]])
    return work_of(components(rows, np.concatenate(left), np.concatenate(right)), planted)


def clusters(rows: int) -> int:
    return max(1, round(math.sqrt(rows / ITERATIONS)))


def rows_and_neighbours(rows: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 [rows, dimension], unit rows; int64 [pairs, 2]: planted duplicates."""
    import numpy as np

    rng = np.random.default_rng(SEED)

    def units(count: int) -> np.ndarray:
        drawn = rng.standard_normal((count, dimension), np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    near, far = rows // 10, rows // 20
    alone = rows - near - far
    topics = units(max(2, rows // 250))
    vectors = topics[rng.integers(0, len(topics), rows)] + units(rows)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    like = rng.integers(0, alone, near + far)
    cosine = np.concatenate([rng.uniform(0.955, 1, near), rng.uniform(0.90, 0.945, far)])[:, None]
    model, aside = vectors[like], units(near + far)
    aside -= model * np.einsum("rd,rd->r", model, aside)[:, None]
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    vectors[alone:] = cosine * model + np.sqrt(1 - cosine**2) * aside
    return vectors, np.stack([like[:near], np.arange(alone, alone + near)], axis=1)


def rows_of(vectors: np.ndarray) -> pa.Table:
    """A barrier's rows with these embeddings; their ids are their places in hexadecimal digits."""
    import numpy as np
    import pyarrow as pa

    from raysft.sample import SCHEMA, samples

    (one,) = samples([{"messages": [{"role": "user", "content": "Say hello."}]}]).to_pylist()
    columns = {name: pa.repeat(pa.scalar(one[name], SCHEMA.field(name).type), len(vectors)) for name in one}
    columns["id"] = pa.array([f"{row:032x}" for row in range(len(vectors))])
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    columns |= {"row": pa.array(np.arange(len(vectors))), "owned": pa.array(np.zeros(len(vectors), bool))}
    return pa.table(columns)


def work_of(label: np.ndarray, planted: np.ndarray) -> Work:
    """A digest of the components, each named by its first row; how many rows and planted pairs they join."""
    import numpy as np

    _, first, component = np.unique(label, return_index=True, return_inverse=True)
    canonical = first[component]
    joined = canonical[planted[:, 0]] == canonical[planted[:, 1]]
    facts = {
        "components": len(first),
        "dropped": len(label) - len(first),
        "planted": len(planted),
        "planted_found": int(joined.sum()),
    }
    return Work(hashlib.sha256(canonical.astype("<i8").tobytes()).hexdigest(), facts, canonical.tolist())


def same_components(works: Mapping[str, Work]) -> str:
    """The same components where the work is the same; with a margin those, and no fewer planted pairs."""
    same = {name: works[name] for name in (MARGIN_0, FLOAT32, RAW)}
    harness.same_digest(same)
    facts = {name: work.facts for name, work in works.items()}
    ours, raw = works[harness.OURS], works[RAW]
    together: dict[int, int] = {}
    for a, b in zip(raw.evidence, ours.evidence, strict=True):
        if together.setdefault(a, b) != b:
            raise BenchmarkError(f"rows {a} and others are one component of {RAW}, and several of ours")
    found = {name: f["planted_found"] for name, f in facts.items()}
    planted = raw.facts["planted"]
    if not 0 < found[RAW] <= found[harness.OURS] <= planted:
        raise BenchmarkError(f"planted pairs found, of {planted}: {found}")
    return (
        f"{', '.join(same)} have the same components and {found[RAW]:,} of {planted:,} planted pairs; "
        f"{harness.OURS} has {found[harness.OURS]:,}"
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)


BENCHMARK = Benchmark(
    name="semantic",
    sides=(
        Side(harness.OURS, with_stage, packages=("faiss-cpu", "numpy", "numba", "torch", "pyarrow")),
        Side(MARGIN_0, with_margin_0, packages=("faiss-cpu", "numpy", "numba", "torch", "pyarrow")),
        Side(FLOAT32, with_float32, packages=("faiss-cpu", "numpy", "numba", "pyarrow")),
        Side(RAW, with_raw_faiss, packages=("faiss-cpu", "numpy")),
    ),
    check=same_components,
    options=options,
)

if __name__ == "__main__":
    sys.exit(harness.main(BENCHMARK))
