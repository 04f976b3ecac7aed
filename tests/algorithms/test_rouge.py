import gzip
import json
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from raysft.algorithms.rouge import SimilarityIndex, rouge_l
from raysft.algorithms.words import tokens

ORACLE = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
ASCII = st.text(st.characters(min_codepoint=9, max_codepoint=126), max_size=60)
FEW_WORDS = st.lists(
    st.sampled_from(["red", "blue", "the", "a", "cat", "dog", "runs", "诗", "写", "猫"]), max_size=12
).map(" ".join)


def oracle(a: str, b: str) -> float:
    return ORACLE.score(a, b)["rougeL"].fmeasure


@given(ASCII, ASCII)
def test_rouge_l_of_ascii_texts_equals_rouge_score(a, b):
    assert rouge_l(a, b) == oracle(a, b)


@given(FEW_WORDS, FEW_WORDS)
def test_rouge_l_of_texts_that_share_words_is_symmetric_and_at_most_one(a, b):
    assert rouge_l(a, b) == rouge_l(b, a)
    assert 0 <= rouge_l(a, b) <= 1
    assert rouge_l(a, a) == (1.0 if a else 0.0)


def test_rouge_l_of_chinese_counts_characters():
    # 写一首关于X天的诗: 8 of 9 characters in common.
    assert rouge_l("写一首关于春天的诗", "写一首关于秋天的诗！") == pytest.approx(16 / 18)
    assert rouge_l("你好", "再见") == 0


def test_rouge_l_of_mixed_text_splits_words_from_characters():
    assert rouge_l("用Python写诗", "用 python 写 诗") == 1


def by_brute_force(candidate: str, pool: list[str], n: int) -> list[tuple[int, float]]:
    scores = [(i, rouge_l(candidate, text)) for i, text in enumerate(pool)]
    return sorted((s for s in scores if s[1] > 0), key=lambda s: (-s[1], s[0]))[:n]


def index_of(pool: list[str]) -> SimilarityIndex:
    index = SimilarityIndex()
    for text in pool:
        index.add(text)
    return index


@settings(deadline=None)  # the first call compiles
@given(st.lists(FEW_WORDS, max_size=30), FEW_WORDS, st.integers(1, 12))
def test_most_similar_in_any_pool_is_what_all_pairs_say(pool, candidate, n):
    assert index_of(pool).most_similar(candidate, n) == by_brute_force(candidate, pool, n)


def sentence(rng: Random, lang: str) -> str:
    """Words of which a few are frequent, as in any language; texts of very different lengths."""
    words = [
        f"{'w' if lang == 'en' else ''}{int(rng.paretovariate(0.7)) % 500}" for _ in range(rng.randint(1, 30))
    ]
    return " ".join(words) if lang == "en" else "".join(chr(0x4E00 + int(w)) for w in words)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_most_similar_in_a_pool_with_frequent_words_is_what_all_pairs_say(lang):
    """Pools beyond the sizes at which an index grows its arrays and turns lists into rows of bytes."""
    rng = Random(5)
    pool = [sentence(rng, lang) for _ in range(1500)]
    index = index_of(pool)
    for n in (1, 10, 100):
        for candidate in [*(sentence(rng, lang) for _ in range(20)), pool[7], pool[1400]]:
            assert index.most_similar(candidate, n) == by_brute_force(candidate, pool, n)


def test_most_similar_of_many_copies_are_the_first_of_them():
    pool = ["a dog runs home"] * 200 + ["a dog runs"] * 200
    assert index_of(pool).most_similar("a dog runs home", 3) == [(0, 1.0), (1, 1.0), (2, 1.0)]
    assert [i for i, _ in index_of(pool).most_similar("dog runs a", 201)][:2] == [200, 201]


def test_most_similar_in_an_index_grown_between_questions_sees_the_new_text():
    index = SimilarityIndex()
    assert index.most_similar("a dog runs home", 3) == []
    assert index.add("a cat sleeps") == 0
    assert index.most_similar("dogs run home", 3) == []
    assert index.add("a dog runs home now") == 1
    assert index.most_similar("a dog runs home", 3) == [(1, pytest.approx(8 / 9)), (0, pytest.approx(2 / 7))]
    assert len(index) == 2


def test_most_similar_leaves_out_what_shares_nothing_and_texts_without_tokens():
    index = index_of(["", "???", "red cat", "诗"])
    assert index.most_similar("red dog", 10) == [(2, 0.5)]
    assert index.most_similar("写诗", 10) == [(3, pytest.approx(2 / 3))]
    assert index.most_similar("!!!", 10) == []
    assert index.most_similar("", 10) == []


