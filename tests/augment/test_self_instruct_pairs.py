"""Self-Instruct in its combined form: one prompt gives tasks and their answers."""

import json

import pytest

from raysft.augment.prompts import prompt_hash, render
from raysft.augment.self_instruct import Config
from raysft.engines.protocol import Output
from raysft.sample import instruction_of
from tests.augment.test_self_instruct import made, pool_of, run
from tests.fixtures.fake_llm import ScriptedLLM, text_of

CONFIG = Config(engine="teacher", target=7, rounds=1, form="pairs")
EN = [("Name three rivers of Asia.", "Yangtze, Mekong, Ganges."), ("Tell a joke about one clock.", "Tick.")]
ZH = [("请列举亚洲的三条大河。", "长江、湄公河、恒河。"), ("讲一个关于时钟的笑话。", "滴答。")]


def as_json(pairs) -> str:
    return json.dumps([{"instruction": a, "output": b} for a, b in pairs], ensure_ascii=False)


def rows_of(said, lang="en", config=CONFIG):
    table = pool_of(10) if lang == "en" else pool_of(0, chinese=10)
    return made(table, run(table, ScriptedLLM(lambda request: said), config))


@pytest.mark.parametrize(("lang", "pairs"), [("en", EN), ("zh", ZH)])
def test_pairs_become_conversations_with_their_answers(lang, pairs):
    rows = rows_of(as_json(pairs), lang)
    assert [[m["content"] for m in r["messages"]] for r in rows] == [list(pair) for pair in pairs]
    assert [[m["role"] for m in r["messages"]] for r in rows] == [["user", "assistant"]] * 2
    assert [(r["op"], r["k"], r["lang"], r["drop_rule"]) for r in rows] == [
        ("self_instruct", 1, lang, None),
        ("self_instruct", 2, lang, None),
    ]
    assert rows[0]["made_by"]["prompt"] == prompt_hash("self_instruct_pairs", lang)
    assert [r["similar"] is None for r in rows] == [False, False]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_request_for_pairs_is_the_prompt_and_is_held_to_its_schema(lang):
    table, seen = pool_of(10) if lang == "en" else pool_of(0, chinese=10), []

    def script(request):
        seen.append(request)
        return as_json(EN)

    run(table, ScriptedLLM(script), CONFIG)
    texts = dict(zip(table["id"].to_pylist(), table["messages"].to_pylist(), strict=True))
    shown = [line.split(". ", 1)[1] for line in text_of(seen[0]).splitlines() if line[:1].isdigit()]
    assert text_of(seen[0]) == render("self_instruct_pairs", lang, examples=shown, count=7)
    assert set(shown) <= {instruction_of(messages) for messages in texts.values()}
    assert (seen[0].sampling.json_schema["maxItems"], seen[0].sampling.stop, seen[0].sampling.pattern) == (
        7,
        (),
        None,
    )


@pytest.mark.parametrize(
    ("pair", "lang", "rule"),
    [
        (("Name three rivers of Asia.", " "), "en", ("empty_output", "white space")),
        (("请列举亚洲的三条大河。", ""), "zh", ("empty_output", "white space")),
        (("Say it twice: hello.", "Say it twice: hello"), "en", ("copied_output", "Say it twice: hello")),
        (("请列举亚洲的三条大河。", "请列举亚洲的三条大河"), "zh", ("copied_output", "请列举亚洲的三条大河")),
        (("Sing.", "La la la."), "en", ("too_short", "1 words, at least 4")),
        (("", "La la la."), "en", ("too_short", "0 words, at least 4")),
        (("画一张春天的风景画", "好的。"), "zh", ("blocked_word", "画一张")),
        (("Write a program that adds numbers", "print(1)"), "en", ("writes_program", "Write a program")),
    ],
)
def test_pair_that_breaks_a_rule_is_a_dropped_row_with_both_turns(pair, lang, rule):
    (row,) = rows_of(as_json([pair]), lang)
    assert (row["drop_rule"], row["drop_detail"]) == rule
    assert [m["content"] for m in row["messages"]] == [pair[0], pair[1].strip()]


def test_pair_whose_task_is_in_the_pool_is_not_novel_whatever_its_answer():
    (row,) = rows_of(as_json([("Explain thing number 3 to me now!", "An answer that nobody gave before.")]))
    assert row["drop_rule"] == "not_novel"


def test_piece_of_a_response_that_is_no_pair_is_a_dropped_row_with_its_text():
    rows = rows_of(as_json(EN).removesuffix("]") + ', {"instruction": "Why do')
    assert [(r["drop_rule"], r["k"]) for r in rows] == [(None, 1), (None, 2), ("unparsable", 3)]
    assert rows[2]["raw"] == '{"instruction": "Why do'
    assert rows[2]["drop_detail"] == "part 3 is no task with an answer"
    assert rows[2]["messages"] is None


@pytest.mark.parametrize("said", ["I would rather talk.", "[]", '[{"note": 1}]', "9. Name three rivers."])
def test_response_without_a_pair_is_asked_again_and_then_one_dropped_row(said):
    llm = ScriptedLLM(lambda request: said)
    (row,) = made(pool_of(10), run(pool_of(10), llm, CONFIG))
    assert llm.calls == [1, 1]
    assert (row["drop_rule"], row["drop_detail"], row["raw"]) == ("unparsable", "0 tasks with answers", said)


def test_response_cut_off_is_thrown_away_whole_with_the_pairs_in_it():
    said = Output(as_json(EN), "length", 40)
    llm = ScriptedLLM(lambda request: said)
    (row,) = made(pool_of(10), run(pool_of(10), llm, CONFIG))
    assert (row["drop_rule"], row["raw"], llm.calls) == ("truncated", as_json(EN), [1])


def test_response_of_a_hundred_pairs_is_unparsable():
    said = as_json([(f"Name the number {i} in words.", str(i)) for i in range(100)])
    (row,) = rows_of(Output(said, "stop", 900))
    assert row["drop_detail"] == "100 tasks with answers"


def test_pairs_of_a_whole_pool_meet_every_fate():
    table = pool_of(30, chinese=10)
    after = run(table, ScriptedLLM(), Config(engine="teacher", target=140, rounds=1, form="pairs"))
    rules = {r["drop_rule"] for r in made(table, after)}
    assert rules == {None, "not_novel", "too_short", "empty_output"}
    assert {r["lang"] for r in made(table, after) if r["drop_rule"] is None} == {"en", "zh"}
