"""Demonstrations before a sample: the frames they stand in."""

from __future__ import annotations

import pytest

from raysft.acquire.demonstrations import FRAMES, framed
from raysft.acquire.task_templates import LANGUAGES, Language

SOLVED = [("一加一？", "二"), ("What is {n}?", "{answer}")]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_framed_shows_every_demonstration_then_what_is_asked(lang: Language) -> None:
    texts = {framed(SOLVED, "二加二？", lang, choice) for choice in range(20)}
    assert len(texts) == len(FRAMES[lang]) == 4
    for text in texts:
        places = [text.index(part) for part in ("一加一？", "二", "What is {n}?", "{answer}", "二加二？")]
        assert places == sorted(places)
    marks = "".join(texts)
    for part in ("一加一？", "二加二？", "二"):
        marks = marks.replace(part, "")
    assert any("\u4e00" <= c <= "\u9fff" for c in marks) == (lang == "zh")


@pytest.mark.parametrize(("asked", "lang"), [("Text: x\nSummary:", "en"), ("原文：x\n摘要：", "zh")])
def test_framed_adds_no_mark_where_the_task_ends_in_a_cue(asked: str, lang: Language) -> None:
    texts = {framed([(asked, "y")], asked, lang, choice) for choice in range(20)}
    assert len(texts) == 2
    assert all(f"{asked}\ny" in text and text.endswith(asked) for text in texts)
