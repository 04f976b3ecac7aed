import json
import re
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from raysft.algorithms.rouge import rouge_l
from raysft.augment.prompts import prompt_hash
from raysft.augment.self_instruct import SIMILAR, STEPS, Config, generate, judge_novelty, plan
from raysft.augment.task_rules import BLOCKED_WORDS
from raysft.engines.protocol import Completion, Output
from raysft.executor import narrow_of, run_local
from raysft.sample import acquired_id, instruction_of, live, samples
from raysft.stage import Context, Fitted, count, join_decisions
from tests.fixtures.fake_llm import ScriptedLLM, phrase, text_of

STAGE = "augment.self_instruct"
PLANNED = ["id", "messages", "task", "lang", "op", "round", "k", "parents"]


def pool_of(english: int, chinese: int = 0, machine: int = 0) -> pa.Table:
    texts = [("en", f"Explain thing number {i} to me now.", None) for i in range(english)]
    texts += [("zh", f"请给我讲一讲第{i}件事情。", None) for i in range(chinese)]
    texts += [("en", f"Machine made task number {i} here.", "evolve_deepen") for i in range(machine)]
    return samples(
        {
            "id": acquired_id("pool", i),
            "messages": [{"role": "user", "content": text}],
            "lang": lang,
            "op": op,
        }
        for i, (lang, text, op) in enumerate(texts)
    )


def run(table, llm, config=None, **keywords):
    config = config or Config(engine="teacher", target=7, rounds=1)
    return run_local(STAGE, table, config, engines={"teacher": llm}, **keywords)


def made(before: pa.Table, after: pa.Table) -> list[dict]:
    return after.filter(pc.invert(pc.is_in(after["id"], before["id"]))).to_pylist()


def context(prompts=(), seed=0, **keywords) -> Context:
    fitted = Fitted(values={"prompts": list(prompts)})
    return Context(STAGE, "f", seed, engine=ScriptedLLM(), fitted=fitted, **keywords)


def plan_of(table, config, **keywords) -> list[dict]:
    return plan(table.select(PLANNED), config, context(**keywords)).values["prompts"]


def test_plan_asks_for_its_share_of_the_target_and_travels_as_json():
    table, config = pool_of(20), Config(engine="t", target=100, rounds=3)
    values = plan(table.select(PLANNED), config, context()).values
    assert len(values["prompts"]) == 5  # 100 / 3 rounds / 7 tasks a prompt, rounded up
    assert [p["k"] for p in values["prompts"]] == list(range(5))
    assert [row[:6] for row in values["findings"][0]["rows"]] == [[1, 5, 35, None, 0, 100]]
    assert json.loads(json.dumps(values)) == values
    assert len(plan_of(table, Config(engine="t", target=100, prompts_per_round=2))) == 2


def test_plan_takes_different_examples_and_at_most_two_made_by_machines():
    table = pool_of(20, machine=20)
    ops = dict(zip(table["id"].to_pylist(), table["op"].to_pylist(), strict=True))
    prompts = plan_of(table, Config(engine="t", target=70, rounds=1))
    for prompt in prompts:
        assert len(set(prompt["examples"])) == 8
        assert sum(ops[i] is not None for i in prompt["examples"]) == 2
    assert len({tuple(p["examples"]) for p in prompts}) == len(prompts)
    places = {[ops[i] is not None for i in p["examples"]].index(True) for p in prompts}
    assert len(places) > 1  # machine-made ones do not always come first


def test_plan_of_two_languages_keeps_a_prompt_in_one_and_their_proportion():
    table = pool_of(30, chinese=10)
    langs = dict(zip(table["id"].to_pylist(), table["lang"].to_pylist(), strict=True))
    prompts = plan_of(table, Config(engine="t", target=7, prompts_per_round=40))
    assert all({langs[i] for i in p["examples"]} == {p["lang"]} for p in prompts)
    assert [p["lang"] for p in prompts].count("zh") == 10


def test_plan_spreads_hosts_over_the_whole_pool():
    table = pool_of(50)
    assert len({p["host"] for p in plan_of(table, Config(engine="t", target=7, prompts_per_round=50))}) == 50


