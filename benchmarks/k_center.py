"""K-Center-Greedy over vectors: our lazy choice, and the plain loop over numpy.

Both choose `budget` of `rows` vectors of float32, farthest first, and must choose the same rows in the same
order and find the same distances, to the last bit. The vectors are of unit length, in directions drawn
evenly: a hard case for leaving out comparisons, since all distances are nearly the same.

    make bench NAME=k_center [ARGS="--rows 100000 --dimension 384 --budget 1000"]

The plain loop keeps each row's distance to its nearest centre and compares all rows with each new one:
`np.linalg.norm(vectors - centre, axis=1)`. Both use all cores they are given: numpy's own threads in matrix
products, which only ours has. Ours compiles its kernels, or loads them, before the clock starts.

One pass over the matrix for each centre is what a choice costs that is bound by memory. `bandwidth_gb_s` is
what all cores read of this matrix in a second, in the same run: the best of `READS` passes that add up its
numbers, an equal share in a thread for each core. `bandwidth_share` is the bytes of a pass for each centre
by the seconds measured, as a share of it; it exceeds 1 where passes are saved.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks import harness
from benchmarks.harness import Benchmark, Side, Work

if TYPE_CHECKING:
    import numpy as np

SEED = 5
READS = 5


def with_bounds(rows: int, dimension: int, budget: int) -> Work:
    """Ours."""
    from raysft.algorithms.k_center import k_center_greedy

    vectors = unit_vectors(rows, dimension)
    k_center_greedy(vectors[:2], 2)
    bandwidth = read_bandwidth(vectors)
    started = time.monotonic()
    with harness.measured():
        cover = k_center_greedy(vectors, budget)
    seconds = time.monotonic() - started
    return work_of(vectors, cover.centres, cover.distance, seconds, bandwidth)


def with_plain_loop(rows: int, dimension: int, budget: int) -> Work:
    """The peer."""
    import numpy as np

    vectors = unit_vectors(rows, dimension)
    bandwidth = read_bandwidth(vectors)
    started = time.monotonic()
    with harness.measured():
        nearest = np.full(rows, np.inf, np.float32)
        centres = np.zeros(budget, np.int64)
        for i in range(budget):
            if i:
                open_ = nearest.copy()
                open_[centres[:i]] = -1
                centres[i] = np.argmax(open_)
            distance = np.linalg.norm(vectors - vectors[centres[i]], axis=1)
            nearest = np.minimum(nearest, distance)
    seconds = time.monotonic() - started
    return work_of(vectors, centres, nearest, seconds, bandwidth)


def unit_vectors(rows: int, dimension: int) -> np.ndarray:
    """float32 [rows, dimension], directions drawn evenly."""
    import numpy as np

    vectors = np.random.default_rng(SEED).standard_normal((rows, dimension), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def read_bandwidth(vectors: np.ndarray) -> float:
    """10⁹ bytes that all cores together read of this matrix in a second."""
    import numpy as np
    from numba import njit

    @njit(nogil=True, fastmath=True)
    def total(numbers: np.ndarray) -> np.float32:
        added = np.float32(0)
        for number in numbers:
            added += number
        return added

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = np.array_split(vectors.reshape(-1), threads)
    total(parts[0])
    best = np.inf
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(READS):
            started = time.monotonic()
            list(pool.map(total, parts))
            best = min(best, time.monotonic() - started)
    return vectors.nbytes / best / 1e9


def work_of(
    vectors: np.ndarray, centres: np.ndarray, distance: np.ndarray, seconds: float, bandwidth: float
) -> Work:
    """A digest over all positions, in their order, and all distances, to the last bit."""
    digest = hashlib.sha256(centres.tobytes() + distance.tobytes()).hexdigest()
    one_pass_each = len(centres) * vectors.nbytes / seconds / 1e9
    facts = {
        "radius": round(float(distance.max()), 6),
        "bandwidth_gb_s": round(bandwidth, 2),
        "bandwidth_share": round(one_pass_each / bandwidth, 3),
    }
    return Work(digest, facts)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--budget", type=int, default=1000)


BENCHMARK = Benchmark(
    name="k_center",
    sides=(
        Side(harness.OURS, with_bounds, packages=("numba", "numpy")),
        Side("naive", with_plain_loop, packages=("numpy",)),
    ),
    options=options,
)

if __name__ == "__main__":
    sys.exit(harness.main(BENCHMARK))
