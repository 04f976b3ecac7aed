"""Which pairs of like meaning `curate.semantic_dedup` misses because clusters hid them from each other.

`python -m benchmarks.semantic_recall --data FOLDER` reads the instruction sets `FILES` of the folder, drops
exact duplicates, embeds every first user turn with the packaged MiniLM (128 tokens), and writes
`benchmarks/results/semantic_recall.json`. For every threshold all pairs of rows are compared; then the stage
runs with several margins about the borders of clusters, and with a single cluster, which hides nothing:

    met            pairs that reach the threshold and of which one row is looked up in the other's cluster;
                   `recall` is their share
    kept           pairs of which both rows were kept
    dropped        rows
    clusters_a_row in how many clusters a row is looked up, in the mean: 1 without a margin
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import harness
from raysft.acquire.instructions import FileSource
from raysft.acquire.source import expand, read
from raysft.curate import embed, exact_dedup, semantic_dedup
from raysft.engines.build import build
from raysft.engines.spec import SentenceTransformersSpec
from raysft.executor import run_local
from raysft.sample import live, live_mask

FILES = (
    "dolly_3k_chatgpt_filtered.jsonl.gz",
    "llamafactory/alpaca_en_demo.jsonl.gz",
    "alpaca_quality_sample.jsonl.gz",
    "gpteacher_roleplay.jsonl.gz",
    "gpteacher_codegen.jsonl.gz",
    "gpteacher_toolformer_dedup_ladder.jsonl.gz",
    "gsm8k_train.jsonl.gz",
)
THRESHOLDS = (0.8, 0.85, 0.9, 0.95)
MARGINS = (0.0, 0.1, 0.2, 0.5)
TILE = 2048
OUT = harness.HERE / "results" / "semantic_recall.json"


def rows_of(data: Path) -> pa.Table:
    """The rows of all files, without exact duplicates."""
    tables = []
    for name in FILES:
        source = FileSource(path=str(data / name))
        tables += [read(source, unit).table for unit in expand(source)]
    config = exact_dedup.Config(on="instruction")
    return live(run_local("curate.exact_dedup", pa.concat_tables(tables), config))


def embedded(table: pa.Table) -> pa.Table:
    """The rows with their embeddings."""
    engine = build(SentenceTransformersSpec(model="packaged:minilm", max_tokens=128))
    config = embed.Config(engine="minilm", on="instruction")
    return run_local("curate.embed", table, config, engines={"minilm": engine})


def pairs_above(vectors: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """int64 [pairs] each: all pairs of rows whose cosine reaches the threshold."""
    lefts, rights = [], []
    for top in range(0, len(vectors), TILE):
        for left in range(0, top + 1, TILE):
            i, j = np.nonzero(vectors[top : top + TILE] @ vectors[left : left + TILE].T >= threshold)
            is_lower = i + top > j + left
            lefts.append((j + left)[is_lower])
            rights.append((i + top)[is_lower])
    return np.concatenate(lefts), np.concatenate(rights)


def measured(table: pa.Table, thresholds: Sequence[float] = THRESHOLDS) -> Iterator[dict[str, Any]]:
    """A row for every threshold and way to look for pairs."""
    table = table.filter(pc.is_valid(table["embedding"]))
    vectors = embed.vectors_of(table)
    for threshold in thresholds:
        left, right = pairs_above(vectors, threshold)
        ways: list[dict[str, Any]] = [{"clusters": 1}, *({"margin": margin} for margin in MARGINS)]
        for fields in ways:
            config = semantic_dedup.Config(threshold=threshold, recall_rows=0, chains="drop", **fields)
            marked = run_local("curate.semantic_dedup", table, config)
            kept = live_mask(marked).to_numpy(zero_copy_only=False)
            met, visits = meetings(marked, left, right)
            yield {
                "threshold": threshold,
                **fields,
                "pairs": len(left),
                "met": met,
                "recall": round(met / max(1, len(left)), 5),
                "kept": int(np.sum(kept[left] & kept[right])),
                "dropped": int(np.sum(~kept)),
                "clusters_a_row": round(visits, 3),
            }


def meetings(marked: pa.Table, left: np.ndarray, right: np.ndarray) -> tuple[int, float]:
    """How many of the pairs meet by the column `clusters`, and how many clusters a row has in the mean."""
    lists = marked["clusters"].combine_chunks()
    cluster, row = lists.flatten().to_numpy(), pc.list_parent_indices(lists).to_numpy()
    own = cluster[np.searchsorted(row, np.arange(len(lists)))]
    is_in = np.zeros((len(lists), int(cluster.max()) + 1), bool)
    is_in[row, cluster] = True
    return int(np.sum(is_in[left, own[right]] | is_in[right, own[left]])), len(cluster) / len(lists)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.semantic_recall", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the instruction sets")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    table = embedded(rows_of(arguments.data))
    result: dict[str, Any] = {
        "name": "semantic_recall",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": FILES,
        "rows": len(table),
        "figures": [],
    }
    for row in measured(table):
        result["figures"].append(row)
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
