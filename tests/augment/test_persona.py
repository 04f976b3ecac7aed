import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from raysft.augment.persona import Config, engine_kinds, generate, plan
from raysft.augment.prompts import prompt_hash, render
from raysft.engines.protocol import Completion, Output
from raysft.executor import run_local
from raysft.runtime.passes import semantic
from raysft.sample import acquired_id, instruction_of, samples
from raysft.stage import Context, count
from tests.fixtures.fake_llm import ScriptedLLM, text_of

STAGE = "augment.persona"
BAKER, TEACHER = "A baker in Leeds", "一位在成都教数学的老师"
PERSONAS = {"en": [BAKER, "A bus driver"], "zh": [TEACHER, "一位喜欢钓鱼的退休工人"]}


def pool(n: int) -> pa.Table:
    return samples(
        {"id": acquired_id("p", i), "messages": [{"role": "user", "content": f"Explain law {i}."}]}
        for i in range(n)
    )


def config_of(**fields) -> Config:
    if fields.get("form") != "chat_prefix":
        fields = {"personas": PERSONAS} | fields
    return Config(**{"engine": "teacher", "target": 8} | fields)


def run(table, llm, **fields):
    return run_local(STAGE, table, config_of(**fields), engines={"teacher": llm}, fingerprint="f")


def made(after: pa.Table) -> list[dict]:
    return sorted(after.filter(pc.equal(after["op"], "persona")).to_pylist(), key=lambda row: row["k"])


def says(text):
    return ScriptedLLM(lambda request: text)


def numbered(request) -> str:
    return f"Plan the party number {request.sampling.seed} for my street"


def test_row_is_a_users_turn_without_parents_in_the_language_of_its_person():
    table = pool(3)
    after = run(table, ScriptedLLM(), target=40, min_words=1)
    assert after.slice(0, 3).equals(table)
    rows = made(after)
    assert [row["k"] for row in rows] == list(range(40))
    assert {tuple(row["parents"]) for row in rows} == {()}
    assert {row["lang"] for row in rows[:20]} == {"en"}
    assert {row["lang"] for row in rows[20:]} == {"zh"}
    assert {row["made_by"]["prompt"] for row in rows} == {
        prompt_hash("persona", "en"),
        prompt_hash("persona", "zh"),
    }
    kept = [row for row in rows if row["drop_rule"] is None]
    assert {tuple(m["role"] for m in row["messages"]) for row in kept} == {("user",)}
    counts = count(table, after)
    assert (counts.passed, counts.made_kept + counts.made_dropped) == (3, 40)
    assert {"refusal", "repeated"} <= set(counts.rules)


def test_prompt_form_asks_for_a_task_of_the_person():
    seen = []

    def script(request):
        seen.append(request)
        return "Task: Plan a party for my street" if "Leeds" in text_of(request) else "任务：请出五道数学题。"

    personas = {"en": [BAKER], "zh": [TEACHER]}
    after = run(
        pool(1), ScriptedLLM(script), target=2, personas=personas, temperature=0.4, top_p=0.8, max_tokens=19
    )
    assert [instruction_of(row["messages"]) for row in made(after)] == [
        "Plan a party for my street",
        "请出五道数学题。",
    ]
    assert [text_of(request) for request in seen] == [
        render("persona", "en", persona=BAKER),
        render("persona", "zh", persona=TEACHER),
    ]
    for request in seen:
        assert request.turn == "assistant"
        assert (request.sampling.temperature, request.sampling.top_p, request.sampling.max_tokens) == (
            0.4,
            0.8,
            19,
        )


def test_chat_prefix_has_the_model_write_the_users_turn_behind_nothing():
    seen = []

    def script(request):
        seen.append(request)
        return "请问长江有多长？" if request.sampling.seed % 2 else "Task: how long is the Nile?"

    rows = made(run(pool(2), ScriptedLLM(script), form="chat_prefix", target=20))
    assert {(request.turn, request.messages) for request in seen} == {("user", ())}
    assert len({request.sampling.seed for request in seen}) == 20
    kept = {instruction_of(r["messages"]): (r["lang"], r["made_by"]["prompt"]) for r in rows}
    assert kept == {"请问长江有多长？": ("zh", None), "Task: how long is the Nile?": ("en", None)}


