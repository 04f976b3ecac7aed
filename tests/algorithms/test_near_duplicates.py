import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.near_duplicates import Sets, Verified, jaccard, nearest_kept, verified_components
from tests.algorithms.test_union_find import reference_components

BANDS = 3
SET = st.frozensets(st.integers(0, 11), max_size=8)
THRESHOLD = st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.7, 0.75, 1.0])


def sets_of(rows) -> Sets:
    values = [v for row in rows for v in sorted(row)]
    return Sets(np.array(values, np.uint64), np.cumsum([0, *map(len, rows)]).astype(np.int64))


def key_of(row: frozenset[int], band: int) -> int:
    """One of few keys, which only the set decides."""
    return band * 100 + min(((v * (2 * band + 3)) % 13 for v in row), default=13) // 3


def similarity(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def brute_force(rows, threshold, answers, answer_threshold, owned) -> list[int]:
    """Every pair of candidates compared, but for owned ones, which are joined only where they are equal."""
    edges = []
    for i, j in itertools.combinations(range(len(rows)), 2):
        if not any(key_of(rows[i], band) == key_of(rows[j], band) for band in range(BANDS)):
            continue
        is_equal = (rows[i], answers[i]) == (rows[j], answers[j])
        is_near = similarity(rows[i], rows[j]) >= threshold
        is_near &= similarity(answers[i], answers[j]) >= answer_threshold
        if is_equal or (is_near and j >= owned):
            edges.append((i, j))
    return reference_components(len(rows), edges)


def verified(rows, threshold, answers=None, answer_threshold=0.0, **more) -> Verified:
    keys = np.array([[key_of(row, band) for band in range(BANDS)] for row in rows], np.uint64)
    theirs = sets_of(answers) if answers is not None else None
    return verified_components(
        keys.reshape(-1, BANDS), sets_of(rows), threshold, theirs, answer_threshold, **more
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(SET, SET), max_size=14), THRESHOLD, THRESHOLD, st.integers(0, 14))
def test_verified_components_of_any_rows_equal_brute_force(rows, threshold, answer_threshold, owned) -> None:
    sets, answers = [row for row, _ in rows], [answer for _, answer in rows]
    if answer_threshold == 0:
        answers = [frozenset()] * len(rows)
    found = verified(sets, threshold, answers, answer_threshold, owned=owned)
    assert found.left_out == 0
    assert found.component.tolist() == brute_force(sets, threshold, answers, answer_threshold, owned)


@settings(max_examples=200, deadline=None)
@given(st.lists(SET, min_size=1, max_size=14), THRESHOLD, st.integers(1, 5))
def test_verified_components_of_large_buckets_are_parts_of_those_of_brute_force(
    rows, threshold, most
) -> None:
    found = verified(rows, threshold, most=most)
    empty = [frozenset()] * len(rows)
    whole = brute_force(rows, threshold, empty, 0, 0)
    assert all(whole[row] == whole[first] for row, first in enumerate(found.component.tolist()))
    assert found.left_out or found.component.tolist() == whole


@settings(deadline=None)
@given(SET, SET)
def test_verified_components_at_a_threshold_that_is_met_exactly_are_joined(a, b) -> None:
    keys = np.zeros((2, 1), np.uint64)
    exact = similarity(a, b)
    sets = sets_of([a, b])
    assert jaccard(sets, np.array([0]), np.array([1])).tolist() == [exact]
    assert verified_components(keys, sets, exact).component.tolist() == [0, 0]
    above = verified_components(keys, sets, np.nextafter(exact, 2)).component.tolist()
    assert above == ([0, 0] if a == b else [0, 1])


