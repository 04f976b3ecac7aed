"""MinHash bands find pairs as often as theory says, on fewer pairs than the benchmark takes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import minhash_recall


def test_recall_of_a_few_thousand_pairs_is_that_of_theory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "recall.json"
    minhash_recall.main(["--pairs", "4000"], out)
    rows = json.loads(out.read_text())["found"]
    assert [row["similarity"] for row in rows[:3]] == ["0.7 to 0.8", "0.8 to 0.9", "0.9 to 1.0"]
    for row in rows[:3]:
        assert row["pairs"] >= 4000
        assert abs(row["found"] - row["expected"]) <= 5 * row["deviation"] + 0.0005, row
    assert (rows[3]["pairs"], rows[3]["found"]) == (3040, 1.0)
    assert "a word in front" in capsys.readouterr().out


def test_met_and_similarity_of_known_pairs() -> None:
    left = pa.array(["a b c d", "a b c d", "春天来了吗"])
    met, similarity = minhash_recall.met_and_similarity(left, pa.array(["a b c d", "a b c e", "w x y z"]))
    assert similarity.tolist() == [1.0, 1 / 3, 0.0]
    assert met[0]
    assert not met[2]


def test_pairs_with_a_word_in_front_differ_in_that_word_alone() -> None:
    left, right = minhash_recall.pairs_with_a_word_in_front()
    assert len(left) == 10 * 304
    for short, long in zip(left[:50].to_pylist(), right[:50].to_pylist(), strict=True):
        assert long.split(" ", 1)[1] == short
    lengths = np.array([len(text.split()) for text in left.to_pylist()])
    assert sorted(set(lengths.tolist())) == list(range(97, 401))


def test_edited_pairs_are_decided_by_their_number() -> None:
    batches = [minhash_recall.edited_pairs(number)[1].slice(0, 20).to_pylist() for number in (0, 0, 1)]
    assert batches[0] == batches[1] != batches[2]


def test_a_row_off_by_more_than_half_a_point_is_told() -> None:
    row = {"similarity": "0.7 to 0.8", "found": 0.8049, "expected": 0.8}
    assert minhash_recall.is_as_expected(row)
    assert not minhash_recall.is_as_expected({**row, "found": 0.794})
    assert not minhash_recall.is_as_expected({"similarity": "a word in front", "found": 0.9999})
    assert all(high == low for (_, high), (low, _) in pairwise(minhash_recall.RANGES))
