import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from raysft.augment.dialogue import Config, converse
from raysft.augment.prompts import prompt_hash, render
from raysft.engines.protocol import Completion, Output
from raysft.executor import run_local
from raysft.sample import acquired_id, samples
from raysft.stage import Context, count
from tests.fixtures.fake_llm import ScriptedLLM, text_of

STAGE = "augment.dialogue"
EN = ("Which river is the longest?", "The Nile, in Africa.")
ZH = ("哪条河最长？", "非洲的尼罗河。")
SAID = {
    "en": (
        *("And which mountain is the highest?", "Everest is, on the border of Nepal."),
        *("Who climbed it first?", "Hillary and Tenzing, in 1953."),
    ),
    "zh": ("那么哪座山最高呢？", "珠穆朗玛峰。", "谁第一个登上去的？", "希拉里和丹增。"),
}


def turns(*texts: str, system: str | None = None) -> list[dict]:
    spoken = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *spoken] if system else spoken


def talk(*texts: str, system: str | None = None, **columns) -> pa.Table:
    return samples([{"id": "a", "messages": turns(*texts, system=system)} | columns])


def many(n: int) -> pa.Table:
    return samples(
        {
            "id": acquired_id("d", i),
            "messages": turns(f"请解释第{i}条定律。", "好的。")
            if i % 2
            else turns(f"Explain law {i}.", "Yes."),
            "lang": "zh" if i % 2 else "en",
        }
        for i in range(n)
    )


def run(table, llm, **fields):
    return run_local(
        STAGE, table, Config(engine="teacher", **fields), engines={"teacher": llm}, fingerprint="f"
    )


def one_after_the_other(*said) -> ScriptedLLM:
    texts = iter(said)
    return ScriptedLLM(lambda request: next(texts))


@pytest.mark.parametrize(("first", "lang"), [(EN, "en"), (ZH, "zh")])
def test_conversation_grows_to_its_turns_and_stands_for_its_row(first, lang):
    table = talk(*first, task="qa", domain="geography", lang=lang, gold="x")
    after = run(table, one_after_the_other(*SAID[lang]), turns=3)
    (row,) = after.to_pylist()
    assert row["messages"] == turns(*first, *SAID[lang])
    assert (row["parents"], row["op"], row["round"], row["k"]) == (["a"], "dialogue", 1, 0)
    assert (row["task"], row["domain"], row["lang"], row["gold"]) == ("qa", "geography", lang, None)
    assert row["made_by"]["prompt"] == prompt_hash("dialogue_user", lang)
    counts = count(table, after)
    assert (counts.consumed, counts.made_kept, counts.passed, counts.made_dropped) == (1, 1, 0, 0)
    assert counts.operations == {"dialogue": {"made": 1}}


@pytest.mark.parametrize(("first", "lang"), [(EN, "en"), (ZH, "zh")])
def test_question_is_asked_with_the_prompt_and_the_answer_with_the_conversation(first, lang):
    seen = []
    texts = iter(SAID[lang])

    def script(request):
        seen.append(request)
        return next(texts)

    table = talk(*first, system="Be brief.")
    llm = ScriptedLLM(script)
    (row,) = run(table, llm, turns=2, temperature=0.3, top_p=0.8, max_tokens=99, max_question_tokens=33)[
        "messages"
    ].to_pylist()
    question, answer = seen
    assert row == turns(*first, *SAID[lang][:2], system="Be brief.")
    assert text_of(question) == render("dialogue_user", lang, turns=turns(*first))
    assert "Be brief." not in text_of(question)
    assert list(answer.messages) == row[:-1]
    assert (question.turn, answer.turn) == ("assistant", "assistant")
    assert (question.sampling.max_tokens, answer.sampling.max_tokens) == (33, 99)
    assert {(r.sampling.temperature, r.sampling.top_p) for r in seen} == {(0.3, 0.8)}
    assert question.sampling.seed != answer.sampling.seed
    assert [bool(r.sampling.stop) for r in seen] == [True, False]


def test_user_that_plays_the_assistant_too_is_cut_and_its_label_taken_off():
    said = [
        "User: And the widest?\nAssistant: The Amazon.\nUser: Really?",
        "The Amazon is, at its mouth.",
    ]
    (row,) = run(talk(*EN), one_after_the_other(*said), turns=2).to_pylist()
    assert row["messages"] == turns(*EN, "And the widest?", said[1])
    said = ["用户：最宽的呢？\n助手：亚马逊河。", "是亚马逊河。"]
    (row,) = run(talk(*ZH), one_after_the_other(*said), turns=2).to_pylist()
    assert row["messages"] == turns(*ZH, "最宽的呢？", said[1])


