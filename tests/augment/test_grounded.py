import json

import pyarrow as pa
import pytest
from pydantic import ValidationError

from raysft.augment.grounded import Config, ground
from raysft.augment.prompts import prompt_hash, render
from raysft.engines.protocol import Completion, Output
from raysft.executor import run_local
from raysft.sample import acquired_id, samples
from raysft.stage import Context, Fitted, count
from tests.fixtures.fake_llm import ScriptedLLM, text_of

STAGE = "augment.grounded"
EN = "Doors > Closers\n\nA fire door has a closer. It is tested every 12 months by a trained person."
ZH = "第三章　检查\n\n防火门每12个月由专业人员检查一次，并做好记录。灭火器放在门边。"
GOOD = {"question": "Who tests a fire door?", "answer": "A trained person."}
ALSO = {"question": "How often is it tested?", "answer": "Every 12 months."}
GOOD_ZH = {"question": "防火门多久检查一次？", "answer": "每12个月检查一次。"}
STRANGE = {"question": "Who pays?", "answer": "The mayor of Paris."}


def chunk_rows(*texts: str, **columns) -> pa.Table:
    return samples(
        {
            "id": acquired_id("d", i),
            "messages": [{"role": "assistant", "content": text}],
            "task": "chunk",
            "domain": "fire",
            "lang": "zh" if "门" in text else "en",
        }
        | columns
        for i, text in enumerate(texts)
    )


def many(n: int) -> pa.Table:
    return chunk_rows(*(f"{ZH}第{i}条。" if i % 2 else f"{EN} Door {i} is green." for i in range(n)))


def run(table: pa.Table, llm: ScriptedLLM, **fields) -> pa.Table:
    config = Config(**{"engine": "teacher", "dialogues": 0.0} | fields)
    return run_local(STAGE, table, config, engines={"teacher": llm}, fingerprint="f")


def says(*pairs: dict) -> ScriptedLLM:
    return ScriptedLLM(lambda request: json.dumps(pairs, ensure_ascii=False))


def made(after: pa.Table) -> list[dict]:
    return [row for row in after.to_pylist() if row["op"] is not None]


def test_pairs_become_rows_that_stand_for_the_chunk():
    table = chunk_rows(EN)
    after = run(table, says(GOOD, ALSO))
    first, second = after.to_pylist()
    assert first["messages"] == [
        {"role": "user", "content": GOOD["question"]},
        {"role": "assistant", "content": GOOD["answer"]},
    ]
    assert (first["parents"], first["op"], first["round"]) == (
        table["id"].to_pylist(),
        "grounded_question",
        1,
    )
    assert [(r["k"], r["task"], r["domain"], r["lang"]) for r in (first, second)] == [
        (1, "question_answering", "fire", "en"),
        (2, "question_answering", "fire", "en"),
    ]
    assert first["made_by"]["prompt"] == prompt_hash("grounded_questions", "en")
    counts = count(table, after)
    assert (counts.consumed, counts.made_kept, counts.made_dropped) == (1, 2, 0)


@pytest.mark.parametrize(("text", "lang", "pair"), [(EN, "en", GOOD), (ZH, "zh", GOOD_ZH)])
@pytest.mark.parametrize(("share", "name"), [(0.0, "grounded_questions"), (1.0, "grounded_dialogue")])
def test_request_is_the_prompt_of_the_chunks_language_with_a_schema_of_pairs(text, lang, pair, share, name):
    seen = []

    def script(request):
        seen.append(request)
        return json.dumps([pair, pair], ensure_ascii=False)

    after = run(chunk_rows(text), ScriptedLLM(script), dialogues=share, questions=4, turns=5, max_tokens=300)
    asked = 5 if share else 4
    assert text_of(seen[0]) == render(name, lang, text=text, count=asked, terms=[])
    sampling = seen[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.7, 0.9, 300)
    assert sampling.json_schema["maxItems"] == asked
    assert sampling.json_schema["items"]["required"] == ["question", "answer"]
    assert {row["lang"] for row in made(after)} == {lang}


