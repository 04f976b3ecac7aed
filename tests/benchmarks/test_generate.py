"""The generation benchmark's own parts: what it asks, and when it calls two sides' work the same."""

from __future__ import annotations

import pytest

from benchmarks import generate
from benchmarks.harness import BenchmarkError

PAIRS = [(f"prompt {i}", f"answer {i}") for i in range(20)]


def test_conversations_are_all_different_and_in_both_languages() -> None:
    texts = [messages[0]["content"] for messages in generate.conversations(200)]
    assert len(set(texts)) == 200
    chinese = [text for text in texts if any("\u4e00" <= sign <= "\u9fff" for sign in text)]
    assert 50 < len(chinese) < 150


def test_work_in_another_order_has_the_same_digest() -> None:
    forth, back = generate.work_of(PAIRS, 1.0), generate.work_of(PAIRS[::-1], 2.0)
    assert forth.digest == back.digest
    assert forth.facts["completions"] == 20


def test_same_texts_equal_work_says_how_much() -> None:
    works = {"raysft": generate.work_of(PAIRS, 1.0), "vllm": generate.work_of(PAIRS, 2.0)}
    assert generate.same_texts(works) == "20 completions on each side, 100.00% of the texts equal"


def test_same_texts_one_near_tie_of_twenty_is_allowed() -> None:
    other = [*PAIRS[:-1], (PAIRS[-1][0], "another answer")]
    works = {"raysft": generate.work_of(PAIRS, 1.0), "vllm": generate.work_of(other, 2.0)}
    assert "95.00% of the texts equal" in generate.same_texts(works)


def test_same_texts_missing_completion_is_refused() -> None:
    works = {"raysft": generate.work_of(PAIRS[1:], 1.0), "vllm": generate.work_of(PAIRS, 2.0)}
    with pytest.raises(BenchmarkError, match="not the same number of completions"):
        generate.same_texts(works)


def test_same_texts_answers_swapped_between_prompts_are_refused() -> None:
    swapped = [(prompt, PAIRS[i - 1][1]) for i, (prompt, _) in enumerate(PAIRS)]
    works = {"raysft": generate.work_of(PAIRS, 1.0), "vllm": generate.work_of(swapped, 2.0)}
    with pytest.raises(BenchmarkError, match=r"only 0\.0% of the texts are equal"):
        generate.same_texts(works)