def test_plan_is_the_same_for_any_row_order_and_another_for_another_round_or_seed():
    table, config = pool_of(30), Config(engine="t", target=70)

    def parts(**keywords):
        prompts = plan(table.select(PLANNED), config, context(**keywords))
        return [[p[name] for p in prompts.values["prompts"]] for name in ("host", "examples")]

    assert plan_of(table, config) == plan_of(table.take(list(range(29, -1, -1))), config)
    for other in (parts(round=2), parts(seed=1)):
        assert all(mine != theirs for mine, theirs in zip(parts(), other, strict=True))


def test_seed_of_a_request_depends_on_the_run_the_round_and_the_prompt():
    table, config = pool_of(10), Config(engine="teacher", target=70, rounds=1)

    def seeds(**keywords):
        return {r["made_by"]["seed"] for r in made(table, run(table, ScriptedLLM(), config, **keywords))}

    assert len(seeds()) == 10
    assert not seeds() & (seeds(seed=1) | seeds(round=2))


def test_first_of_many_like_tasks_is_the_one_that_is_kept():
    table = pool_of(10)
    said = "\n".join(f"{9 + i}. Name one of the great rivers of Asia, please{'!' * i}" for i in range(6))
    config = Config(engine="teacher", target=21, rounds=1)
    rows = made(table, run(table, ScriptedLLM(lambda request: said), config))
    assert len(rows) == 18
    assert [r["k"] for r in rows if r["drop_rule"] is None] == [1]


def test_plan_of_a_small_or_unusable_pool_shows_what_there_is():
    assert len(plan_of(pool_of(3), Config(engine="t", target=7))[0]["examples"]) == 3
    assert plan_of(pool_of(0), Config(engine="t", target=7)) == []
    too_long = samples([{"id": "a", "messages": [{"role": "user", "content": "word " * 151}]}])
    values = plan(too_long.select(PLANNED), Config(engine="t", target=7), context()).values
    assert values["prompts"] == []
    assert values["findings"][0]["rows"] == [[1, 0, 0, None, 0, 7, "no row of the pool can be an example"]]
    lines = samples([{"id": "a", "messages": [{"role": "user", "content": "Sort:\n  2\n1"}]}])
    assert plan_of(lines, Config(engine="t", target=7))[0]["texts"] == ["Sort: 2 1"]


def test_made_task_carries_its_parents_prompt_model_and_seed():
    llm = ScriptedLLM(lambda request: "9. Name three rivers of Asia.\n10. Tell a joke about one clock.")
    table = pool_of(12)
    rows = made(table, run(table, llm, fingerprint="f", seed=5))
    assert [instruction_of(r["messages"]) for r in rows] == [
        "Name three rivers of Asia.",
        "Tell a joke about one clock.",
    ]
    first = rows[0]
    assert (first["op"], first["round"], first["k"], first["lang"]) == ("self_instruct", 1, 1, "en")
    assert len(first["parents"]) == 8
    assert set(first["parents"]) <= set(table["id"].to_pylist())
    assert first["made_by"]["prompt"] == prompt_hash("self_instruct", "en")
    assert first["made_by"]["model"] == "fake/scripted"
    assert 0 <= first["made_by"]["seed"] < 2**31
    assert len({r["id"] for r in rows}) == 2
    assert llm.calls == [1]


def test_request_stops_before_the_number_after_the_last_task_asked_for():
    seen = []

    def script(request):
        seen.append(request)
        return "9. One two three four."

    run(pool_of(12), ScriptedLLM(script), Config(engine="teacher", target=1, temperature=0.3, max_tokens=50))
    sampling = seen[0].sampling
    assert (sampling.stop, sampling.temperature, sampling.top_p, sampling.max_tokens) == (
        ("\n16.",),
        0.3,
        0.5,
        50,
    )
    assert re.findall(r"(?m)^(\d)\. ", text_of(seen[0])) == list("12345678")


def test_chinese_prompt_makes_chinese_tasks():
    llm = ScriptedLLM(lambda request: "九、写一首关于大海的短诗\n十、把这句话翻译成英文：今天下雨")
    table = pool_of(0, chinese=9)
    rows = made(table, run(table, llm))
    assert [r["lang"] for r in rows] == ["zh", "zh"]
    assert [r["drop_rule"] for r in rows] == [None, None]
    assert rows[0]["made_by"]["prompt"] == prompt_hash("self_instruct", "zh")


CONTEXT_ERROR = Completion(error="prompt of 9000 tokens, the limit is 2048")