def test_own_prompt_of_the_recipe_is_asked_and_hashed():
    own = {"grounded_questions.en": "{{ count }} questions on {{ text }}, {{ terms }}"}
    seen = []

    def script(request):
        seen.append(text_of(request))
        return json.dumps([GOOD])

    config = Config(engine="teacher", dialogues=0)
    after = run_local(
        STAGE, chunk_rows(EN), config, engines={"teacher": ScriptedLLM(script)}, prompts=own, fingerprint="f"
    )
    assert seen == [f"3 questions on {EN}, []"]
    assert made(after)[0]["made_by"]["prompt"] == prompt_hash("grounded_questions", "en", own)


def test_dialogue_is_one_row_of_all_turns():
    table = chunk_rows(EN)
    (row,) = run(table, says(GOOD, ALSO), dialogues=1.0).to_pylist()
    assert [m["role"] for m in row["messages"]] == ["user", "assistant"] * 2
    assert [m["content"] for m in row["messages"][2:]] == [ALSO["question"], ALSO["answer"]]
    assert (row["op"], row["task"], row["k"], row["domain"]) == ("grounded_dialogue", "dialogue", 1, "fire")


@pytest.mark.parametrize(
    ("pairs", "rule", "detail"),
    [
        ([GOOD], "one_turn", "a single question"),
        ([GOOD, STRANGE, {"question": "", "answer": "x"}], "ungrounded", "question 2: 0.00 of its words"),
        ([GOOD, GOOD], "repeated", "question 2: the question of pair 1"),
    ],
)
def test_dialogue_with_a_bad_pair_is_dropped_whole(pairs, rule, detail):
    after = run(chunk_rows(EN), says(*pairs), dialogues=1.0)
    (row,) = made(after)
    assert row["drop_rule"] == rule
    assert row["drop_detail"].startswith(detail)
    assert len(row["messages"]) == 2 * len(pairs)


def test_dialogues_take_about_their_share_of_the_chunks():
    rows = made(run(many(300), says(GOOD, ALSO), dialogues=0.25))
    share = len({r["parents"][0] for r in rows if r["op"] == "grounded_dialogue"}) / 300
    assert 0.12 < share < 0.38  # 0.25, five standard deviations


def test_text_is_shown_before_the_first_question_for_its_share():
    after = run(chunk_rows(EN), says(GOOD, ALSO), with_text=1.0)
    assert [r["messages"][0]["content"] for r in made(after)] == [
        f"{EN}\n\n{GOOD['question']}",
        f"{EN}\n\n{ALSO['question']}",
    ]
    assert {r["task"] for r in made(after)} == {"reading_comprehension"}
    (talk,) = made(run(chunk_rows(EN), says(GOOD, ALSO), with_text=1.0, dialogues=1.0))
    assert [m["content"].startswith(EN) for m in talk["messages"]] == [True, False, False, False]
    rows = made(run(many(200), says(GOOD, ALSO, GOOD_ZH), with_text=0.5))
    shown = [row["task"] == "reading_comprehension" for row in rows]
    assert 0.4 < sum(shown) / len(shown) < 0.6  # 0.5 of 600, five standard deviations


@pytest.mark.parametrize(
    ("pair", "rule"),
    [
        ({"question": "", "answer": "A closer."}, "empty_question"),
        ({"answer": "A closer."}, "empty_question"),
        ({"question": "Who tests?", "answer": None}, "empty_answer"),
        ({"question": "Who tests?"}, "empty_answer"),
        ({"question": "Who tests?", "answer": "The text does not say."}, "refusal"),
        ({"question": "Who tests, by the text?", "answer": "A trained person."}, "refers_to_text"),
        ({"question": "A trained person, is it?", "answer": "A trained person."}, "answer_in_question"),
        (STRANGE, "ungrounded"),
        (GOOD | {"question": "WHO tests a fire door"}, "repeated"),
    ],
)
def test_bad_pair_is_dropped_and_the_good_one_beside_it_kept(pair, rule):
    table = chunk_rows(EN)
    after = run(table, says(GOOD, pair))
    good, bad = made(after)
    assert (good["drop_rule"], bad["drop_rule"], bad["k"]) == (None, rule, 2)
    assert bad["drop_stage"] == STAGE
    assert bad["drop_detail"]
    assert count(table, after).rules == {rule: 1}


