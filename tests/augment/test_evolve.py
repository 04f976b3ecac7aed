from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from raysft.augment.evolve import OPERATIONS, Config, broken_rule, evolve, operation_for
from raysft.augment.prompts import prompt_hash, render
from raysft.engines.protocol import Completion, Output
from raysft.sample import acquired_id, instruction_of, samples
from raysft.stage import Context, count, run_local
from tests.fixtures.fake_llm import ScriptedLLM, text_of

STAGE = "augment.evolve"
TASK = "Name three rivers of Asia and say how long each one is."
TASK_ZH = "请列举三种常见的鸟类并说明它们住在哪里。"


def table_of(*texts: str, **columns) -> pa.Table:
    return samples(
        {"id": acquired_id("t", i), "messages": [{"role": "user", "content": text}]} | columns
        for i, text in enumerate(texts)
    )


def many(n: int) -> pa.Table:
    texts = [f"Explain the {i}th law of motion to a friend." for i in range(n // 2)]
    return table_of(*texts, *(f"请向朋友解释第{i}条运动定律。" for i in range(n - n // 2)))


def run(table, llm, **fields):
    return run_local(
        STAGE, table, Config(engine="teacher", **fields), engines={"teacher": llm}, fingerprint="f"
    )


def made(before: pa.Table, after: pa.Table) -> list[dict]:
    return after.filter(pc.invert(pc.is_in(after["id"], before["id"]))).to_pylist()


def says(text):
    return ScriptedLLM(lambda request: text)


def test_evolved_row_is_user_only_and_carries_parent_operation_and_prompt():
    table = samples(
        [
            {
                "id": "a",
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": TASK},
                    {"role": "assistant", "content": "The Ganges."},
                ],
                "task": "listing",
                "domain": "geography",
            }
        ]
    )
    new = "Rank the longest rivers of Asia by their flow, with a source for each number."
    after = run(table, says(f"  {new}\n"), operations={"reasoning": 1})
    assert after.slice(0, 1).equals(table)
    (row,) = made(table, after)
    assert row["messages"] == [{"role": "user", "content": new}]
    assert (row["parents"], row["op"], row["round"], row["k"]) == (["a"], "evolve_reasoning", 1, 0)
    assert (row["task"], row["domain"], row["lang"]) == ("listing", "geography", "en")
    assert row["made_by"]["prompt"] == prompt_hash("evolve_reasoning", "en")
    assert row["drop_rule"] is None


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("text", "lang"), [(TASK, "en"), (TASK_ZH, "zh")])
def test_request_of_each_operation_is_its_prompt_in_the_language_of_the_row(operation, text, lang):
    seen = []

    def script(request):
        seen.append(request)
        return "什么也不说的一个新的说法" if lang == "zh" else "Something else entirely here"

    rows = made(
        table_of(text), run(table_of(text), ScriptedLLM(script), operations={operation: 1}, max_tokens=99)
    )
    assert [text_of(r) for r in seen] == [
        render(f"evolve_{operation}", lang, instruction=text, least=10, most=20)
    ]
    assert (seen[0].sampling.temperature, seen[0].sampling.top_p, seen[0].sampling.max_tokens) == (
        1.0,
        0.9,
        99,
    )
    assert [(r["op"], r["lang"]) for r in rows] == [(f"evolve_{operation}", lang)]


def test_breadth_keeps_the_domain_and_leaves_the_task_open():
    table = table_of(TASK, task="listing", domain="geography")
    (row,) = made(
        table, run(table, says("Which lakes dried up in the last century?"), operations={"breadth": 1})
    )
    assert (row["task"], row["domain"]) == (None, "geography")


def test_label_before_the_new_task_is_taken_off():
    for label in ("New task: ", "**Rewritten task:** ", "新任务："):
        table = table_of(TASK)
        (row,) = made(table, run(table, says(f"{label}《Moby Dick》 is about what, in one line?")))
        assert instruction_of(row["messages"]) == "《Moby Dick》 is about what, in one line?"


@pytest.mark.parametrize(
    ("text", "parent", "rule"),
    [
        ("Rank the longest rivers of Asia by flow.", TASK, None),
        ("", TASK, ("empty", "white space")),
        (TASK, TASK, ("copied", "ROUGE-L 1.000")),
        (TASK.upper(), TASK, ("copied", "ROUGE-L 1.000")),
        ("？？？", "？？？", ("copied", "ROUGE-L 0.000")),
        ("I am sorry, but this goes too far.", TASK, ("refusal", "sorry")),
        ("sorry " + "word " * 78, TASK, ("refusal", "sorry")),
        ("sorry " + "word " * 79, TASK, None),
        ("很抱歉，我不能改写。", TASK_ZH, ("refusal", "抱歉")),
        ("对不起，做不到。", TASK_ZH, ("refusal", "对不起")),
        ("抱歉" + "字" * 158, TASK_ZH, None),
        ("Write a letter that says sorry to a friend.", "Write a note that says sorry.", None),
        ("... !?", TASK, ("punctuation_only", "... !?")),
        ("It is the.", TASK, ("punctuation_only", "It is the.")),
        ("的，是。", TASK_ZH, ("punctuation_only", "的，是。")),
        ("#Rewritten Prompt#: rank the rivers", TASK, ("prompt_leaked", "rewritten prompt")),
        ("Given task: rank the rivers", TASK, ("prompt_leaked", "given task")),
        ("改写后的任务是列举五种鸟", TASK_ZH, ("prompt_leaked", "改写后的任务")),
        ("Time each given task of the worker.", "Time a given task.", None),
    ],
)
def test_broken_rule_of_each_kind_of_rewriting_names_the_rule(text, parent, rule):
    assert broken_rule(text, parent, Config(engine="t")) == rule


@pytest.mark.parametrize(
    ("said", "rule", "detail", "raw"),
    [
        (Completion(error="prompt too long"), "generation_failed", "prompt too long", None),
        (Output("Rank the riv", "length", 4), "truncated", "4 tokens", "Rank the riv"),
        ("  \n", "empty", "white space", "  \n"),
        (TASK, "copied", "ROUGE-L 1.000", TASK),
        ("Sorry, no.", "refusal", "sorry", "Sorry, no."),
        ("?!", "punctuation_only", "?!", "?!"),
        ("The given prompt, but harder", "prompt_leaked", "given prompt", "The given prompt, but harder"),
    ],
)
def test_eliminated_rewriting_is_a_dropped_row_and_the_input_passes(said, rule, detail, raw):
    table = table_of(TASK)
    after = run(table, says(said))
    (row,) = made(table, after)
    assert (row["drop_stage"], row["drop_rule"], row["drop_detail"], row["raw"]) == (STAGE, rule, detail, raw)
    assert (row["messages"] is None) == (rule == "generation_failed")
    counts = count(table, after)
    assert (counts.passed, counts.made_kept, counts.made_dropped, counts.rules) == (1, 0, 1, {rule: 1})


def test_depth_evolves_each_step_from_the_last_one_that_was_kept():
    texts = iter(
        ["Rank the longest Asian rivers by flow.", "Sorry, no.", "Which of those floods most often, and why?"]
    )
    seen = []

    def script(request):
        seen.append(text_of(request))
        return next(texts)

    llm = ScriptedLLM(script)
    table = table_of(TASK)
    first, second, third = made(table, run(table, llm, depth=3))
    assert llm.calls == [1, 1, 1]
    assert [r["round"] for r in (first, second, third)] == [1, 2, 3]
    assert first["parents"] == table["id"].to_pylist()
    assert second["parents"] == third["parents"] == [first["id"]]
    assert second["drop_rule"] == "refusal"
    assert seen[1].endswith("Rank the longest Asian rivers by flow.")
    assert seen[2].endswith("Rank the longest Asian rivers by flow.")


def test_depth_after_a_failed_first_step_starts_from_the_row_again():
    table = table_of(TASK)
    rows = made(table, run(table, says("Sorry, no."), depth=2))
    assert [r["parents"] for r in rows] == [table["id"].to_pylist()] * 2
    assert len({r["id"] for r in rows}) == 2


def test_operation_for_many_rows_follows_the_weights():
    context = Context(STAGE, "f", 0)
    config = Config(engine="t", operations={"constraints": 3, "breadth": 1, "deepen": 0})
    drawn = Counter(operation_for(acquired_id("w", i), 1, config, context) for i in range(2000))
    assert set(drawn) == {"constraints", "breadth"}
    assert 0.70 < drawn["constraints"] / 2000 < 0.80  # 3/4, five standard deviations
    even = Counter(operation_for(acquired_id("w", i), 1, Config(engine="t"), context) for i in range(3000))
    assert set(even) == set(OPERATIONS)
    assert all(400 < n < 600 for n in even.values())  # 500 each, five standard deviations


def test_operation_for_one_row_differs_between_steps_and_runs():
    config = Config(engine="t")
    steps = {operation_for("a", step, config, Context(STAGE, "f", 0)) for step in range(1, 40)}
    runs = {operation_for("a", 1, config, Context(STAGE, "f", seed)) for seed in range(40)}
    assert steps == runs == set(OPERATIONS)


def test_share_evolves_about_that_part_of_the_rows_and_passes_all():
    table = many(400)
    after = run(table, ScriptedLLM(), share=0.25)
    assert 60 < len(made(table, after)) < 140  # 100, five standard deviations
    assert count(table, after).passed == 400
    assert made(table, run(table, ScriptedLLM(), share=0.0)) == []


def test_row_without_an_instruction_passes_without_a_request():
    table = samples(
        [
            {"id": "a", "messages": [{"role": "system", "content": "Be brief."}]},
            {"id": "b", "messages": [{"role": "user", "content": "  "}]},
        ]
    )
    llm = ScriptedLLM()
    assert run(table, llm).equals(table)
    assert sum(llm.calls) == 0


@pytest.mark.parametrize("size", [1, 7, 100])
def test_rows_do_not_depend_on_how_the_table_is_split(size):
    table, config = many(60), Config(engine="teacher", depth=2)
    whole = run(table, ScriptedLLM(), depth=2)
    context = Context(STAGE, "f", 0, engine=ScriptedLLM())
    split = [evolve(table.slice(i, size), config, context) for i in range(0, len(table), size)]
    assert whole.sort_by("id").equals(pa.concat_tables(split).sort_by("id"))


def test_counts_of_a_run_add_up():
    table = many(100)
    after = run(table, ScriptedLLM(), depth=2)
    counts = count(table, after)
    assert (counts.passed, counts.made_kept + counts.made_dropped) == (100, 200)
    assert set(counts.rules) == {"copied", "refusal"}
    assert sum(counts.rules.values()) == counts.made_dropped


def test_seeds_differ_between_rows_and_steps():
    table = many(20)
    rows = made(table, run(table, ScriptedLLM(), depth=2))
    assert len({r["made_by"]["seed"] for r in rows}) == 40


def test_empty_table_makes_nothing():
    assert run(samples([]), ScriptedLLM(), depth=2).equals(samples([]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"operations": {"deepen": 0}}, "all weights are 0"),
        ({"operations": {"shorten": 1}}, "shorten"),
        ({"operations": {"deepen": -1}}, "greater than or equal to 0"),
        ({"share": 1.5}, "share"),
        ({"deptth": 1}, "deptth"),
    ],
)
def test_config_that_cannot_be_is_refused_with_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        Config(engine="t", **fields)
