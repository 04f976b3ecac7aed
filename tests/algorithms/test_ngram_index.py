import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.ngram_index import NgramIndex
from tests.algorithms.test_shingles import reference_tokens

N, N_CJK, LEAST = 3, 5, 2
WORDS = st.lists(st.sampled_from(["a", "b", "c", "我", "你", "好", "+", "。"]), max_size=14).map(" ".join)
# repeated and shifted pieces, so that long matches are no rarity
PIECES = st.lists(
    st.one_of(WORDS, st.sampled_from(["a b c a b c", "我你好我你好", "a 我 b 你 c 好"])), max_size=3
)
TEXTS = PIECES.map(" ".join)

Token = tuple[str, bool]


def reference_ngrams(tokens: list[Token], n: int, n_cjk: int) -> set[tuple[int, int]]:
    """(start, stop) of every run that is long enough and would not be without its last or its first token."""
    weights = [n if is_cjk else n_cjk for _, is_cjk in tokens]
    found = set()
    for start in range(len(tokens)):
        for stop in range(start + 1, len(tokens) + 1):
            weight = sum(weights[start:stop])
            if weight >= n * n_cjk and weight - max(weights[start], weights[stop - 1]) < n * n_cjk:
                found.add((start, stop))
    return found


def reference_share(item: str, row: str, n: int, n_cjk: int, least: int) -> float:
    """The share of an item's tokens in n-grams that stand in the row, by comparing all with all."""
    own, other = reference_tokens(item), reference_tokens(row)
    weight = sum(n if is_cjk else n_cjk for _, is_cjk in own)
    if weight < least * n_cjk:
        return 0.0
    if weight < n * n_cjk:
        windows = (other[i : i + len(own)] for i in range(len(other) - len(own) + 1))
        return float(own in windows)
    known = {tuple(other[i:j]) for i, j in reference_ngrams(other, n, n_cjk)}
    shared = [(i, j) for i, j in reference_ngrams(own, n, n_cjk) if tuple(own[i:j]) in known]
    return len({t for i, j in shared for t in range(i, j)}) / len(own)


def shares(items: list[str], rows: list[str], *, min_share: float = 0.0, n=13, n_cjk=20, least=8) -> dict:
    """{(row, item): share} of all hits."""
    index = NgramIndex.of(pa.array(items, pa.string()), n, n_cjk, least)
    found = index.found_in(pa.array(rows, pa.string()), min_share)
    return {(int(r), int(i)): float(s) for r, i, s in zip(*found, strict=True)}


@settings(max_examples=400, deadline=None)
@given(st.lists(TEXTS, max_size=5), st.lists(TEXTS, max_size=5), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_found_in_finds_every_pair_that_a_comparison_of_all_with_all_finds(items, rows, min_share):
    expected = {
        (r, i): share
        for r, row in enumerate(rows)
        for i, item in enumerate(items)
        if (share := reference_share(item, row, N, N_CJK, LEAST)) >= max(min_share, 1e-9)
    }
    found = shares(items, rows, min_share=min_share, n=N, n_cjk=N_CJK, least=LEAST)
    assert found == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, max_size=4), TEXTS, TEXTS, TEXTS)
def test_a_text_that_stands_whole_in_another_is_covered_whole(items, item, before, behind):
    found = shares([*items, item], [f"{before} {item} {behind}"], n=N, n_cjk=N_CJK, least=LEAST)
    weight = sum(N if cjk else N_CJK for _, cjk in reference_tokens(item))
    assert found.get((0, len(items))) == (1.0 if weight >= LEAST * N_CJK else None)


def words(count: int, start: int = 0) -> str:
    return " ".join(f"w{i}" for i in range(start, start + count))


def characters(count: int, start: int = 0) -> str:
    return "".join(chr(0x4E00 + i) for i in range(start, start + count))


@pytest.mark.parametrize("made", [words, characters])
def test_found_in_with_one_token_changed_loses_what_is_in_no_whole_ngram(made):
    n = 13 if made is words else 20
    item, other = made(50), made(1, 900)
    for at in range(50):
        row = " ".join([made(at), other, made(49 - at, at + 1)])
        kept = (at if at >= n else 0) + (49 - at if 49 - at >= n else 0)
        assert shares([item], [row]).get((0, 0), 0.0) == pytest.approx(kept / 50), at


