"""The figures about duplicates, on pairs and rows whose fate is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.dedup_ladder import agreement, auc, highest_to_an_earlier
from benchmarks.duplicates import banding, jaccard_of, measured, rows_of, table_of, winners, with_vectors
from benchmarks.gold_pairs import JUDGING, Pairs, pairs_of
from benchmarks.semantic_recall import pairs_above
from raysft.engines.protocol import Identity
from raysft.sample import set_column

WORDS = [f"{a}{b}" for a in ("river", "stone", "cloud") for b in ("side", "bank", "light", "field")]


def labelled() -> Pairs:
    """Records whose duplicate has one word more, and others that share nothing."""
    rows = []
    for i in range(60):
        text = " ".join(f"{word}{i}" for word in WORDS)
        other = " ".join(f"{word}{(i + 7) % 60}" for word in WORDS)
        rows.append({"left": {"a": text}, "right": {"a": f"{text} again"}, "label": 1})
        rows.append({"left": {"a": text}, "right": {"a": f"{other} again"}, "label": 0})
    return pairs_of(rows)


class OneVectorAThing:
    """An embedder that knows which texts mean the same thing."""

    def __init__(self, pairs: Pairs) -> None:
        self.identity = Identity("things")
        self.dimension = len(pairs.texts)
        self.thing = dict(zip(pairs.texts, pairs.thing.tolist(), strict=True))

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.eye(self.dimension, dtype=np.float32)[[self.thing[text] for text in texts]]


def test_jaccard_of_is_that_of_the_shingle_sets() -> None:
    pairs = labelled()
    found = jaccard_of(pairs, 3)
    assert set(np.round(found[pairs.is_same], 6)) == {round(10 / 11, 6)}
    assert not found[~pairs.is_same].any()


def test_measured_finds_all_of_what_is_easy_by_every_method_and_stage() -> None:
    pairs = labelled()
    figures = measured(pairs, with_vectors(rows_of(pairs.texts), OneVectorAThing(pairs)))
    for name, row in figures["pairs"].items():
        assert (row["precision"][0], row["recall"][0]) == (1.0, 1.0), name
    for row in figures["stages"]:
        assert (row["precision"][0], row["dropped_right"], row["dropped_wrong"]) == (1.0, row["dropped"], 0)
        if row.get("bands", 16) >= 16:  # fewer bands, which a threshold of 0.92 would choose, lose some
            assert (row["recall"][0], row["dropped"]) == (1.0, 60), row
    assert "minhash" in table_of("made up", figures)


def test_banding_loses_what_it_is_expected_to_lose() -> None:
    pairs = labelled()
    few, *_, many = sorted(banding(pairs, jaccard_of(pairs, 3), 3, 0.5), key=lambda row: row["bands"])
    assert many["of_found"] >= few["of_found"]
    assert few["expected"] == pytest.approx(1 - (1 - (10 / 11) ** 8) ** 16, abs=1e-4)
    assert few["recall"][0] == pytest.approx(few["of_found"], abs=1e-4)
    assert (pairs.half == JUDGING).any()


def test_winners_follows_losers_to_the_row_that_stays() -> None:
    table = rows_of(["a", "b", "c", "d"])
    details = ["00000001 0.9", "00000003", None, None]
    table = set_column(table, "drop_detail", pa.array(details, pa.string()))
    table = set_column(table, "drop_rule", pa.array(["x", "x", None, None], pa.string()))
    assert winners(table).tolist() == [3, 3, 2, 3]


def test_pairs_above_are_those_of_the_plain_loop() -> None:
    random = np.random.default_rng(1)
    vectors = random.normal(size=(2100, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    left, right = pairs_above(vectors, 0.99)
    i, j = np.nonzero(np.triu(vectors @ vectors.T >= 0.99, 1))
    assert sorted(zip(left.tolist(), right.tolist(), strict=True)) == list(
        zip(i.tolist(), j.tolist(), strict=True)
    )


def test_highest_to_an_earlier_never_looks_ahead() -> None:
    found = highest_to_an_earlier(["一只猫坐在垫子上", "a b c d", "一只猫坐在垫子上", "a b c e"], 1)
    assert found == pytest.approx([0, 0, 1, 3 / 5])


def test_auc_and_agreement_of_known_lists() -> None:
    bad = np.array([True, True, False, False])
    assert auc(np.array([0.9, 0.4, 0.5, 0.1]), bad) == 0.75
    assert agreement(bad, bad)["kappa"] == 1.0
    assert agreement(np.array([True, False, True, False]), bad) == {
        "ours": 2,
        "theirs": 2,
        "both": 1,
        "kappa": 0.0,
    }
