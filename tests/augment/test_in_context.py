from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysft.augment.in_context import draw, examples_of, kind_of, pick
from raysft.sample import acquired_id


def row(i: int, text: str, lang: str | None = None, task: str | None = None, op: str | None = None):
    messages = [{"role": "user", "content": text}]
    return {"id": acquired_id("x", i), "messages": messages, "lang": lang, "task": task, "op": op}


# 90 of 100 people's tasks begin alike, in each language.
LOPSIDED = [row(i, f"Translate sentence number {i} into French.") for i in range(90)]
LOPSIDED += [row(90 + i, f"{verb} thing number {i} for me.") for i, verb in enumerate("ABCDEFGHIJ")]
LOPSIDED += [row(100 + i, f"翻译第{i}个句子。") for i in range(90)]
LOPSIDED += [
    row(190 + i, f"{verb}第{i}件事情。")
    for i, verb in enumerate(["说明", "描述", "比较", "总结", "列举", "解释", "改写", "续写", "评价", "计算"])
]


def kinds_shown(lang: str, by_kind: bool, prompts: int = 100) -> Counter:
    examples = examples_of(LOPSIDED, 150, by_kind)
    return Counter(e.kind for k in range(prompts) for e in pick(examples, lang, 8, 2, 7, k))


@pytest.mark.parametrize(("lang", "common"), [("en", "translate"), ("zh", "翻译")])
def test_pick_by_kind_shows_a_common_kind_no_more_than_others(lang, common):
    shown = kinds_shown(lang, by_kind=True)
    assert len(shown) == 11
    assert sum(shown.values()) == 800
    assert 50 < shown[common] < 95  # 800 / 11 = 73; a prompt has it at most once
    assert max(shown.values()) <= 100


@pytest.mark.parametrize(("lang", "common"), [("en", "translate"), ("zh", "翻译")])
def test_pick_without_kinds_shows_a_common_kind_as_often_as_it_stands_in_the_pool(lang, common):
    assert 680 < kinds_shown(lang, by_kind=False)[common] < 760  # 90 % of 800


def test_pick_by_kind_repeats_a_kind_only_when_all_were_shown():
    rows = [row(i, f"{'Sing' if i < 5 else 'Count'} song number {i} please.") for i in range(10)]
    for k in range(20):
        kinds = Counter(e.kind for e in pick(examples_of(rows, 150, True), "en", 7, 2, k))
        assert sorted(kinds.values()) == [3, 4]
        assert len({e.id for e in pick(examples_of(rows, 150, True), "en", 7, 2, k)}) == 7
    everything = pick(examples_of(rows[:6], 150, True), "en", 8, 2, 1)
    assert sorted(e.id for e in everything) == sorted(r["id"] for r in rows[:6])


@pytest.mark.parametrize("by_kind", [True, False])
def test_pick_of_a_mixed_pool_has_at_most_so_many_machine_made_ones(by_kind):
    rows = LOPSIDED[:100] + [row(1000 + i, f"Make up item {i} now.", op="evolve_deepen") for i in range(50)]
    examples = examples_of(rows, 150, by_kind)
    for k in range(30):
        assert sum(e.is_machine for e in pick(examples, "en", 8, 2, k)) == 2
        assert len({e.id for e in pick(examples, "en", 8, 2, k)}) == 8
    assert [e.is_machine for e in pick(examples, "en", 8, 0, 1)] == [False] * 8
    machine_alone = examples_of([r for r in rows if r["op"]], 150, by_kind)
    assert len(pick(machine_alone, "en", 8, 2, 1)) == 2


def test_pick_by_kind_gives_each_row_of_a_kind_its_turn():
    examples = examples_of(LOPSIDED[:90], 150, True)
    shown = {pick(examples, "en", 1, 0, k)[0].id for k in range(600)}
    assert len(shown) > 80


def test_examples_of_rows_leave_out_long_and_empty_ones_and_join_lines():
    rows = [
        row(1, "Sort:\n  2\n1"),
        row(2, "word " * 151),
        row(3, "  "),
        row(4, "字" * 302),
        row(5, "字" * 300),
    ]
    examples = examples_of(rows, 150, True)
    assert [e.text for groups in examples.people["en"] for e in groups] == ["Sort: 2 1"]
    assert [e.text for groups in examples.people["zh"] for e in groups] == ["字" * 300]
    assert examples.langs == ["en", "zh"]


@pytest.mark.parametrize(
    ("task", "text", "kind"),
    [
        ("open_qa", "Why is the sky blue?", "open_qa"),
        (None, "Why is the sky blue?", "why"),
        ("", "**Explain** this", "explain"),
        (None, "《红楼梦》的作者是谁？", "红楼"),
        (None, "用Python写诗", "用python"),
        (None, "好", "好"),
        (None, "???", ""),
    ],
)
def test_kind_of_a_task_is_its_label_or_how_it_begins(task, text, kind):
    assert kind_of(task, text) == kind


@given(st.integers(0, 40), st.integers(0, 50), st.integers())
def test_draw_gives_different_numbers_and_begins_as_a_shorter_draw(population, n, chance):
    drawn = draw(population, n, chance)
    assert len(set(drawn)) == len(drawn) == min(population, n)
    assert all(0 <= i < population for i in drawn)
    assert all(draw(population, m, chance) == drawn[:m] for m in range(n))


def test_draw_over_many_chances_is_even():
    drawn = Counter(draw(5, 1, k)[0] for k in range(5000))
    assert all(850 < n < 1150 for n in drawn.values())  # 1000 each, five standard deviations
    pairs = Counter(tuple(draw(3, 2, k)) for k in range(6000))
    assert len(pairs) == 6
    assert all(abs(a - b) < 250 for a, b in pairwise(sorted(pairs.values())))
