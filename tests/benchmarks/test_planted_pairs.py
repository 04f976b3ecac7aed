"""Planted pairs have the similarity they are said to have; minhash_dedup decides all that meet rightly."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.planted_pairs import LANGUAGES, UNION, measured, plant
from raysft.algorithms.shingles import shingles
from raysft.curate.minhash_dedup import Config

CONFIG = Config(on="instruction")


def plain_jaccard(left: str, right: str, lang: str, n: int) -> Fraction:
    """Of sets of n-grams, the plain way."""
    sets = []
    for text in (left, right):
        tokens = list(text) if lang == "zh" else text.split(" ")
        sets.append({tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)})
    return Fraction(len(sets[0] & sets[1]), len(sets[0] | sets[1]))


@settings(max_examples=60, deadline=None)
@given(
    lang=st.sampled_from(LANGUAGES),
    common=st.integers(1, 60),
    left=st.integers(0, 40),
    right=st.integers(0, 40),
    seed=st.integers(0, 999),
)
def test_plant_gives_the_jaccard_it_names(lang: str, common: int, left: int, right: int, seed: int) -> None:
    pair = plant(lang, common, left, right, CONFIG, Random(seed))
    named = Fraction(common, common + left + right)
    n = CONFIG.ngram_cjk if lang == "zh" else CONFIG.ngram
    assert Fraction(pair.common, pair.union) == named
    assert plain_jaccard(pair.left, pair.right, lang, n) == named
    a, b = (set(shingles(t, CONFIG.ngram, CONFIG.ngram_cjk).tolist()) for t in (pair.left, pair.right))
    assert Fraction(len(a & b), len(a | b)) == named


@pytest.mark.parametrize("counts", [(0, 1, 1), (1, -1, 0), (1, 0, -1)])
def test_plant_of_what_cannot_be_is_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot plant"):
        plant("en", *counts, CONFIG, Random(0))


@pytest.mark.parametrize(
    ("bands", "rows", "threshold"), [(16, 8, 0.7), (16, 8, 0.55), (16, 8, 0.925), (32, 4, 0.6), (8, 16, 0.85)]
)
def test_minhash_dedup_decides_every_pair_that_meets_by_its_exact_jaccard(
    bands: int, rows: int, threshold: float
) -> None:
    config = Config(on="instruction", bands=bands, rows=rows, threshold=threshold)
    figures = measured(60, config)
    assert {row["jaccard"]: row["wrong"] for row in figures if row["wrong"]} == {}
    at_threshold = next(r for r in figures if r["jaccard"] == f"{round(threshold * UNION)}/{UNION}")
    assert at_threshold["dropped"] > 0
    assert all(row["dropped"] == row["pairs"] for row in figures[-2:])


def test_pairs_share_a_band_as_often_as_theory_says() -> None:
    figures = [row for row in measured(300, CONFIG) if 0.02 < row["expected"] < 0.98]
    assert len(figures) > 10
    assert max(abs(row["deviations"]) for row in figures) < 4
    assert sum(row["deviations"] ** 2 for row in figures) < 2.2 * len(figures)