def test_rows_that_take_no_part_pass_untouched():
    table = samples(
        [
            {"id": "ends with a question", "messages": turns(*EN, "And the widest?")},
            {"id": "long enough", "messages": turns(*EN, *SAID["en"])},
            {"id": "nobody asked", "messages": [{"role": "assistant", "content": "The Nile."}]},
            {"id": "nothing", "messages": []},
            {"id": "null", "messages": None},
        ]
    )
    llm = ScriptedLLM()
    assert run(table, llm, turns=3).equals(table)
    assert sum(llm.calls) == 0
    assert run(talk(*EN), llm, share=0).equals(talk(*EN))


@pytest.mark.parametrize(
    ("first", "lang", "said", "rule", "detail"),
    [
        (
            EN,
            "en",
            Completion(error="prompt_too_long: 9 of 8"),
            "generation_failed",
            "prompt_too_long: 9 of 8",
        ),
        (EN, "en", Output("And wh", "length", 2), "truncated", "2 tokens"),
        (EN, "en", " \n", "empty", "white space"),
        (EN, "en", "User:", "empty", "white space"),
        (
            *(EN, "en", "I'm sorry, but I can't help with that.", "refusal"),
            "opens with \"I'm sorry, but I can't\"",
        ),
        (ZH, "zh", "很抱歉，我无法扮演用户。", "refusal", "opens with '很抱歉，我无法'"),
        (
            *(EN, "en", "What the user says next: why?", "prompt_leaked"),
            "what the user says next",
        ),
        (
            *(ZH, "zh", "请写出用户接下来要说的话", "prompt_leaked"),
            "请写出用户接下来要",
        ),
        (
            *(EN, "en", "Which river is the very longest?", "repeated_question"),
            "like question 1, ROUGE-L 0.909",
        ),
        (ZH, "zh", "哪条河最长呢？", "repeated_question", "like question 1, ROUGE-L 0.909"),
        (EN, "en", "The Nile in Africa!", "repeated_question", "like answer 1, ROUGE-L 1.000"),
    ],
)
def test_first_question_that_breaks_a_rule_leaves_the_row_and_a_dropped_one(first, lang, said, rule, detail):
    table = talk(*first, lang=lang)
    after = run(table, ScriptedLLM(lambda request: said))
    assert after.slice(0, 1).equals(table)
    row = after.to_pylist()[1]
    assert (row["drop_stage"], row["drop_rule"]) == (STAGE, rule)
    assert row["drop_detail"] == f"question 2: {detail}"
    assert (row["parents"], row["op"], row["k"], row["lang"]) == (["a"], "dialogue", 2, lang)
    raw = {str: said, Output: getattr(said, "text", None), Completion: None}[type(said)]
    assert row["raw"] == raw
    counts = count(table, after)
    assert (counts.passed, counts.consumed, counts.made_dropped) == (1, 0, 1)
    assert counts.rules == {rule: 1}


@pytest.mark.parametrize(
    ("lang", "said", "rule", "detail"),
    [
        ("en", Completion(error="prompt_too_long: 9 of 8"), "generation_failed", "prompt_too_long: 9 of 8"),
        ("en", Output("Hillary and", "length", 2), "truncated", "2 tokens"),
        ("en", "", "empty", "white space"),
        ("en", "I cannot help with that.", "refusal", "opens with 'I cannot help'"),
        ("zh", "我无法访问网络。", "refusal", "opens with '我无法访问'"),
        ("en", "Everest, on the border of Nepal.", "repeated_answer", "like answer 2, ROUGE-L 0.923"),
        ("zh", "珠穆朗玛峰！", "repeated_answer", "like answer 2, ROUGE-L 1.000"),
    ],
)
def test_later_answer_that_breaks_a_rule_ends_the_conversation_with_what_it_has(lang, said, rule, detail):
    first = EN if lang == "en" else ZH
    table = talk(*first, lang=lang)
    after = run(table, one_after_the_other(*SAID[lang][:3], said), turns=4)
    kept, dropped = after.to_pylist()
    assert kept["messages"] == turns(*first, *SAID[lang][:2])
    assert (kept["k"], kept["drop_rule"]) == (0, None)
    assert (dropped["k"], dropped["drop_rule"]) == (3, rule)
    assert dropped["drop_detail"] == f"answer 3: {detail}"
    text = said if isinstance(said, str) else said.text if isinstance(said, Output) else ""
    assert dropped["messages"] == turns(*first, *SAID[lang][:3], *([text] if text else []))
    assert dropped["made_by"]["prompt"] is None
    assert kept["made_by"]["seed"] != dropped["made_by"]["seed"]
    counts = count(table, after)
    assert (counts.consumed, counts.made_kept, counts.made_dropped) == (1, 1, 1)
    assert counts.operations == {"dialogue": {"made": 2, rule: 1}}