@pytest.mark.parametrize(
    ("said", "rule", "detail", "raw"),
    [
        (CONTEXT_ERROR, "generation_failed", "prompt of 9000 tokens, the limit is 2048", None),
        (Completion(), "generation_failed", "the engine returned no output", None),
        (Output("9. Name a river in Asia", "length", 7), "truncated", "7 tokens", "9. Name a river in Asia"),
        ("I would rather talk.", "unparsable", "0 numbered items", "I would rather talk."),
        ("", "unparsable", "0 numbered items", ""),
    ],
)
def test_response_that_gives_no_tasks_is_one_dropped_row(said, rule, detail, raw):
    table, llm = pool_of(10), ScriptedLLM(lambda request: said)
    after = run(table, llm)
    assert llm.calls == ([1, 1] if rule == "unparsable" else [1])  # only what cannot be read is asked again
    rows = made(table, after)
    assert [(r["drop_stage"], r["drop_rule"], r["drop_detail"], r["raw"], r["k"]) for r in rows] == [
        (STAGE, rule, detail, raw, 0)
    ]
    counts = count(table, after)
    assert (counts.passed, counts.made_kept, counts.made_dropped, counts.rules) == (10, 0, 1, {rule: 1})


def test_response_of_a_hundred_items_is_unparsable():
    said = "\n".join(f"{i}. Name the number {i} in words." for i in range(100, 200))
    rows = made(pool_of(9), run(pool_of(9), ScriptedLLM(lambda request: said)))
    assert [(r["drop_rule"], r["drop_detail"]) for r in rows] == [("unparsable", "100 numbered items")]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_response_that_cannot_be_read_is_asked_again_with_another_seed(lang):
    table = pool_of(10) if lang == "en" else pool_of(0, chinese=10)
    task = "Name three rivers of Asia." if lang == "en" else "请列举亚洲的三条大河。"
    texts = iter(["I would rather talk.", "我更想聊天。", f"9. {task}"])
    seeds = []

    def script(request):
        seeds.append(request.sampling.seed)
        return next(texts)

    (row,) = made(table, run(table, ScriptedLLM(script), Config(engine="teacher", target=7, retries=2)))
    assert len(set(seeds)) == 3
    assert (row["drop_rule"], row["made_by"]["seed"]) == (None, seeds[-1])
    assert instruction_of(row["messages"]) == task


def test_task_that_breaks_a_rule_is_kept_as_a_dropped_row():
    table = pool_of(10)
    after = run(table, ScriptedLLM(lambda request: "9. Sing.\n10. Name three rivers of Asia."))
    assert [(r["drop_rule"], r["k"]) for r in made(table, after)] == [("too_short", 1), (None, 2)]
    assert instruction_of(made(table, after)[0]["messages"]) == "Sing."


def test_task_too_like_the_pool_or_an_earlier_task_is_not_novel():
    table = pool_of(10)
    like_pool = "Explain thing number 3 to me now!"
    said = f"9. {like_pool}\n10. Name three rivers of Asia.\n11. Name three rivers of all Asia."
    rows = made(table, run(table, ScriptedLLM(lambda request: said)))
    ids = {instruction_of(r["messages"]): r["id"] for r in [*table.to_pylist(), *rows]}
    score = rouge_l("Name three rivers of Asia.", "Name three rivers of all Asia.")
    assert [r["drop_rule"] for r in rows] == ["not_novel", None, "not_novel"]
    assert rows[0]["drop_detail"].split()[0] in table["id"].to_pylist()
    assert rows[2]["drop_detail"] == f"{ids['Name three rivers of Asia.']} {score:.3f}"


def test_task_exactly_at_the_threshold_is_novel():
    table = samples([{"id": "a", "messages": [{"role": "user", "content": "one two three four"}]}])
    llm = ScriptedLLM(lambda request: "2. one two five six")  # F = 0.5
    kept = [
        made(table, run(table, llm, Config(engine="teacher", target=1, rouge_threshold=t)))
        for t in (0.5, 0.49)
    ]
    assert [rows[0]["drop_rule"] for rows in kept] == [None, "not_novel"]


