"""The shares that raysft/augment/grounding.py states: answers of people, to questions about a text."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from raysft.augment.grounding import broken_rule, text_of

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def rows(name: str) -> list[dict]:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not beside the checkout")
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def passing(pairs: Sequence[tuple[str, str]], threshold: float) -> float:
    rules = [broken_rule("?", a, text_of(t), threshold=threshold, is_shown=True) for a, t in pairs]
    return sum(rule is None or rule[0] != "ungrounded" for rule in rules) / len(pairs)


def shifted(pairs: Sequence[tuple[str, str]], by: int) -> list[tuple[str, str]]:
    """Each answer with the text of another row."""
    texts = [text for _, text in pairs]
    return [(answer, text) for (answer, _), text in zip(pairs, texts[by:] + texts[:by], strict=True)]


def test_share_of_english_answers_tells_their_own_text_from_another():
    found = rows("dolly_3k_chatgpt_filtered.jsonl.gz")
    kinds = ("closed_qa", "information_extraction")
    pairs = [(row["output"], row["input"]) for row in found if row["input"] and row["category"] in kinds]
    assert len(pairs) == 323
    assert passing(pairs, 0.6) == pytest.approx(0.78, abs=0.02)
    assert passing(shifted(pairs, 1), 0.6) == 0


def test_share_of_chinese_answers_tells_their_own_text_from_another():
    pairs = [(row["answers"][0], row["context"]) for row in rows("cmrc2018_zh_qa.jsonl.gz")]
    assert len(pairs) == 4221
    assert passing(pairs, 0.6) > 0.99
    other = shifted(pairs, 1000)
    assert passing(other, 0.6) == pytest.approx(0.04, abs=0.015)
    assert passing(other, 0.5) == pytest.approx(0.10, abs=0.03)