def test_later_question_that_repeats_one_of_the_conversation_ends_it():
    table = talk(*ZH)
    kept, dropped = run(table, one_after_the_other(*SAID["zh"][:2], ZH[0])).to_pylist()
    assert kept["messages"] == turns(*ZH, *SAID["zh"][:2])
    assert dropped["messages"] == turns(*ZH, *SAID["zh"][:2], ZH[0])
    assert (dropped["k"], dropped["drop_rule"]) == (3, "repeated_question")
    assert dropped["made_by"]["prompt"] == prompt_hash("dialogue_user", "zh")


def test_answer_may_say_what_the_user_said_and_similarity_has_its_threshold():
    said = ["Say after me: hello world", "Hello world", "Which river is the widest?", "It is the Amazon."]
    (row,) = run(talk(*EN), one_after_the_other(*said), turns=3, similar_threshold=0.9).to_pylist()
    assert row["messages"] == turns(*EN, *said)
    rows = run(talk(*EN), one_after_the_other(*said), turns=3, similar_threshold=0.8).to_pylist()
    assert [row["drop_rule"] for row in rows] == [None, "repeated_question"]
    echo = ["hello world, please", "Hello world, please."]
    (row,) = run(talk(*EN), one_after_the_other(*echo), turns=2).to_pylist()
    assert row["messages"] == turns(*EN, *echo)


def test_signs_alone_repeat_themselves_too():
    table = talk("？？？", "……")
    rows = run(table, one_after_the_other("？？？")).to_pylist()
    assert [row["drop_rule"] for row in rows] == [None, "repeated_question"]


def test_all_live_conversations_are_asked_in_one_call_a_role():
    llm = ScriptedLLM(lambda request: f"{text_of(request)[-1]} {request.sampling.seed}")
    after = run(many(6), llm, turns=3)
    assert llm.calls == [6, 6, 6, 6]
    assert len(after) == 6


def test_share_of_rows_is_drawn_by_id():
    table = many(400)
    rows = run(table, ScriptedLLM(lambda request: str(request.sampling.seed)), share=0.3, turns=2)
    grew = set(rows.filter(pc.equal(rows["op"], "dialogue"))["id"].to_pylist())
    assert 80 < len(grew) < 160  # 120, four standard deviations
    again = run(table.slice(100), ScriptedLLM(lambda r: str(r.sampling.seed)), share=0.3, turns=2)
    assert set(again.filter(pc.equal(again["op"], "dialogue"))["id"].to_pylist()) <= grew


@pytest.mark.parametrize("size", [1, 7, 100])
def test_rows_do_not_depend_on_how_the_table_is_split(size):
    table, config = many(60), Config(engine="teacher", turns=4)
    whole = run(table, ScriptedLLM(), turns=4)
    context = Context(STAGE, "f", 0, engine=ScriptedLLM())
    split = [converse(table.slice(i, size), config, context) for i in range(0, len(table), size)]
    assert whole.sort_by("id").equals(pa.concat_tables(split).sort_by("id"))
    counts = count(table, whole)
    assert counts.consumed == counts.made_kept > 0
    assert counts.passed + counts.consumed == 60
    assert {"refusal", "repeated_question"} <= set(counts.rules)


def test_prompt_that_a_recipe_replaces_is_asked_and_hashed():
    own = {"dialogue_user.en": "Next? {{ turns | length }}"}
    seen = []

    def script(request):
        seen.append(text_of(request))
        return SAID["en"][len(seen) - 1]

    config, engines = Config(engine="e", turns=2), {"e": ScriptedLLM(script)}
    (row,) = run_local(STAGE, talk(*EN), config, engines=engines, prompts=own).to_pylist()
    assert seen[0] == "Next? 2"
    assert row["made_by"]["prompt"] == prompt_hash("dialogue_user", "en", own)


def test_empty_table_makes_nothing():
    assert run(samples([]), ScriptedLLM()).equals(samples([]))


@pytest.mark.parametrize("fields", [{"turns": 1}, {"share": 1.5}, {"similar_threshold": 0}, {"n": 2}])
def test_config_out_of_its_bounds_is_refused(fields):
    with pytest.raises(ValidationError):
        Config(engine="t", **fields)
