from collections import Counter

import pyarrow as pa
import pytest
from pydantic import ValidationError

from raysft.augment.evolve import OPERATIONS, PROMPTS, Config, evolve, operation_for
from raysft.augment.prompts import prompt_hash, render
from raysft.augment.verdict import CHOICES
from raysft.engines.protocol import Output
from raysft.executor import run_local
from raysft.sample import acquired_id, instruction_of, samples
from raysft.stage import MADE, Context, count
from tests.fixtures.evolving import (
    ANSWER,
    ANSWER_ZH,
    IN,
    NEW,
    NEW_ZH,
    NEWER,
    NEWER_ZH,
    SORRY,
    STAGE,
    TABLE,
    TASK,
    Script,
    conversation,
    kind_of,
    made,
    run,
    table_of,
)
from tests.fixtures.fake_llm import ScriptedLLM, text_of

PLAIN = {"judge": False, "answers": False}


def many(n: int) -> pa.Table:
    texts = [f"Explain the {i}th law of motion to a friend." for i in range(n // 2)]
    return table_of(*texts, *(f"请向朋友解释第{i}条运动定律。" for i in range(n - n // 2)))


def says(text):
    return ScriptedLLM(lambda request: text)


def test_evolved_row_is_instruction_and_answer_with_parent_operation_and_prompt():
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
    script = Script([f"  {NEW}\n"], answers=[f"{ANSWER}\n"])
    after = run(table, ScriptedLLM(script), operations={"reasoning": 1})
    assert after.slice(0, 1).equals(table)
    (row,) = made(table, after)
    assert row["messages"] == conversation(NEW, ANSWER)
    assert (row["parents"], row["op"], row["round"], row["k"]) == (["a"], "evolve_reasoning", 1, 0)
    assert (row["task"], row["domain"], row["lang"]) == ("listing", "geography", "en")
    assert row["made_by"]["prompt"] == prompt_hash("evolve_reasoning", "en")
    assert row["made_by"]["seed"] == script.seen["rewrite"][0].sampling.seed
    assert (row["drop_rule"], row["raw"]) == (None, None)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_requests_of_a_step_are_its_prompts_in_the_language_of_the_row(operation, lang):
    task, new, _, answer = IN[lang]
    script = Script([new], [CHOICES[lang][1]], [answer])
    llm = ScriptedLLM(script)
    table = table_of(task)
    (row,) = made(table, run(table, llm, operations={operation: 1}, max_tokens=99))
    assert llm.calls == [1, 1, 1]
    asked = {kind: (text_of(requests[0]), requests[0].sampling) for kind, requests in script.seen.items()}
    assert asked["rewrite"][0] == render(f"evolve_{operation}", lang, instruction=task, least=10, most=20)
    assert asked["judge"][0] == render("evolve_equal", lang, parent=task, instruction=new)
    assert asked["answer"][0] == new
    for kind in ("rewrite", "answer"):
        sampling = asked[kind][1]
        assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (1.0, 0.9, 99)
    assert (asked["judge"][1].temperature, asked["judge"][1].choices) == (0.0, CHOICES[lang])
    assert (row["op"], row["lang"]) == (f"evolve_{operation}", lang)
    assert row["messages"] == conversation(new, answer)


def test_prompts_of_a_recipe_are_asked_and_hashed_in_place_of_ours():
    own = {"evolve_deepen.en": "Given task: {{ instruction }} Dig!", "evolve_equal.en": "Do these two tasks"}
    script = Script([NEW])
    table = table_of(TASK)
    config = Config(engine="teacher", operations={"deepen": 1})
    after = run_local(STAGE, table, config, engines={"teacher": ScriptedLLM(script)}, prompts=own)
    assert text_of(script.seen["rewrite"][0]) == f"Given task: {TASK} Dig!"
    assert text_of(script.seen["judge"][0]) == "Do these two tasks"
    assert made(table, after)[0]["made_by"]["prompt"] == prompt_hash("evolve_deepen", "en", own)
    assert {name.split(".")[0] for name in own} <= set(PROMPTS)


def test_row_without_answers_is_the_instruction_alone():
    table, script = table_of(TASK), Script([NEW])
    llm = ScriptedLLM(script)
    (row,) = made(table, run(table, llm, answers=False))
    assert row["messages"] == conversation(NEW)
    assert llm.calls == [1, 1]
    assert script.seen["answer"] == []


def test_row_without_judge_is_kept_unjudged():
    table, script = table_of(TASK), Script([NEW], verdicts=["yes"])
    (row,) = made(table, run(table, ScriptedLLM(script), judge=False))
    assert row["drop_rule"] is None
    assert script.seen["judge"] == []


def test_breadth_keeps_the_domain_and_leaves_the_task_open():
    table = table_of(TASK, task="listing", domain="geography")
    (row,) = made(
        table,
        run(table, says("Which lakes dried up in the last century?"), operations={"breadth": 1}, **PLAIN),
    )
    assert (row["task"], row["domain"]) == (None, "geography")


@pytest.mark.parametrize("label", ["New task: ", "**Rewritten task:** ", "新任务：", "改写后的任务："])
def test_label_before_the_new_task_is_taken_off(label):
    table = table_of(TASK)
    (row,) = made(table, run(table, says(f"{label}《Moby Dick》 is about what, in one line?"), **PLAIN))
    assert instruction_of(row["messages"]) == "《Moby Dick》 is about what, in one line?"
    assert row["drop_rule"] is None


def test_breadth_may_leave_the_table_behind():
    table = table_of(TABLE)
    (row,) = made(table, run(table, says(NEW), operations={"breadth": 1}, **PLAIN))
    assert row["drop_rule"] is None


def test_refusal_or_drops_what_is_only_short():
    table, script = table_of(TASK), Script([NEW], answers=["Oslo."])
    assert made(table, run(table, ScriptedLLM(script)))[0]["drop_rule"] is None
    (row,) = made(table, run(table, ScriptedLLM(Script([NEW], answers=["Oslo."])), refusal="or"))
    assert (row["drop_rule"], row["drop_detail"]) == ("refusal", "answer: no apology, 1 words")
    (row,) = made(
        table, run(table, ScriptedLLM(Script([NEW], answers=["Oslo."])), refusal="or", refusal_words=1)
    )
    assert row["drop_rule"] is None


@pytest.mark.parametrize(
    ("verdicts", "rule"),
    [
        (["hm", "no"], None),
        (["hm", "yes"], "no_gain"),
        (["hm", "eh", "不是"], None),
        (["hm"] * 3, "unjudged"),
    ],
)
def test_verdict_that_cannot_be_read_is_asked_for_again_with_chance(verdicts, rule):
    table, script = table_of(TASK), Script([NEW], verdicts)
    (row,) = made(table, run(table, ScriptedLLM(script)))
    assert row["drop_rule"] == rule
    asked = [request.sampling for request in script.seen["judge"]]
    assert [sampling.temperature for sampling in asked] == [0.0, 1.0, 1.0][: len(verdicts)]
    assert len({sampling.seed for sampling in asked}) == len(verdicts)
    assert {sampling.choices for sampling in asked} == {("yes", "no")}


def test_verdict_without_retries_is_asked_for_once():
    table, script = table_of(TASK), Script([NEW], ["hm", "no"])
    (row,) = made(table, run(table, ScriptedLLM(script), judge_retries=0))
    assert row["drop_rule"] == "unjudged"
    assert len(script.seen["judge"]) == 1


def test_verdict_cut_off_behind_the_word_is_read():
    table = table_of(TASK)
    script = Script([NEW], [Output("Yes, because both", "length", 16)])
    (row,) = made(table, run(table, ScriptedLLM(script)))
    assert (row["drop_rule"], row["raw"]) == ("no_gain", "Yes, because both")


def test_calls_of_a_step_are_for_the_rows_that_still_live():
    tasks = [f"{TASK} Part {i}." for i in range(4)]
    fates = {tasks[0]: SORRY, tasks[1]: f"{NEW} Same.", tasks[2]: f"{NEW} Refuse.", tasks[3]: NEW}

    def script(request):
        text, kind = text_of(request), kind_of(request)
        if kind == "rewrite":
            return next(new for task, new in fates.items() if task in text)
        if kind == "judge":
            return "yes" if "Same." in text else "no"
        return SORRY if "Refuse." in text else ANSWER

    llm, table = ScriptedLLM(script), table_of(*tasks)
    rows = made(table, run(table, llm))
    assert llm.calls == [4, 3, 2]
    assert [row["drop_rule"] for row in rows] == ["refusal", "no_gain", "refusal", None]
    assert [row["parents"] for row in rows] == [[id] for id in table["id"].to_pylist()]


def test_depth_evolves_each_step_from_the_last_one_that_was_kept():
    script = Script([NEW, "Sorry, no.", NEWER])
    llm = ScriptedLLM(script)
    table = table_of(TASK)
    first, second, third = made(table, run(table, llm, depth=3))
    assert llm.calls == [1, 1, 1, 1, 1, 1, 1]
    assert [r["round"] for r in (first, second, third)] == [1, 2, 3]
    assert first["parents"] == table["id"].to_pylist()
    assert second["parents"] == third["parents"] == [first["id"]]
    assert second["drop_rule"] == "refusal"
    assert [text_of(request).endswith(NEW) for request in script.seen["rewrite"]] == [False, True, True]
    assert text_of(script.seen["judge"][1]) == render("evolve_equal", "en", parent=NEW, instruction=NEWER)


def test_depth_after_failed_steps_starts_from_the_row_again():
    table = table_of(TASK)
    rows = made(table, run(table, says("Sorry, no."), depth=2))
    assert [r["parents"] for r in rows] == [table["id"].to_pylist()] * 2
    assert len({r["id"] for r in rows}) == 2


def test_depth_after_a_change_of_language_goes_on_in_the_new_one():
    script = Script([NEW_ZH, NEWER_ZH], ["no", "不是"], [ANSWER_ZH])
    table = table_of(TASK)
    rows = made(table, run(table, ScriptedLLM(script), depth=2, operations={"deepen": 1}))
    assert [r["lang"] for r in rows] == ["zh", "zh"]
    assert [request.sampling.choices for request in script.seen["judge"]] == [("yes", "no"), ("是", "不是")]
    assert rows[1]["made_by"]["prompt"] == prompt_hash("evolve_deepen", "zh")


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
    after = run(table, ScriptedLLM(), share=0.25, **PLAIN)
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


def test_rows_of_two_runs_are_the_same_and_of_another_seed_others():
    table, config = many(40), Config(engine="teacher", depth=2)

    def texts(seed):
        context = Context(STAGE, "f", seed, engine=ScriptedLLM())
        return evolve(table, config, context)["messages"].to_pylist()

    assert texts(0) == texts(0) != texts(1)


def test_counts_of_a_run_add_up_by_operation_and_rule():
    table = many(100)
    after = run(table, ScriptedLLM(), depth=2)
    counts = count(table, after)
    assert (counts.passed, counts.made_kept + counts.made_dropped) == (100, 200)
    assert set(counts.rules) == {"copied", "refusal", "no_gain"}
    assert sum(counts.rules.values()) == counts.made_dropped
    assert set(counts.operations) == {f"evolve_{operation}" for operation in OPERATIONS}
    assert sum(of_op[MADE] for of_op in counts.operations.values()) == 200
    for rule, n in counts.rules.items():
        assert sum(of_op.get(rule, 0) for of_op in counts.operations.values()) == n


def test_seeds_differ_between_rows_steps_and_what_is_asked():
    seeds = []

    def script(request):
        seeds.append(request.sampling.seed)
        by_kind = {"rewrite": f"{NEW} {len(seeds)}", "judge": "no", "answer": ANSWER}
        return by_kind[kind_of(request)]

    run(many(20), ScriptedLLM(script), depth=2)
    assert len(seeds) == len(set(seeds)) == 120


def test_empty_table_makes_nothing():
    assert run(samples([]), ScriptedLLM(), depth=2).equals(samples([]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"operations": {"deepen": 0}}, "all weights are 0"),
        ({"operations": {"shorten": 1}}, "shorten"),
        ({"operations": {"deepen": -1}}, "greater than or equal to 0"),
        ({"share": 1.5}, "share"),
        ({"refusal": "either"}, "refusal"),
        ({"judge_retries": -1}, "judge_retries"),
        ({"deptth": 1}, "deptth"),
    ],
)
def test_config_that_cannot_be_is_refused_with_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        Config(engine="t", **fields)