def test_chat_prefix_with_personas_tells_of_the_person_in_a_system_turn():
    seen = []

    def script(request):
        seen.append(request)
        return numbered(request)

    rows = made(run(pool(2), ScriptedLLM(script), form="chat_prefix", target=4, personas={"zh": [TEACHER]}))
    system = {"role": "system", "content": render("persona_system", "zh", persona=TEACHER)}
    assert [(request.turn, request.messages) for request in seen] == [("user", (system,))] * 4
    assert {row["made_by"]["prompt"] for row in rows} == {prompt_hash("persona_system", "zh")}
    assert {tuple(m["role"] for m in row["messages"]) for row in rows} == {("user",)}


@pytest.mark.parametrize(
    ("said", "rule", "detail"),
    [
        (Completion(error="chat_template: no"), "generation_failed", "chat_template: no"),
        (Output("Plan a par", "length", 3), "truncated", "3 tokens"),
        (" \n", "empty", "white space"),
        ("Sorry, I cannot help with that.", "refusal", "opens with 'Sorry, I cannot'"),
        ("抱歉，我无法扮演这个人。", "refusal", "opens with '抱歉，我无法'"),
        ("Plan a party<|im_end|>", "control_tokens", "<|im_end|>"),
        ("A task that this person would like", "prompt_leaked", "a task that this person"),
        ("写一个这样的人会交给助手的任务", "prompt_leaked", "写一个这样的人会交"),
        ("Plan a party", "too_short", "3 words, at least 4"),
        ("写首诗吧", "too_short", "2 words, at least 4"),
        ("word " * 10, "too_long", "10 words, at most 9"),
        ("字" * 19, "too_long", "10 words, at most 9"),
    ],
)
def test_text_that_breaks_a_rule_is_a_dropped_row(said, rule, detail):
    zh = isinstance(said, str) and "写" in said
    personas = {"zh": [TEACHER]} if zh else {"en": [BAKER]}
    table = pool(1)
    after = run(table, says(said), target=1, personas=personas, max_words=9)
    (row,) = made(after)
    assert (row["drop_stage"], row["drop_rule"], row["drop_detail"]) == (STAGE, rule, detail)
    raw = {str: said, Output: getattr(said, "text", None), Completion: None}[type(said)]
    assert row["raw"] == raw
    counts = count(table, after)
    assert (counts.passed, counts.made_kept, counts.made_dropped) == (1, 0, 1)


def test_words_that_the_persons_description_has_are_no_leak():
    personas = {"en": ["Somebody who has to write a task that this person would give"]}
    (row,) = made(run(pool(1), says("Write a task that this person would"), target=1, personas=personas))
    assert row["drop_rule"] is None


def test_text_of_an_earlier_row_is_repeated_and_names_that_row():
    texts = ["Plan a party for my street", "Name a good day for it"]
    rows = made(run(pool(5), ScriptedLLM(lambda r: texts[r.sampling.seed % 2]), target=9))
    first = {}
    for row in rows:
        winner = first.setdefault(instruction_of(row["messages"]), row["id"])
        if winner == row["id"]:
            assert row["drop_rule"] is None
        else:
            assert (row["drop_rule"], row["drop_detail"]) == ("repeated", winner)
    assert len(first) == 2


def test_rows_that_others_made_are_not_compared():
    table = samples(
        [
            {
                "id": "a",
                "messages": [{"role": "user", "content": "Plan a party for my street"}],
                "op": "persona",
                "round": 1,
                "k": 0,
                "parents": [],
            }
        ]
    )
    after = run(table, says("Plan a party for my street"), target=2)
    assert [row["drop_rule"] for row in after.to_pylist()] == [None, None, "repeated"]


def test_persons_of_a_language_come_up_equally_often_and_languages_by_their_weights():
    after = run(pool(3), ScriptedLLM(numbered), target=40, languages={"en": 3, "zh": 1})
    langs = [row["made_by"]["prompt"] for row in made(after)]
    assert langs.count(prompt_hash("persona", "en")) == 30
    seen = []

    def script(request):
        seen.append(text_of(request))
        return numbered(request)

    run(pool(3), ScriptedLLM(script), target=40, languages={"en": 0, "zh": 2})
    assert {seen.count(render("persona", "zh", persona=p)) for p in PERSONAS["zh"]} == {20}


