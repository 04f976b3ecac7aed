import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from raysft.report.page import render
from raysft.report.view import DropExample, RunView
from tests.report.runs import (
    conversation,
    exact_match,
    kept,
    lengths,
    manifest,
    manifests,
    multiple_choice,
    side_by_side,
    training,
    view,
)

VOID = {"meta", "br"}
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'></div></details></pre></style>"
    "{{ 7 * 7 }}{% for x in y %}{# c #}"
    "\x00\x1b[2J\x85\u202emirrored\u2066 ﷽ שלום \ud83d\udfff \uffff &amp; ]]>"
)


class Parsed(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that do not close."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_view() -> RunView:
    stages = [
        manifest(
            f"01-{HOSTILE}",
            f"acquire.{HOSTILE}",
            None,
            1,
            {"rows_in": 3, "quarantined": 3, "rules": {HOSTILE: 3}},
        )
    ]
    stages[0]["engines"] = {HOSTILE: {"model": HOSTILE, "revision": HOSTILE}}
    stages[0]["created"] = HOSTILE
    stages[0]["counts"]["operations"] = {HOSTILE: {"made": 2, HOSTILE: 1}}
    stages[0]["findings"] = [{"title": HOSTILE, "columns": [HOSTILE], "rows": [[HOSTILE]]}]
    turns = [{"role": HOSTILE, "content": HOSTILE}]
    row: dict[str, Any] = dict.fromkeys(("id", "lang", "task", "op", HOSTILE), HOSTILE)
    row |= {"messages": turns, "source": {"uri": HOSTILE}, "made_by": {"model": HOSTILE}}
    return RunView(
        run=HOSTILE,
        recipe={HOSTILE: [HOSTILE]},
        manifests=stages,
        drops=[DropExample(HOSTILE, f"acquire.{HOSTILE}", HOSTILE, HOSTILE, turns, HOSTILE, HOSTILE)],
        kept_examples=[row],
        length_histograms={f"{HOSTILE}/{HOSTILE}": [1, 2]},
        training={
            "loss_before": 1.0,
            "loss_after": 0.5,
            "by_group": {HOSTILE: {HOSTILE: {HOSTILE: HOSTILE}}},
            "exact_match": {
                **exact_match(),
                "by_task": {HOSTILE: exact_match()},
                "by_lang": {HOSTILE: exact_match()},
                "wrong": [dict.fromkeys(("prompt", "expected", "got", "task", "lang"), HOSTILE)],
                "refused": {HOSTILE: 1},
            },
            "multiple_choice": {
                "ways": {HOSTILE: {HOSTILE: multiple_choice()["ways"]["letters"]["all"]}},
                "not_asked": {HOSTILE: 2},
            },
            "samples": side_by_side(HOSTILE),
        },
        seconds={HOSTILE: 1.0},
        versions={HOSTILE: HOSTILE},
    )


def test_page_of_hostile_text_has_the_tags_of_the_template_only() -> None:
    page = render(hostile_view())
    page.encode("utf-8")
    plain = Parsed(render(view()))
    hostile = Parsed(page)
    assert hostile.tags - plain.tags == set()
    assert "script" not in hostile.tags
    assert "img" not in hostile.tags
    assert not [name for name, _ in hostile.attributes if name.startswith("on") or name in ("src", "href")]


def test_page_of_hostile_text_shows_it_as_text() -> None:
    text = Parsed(render(hostile_view())).text
    assert "<script>alert(1)</script>" in text
    assert "{{ 7 * 7 }}{% for x in y %}{# c #}" in text
    assert "⟨U+0000⟩⟨U+001B⟩[2J⟨U+0085⟩⟨U+202E⟩mirrored⟨U+2066⟩" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066]", text)


def test_page_needs_nothing_but_itself() -> None:
    page = render(view())
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    assert "@import" not in page
    parsed = Parsed(page)
    assert parsed.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed"})
    assert "prefers-color-scheme: dark" in page
    assert ("name", "viewport") in parsed.attributes


def test_page_of_a_run_states_its_headline_numbers() -> None:
    text = " ".join(Parsed(render(view())).text.split())
    for figure in ("rows in 1,079", "made 6,135", "dropped 5,200", "kept 2,000", "2.613 → 1.402"):
        assert figure in re.sub(r"(rows in|made|dropped|kept)(\d)", r"\1 \2", text)
    assert "perplexity 13.6 → 4.1" in text
    assert "4.3 % of it starting engines" in text
    assert "do not add up" not in text


