"""Pairs of records that people labelled as the same thing or not: reading, halving, choosing, judging.

A file has one JSON object a line: `left` and `right`, each an object of texts, and `label`, 1 for the same
thing. A record becomes one text, its values joined by a space; records with equal texts on one side are one.
A pair that stands there twice counts once, one with both labels not at all.

Halves: things (connected components of pairs with label 1) go to one half or the other by a hash, with all
their records. So all pairs with label 1 lie within a half. Of the others about half lie between the halves;
these are left out, and those within count twice, so that precision is that of the whole file.

Intervals: 95 %, bootstrap over things (pairs of one left record's thing are drawn together), 1,000 draws.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysft.algorithms.union_find import components
from raysft.sample import digest64

CHOOSING, JUDGING, BETWEEN = 0, 1, -1
WEIGHT_OF_DIFFERENT = 2.0
STEPS = 100
"""Thresholds are tried in steps of 1 / STEPS, from 1 / STEPS to 1."""
DRAWS = 1000


@dataclass(frozen=True)
class Pairs:
    """`texts` of all records; of each pair `left` and `right` (positions in them), `is_same`, and `half`;
    `thing` of each text. `facts` says what was read and left out."""

    texts: list[str]
    left: np.ndarray
    right: np.ndarray
    is_same: np.ndarray
    half: np.ndarray
    thing: np.ndarray
    facts: dict[str, int]

    @property
    def weight(self) -> np.ndarray:
        """float64 [pairs]: how often each counts."""
        return np.where(self.is_same, 1.0, WEIGHT_OF_DIFFERENT)


def text_of(record: dict[str, str]) -> str:
    """The record's values, without empty ones, as one text."""
    return " ".join(value for value in record.values() if value)


def read_pairs(path: Path) -> Pairs:
    """The pairs of one file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return pairs_of([json.loads(line) for line in lines])


def pairs_of(rows: Sequence[dict[str, Any]]) -> Pairs:
    """The pairs of a file's rows."""
    labels: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        labels.setdefault((text_of(row["left"]), text_of(row["right"])), set()).add(int(row["label"]))
    agreed = {pair: found == {1} for pair, found in labels.items() if len(found) == 1}
    place: dict[tuple[int, str], int] = {}
    ends = np.array(
        [[place.setdefault((side, text), len(place)) for side, text in enumerate(pair)] for pair in agreed],
        np.int64,
    ).reshape(-1, 2)
    is_same = np.array(list(agreed.values()), bool)
    texts = [text for _, text in place]
    thing = components(len(texts), ends[is_same, 0], ends[is_same, 1])
    half_of_thing = np.array([digest64("half", texts[t]) & 1 for t in thing], np.int64)
    halves = half_of_thing[ends]
    half = np.where(halves[:, 0] == halves[:, 1], halves[:, 0], BETWEEN)
    facts = {
        "rows": len(rows),
        "said twice": len(rows) - len(labels),
        "both labels": len(labels) - len(agreed),
        "records": len(texts),
        "same": int(is_same.sum()),
        "different": int((~is_same).sum()),
        "different, between the halves": int((half == BETWEEN).sum()),
        "same, to judge by": int((is_same & (half == JUDGING)).sum()),
        "different, to judge by": int((~is_same & (half == JUDGING)).sum()),
    }
    return Pairs(texts, ends[:, 0], ends[:, 1], is_same, half, thing, facts)


def rung(score: np.ndarray) -> np.ndarray:
    """int64: the highest of the thresholds 0, 1 / STEPS, … 1 that each score reaches."""
    return np.clip(np.floor(score * STEPS + 1e-6), 0, STEPS).astype(np.int64)


def reached(score: np.ndarray, threshold: float) -> np.ndarray:
    """bool: score ≥ threshold, as `rung` has it."""
    return rung(score) >= round(threshold * STEPS)


def choose(pairs: Pairs, *scores: np.ndarray, either: bool = False) -> tuple[float, tuple[float, ...]]:
    """(F1, a threshold for each of one or two scores) with the best F1 on the choosing half.

    Two scores must both be reached, or `either`. Of thresholds that do equally well the highest are chosen.
    """
    use = pairs.half == CHOOSING
    rungs = [rung(s[use]) for s in scores]
    counts = {}
    for same in (True, False):
        chosen = pairs.is_same[use] == same
        at = np.zeros((STEPS + 1,) * len(scores))
        np.add.at(at, tuple(r[chosen] for r in rungs), pairs.weight[use][chosen])
        both = at
        for axis in range(at.ndim):
            both = np.flip(np.cumsum(np.flip(both, axis), axis), axis)
        if either:
            one, other = both[:, :1], both[:1, :]
            both = one + other - both
        counts[same] = both
    found = counts[True] + counts[False]
    f1 = 2 * counts[True] / np.maximum(1, found + pairs.weight[use][pairs.is_same[use]].sum())
    f1 = f1[(slice(1, None),) * f1.ndim]  # a threshold of 0 would call everything the same
    best = np.argwhere(f1 >= f1.max() - 1e-12)[-1] + 1
    return float(f1.max()), tuple(float(b) / STEPS for b in best)


def judge(pairs: Pairs, is_found: np.ndarray, seed: int = 1) -> dict[str, list[float]]:
    """precision, recall and f1 on the judging half: [value, lower, upper end of the 95 % interval]."""
    use = pairs.half == JUDGING
    same, found, weight = pairs.is_same[use], is_found[use], pairs.weight[use]
    counts = np.stack([weight * (same & found), weight * (~same & found), weight * (same & ~found)])
    groups, group = np.unique(pairs.thing[pairs.left[use]], return_inverse=True)
    by_group = np.zeros((len(groups), 3))
    np.add.at(by_group, group, counts.T)
    drawn = np.random.default_rng(seed).multinomial(
        len(groups), np.full(len(groups), 1 / len(groups)), size=DRAWS
    )
    value, draws = ratios(by_group.sum(axis=0)), ratios(drawn @ by_group)
    lower, upper = np.quantile(draws, [0.025, 0.975], axis=0)
    return {
        name: [round(float(x), 4) for x in (value[i], lower[i], upper[i])]
        for i, name in enumerate(("precision", "recall", "f1"))
    }


def ratios(counts: np.ndarray) -> np.ndarray:
    """[…, 3] precision, recall and F1 of […, 3] true positives, false positives and false negatives;
    precision is 1 where nothing is found."""
    right, wrong, missed = np.moveaxis(counts, -1, 0)
    precision = np.where(right + wrong > 0, right / np.maximum(1e-9, right + wrong), 1.0)
    recall = right / np.maximum(1e-9, right + missed)
    f1 = 2 * right / np.maximum(1e-9, 2 * right + wrong + missed)
    return np.stack([precision, recall, f1], axis=-1)
