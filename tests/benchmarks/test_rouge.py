"""The ROUGE-L benchmark's own parts: its texts, and sides that agree or are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import harness, rouge
from benchmarks.harness import BenchmarkError, Work
from raysft.algorithms.rouge import rouge_l_of_tokens

POOL, CANDIDATES = 400, 12


@pytest.fixture(scope="module")
def works() -> dict[str, Work]:
    found = {}
    for side in rouge.BENCHMARK.sides:
        harness._marks.clear()
        found[side.name] = side.run(pool=POOL, candidates=CANDIDATES)
    harness._marks.clear()
    return found


def test_sides_take_the_same_decisions_and_tell_the_same_texts(works: dict[str, Work]) -> None:
    assert rouge.same_answers(works).startswith("same decisions (")
    assert {work.facts["candidates"] for work in works.values()} == {CANDIDATES}


def test_same_answers_of_other_texts_are_refused(works: dict[str, Work]) -> None:
    with pytest.raises(BenchmarkError, match="outputs differ"):
        rouge.same_answers({**works, "raysft": rouge.work_of([[(0, 1.0)]], 0.1)})


def test_same_answers_with_one_kind_of_decision_are_refused(works: dict[str, Work]) -> None:
    alike = {name: replace(work, digest="", facts={**work.facts, "new": 0}) for name, work in works.items()}
    with pytest.raises(BenchmarkError, match="0 of 12 candidates are new"):
        rouge.same_answers(alike)


def test_pool_and_candidates_are_different_ascii_lines_and_always_the_same() -> None:
    pool, candidates = rouge.pool_and_candidates(POOL, CANDIDATES)
    assert (len(pool), len(candidates)) == (POOL, CANDIDATES)
    assert len({*pool, *candidates}) == POOL + CANDIDATES
    assert all(text.isascii() and "\n" not in text for text in pool + candidates)
    assert rouge.pool_and_candidates(POOL, CANDIDATES) == (pool, candidates)


def test_highest_of_scores_are_the_first_of_equal_ones_and_none_of_zero() -> None:
    scores = np.array([0.5, 0.0, 0.9, 0.5] + [0.1] * 20)
    assert rouge.highest(scores)[:4] == [(2, 0.9), (0, 0.5), (3, 0.5), (4, 0.1)]
    assert len(rouge.highest(scores)) == rouge.TOLD
    assert rouge.highest(np.array([0.0, 0.2])) == [(1, 0.2)]


def test_f_measures_are_rouge_ls_to_the_last_bit() -> None:
    texts = [list("abcdefghij"[:n]) for n in range(1, 11)]
    own = list("aXcYe")
    common = np.array([sum(c in "ace" for c in text) for text in texts], np.uint32)
    lengths = np.array([len(text) for text in texts], np.float64)
    expected = [rouge_l_of_tokens(own, text) for text in texts]
    assert rouge.f_measures(common, len(own), lengths).tolist() == expected
    assert rouge.f_measures(np.array([0]), 3, np.array([2.0])).tolist() == [0.0]