@pytest.mark.parametrize(("made", "least", "n"), [(words, 8, 13), (characters, 13, 20)])
def test_found_in_finds_a_short_text_only_whole_and_a_shorter_one_never(made, least, n):
    for length in range(1, n + 2):
        whole = f"{made(3, 500)} {made(length)} {made(3, 600)}"
        cut = f"{made(3, 500)} {made(length - 1)} {made(3, 600)}"
        assert shares([made(length)], [whole, cut]) == ({(0, 0): 1.0} if length >= least else {}) | (
            {(1, 0): n / length} if length > n else {}
        )


def test_found_in_of_mixed_scripts_counts_a_word_as_more_than_a_character():
    # 6 words are 6/13 of an n-gram; 11 characters are 11/20: together 1.01
    item = f"{words(6)} {characters(11)}"
    assert shares([item], [f"x {item} 书"]) == {(0, 0): 1.0}
    assert shares([f"{words(6)} {characters(10)}"], [f"{words(6)} {characters(9)}"]) == {}
    assert shares([item], [f"{words(6)} {characters(10)}"]) == {}


def test_found_in_ignores_case_width_and_punctuation_and_keeps_numbers():
    item = "Ann has 12 apples, and Bob has 7; how many have they got in all?"
    assert shares([item], ["ANN has 12 apples and bob has ７ how many have they got -- in all"]) == {
        (0, 0): 1.0
    }
    assert shares([item], [item.replace("12", "13").replace("7", "9")]) == {}


def test_found_in_counts_a_token_once_however_often_an_ngram_stands_in_either():
    item = " ".join([words(13)] * 3)
    assert shares([item, words(13)], [words(13), item]) == pytest.approx(
        {(0, 0): 1.0, (0, 1): 1.0, (1, 0): 1.0, (1, 1): 1.0}
    )


def test_found_in_a_row_of_a_hundred_thousand_words_finds_what_is_planted():
    items = [words(30, 1_000 * i) for i in range(50)]
    filler = " ".join(f"x{i % 977}" for i in range(50_000))
    row = f"{filler} {items[7]} {filler} {' '.join(items[40].split()[:20])}"
    assert shares(items, [row]) == pytest.approx({(0, 7): 1.0, (0, 40): 20 / 30})


def test_found_in_the_rows_of_a_slice_is_what_it_is_in_the_whole():
    items = pa.array([words(20), characters(30)])
    rows = pa.array(["x", words(15), None, characters(25), f"{words(20)} {characters(30)}"]).fill_null("")
    index = NgramIndex.of(items, 13, 20, 8)
    row, item, share = index.found_in(rows, 0.1)
    for size in (1, 2, 3):
        parts = [(at, index.found_in(rows.slice(at, size), 0.1)) for at in range(0, 5, size)]
        assert np.concatenate([part[0] + at for at, part in parts]).tolist() == row.tolist()
        assert np.concatenate([part[1] for _, part in parts]).tolist() == item.tolist()
        assert np.concatenate([part[2] for _, part in parts]).tolist() == share.tolist()
    assert (row.tolist(), item.tolist()) == ([1, 3, 4, 4], [0, 1, 0, 1])


def test_index_of_nothing_and_of_texts_without_tokens_finds_nothing():
    for items in ([], ["", "?!"], ["yes"]):
        assert shares(items, ["", "yes", words(40)]) == {}
    assert shares([words(40)], []) == {}


def test_index_survives_the_way_through_its_arrays():
    index = NgramIndex.of(pa.array([words(9), words(20, 50), "yes"]), 13, 20, 8)
    again = NgramIndex.from_arrays({**index.arrays(), "other": np.zeros(1)})
    assert again.lengths.tolist() == [9]
    assert again.is_indexed().tolist() == [True, True, False]
    rows = pa.array([words(80)])
    assert [a.tolist() for a in again.found_in(rows, 0.5)] == [a.tolist() for a in index.found_in(rows, 0.5)]