def test_bad_chinese_pair_is_dropped_and_the_good_one_kept():
    strange = {"question": "谁来付钱？", "answer": "由巴黎市长支付。"}
    assert [r["drop_rule"] for r in made(run(chunk_rows(ZH), says(GOOD_ZH, strange)))] == [None, "ungrounded"]


@pytest.mark.parametrize(
    ("said", "rule", "detail", "raw"),
    [
        (Completion(error="prompt too long"), "generation_failed", "prompt too long", None),
        ("Here you are.", "unparsable", "no list of JSON objects", "Here you are."),
        (Output('[{"question": "Who', "length", 9), "truncated", "9 tokens, 0 pairs before the cut", None),
        (Output(json.dumps([GOOD] * 100), "stop", 900), "too_many", "100 pairs of question and answer", None),
    ],
)
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_failed_response_is_one_dropped_row_and_so_is_the_chunk(said, rule, detail, raw, share):
    table = chunk_rows(EN)
    after = run(table, ScriptedLLM(lambda request: said), dialogues=share)
    chunk, row = after.to_pylist()
    assert (row["drop_rule"], row["drop_detail"], row["k"], row["messages"]) == (rule, detail, 0, None)
    assert raw is None or row["raw"] == raw
    assert (chunk["drop_stage"], chunk["drop_rule"], chunk["drop_detail"]) == (
        STAGE,
        "no_question",
        f"{rule} 1",
    )
    counts = count(table, after)
    assert (counts.dropped_in, counts.made_dropped, counts.rows_out) == (1, 1, 0)


def test_chunk_without_a_kept_row_says_how_its_rows_fell():
    after = run(
        chunk_rows(EN), says(STRANGE, {"question": "", "answer": "x"}, STRANGE | {"question": "Who?"})
    )
    assert after.to_pylist()[0]["drop_detail"] == "empty_question 1, ungrounded 2"


def test_pairs_before_a_cut_are_kept_and_the_cut_is_told():
    said = Output(json.dumps([GOOD, ALSO])[:-20], "length", 50)
    whole, first = made(run(chunk_rows(EN), ScriptedLLM(lambda request: said)))
    assert (whole["k"], whole["drop_rule"], whole["drop_detail"]) == (
        0,
        "truncated",
        "50 tokens, 1 pairs before the cut",
    )
    assert whole["raw"] == said.text
    assert (first["k"], first["drop_rule"], first["messages"][0]["content"]) == (1, None, GOOD["question"])


def test_unreadable_response_is_asked_for_again_with_another_seed():
    seeds = []

    def script(request):
        seeds.append(request.sampling.seed)
        return json.dumps([GOOD]) if len(seeds) == 2 else "no JSON"

    (row,) = run(chunk_rows(EN), ScriptedLLM(script)).to_pylist()
    assert len(set(seeds)) == 2
    assert row["made_by"]["seed"] == seeds[1]
    assert row["drop_rule"] is None


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([GOOD]),
        "Here:\n```json\n" + json.dumps([GOOD], indent=2) + "\n```",
        json.dumps(GOOD),
        json.dumps({"items": [GOOD]}),
        json.dumps([{"Question ": GOOD["question"], "ANSWER": GOOD["answer"]}]),
        json.dumps([{"问题": GOOD["question"], "回答": GOOD["answer"]}], ensure_ascii=False),
        json.dumps({"items": [GOOD]}) + " That is all.",
    ],
)
def test_pairs_are_read_from_any_usual_form(text):
    rows = made(run(chunk_rows(EN), ScriptedLLM(lambda request: text)))
    assert [m["content"] for m in rows[0]["messages"]] == [GOOD["question"], GOOD["answer"]]
    assert len(rows) == 1


