"""How often MinHash bands find near duplicates, against what theory says: 1 - (1 - J^8)^16 for 16 bands of 8.

    python -m benchmarks.minhash_recall [--pairs 50000]

Made-up texts of 20 to 200 words and copies of them with some words replaced. For each range of similarity:
how many of its pairs share a band, and the mean of the formula over the same pairs, with J the exact Jaccard
similarity of their sets of word 3-grams (below 1: equal sets are always found). Then pairs of 97 to 400
words of which one has a word more in front, which must all be found: the formula misses one in 10^17.

Prints a table, writes benchmarks/results/minhash_recall.json, and fails where a range is off by more than
half a point or a pair with a word in front is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import harness
from benchmarks.instruction_rows import vocabulary
from raysft.algorithms import minhash
from raysft.algorithms.near_duplicates import Sets, jaccard
from raysft.algorithms.shingles import shingle_sets

BANDS, ROWS, NGRAM = 16, 8, 3
RANGES = ((0.7, 0.8), (0.8, 0.9), (0.9, 1.0))
MOST_OFF = 0.005
BATCH = 20_000
SEED = 5
OUT = harness.HERE / "results" / "minhash_recall.json"


def met_and_similarity(left: pa.Array, right: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """For each pair of texts: bool, whether they share a band; float64, how similar they are."""
    keys, _ = minhash.band_keys(
        pa.concat_arrays([left, right]), bands=BANDS, rows=ROWS, n=NGRAM, n_cjk=NGRAM + 1, seed=1
    )
    sets = Sets(*shingle_sets(pa.concat_arrays([left, right]), NGRAM, NGRAM + 1))
    at = np.arange(len(left))
    similarity = jaccard(sets, at, at + len(left))
    return (keys[at] == keys[at + len(left)]).any(axis=1), similarity


def edited_pairs(number: int) -> tuple[pa.Array, pa.Array]:
    """A batch of texts, and copies of them with up to one word in twelve replaced."""
    rng = np.random.default_rng([SEED, number])
    words, offsets = drawn(rng, rng.integers(20, 201, BATCH))
    rate = np.repeat(rng.uniform(0, 1 / 12, BATCH), np.diff(offsets))
    others, _ = drawn(rng, np.diff(offsets))
    is_replaced = rng.random(len(words)) < rate
    return joined(words, offsets), joined(np.where(is_replaced, others, words), offsets)


def pairs_with_a_word_in_front() -> tuple[pa.Array, pa.Array]:
    """Texts of 97 to 400 words, ten of each length, and each with one word more before it."""
    rng = np.random.default_rng([SEED, 0])
    words, offsets = drawn(rng, np.repeat(np.arange(97, 401), 10))
    longer, starts = drawn(rng, np.diff(offsets) + 1)
    longer[np.arange(len(words)) + np.repeat(np.arange(1, len(offsets)), np.diff(offsets))] = words
    return joined(words, offsets), joined(longer, starts)


def drawn(rng: np.random.Generator, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(numbers of words one text after the other, where each text begins and the last one ends)."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return np.searchsorted(CUMULATIVE, rng.random(offsets[-1])), offsets


def joined(words: np.ndarray, offsets: np.ndarray) -> pa.Array:
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), SPELLINGS.take(pa.array(words)))
    return pc.binary_join(lists, " ")


SPELLINGS, CUMULATIVE = vocabulary()


def measured(pairs: int) -> Iterator[dict[str, Any]]:
    """A row for each range of similarity, of as many pairs or more, and one for a word in front."""
    met: list[np.ndarray] = []
    similarity: list[np.ndarray] = []
    fewest = 0
    while fewest < pairs:
        found = met_and_similarity(*edited_pairs(len(met)))
        met.append(found[0])
        similarity.append(found[1])
        exact = np.concatenate(similarity)
        within = {(low, high): (exact >= low) & (exact < high) for low, high in RANGES}
        fewest = min(here.sum() for here in within.values())
    for (low, high), here in within.items():
        yield row_of(f"{low} to {high}", np.concatenate(met)[here], exact[here])
    yield row_of("a word in front", *met_and_similarity(*pairs_with_a_word_in_front()))


def row_of(name: str, met: np.ndarray, similarity: np.ndarray) -> dict[str, Any]:
    expected = minhash.share_band(similarity, BANDS, ROWS)
    return {
        "similarity": name,
        "pairs": len(met),
        "found": round(float(met.mean()), 5),
        "expected": round(float(expected.mean()), 5),
        "deviation": round(float(np.sqrt((expected * (1 - expected)).sum()) / len(met)), 5),
    }


def is_as_expected(row: dict[str, Any]) -> bool:
    if row["similarity"] == "a word in front":
        return row["found"] == 1.0
    return abs(row["found"] - row["expected"]) <= MOST_OFF


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    numbers = ("found", "expected", "deviation")
    lines = [f"{'similarity':<16} {'pairs':>9}" + "".join(f" {name:>9}" for name in numbers)]
    for row in rows:
        shares = "".join(f" {row[name]:>9.3%}" for name in numbers)
        lines.append(f"{row['similarity']:<16} {row['pairs']:>9}{shares}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None, out: Path = OUT) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.minhash_recall", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=50_000, help="of each range of similarity, at least")
    rows = list(measured(parser.parse_args(argv).pairs))
    print(table_of(rows))
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", "benchmarks.minhash_recall", *sys.argv[1:]]),
        "machine": harness.machine(),
        "bands": BANDS,
        "rows": ROWS,
        "found": rows,
    }
    out.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(is_as_expected(row) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