def test_most_similar_of_repeated_words_counts_each_once():
    index = index_of(["the the the", "the cat"])
    assert index.most_similar("the", 2) == [(1, pytest.approx(2 / 3)), (0, 0.5)]


def real_instructions(name: str, field: str, n: int) -> list[str]:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {path}: the shared data is not beside this checkout")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line)[field] for _, line in zip(range(n), file, strict=False)]


def test_rouge_l_of_real_english_instructions_equals_rouge_score():
    texts = [
        t for t in real_instructions("dolly_3k_chatgpt_filtered.jsonl.gz", "instruction", 300) if t.isascii()
    ]
    pairs = [(a, b) for i, a in enumerate(texts[:60]) for b in texts[i : i + 40]]
    assert len(pairs) > 2000
    assert [rouge_l(a, b) for a, b in pairs] == pytest.approx([oracle(a, b) for a, b in pairs], abs=1e-12)


REAL = {
    "en": [
        ("dolly_3k_chatgpt_filtered.jsonl.gz", "instruction"),
        ("llamafactory/alpaca_en_demo.jsonl.gz", "instruction"),
        ("gpteacher_roleplay.jsonl.gz", "instruction"),
    ],
    "zh": [("llamafactory/alpaca_zh_demo.jsonl.gz", "instruction")],
}


def edited(text: str, rng: Random, times: int) -> str:
    """The text with so many of its words (Chinese: characters) dropped, doubled, replaced or swapped."""
    is_english = text.isascii()
    parts = text.split() if is_english else list(text)
    for _ in range(times):
        at = rng.randrange(len(parts))
        new = rng.choice(["very", "red", "seven"]) if is_english else rng.choice("很红七")
        edits = [parts[at : at + 1] * 2, [new], [new, *parts[at : at + 1]], parts[at : at + 2][::-1]]
        edits += [[]] if len(parts) > 1 else []
        edit = rng.choice(edits)
        parts[at : at + max(1, len(edit) if edit == parts[at : at + 2][::-1] else 1)] = edit
    return (" " if is_english else "").join(parts)


def test_decisions_on_real_english_pairs_are_rouge_scores():
    rng = Random(1)
    texts = [
        t
        for name, field in REAL["en"]
        for t in real_instructions(name, field, 1000)
        if t.isascii() and t.split()
    ]
    texts = [t for t in texts if len(t.split()) <= 60]
    # Edits of about a third of the words lie about the threshold.
    near = [(t, edited(t, rng, max(1, round(len(t.split()) * rng.uniform(0.1, 0.6))))) for t in texts * 2]
    pairs = [*near, *pairwise(texts)][:6500]
    scores = [oracle(a, b) for a, b in pairs]
    assert len(pairs) > 5000
    assert sum(0.6 < s < 0.8 for s in scores) > 1500
    assert 1000 < sum(s > 0.7 for s in scores) < len(pairs) - 1000
    assert [rouge_l(a, b) for a, b in pairs] == scores
    found = [index_of([a]).most_similar(b, 1) for a, b in pairs]
    assert [bool(f) and f[0][1] > 0.7 for f in found] == [s > 0.7 for s in scores]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_decisions_on_real_near_duplicates_find_the_text_they_come_from(lang):
    """One word or character edited in a text of 8 or more tokens is found; other texts are not."""
    rng, texts = Random(2), []
    for name, field in REAL[lang]:
        texts += [
            t
            for t in real_instructions(name, field, 1000)
            if len(tokens(t)) >= 8 and t.isascii() == (lang == "en")
        ]
    pool = novel(texts)
    index = index_of(pool)
    for at in rng.sample(range(len(pool)), 200):
        found = index.most_similar(edited(pool[at], rng, 1), 1)
        assert found[0][0] == at
        assert found[0][1] > 0.7


def novel(texts: list[str]) -> list[str]:
    """The texts that are not too like an earlier one."""
    index, kept = SimilarityIndex(), []
    for text in texts:
        found = index.most_similar(text, 1)
        if not found or found[0][1] <= 0.7:
            index.add(text)
            kept.append(text)
    return kept


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_most_similar_among_real_instructions_is_what_all_pairs_say(lang):
    texts = [t for name, field in REAL[lang] for t in real_instructions(name, field, 400)]
    index = SimilarityIndex()
    for i, text in enumerate(texts):
        if i % 10 == 0:
            assert index.most_similar(text, 10) == by_brute_force(text, texts[:i], 10)
        index.add(text)
