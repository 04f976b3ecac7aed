"""One-pass clustering of vectors: our blocks of matrix products, and the loop over rows one by one.

Both cluster TF-IDF vectors of tasks of the made-up world, half of them Chinese, in the same order: a row
joins the most similar leader so far with cosine ≥ 0.8, or becomes a leader. The loop is the usual form of it,
one product of the leaders' matrix and the row's vector in numpy. All rows must have the same leader, but
where two leaders are as similar to a row to the sixth place.

    make bench NAME=onepass [ARGS="--rows 20000 --dimension 1024"]

Compared is the clustering; the vectors are made before. Every side is one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping
from random import Random
from typing import TYPE_CHECKING

from benchmarks import harness
from benchmarks.harness import Benchmark, BenchmarkError, Side, Work

if TYPE_CHECKING:
    import numpy as np

THRESHOLD = 0.8
CLOSE = 1e-6
SEED = 7


def with_blocks(rows: int, dimension: int) -> Work:
    """raysft: `raysft.algorithms.onepass`."""
    from threadpoolctl import threadpool_limits

    from raysft.algorithms.onepass import leader_clusters

    vectors = vectors_of_tasks(rows, dimension)
    leader_clusters(vectors[:10], THRESHOLD)  # numba compiles, or loads what it compiled
    with threadpool_limits(1), harness.measured():
        leader, cosine = leader_clusters(vectors, THRESHOLD)
    return work_of(leader, cosine)


def with_loop(rows: int, dimension: int) -> Work:
    """The loop over rows."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    vectors = vectors_of_tasks(rows, dimension)
    with threadpool_limits(1), harness.measured():
        leaders, positions = np.empty_like(vectors), np.empty(rows, np.int64)
        leader, cosine = np.arange(rows), np.ones(rows)
        count = 0
        for i, vector in enumerate(vectors):
            cosines = leaders[:count] @ vector
            best = int(np.argmax(cosines)) if count else -1
            if count and cosines[best] >= THRESHOLD:
                leader[i], cosine[i] = positions[best], cosines[best]
            else:
                leaders[count], positions[count] = vector, i
                count += 1
    return work_of(leader, cosine)


def vectors_of_tasks(rows: int, dimension: int) -> np.ndarray:
    """float32 [rows, dimension]: TF-IDF vectors of instructions of the world, every other one Chinese."""
    import numpy as np
    import pyarrow as pa

    from raysft.algorithms import tfidf
    from raysft.world.draw import draw

    rng = Random(SEED)
    texts = pa.array([draw(rng, ("en", "zh")[i % 2]).instruction for i in range(rows)])
    found, count = tfidf.document_frequencies(texts)
    weights = tfidf.inverse_frequencies(np.flatnonzero(found), found[found > 0], count)
    return tfidf.hashed_vectors(texts, dimension, sublinear=True, weights=weights)[0]


def work_of(leader: np.ndarray, cosine: np.ndarray) -> Work:
    """The digest is of who leads."""
    import numpy as np

    leads = np.flatnonzero(leader == np.arange(len(leader)))
    evidence = {"leader": leader.tolist(), "cosine": cosine.tolist()}
    facts = {"rows": len(leader), "clusters": len(leads)}
    return Work(hashlib.sha256(leads.tobytes()).hexdigest(), facts, evidence)


def same_clusters(works: Mapping[str, Work]) -> str:
    """The same rows lead, and the others joined the same leader, or one as similar."""
    harness.same_digest(works)
    ours, theirs = (work.evidence for work in works.values())
    columns = zip(ours["leader"], theirs["leader"], ours["cosine"], theirs["cosine"], strict=True)
    unequal = [(a, b, p, q) for a, b, p, q in columns if a != b or abs(p - q) > CLOSE]
    far = [pair for pair in unequal if abs(pair[2] - pair[3]) > CLOSE]
    if far:
        raise BenchmarkError(f"{len(far)} rows joined other leaders: {far[:3]}")
    facts = next(iter(works.values())).facts
    return (
        f"the same {facts['clusters']} of {facts['rows']} rows lead; {len(unequal)} rows joined another "
        f"leader that is as similar to {CLOSE:g}"
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=1024)


BENCHMARK = Benchmark(
    name="onepass",
    sides=(
        Side(harness.OURS, with_blocks, packages=("numpy", "numba")),
        Side("loop", with_loop, packages=("numpy",)),
    ),
    check=same_clusters,
    options=options,
)

if __name__ == "__main__":
    sys.exit(harness.main(BENCHMARK))