def test_novelty_judges_only_rows_this_stage_made_this_round():
    same = "9. Name three rivers of Asia."
    table = pool_of(10)
    first = live(run(table, ScriptedLLM(lambda request: same), fingerprint="other stage"))
    after = run(first, ScriptedLLM(lambda request: same), fingerprint="this stage")
    rules = [r["drop_rule"] for r in made(table, after)]
    assert rules == [None, "not_novel"]
    again = run(first, ScriptedLLM(lambda request: same), fingerprint="other stage", round=2)
    assert [r["drop_rule"] for r in made(table, again)] == [None, "not_novel"]


def test_rounds_use_tasks_of_earlier_rounds_as_examples():
    table = pool_of(10)
    config = Config(engine="teacher", target=70, rounds=2)
    first = live(run(table, ScriptedLLM(), config, fingerprint="one"))
    new = set(first["id"].to_pylist()) - set(table["id"].to_pylist())
    keywords = {"round": 2, "fingerprint": "two", "earlier_rounds": ("one",)}
    second = made(first, run(first, ScriptedLLM(), config, **keywords))
    assert new
    assert all(len(new & set(r["parents"])) == min(2, len(new)) for r in second)
    assert {r["round"] for r in second} == {2}


@pytest.mark.parametrize("size", [1, 3, 50])
def test_rows_do_not_depend_on_how_the_table_is_split(size):
    table, config = pool_of(20, chinese=10), Config(engine="teacher", target=70, rounds=1)
    whole = run(table, ScriptedLLM(), config, fingerprint="f")
    planned = replace(context(plan_of(table, config)), engine=ScriptedLLM())
    pieces = [generate(table.slice(i, size), config, planned) for i in range(0, len(table), size)]
    split = pa.concat_tables(pieces)
    narrow = narrow_of(split, STEPS[-1], config)
    ours = join_decisions(split, judge_novelty(narrow, config, planned), STAGE)
    assert len(made(table, whole)) > 20
    assert "not_novel" in whole["drop_rule"].to_pylist()
    assert ours.sort_by("id").to_pylist() == whole.sort_by("id").to_pylist()


def test_counts_of_a_run_add_up():
    table = pool_of(30, chinese=10)
    after = run(table, ScriptedLLM(), Config(engine="teacher", target=140, rounds=1))
    counts = count(table, after)
    assert counts.passed == 40
    assert counts.made_kept + counts.made_dropped == len(after) - 40 == 20 * 7
    assert set(counts.rules) == {"not_novel", "too_short"}
    assert sum(counts.rules.values()) == counts.made_dropped


def test_empty_table_makes_nothing():
    llm = ScriptedLLM()
    after = run(samples([]), llm)
    assert len(after) == 0
    assert after.drop_columns(["similar"]).schema.equals(samples([]).schema)
    assert after.schema.field("similar").type == SIMILAR
    assert sum(llm.calls) == 0


def test_dropped_rows_are_no_examples_and_no_hosts():
    table = pool_of(6)
    marked = samples(
        r | ({"drop_stage": "x", "drop_rule": "bad"} if i < 3 else {})
        for i, r in enumerate(table.to_pylist())
    )
    llm = ScriptedLLM(lambda request: f"5. {phrase('en', 3)}")
    rows = [r for r in run(marked, llm).to_pylist() if r["op"]]
    assert set(rows[0]["parents"]) == set(table["id"].to_pylist()[3:])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"in_context": 4, "machine_in_context": 5},
            r"machine_in_context \(5\) is more than in_context \(4\)",
        ),
        ({"form": "list"}, "form"),
        ({"similar": 0}, "similar"),
        ({"rouge_treshold": 0.7}, "rouge_treshold"),
        ({"target": 0}, "target"),
    ],
)
def test_config_that_cannot_be_is_refused_with_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        Config(**({"engine": "t", "target": 7} | fields))


def test_config_defaults_are_the_published_ones():
    config = Config(engine="t", target=7)
    assert (config.in_context, config.machine_in_context, config.rouge_threshold) == (8, 2, 0.7)
    assert (config.min_words, config.max_words) == (4, 150)
    assert (config.temperature, config.top_p, config.max_tokens) == (0.7, 0.5, 1024)
    assert (config.similar, config.form, config.first_character) == (10, "tasks", True)
    assert config.blocked_words[:13] == BLOCKED_WORDS[:13]
    assert {"image", "go to", "图片"} <= set(config.blocked_words)
    assert config.blocked_openings[0] == "Write a program"
