import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from raysft.algorithms.rouge import SimilarityIndex, first_similar, rouge_l

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
    assert rouge_l(a, b) == pytest.approx(oracle(a, b), abs=1e-12)


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


@given(st.lists(FEW_WORDS, max_size=12), FEW_WORDS, st.sampled_from([0.0, 0.5, 0.7, 0.8, 1.0]))
def test_first_similar_of_any_pool_decides_as_all_pairs_do(pool, candidate, threshold):
    scores = [(i, rouge_l(candidate, text)) for i, text in enumerate(pool)]
    expected = next(((i, s) for i, s in scores if s > threshold), None)
    assert first_similar(candidate, pool, threshold) == expected


def test_first_similar_at_the_threshold_itself_is_none():
    assert rouge_l("a b c d", "a x") < 0.5
    assert first_similar("a b", ["a c"], 0.5) is None
    assert first_similar("a b", ["a c"], 0.49) == (0, 0.5)


def test_similarity_index_grown_between_questions_sees_the_new_text():
    index = SimilarityIndex(0.7)
    assert index.first_similar("a dog runs home") is None
    assert index.add("a cat sleeps") == 0
    assert index.first_similar("a dog runs home") is None
    assert index.add("a dog runs home now") == 1
    assert index.first_similar("a dog runs home") == (1, pytest.approx(8 / 9))


def test_similarity_index_with_a_threshold_above_one_is_refused():
    with pytest.raises(ValueError, match=r"threshold is 1\.5"):
        SimilarityIndex(1.5)


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


def test_similarity_index_of_real_chinese_instructions_decides_as_all_pairs_do():
    texts = real_instructions("llamafactory/alpaca_zh_demo.jsonl.gz", "instruction", 400)
    index, found = SimilarityIndex(0.5), 0
    for i, text in enumerate(texts):
        scores = [(j, rouge_l(text, other)) for j, other in enumerate(texts[:i])]
        expected = next(((j, s) for j, s in scores if s > 0.5), None)
        assert index.first_similar(text) == expected
        found += expected is not None
        index.add(text)
    assert found > 0