def test_page_of_a_run_that_lost_rows_warns() -> None:
    stages = manifests()
    stages[4]["counts"]["dropped_in"] -= 7
    assert "7 rows are unaccounted for" in Parsed(render(view(manifests=stages))).text


def test_page_tells_what_became_of_each_operations_rows() -> None:
    text = " ".join(Parsed(render(view())).text.split())
    assert "evolve_deepen 2,0001,78689 % not_harder 200, refusal 14" in text
    assert "taken out by" not in Parsed(render(view(manifests=manifests()[:2]))).text


def test_page_shows_the_tables_that_stages_found() -> None:
    text = " ".join(Parsed(render(view())).text.split())
    assert "Self-Instruct: the first of its rounds augment.self_instruct" in text
    assert "2,2100.775below the target of 4,000" in text
    many = {"title": "gaps", "columns": ["term"], "rows": [[f"term {i}"] for i in range(130)]}
    text = Parsed(render(view(manifests=[{**manifests()[0], "findings": [many]}]))).text
    assert ("term 99" in text, "term 100" in text) == (True, False)
    assert "30 more rows are not shown" in text


def test_page_shows_three_examples_a_rule_at_most() -> None:
    many = [DropExample(f"{i:032x}", "curate.rules", "too_short", f"case {i}") for i in range(5)]
    text = Parsed(render(view(drops=many))).text
    assert [f"case {i}" in text for i in range(5)] == [True, True, True, False, False]


def test_page_cuts_a_very_long_text_and_says_how_much_is_missing() -> None:
    rows = [{**kept()[0], "messages": conversation("问" * 1_000_000, "short")}]
    page = render(view(kept_examples=rows))
    assert len(page) < 100_000
    assert "cut here, 998,800 more characters" in page


def test_page_of_a_very_long_conversation_shows_its_first_turns() -> None:
    rows = [{**kept()[0], "messages": conversation("a", "b") * 50}]
    assert "94 more turns are not shown" in render(view(kept_examples=rows))


def test_page_shows_samples_of_both_languages_when_one_fills_the_list() -> None:
    english, chinese = kept()[0], kept()[2]
    text = Parsed(render(view(kept_examples=[english] * 50 + [chinese]))).text
    assert text.count("Plants use sunlight") == 3
    assert "总体偏负面" in text


def test_page_draws_a_histogram_for_each_language_and_part() -> None:
    page = render(view(length_histograms=lengths() | {"ja/answer": []}))
    for name in ("English, prompt", "English, answer", "Chinese, prompt", "Chinese, answer"):
        assert f'aria-label="Lengths: {name}"' in page
    assert "Japanese" not in page


def test_page_without_training_has_no_training_section() -> None:
    text = Parsed(render(view(training=None))).text
    assert "Throughput" not in text
    assert "held-out" not in text


@pytest.mark.parametrize(
    "missing", ["history", "by_group", "seconds", "tokens", "loss_before", "perplexity_after", "exact_match"]
)
def test_page_with_one_training_number_missing_shows_the_rest(missing: str) -> None:
    part = {k: v for k, v in training().items() if k != missing}
    text = Parsed(render(view(training=part))).text
    assert "3,440,640" in text
    assert "1.402" in text


def test_page_of_a_training_that_diverged_says_so() -> None:
    history = [{"step": 1, "loss": math.nan}, {"step": 2, "loss": math.inf}]
    page = render(view(training={"loss_before": 2.0, "loss_after": math.nan, "history": history}))
    assert "not finite" in Parsed(page).text
    assert 'points="nan' not in page


def test_page_has_a_table_of_held_out_losses_for_each_kind_of_groups() -> None:
    text = Parsed(render(view())).text
    for kind, line in (
        ("task", "rewriting2.7121.50015.0564.482705,600"),
        ("language", "English2.4871.33012.0263.782614,880"),
        ("source", "made: evolve2.7001.41014.8804.096604,800"),
    ):
        table = text.partition(f"held-out rows by {kind}")[2].partition("held-out rows by")[0]
        assert "loss beforeloss afterperplexity beforeperplexity aftersamplestokens" in table
        assert line in table.replace("\n", ""), kind


def test_page_draws_the_held_out_losses_of_early_stopping_and_marks_the_best_step() -> None:
    stopping = {**training()["early_stopping"], "best_step": 150}
    page = render(view(training={**training(), "early_stopping": stopping}))
    assert page.count('class="line beside"') == 1
    assert "Dashed: held-out." in page
    places = [float(x) for x in re.findall(r'<circle class="mark" cx="([\d.]+)"', page)]
    start, best = places
    (line,) = re.findall(r'class="line beside" points="([^"]+)"', page)
    first, *_, last = [float(point.split(",")[0]) for point in line.split()]
    assert first == start
    assert best == pytest.approx((first + last) / 2, abs=0.1)
    plain = {name: value for name, value in training().items() if name != "early_stopping"}
    assert 'class="line beside"' not in render(view(training=plain))