def template(rows: int, seed: int) -> tuple[np.ndarray, Sets, Sets]:
    """Rows in one bucket of all bands, of equal texts; each answer is six words of many, and comes twice
    but for one word."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 40, 5000)
    answers = [frozenset(rng.choice(words, 6).tolist()) for _ in range(rows // 2)]
    edited = [frozenset([*sorted(answer)[1:], 1 << 41]) for answer in answers]
    keys = np.tile(np.arange(16, dtype=np.uint64), (rows, 1))
    return keys, sets_of([frozenset(range(50))] * rows), sets_of(answers + edited)


@pytest.mark.parametrize(
    ("most", "left_out"), [(2000, 0), (512, 1000 * 999 // 2 - sum(range(16)) - 984 * 16)]
)
def test_verified_components_of_a_template_find_like_answers(most: int, left_out: int) -> None:
    keys, texts, answers = template(1000, 0)
    found = verified_components(keys, texts, 0.7, answers, 0.5, most=most)
    joined = found.component[500:] == np.arange(500)
    assert joined.mean() >= 0.99
    assert (found.component[:500] == np.arange(500)).mean() >= 0.99
    assert found.left_out == left_out


def test_verified_components_of_a_large_bucket_without_answers_find_like_sets() -> None:
    keys, _, answers = template(1000, 1)
    found = verified_components(keys, answers, 0.5, most=512)
    assert found.left_out > 0
    assert (found.component[500:] == np.arange(500)).mean() >= 0.99


def test_verified_components_of_owned_rows_in_a_large_bucket_leave_out_no_pair_of_theirs() -> None:
    keys, texts, answers = template(100, 2)
    assert verified_components(keys, texts, 0.7, answers, 0.5, owned=100, most=32).left_out == 0


def test_verified_components_of_equal_rows_beyond_any_bucket_are_one() -> None:
    keys = np.ones((20_000, 4), np.uint64)
    found = verified_components(keys, sets_of([frozenset([1, 2, 3])] * 20_000), 0.9)
    assert (found.component.max(), found.left_out) == (0, 0)


def test_verified_components_of_no_rows_are_none() -> None:
    found = verified_components(np.zeros((0, 16), np.uint64), sets_of([]), 0.7)
    assert (len(found.component), found.left_out) == (0, 0)


def test_jaccard_of_empty_sets_is_one_and_of_one_empty_set_zero() -> None:
    sets = sets_of([frozenset(), frozenset(), frozenset([1])])
    assert jaccard(sets, np.array([0, 0, 2]), np.array([1, 2, 2])).tolist() == [1.0, 0.0, 1.0]


def kept_by_brute_force(rows, threshold, answers, answer_threshold, owned) -> list[int]:
    """Row by row, compared with every kept row that it shares a band with."""
    winners: list[int] = []
    for j in range(len(rows)):
        near = [
            (-similarity(rows[i], rows[j]), i)
            for i in range(j)
            if winners[i] == i
            and any(key_of(rows[i], band) == key_of(rows[j], band) for band in range(BANDS))
            and similarity(rows[i], rows[j]) >= threshold
            and similarity(answers[i], answers[j]) >= answer_threshold
        ]
        winners.append(min(near)[1] if near and j >= owned else j)
    return winners


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(SET, SET), max_size=14), THRESHOLD, THRESHOLD, st.integers(0, 14))
def test_nearest_kept_of_any_rows_equals_brute_force(rows, threshold, answer_threshold, owned) -> None:
    sets, answers = [row for row, _ in rows], [answer for _, answer in rows]
    if answer_threshold == 0:
        answers = [frozenset()] * len(rows)
    keys = np.array([[key_of(row, band) for band in range(BANDS)] for row in sets], np.uint64)
    found = nearest_kept(
        keys.reshape(-1, BANDS), sets_of(sets), threshold, sets_of(answers), answer_threshold, owned
    )
    assert found.tolist() == kept_by_brute_force(sets, threshold, answers, answer_threshold, owned)


def test_nearest_kept_looks_at_so_many_kept_rows_of_a_bucket() -> None:
    rows = [frozenset({0, 100 + i}) for i in range(6)] + [frozenset({0, 100})]
    keys = np.zeros((len(rows), 1), np.uint64)
    assert nearest_kept(keys, sets_of(rows), 0.9, most=6).tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert nearest_kept(keys, sets_of(rows), 0.9, most=5).tolist() == [0, 1, 2, 3, 4, 5, 6]