def test_what_follows_the_pairs_and_cannot_be_read_is_told():
    said = json.dumps([GOOD])[:-1] + ', {"question": Who}]'
    whole, first = made(run(chunk_rows(EN), ScriptedLLM(lambda request: said), retries=0))
    assert (whole["k"], whole["drop_rule"]) == (0, "unparsable")
    assert whole["drop_detail"] == 'what follows 1 pairs: {"question": Who}]'
    assert (first["k"], first["drop_rule"]) == (1, None)


def test_object_that_is_no_pair_beside_pairs_is_a_dropped_row():
    assert [r["drop_rule"] for r in made(run(chunk_rows(EN), says(GOOD, {"note": "x"})))] == [
        None,
        "empty_question",
    ]


def test_answer_that_is_no_text_or_holds_half_a_surrogate_is_written_as_text():
    pairs = '[{"question": "How many months?", "answer": 12}, {"question": "Q \\ud83d", "answer": "door"}]'
    first, second = made(run(chunk_rows(EN), ScriptedLLM(lambda request: pairs)))
    assert first["messages"][1]["content"] == "12"
    assert second["messages"][0]["content"] == "Q \ufffd"


def test_prompt_names_the_terms_of_the_chunk_that_the_fewest_chunks_hold():
    texts = ["alpha beta gamma", "alpha beta", "alpha 灭火器", "delta alpha 灭火器"]
    prompts = []

    def script(request):
        prompts.append(text_of(request).split("\n\n")[0])
        return "none"

    terms = ["alpha", "beta", "gamma", "delta", "消防器 | 灭火器", "unseen"]
    run(chunk_rows(*texts, lang="en"), ScriptedLLM(script), terms=terms, named_terms=2, retries=0)
    expected = [["gamma", "beta"], ["beta", "alpha"], ["消防器", "alpha"], ["delta", "消防器"]]
    assert prompts == [
        render("grounded_questions", "en", text="", count=3, terms=named).strip().split("\n\n")[0]
        for named in expected
    ]


def test_rows_that_are_no_chunks_pass_untouched():
    rows = [
        {"id": "a", "messages": [{"role": "assistant", "content": EN}]},
        {"id": "b", "messages": [{"role": "user", "content": EN}], "task": "chunk"},
        {"id": "c", "messages": [], "task": "chunk"},
    ]
    llm = ScriptedLLM()
    assert run(samples(rows), llm, terms=["door"]).equals(samples(rows))
    assert sum(llm.calls) == 0


@pytest.mark.parametrize("size", [1, 7, 100])
def test_rows_do_not_depend_on_how_the_table_is_split(size):
    table = many(40)
    fields = {"dialogues": 0.4, "with_text": 0.3, "terms": ["fire door", "灭火器"]}
    whole = run(table, ScriptedLLM(), **fields)
    fitted = Fitted(values={"chunks_of_term": {"fire door": 20, "灭火器": 20}})
    context = Context(STAGE, "f", 0, engine=ScriptedLLM(), fitted=fitted)
    config = Config(engine="teacher", **fields)
    split = [ground(table.slice(i, size), config, context) for i in range(0, len(table), size)]
    assert whole.sort_by("id").equals(pa.concat_tables(split).sort_by("id"))
    assert len({row["drop_rule"] for row in whole.to_pylist()}) > 2


def test_empty_table_makes_nothing():
    for fields in ({}, {"terms": ["door"]}):
        assert run(samples([]), ScriptedLLM(), **fields).equals(samples([]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"questions": 0}, "questions"),
        ({"dialogues": 1.5}, "dialogues"),
        ({"turns": 1}, "turns"),
        ({"with_text": -0.1}, "with_text"),
        ({"grounded_threshold": 2}, "grounded_threshold"),
        ({"terms": []}, "no terms"),
        ({"question": 3}, "question"),
    ],
)
def test_config_that_cannot_be_is_refused_with_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        Config(engine="t", **fields)