def test_target_below_the_number_of_persons_takes_other_ones_with_another_seed():
    personas = {"en": [f"Person {i}" for i in range(200)]}

    def asked(seed):
        seen = set()

        def script(request):
            seen.add(text_of(request))
            return numbered(request)

        config = config_of(personas=personas, target=20)
        run_local(STAGE, pool(2), config, engines={"teacher": ScriptedLLM(script)}, seed=seed)
        return seen

    assert len(asked(1)) == len(asked(2)) == 20
    assert asked(1) == asked(1)
    assert len(asked(1) & asked(2)) < 10


def test_work_is_spread_over_the_pool_and_does_not_depend_on_it():
    hosts = plan(pool(10), config_of(target=40), Context(STAGE, "f", 0)).values["hosts"]
    assert sorted(hosts.count(id) for id in pool(10)["id"].to_pylist()) == [4] * 10
    few = plan(pool(100), config_of(target=4), Context(STAGE, "f", 0)).values["hosts"]
    assert len(set(few)) == 4
    assert made(run(pool(3), ScriptedLLM(), target=30)) == made(run(pool(50), ScriptedLLM(), target=30))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_rows_do_not_depend_on_how_the_table_is_split(size):
    table, config = pool(40), config_of(target=30)
    context = Context(STAGE, "f", 0, fitted=plan(table, config, Context(STAGE, "f", 0)), engine=ScriptedLLM())
    whole = generate(table, config, context)
    split = [generate(table.slice(i, size), config, context) for i in range(0, len(table), size)]
    assert whole.sort_by("id").equals(pa.concat_tables(split).sort_by("id"))
    assert len(whole) == 70


def test_empty_pool_hosts_nothing_and_makes_nothing():
    assert run(samples([]), ScriptedLLM()).equals(samples([]))
    notes = plan(samples([]).select(["id"]), config_of(), Context(STAGE, "f", 0)).values["notes"]
    assert notes == ["asks for nothing: there is no row that could host a prompt"]


def test_personas_of_files_are_those_of_a_list_and_are_part_of_the_config(tmp_path):
    text, lines = tmp_path / "people.txt", tmp_path / "people.jsonl"
    text.write_text(f"{BAKER}\n\n  A bus driver \n", encoding="utf-8")
    rows = [{"persona": TEACHER}, PERSONAS["zh"][1]]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = config_of(personas={"en": str(text), "zh": str(lines)})
    assert semantic(config) == semantic(config_of(personas=PERSONAS))
    text.write_text(f"{BAKER}\n", encoding="utf-8")
    assert semantic(config_of(personas={"en": str(text), "zh": str(lines)})) != semantic(config)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("people.txt", None, "No such file or directory"),
        ("people.txt", "教师".encode("gbk"), "not UTF-8"),
        ("people.txt", b" \n", "at least 1 item"),
        ("people.jsonl", b'"A baker"\nA bus driver\n', "line 2 is not JSON"),
        ("people.jsonl", b'{"person": "A baker"}\n', "line 1 is neither a text nor an object"),
        ("people.jsonl", b'\n{"persona": " "}\n', "line 2 is neither a text nor an object"),
    ],
)
def test_personas_of_a_file_that_holds_none_are_refused(tmp_path, name, content, error):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValidationError, match=error):
        config_of(personas={"en": str(tmp_path / name)})


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"personas": {}}, "form: prompt asks in the words of personas; give some, or form: chat_prefix"),
        ({"personas": {"en": []}}, "at least 1 item"),
        ({"personas": {"en": [" "]}}, "at least 1 character"),
        ({"personas": {"fr": [BAKER]}}, "'en' or 'zh'"),
        ({"languages": {"en": 0, "zh": 0}}, "all weights of languages are 0"),
        ({"personas": {"en": [BAKER]}, "languages": {"zh": 1}}, "languages weighs zh, which has no personas"),
        ({"form": "chat_prefix", "languages": {"zh": 1}}, "languages weighs zh, which has no personas"),
        ({"min_words": 9, "max_words": 8}, r"min_words \(9\) is more than max_words \(8\)"),
    ],
)
def test_config_that_cannot_be_asked_is_refused(fields, error):
    with pytest.raises(ValidationError, match=error):
        config_of(**fields)


def test_engine_kinds_for_a_users_turn_are_those_that_render_the_template():
    assert engine_kinds(config_of(form="chat_prefix")) == ("vllm",)
    assert engine_kinds(config_of()) == ("vllm", "openai")
