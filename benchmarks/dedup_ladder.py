"""How far `curate.minhash_dedup` agrees with another filter: GPTeacher's Toolformer set at four strengths.

`python -m benchmarks.dedup_ladder --data FOLDER` reads `gpteacher_toolformer_dedup_ladder.jsonl.gz`, whose
field `kept_at` lists the similarities at which the authors' own filter kept a row. How that filter works is
not known, so agreement is no measure of being right; it tells what the two look at. Printed and written to
`benchmarks/results/dedup_ladder.json`:

    fields    AUC of a row's highest Jaccard similarity to an earlier row against "was filtered out", for
              shingles of the whole row, of the question alone and of the answer alone
    stages    rows that the stage drops, the filter drops, both drop, and Cohen's kappa
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from scipy.stats import rankdata

from benchmarks import harness
from raysft.algorithms.shingles import shingles
from raysft.curate import minhash_dedup
from raysft.executor import run_local
from raysft.sample import live_mask, samples

FILE = "gpteacher_toolformer_dedup_ladder.jsonl.gz"
RUNGS = ("0.9", "0.8", "0.7", "0.6")
THRESHOLDS = (0.9, 0.8, 0.7, 0.6)
ROWS_AT_ONCE = 500
OUT = harness.HERE / "results" / "dedup_ladder.json"


def highest_to_an_earlier(texts: Sequence[str], ngram: int) -> np.ndarray:
    """float64 [texts]: the highest Jaccard similarity of each text to one before it."""
    sets = [np.unique(shingles(text, ngram, ngram + 1)) for text in texts]
    size = np.array([len(found) for found in sets])
    known, column = np.unique(np.concatenate(sets), return_inverse=True)
    row = np.repeat(np.arange(len(sets)), size)
    matrix = scipy.sparse.csr_matrix(
        (np.ones(len(row), np.float32), (row, column)), shape=(len(sets), len(known))
    )
    best = np.zeros(len(sets))
    for start in range(0, len(sets), ROWS_AT_ONCE):
        common = (matrix[start : start + ROWS_AT_ONCE] @ matrix.T).toarray()
        here = np.arange(start, start + len(common))
        jaccard = common / np.maximum(1, size[here, None] + size[None] - common)
        best[here] = np.where(np.arange(len(sets))[None] < here[:, None], jaccard, 0).max(axis=1)
    return best


def auc(score: np.ndarray, is_bad: np.ndarray) -> float:
    """The chance that a bad row's score is above that of a good one."""
    ranks, bad = rankdata(score), int(is_bad.sum())
    return float((ranks[is_bad].sum() - bad * (bad + 1) / 2) / (bad * (len(score) - bad)))


def agreement(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Rows that each drops, and Cohen's kappa."""
    agreed = float(np.mean(ours == theirs))
    by_chance = ours.mean() * theirs.mean() + (1 - ours.mean()) * (1 - theirs.mean())
    return {
        "ours": int(ours.sum()),
        "theirs": int(theirs.sum()),
        "both": int((ours & theirs).sum()),
        "kappa": round(float((agreed - by_chance) / (1 - by_chance)), 3),
    }


def measured(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Both tables."""
    theirs = {rung: np.array([rung not in row["kept_at"] for row in rows]) for rung in RUNGS}
    asked = [f"{row['instruction']}\n\n{row['input']}" for row in rows]
    answered = [row["response"] for row in rows]
    whole = [f"{a}\n{b}" for a, b in zip(asked, answered, strict=True)]
    fields = []
    for name, texts in (("whole row", whole), ("question", asked), ("answer", answered)):
        for ngram in (1, 3):
            score = highest_to_an_earlier(texts, ngram)
            aucs = {rung: round(auc(score, dropped), 3) for rung, dropped in theirs.items()}
            fields.append({"text": name, "ngram": ngram, **aucs})
    return {"fields": fields, "stages": list(stages(asked, answered, theirs))}


def stages(
    asked: Sequence[str], answered: Sequence[str], theirs: dict[str, np.ndarray]
) -> Iterator[dict[str, Any]]:
    """The stage at several thresholds, over conversations, beside every rung."""
    table = samples(
        {
            "id": f"{place:08d}",
            "messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}],
        }
        for place, (ask, answer) in enumerate(zip(asked, answered, strict=True))
    )
    for threshold in THRESHOLDS:
        marked = run_local("curate.minhash_dedup", table, minhash_dedup.Config(threshold=threshold))
        ours = ~live_mask(marked).to_numpy(zero_copy_only=False)
        for rung, dropped in theirs.items():
            yield {"threshold": threshold, "rung": rung, **agreement(ours, dropped)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.dedup_ladder", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help=f"folder of {FILE}")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    with gzip.open(arguments.data / FILE, "rt", encoding="utf-8") as lines:
        found = measured([json.loads(line) for line in lines])
    for row in (*found["fields"], *found["stages"]):
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    result = {"name": "dedup_ladder", "date": datetime.now(UTC).isoformat(timespec="seconds"), **found}
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
