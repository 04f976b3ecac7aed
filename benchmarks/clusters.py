"""How exact vectors by hashing and clusters by parts are.

    python -m benchmarks.clusters FILE… [--model packaged:minilm]

Reads instruction files in any known format, and prints two tables, as docs/word_vectors.md has them.

    hashing  cosines of `curate.tfidf` against scikit-learn's exact ones over the same features, of random
             pairs and of each row's 20 nearest among the first 1,500: root of the mean squared difference,
             99th percentile and largest, by the exact cosine and the number of places
    parts    `curate.onepass_cluster` in one pass and in 4, 16 and 64 parts: clusters, rows in another
             cluster than in one pass, adjusted Rand index with it, seconds; by TF-IDF vectors, and by
             embeddings where a model is named
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from raysft.acquire.instructions import FileSource
from raysft.acquire.source import expand, read
from raysft.algorithms import tfidf, token_hashes
from raysft.curate import embed, onepass_cluster
from raysft.curate.texts import texts_of
from raysft.curate.tfidf import Config as TfidfConfig
from raysft.engines.build import build
from raysft.engines.spec import SentenceTransformersSpec
from raysft.executor import run_local

DIMENSIONS = (256, 1024, 4096)
COSINES = (-1.0, 0.2, 0.5, 0.8, 0.95, 1.01)
THRESHOLDS = (0.5, 0.8, 0.95)
PARTS = (1, 4, 16, 64)


def rows_of(paths: Sequence[str]) -> pa.Table:
    """All rows of the files."""
    units = [(source, unit) for source in (FileSource(path=p) for p in paths) for unit in expand(source)]
    return pa.concat_tables([read(source, unit).table for source, unit in units]).combine_chunks()


def exact_vectors(texts: Sequence[str]) -> csr_matrix:
    """Sparse unit rows of scikit-learn, over the features that `raysft.algorithms.tfidf` counts."""

    def features(text: str) -> list[int]:
        data, offsets = token_hashes.string_buffers(pa.array([text], pa.string()))
        return tfidf.features(data, offsets[0], offsets[1]).tolist()

    return TfidfVectorizer(analyzer=features, sublinear_tf=True).fit_transform(texts)


def pairs_of(exact: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Random pairs, and the nearest of some rows."""
    rng, rows = np.random.default_rng(0), exact.shape[0]
    left, right = rng.integers(0, rows, (2, 200_000))
    first = min(rows, 1500)
    cosines = (exact[:first] @ exact.T).toarray()
    cosines[np.arange(first), np.arange(first)] = -1
    nearest = np.argsort(-cosines, axis=1)[:, :20]
    left, right = left[left != right], right[left != right]
    return np.append(left, np.repeat(np.arange(first), nearest.shape[1])), np.append(right, nearest)


def hashing(texts: pa.Array) -> Iterator[list[str]]:
    """Lines of the table: dimension, then per range of cosines the differences."""
    texts = texts.filter(pa.array(tfidf.hashed_vectors(texts, 1 << 12, sublinear=True)[1]))
    exact = exact_vectors(texts.to_pylist())
    left, right = pairs_of(exact)
    true = np.asarray(exact[left].multiply(exact[right]).sum(axis=1)).ravel()
    found, count = tfidf.document_frequencies(texts)
    weights = tfidf.inverse_frequencies(np.flatnonzero(found), found[found > 0], count)
    for dimension in DIMENSIONS:
        vectors, _ = tfidf.hashed_vectors(texts, dimension, sublinear=True, weights=weights)
        pieces = [slice(at, at + 20_000) for at in range(0, len(left), 20_000)]
        got = [np.einsum("rd,rd->r", vectors[left[p]], vectors[right[p]]) for p in pieces]
        off = np.abs(np.concatenate(got) - true)
        line = [str(dimension)]
        for low, high in pairwise(COSINES):
            own = off[(true >= low) & (true < high)]
            mean = np.sqrt(np.mean(own**2)) if len(own) else 0.0
            worst = f"{np.quantile(own, 0.99):.3f} / {own.max():.3f}" if len(own) else "none"
            line.append(f"{mean:.3f} / {worst} ({len(own):,})")
        yield line


def parts(table: pa.Table, vectors: str) -> Iterator[list[str]]:
    """Lines of the table: threshold, parts, clusters, rows elsewhere, Rand index, seconds."""
    for threshold in THRESHOLDS:
        once: list[str] = []
        for number in PARTS:
            config = onepass_cluster.Config(
                vectors=vectors, threshold=threshold, single_pass_rows=-(-len(table) // number)
            )
            started = time.perf_counter()
            clusters = run_local("curate.onepass_cluster", table, config)["cluster"].to_pylist()
            seconds = time.perf_counter() - started
            once = once or clusters
            elsewhere = sum(a != b for a, b in zip(once, clusters, strict=True))
            rand = adjusted_rand_score(once, clusters)
            yield [
                f"{threshold:g}",
                str(number),
                f"{len(set(clusters)):,}",
                f"{elsewhere:,}",
                f"{rand:.3f}",
                f"{seconds:.1f}",
            ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.clusters")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--model", help="an embedder, such as packaged:minilm")
    arguments = parser.parse_args()
    table = rows_of(arguments.files)
    texts = texts_of(table, "conversation")
    print(f"{len(table):,} rows, {pc.sum(pc.utf8_length(texts)).as_py():,} characters")
    with threadpool_limits(1):
        for line in hashing(texts):
            print(" | ".join(line), flush=True)
        table = run_local("curate.tfidf", table, TfidfConfig())
        for line in parts(table, "tfidf"):
            print(" | ".join(line), flush=True)
        if arguments.model:
            engine = build(SentenceTransformersSpec(model=arguments.model))
            table = run_local("curate.embed", table, embed.Config(engine="e"), engines={"e": engine})
            for line in parts(table, "embedding"):
                print(" | ".join(line), flush=True)


if __name__ == "__main__":
    main()