def test_page_numbers_the_rounds_of_a_repeated_stage() -> None:
    rounds = [manifest(f"0{r}-augment.x-{r}", "augment.x", None, 1, {"rows_in": 1}, round=r) for r in (1, 2)]
    text = Parsed(render(view(manifests=rounds))).text
    assert "round 1" in text
    assert "round 2" in text
    assert "round 1" not in Parsed(render(view())).text


def test_page_of_an_empty_run_still_renders() -> None:
    text = Parsed(render(RunView("empty", {}, []))).text
    assert "every row that was read or made was kept" in text


def test_page_of_very_many_groups_shows_the_first_and_counts_the_rest() -> None:
    groups = {"task": {f"task-{i}": {"loss": 1.0} for i in range(100)}, "lang": {"en": {"loss": 1.0}}}
    text = Parsed(render(view(training={**training(), "by_group": groups}))).text
    assert "task-39" in text
    assert "task-40" not in text
    assert "60 more groups are not shown" in text
    assert "held-out rows by language" in text


def test_page_ends_with_exact_match_by_task_and_language_and_wrong_answers() -> None:
    text = " ".join(Parsed(render(view())).text.split())
    assert "exact match, before → after training3.0 % → 27.3 %of 300 held-out tasks" in text
    last = text.rpartition("Exact match on held-out tasks")[2]
    assert last != text
    for line in (
        "decoded greedily: 9 and 82 of 300.",
        "English1605 3.1 %49 30.6 %",
        "Chinese1404 2.9 %33 23.6 %",
        "arithmetic600 0.0 %7 11.7 %",
        "arithmetic · en asked What is 7 plus 12? right 19 answered 18",
        "answered nothing",
    ):
        assert line.replace(" ", "") in last.replace(" ", "")
    assert "versions" not in last


def test_page_of_a_training_that_asked_no_tasks_has_no_exact_match() -> None:
    asked_none = {k: v for k, v in training().items() if k != "exact_match"}
    assert "xact match" not in Parsed(render(view(training=asked_none))).text
    assert "xact match" not in Parsed(render(view(training=None))).text


def test_page_of_a_model_with_no_wrong_answer_shows_none() -> None:
    perfect = {**training(), "exact_match": {**exact_match(), "wrong": []}}
    text = Parsed(render(view(training=perfect))).text
    assert "Exact match on held-out tasks" in text
    assert "still wrong" not in text


def test_page_shows_multiple_choice_with_chance_and_intervals() -> None:
    text = " ".join(Parsed(render(view())).text.split())
    assert "Multiple choice" in text
    assert re.search(r"by texts, a character ?asked", text)
    assert "25.5 % (20.5–30.5)" in text
    assert "44.0 % (39.0–49.0)" in text
    assert "Not asked: letters: too_long 4, bad_gold 1." in text


def test_page_shows_answers_side_by_side_and_what_the_judge_preferred() -> None:
    text = " ".join(Parsed(render(view())).text.split())
    assert "Answers side by side" in text
    assert "preferred: tuned" in text
    assert "tuned says a text (cut off)" in text
    assert "(no answer: error a text)" in text
    assert "the tuned model wins 1, ties 0, loses 0; win rate 100.0 % (95 % interval 20.7–100.0)" in text
    assert "1 of them have no answer of one of the models" in text


def test_page_tells_how_early_stopping_ended_and_the_utilisation() -> None:
    text = " ".join(Parsed(render(view())).text.split())
    assert "ran to its end after 4 measurements; the weights are those of step 300" in text
    assert re.search(r"model FLOPs utilisation ?44 %", text)


@pytest.mark.parametrize("name", ["multiple_choice", "samples", "early_stopping", "mfu"])
def test_page_of_a_training_without_a_measurement_leaves_it_out(name: str) -> None:
    told = {key: value for key, value in training().items() if key != name}
    page = Parsed(render(view(training=told))).text
    title = {
        "multiple_choice": "Multiple choice",
        "samples": "Answers side by side",
        "early_stopping": "Early stopping",
        "mfu": "FLOPs utilisation",
    }[name]
    assert title not in page
    assert title in Parsed(render(view())).text
