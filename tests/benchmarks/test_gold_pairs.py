"""Labelled pairs: what is read, how it is halved, which threshold is chosen and what an interval says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gold_pairs import BETWEEN, CHOOSING, JUDGING, Pairs, choose, judge, pairs_of, reached, text_of


def row(left: str, right: str, label: int) -> dict[str, object]:
    return {"left": {"title": left, "year": ""}, "right": {"title": right}, "label": label}


def scored(is_same: list[int], half: int = CHOOSING) -> Pairs:
    """A pair of two records of their own for each label."""
    n = len(is_same)
    places = np.arange(n)
    same = np.array(is_same, bool)
    texts = [str(i) for i in range(2 * n)]
    return Pairs(texts, places, places + n, same, np.full(n, half), np.arange(2 * n), {})


def test_text_of_leaves_out_empty_values() -> None:
    assert text_of({"name": "灯", "price": "", "colour": "red"}) == "灯 red"


def test_pairs_of_counts_a_repeated_pair_once_and_a_contradicted_one_never() -> None:
    pairs = pairs_of([row("a", "b", 1), row("a", "b", 1), row("c", "d", 0), row("c", "d", 1)])
    assert (pairs.facts["said twice"], pairs.facts["both labels"]) == (2, 1)
    assert [(pairs.texts[i], pairs.texts[j]) for i, j in zip(pairs.left, pairs.right, strict=True)] == [
        ("a", "b")
    ]


def test_pairs_of_equal_texts_on_both_sides_are_two_records() -> None:
    pairs = pairs_of([row("a", "a", 1)])
    assert pairs.texts == ["a", "a"]
    assert pairs.left[0] != pairs.right[0]


def test_pairs_of_no_rows_is_empty() -> None:
    assert len(pairs_of([]).left) == 0


def test_halves_hold_whole_things_and_every_record_once() -> None:
    rows = [row(f"l{i}", f"r{i}", 1) for i in range(200)]
    rows += [row(f"l{i}", f"r{(i * 7 + 1) % 200}", 0) for i in range(200)]
    pairs = pairs_of(rows)
    sides: dict[int, set[int]] = {CHOOSING: set(), JUDGING: set()}
    for left, right, half in zip(pairs.left, pairs.right, pairs.half, strict=True):
        if half != BETWEEN:
            sides[half] |= {int(left), int(right)}
    assert not sides[CHOOSING] & sides[JUDGING]
    assert BETWEEN not in pairs.half[pairs.is_same]
    assert 60 < np.sum(pairs.half[~pairs.is_same] == BETWEEN) < 140
    assert 60 < np.sum(pairs.half[pairs.is_same] == CHOOSING) < 140


def test_choose_finds_the_threshold_that_parts_the_labels() -> None:
    pairs = scored([1, 1, 1, 0, 0])
    f1, (threshold,) = choose(pairs, np.array([0.9, 0.8, 0.7, 0.6, 0.1]))
    assert (f1, threshold) == (1.0, 0.7)


def test_choose_never_looks_at_the_other_half() -> None:
    pairs = scored([1, 1, 0])
    other = scored([0, 0, 1], JUDGING)
    both = Pairs(
        pairs.texts,
        np.r_[pairs.left, other.left],
        np.r_[pairs.right, other.right],
        np.r_[pairs.is_same, other.is_same],
        np.r_[pairs.half, other.half],
        pairs.thing,
        {},
    )
    scores = np.array([0.9, 0.8, 0.3])
    assert choose(both, np.r_[scores, scores]) == choose(pairs, scores)


def test_choose_of_two_scores_needs_both_or_either() -> None:
    pairs = scored([1, 1, 0, 0])
    one, other = np.array([0.9, 0.9, 0.9, 0.1]), np.array([0.8, 0.8, 0.1, 0.8])
    f1, (at, at_other) = choose(pairs, one, other)
    assert (f1, at, at_other) == (1.0, 0.9, 0.8)
    one, other = np.array([0.9, 0.1, 0.2, 0.2]), np.array([0.1, 0.8, 0.2, 0.2])
    f1, (at, at_other) = choose(pairs, one, other, either=True)
    assert (f1, at, at_other) == (1.0, 0.9, 0.8)


@pytest.mark.parametrize("score", [0.29, 0.57, 0.58, 0.7, 1.0])
def test_reached_includes_the_threshold_itself(score: float) -> None:
    assert reached(np.array([score]), score)[0]
    assert not reached(np.array([score - 0.001]), score)[0]


def test_judge_counts_different_pairs_twice_and_its_interval_holds_the_value() -> None:
    pairs = scored([1] * 60 + [0] * 60, JUDGING)
    found = np.r_[np.ones(45, bool), np.zeros(15, bool), np.ones(10, bool), np.zeros(50, bool)]
    figures = judge(pairs, found)
    assert figures["precision"][0] == pytest.approx(45 / (45 + 20), abs=1e-4)
    assert figures["recall"][0] == pytest.approx(0.75)
    value, lower, upper = figures["recall"]
    deviation = np.sqrt(0.75 * 0.25 / 60)
    assert lower < value < upper
    assert upper - lower == pytest.approx(2 * 1.96 * deviation, rel=0.2)


def test_judge_of_nothing_found_is_precise_and_recalls_nothing() -> None:
    figures = judge(scored([1, 0], JUDGING), np.zeros(2, bool))
    assert (figures["precision"][0], figures["recall"][0], figures["f1"][0]) == (1.0, 0.0, 0.0)
