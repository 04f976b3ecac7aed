import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from raysft.algorithms.words import language
from raysft.augment.backtranslate import Config, backtranslate, broken_rule
from raysft.augment.prompts import prompt_hash, render
from raysft.engines.protocol import Completion, Output
from raysft.executor import run_local
from raysft.sample import acquired_id, live, samples
from raysft.stage import Context, count
from tests.fixtures.fake_llm import ScriptedLLM, text_of

STAGE = "augment.backtranslate"
TEXT = "Knead the dough for ten minutes, let it rest for an hour, then bake it until the crust is brown."
TEXT_ZH = "先把面团揉十分钟，再醒一个小时，最后烤到表皮金黄，放凉以后切片食用。"
ASKED = "How do I make bread at home?"
ASKED_ZH = "怎样在家里做面包？"
SYSTEM = {"role": "system", "content": "You are a baker."}


def texts(*contents: str, **columns) -> pa.Table:
    return samples(
        {"id": acquired_id("b", i), "messages": [{"role": "assistant", "content": content}]} | columns
        for i, content in enumerate(contents)
    )


def many(n: int) -> pa.Table:
    return texts(
        *(
            f"第{i}条定律说明物体为什么会落下，也说明月亮为什么不会落下。"
            if i % 2
            else f"The {i}th law says why things fall, and why the moon does not fall on us."
            for i in range(n)
        )
    )


def run(table, llm, **fields):
    return run_local(
        STAGE, table, Config(engine="teacher", **fields), engines={"teacher": llm}, fingerprint="f"
    )


def says(text):
    return ScriptedLLM(lambda request: text)


@pytest.mark.parametrize(
    ("text", "said", "asked", "lang"),
    [(TEXT, f"Instruction: {ASKED}\n", ASKED, "en"), (TEXT_ZH, f"指令：{ASKED_ZH}", ASKED_ZH, "zh")],
)
def test_text_becomes_the_answer_to_the_instruction_that_the_model_writes(text, said, asked, lang):
    table = texts(text, task="howto", domain="kitchen", lang=lang)
    seen = []

    def script(request):
        seen.append(request)
        return said

    after = run(table, ScriptedLLM(script), temperature=0.4, top_p=0.8, max_tokens=77)
    (row,) = after.to_pylist()
    assert row["messages"] == [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
    assert (row["parents"], row["op"], row["round"], row["k"]) == (table["id"].to_pylist(), STAGE[8:], 1, 0)
    assert (row["task"], row["domain"], row["lang"]) == ("howto", "kitchen", lang)
    assert row["made_by"]["prompt"] == prompt_hash("backtranslate", lang)
    assert (row["drop_rule"], row["raw"]) == (None, None)
    (request,) = seen
    assert text_of(request) == render("backtranslate", lang, text=text)
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.4, 0.8, 77)
    counts = count(table, after)
    assert (counts.consumed, counts.made_kept, counts.passed) == (1, 1, 0)


def test_unlabelled_text_is_asked_about_in_the_language_of_its_script():
    seen = []

    def script(request):
        seen.append(text_of(request))
        return "?!"

    run(texts(TEXT, TEXT_ZH), ScriptedLLM(script))
    assert seen == [render("backtranslate", "en", text=TEXT), render("backtranslate", "zh", text=TEXT_ZH)]


def test_instruction_stands_behind_a_system_turn():
    table = samples([{"id": "a", "messages": [SYSTEM, {"role": "assistant", "content": TEXT}]}])
    (row,) = run(table, says(ASKED)).to_pylist()
    assert row["messages"] == [
        SYSTEM,
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": TEXT},
    ]


def test_rows_that_are_no_plain_text_pass_untouched():
    answer = {"role": "assistant", "content": TEXT}
    user = {"role": "user", "content": ASKED}
    table = samples(
        [
            {"id": "asked", "messages": [user, answer]},
            {"id": "a bare question", "messages": [user]},
            {"id": "two answers", "messages": [answer, answer]},
            {"id": "a system turn", "messages": [SYSTEM]},
            {"id": "nothing", "messages": []},
            {"id": "null", "messages": None},
        ]
    )
    llm = ScriptedLLM()
    assert run(table, llm).equals(table)
    assert sum(llm.calls) == 0


def test_text_of_too_few_or_too_many_words_is_dropped_and_not_asked_about():
    table = texts("Bread.", TEXT, TEXT_ZH, "面包", "……")
    llm = says("What now?")
    after = run(table, llm, min_words=3, max_words=18)
    marks = {row["id"]: (row["drop_rule"], row["drop_detail"]) for row in after.to_pylist() if not row["op"]}
    ids = table["id"].to_pylist()
    assert marks == {
        ids[0]: ("text_too_short", "1 words, at least 3"),
        ids[1]: ("text_too_long", "20 words, at most 18"),
        ids[3]: ("text_too_short", "1 words, at least 3"),
        ids[4]: ("text_too_short", "0 words, at least 3"),
    }
    assert sum(llm.calls) == 1
    counts = count(table, after)
    assert (counts.dropped_in, counts.consumed, counts.made_kept) == (4, 1, 1)
    assert set(live(after)["op"].to_pylist()) == {"backtranslate"}


@pytest.mark.parametrize(
    ("text", "said", "rule", "detail"),
    [
        (TEXT, Completion(error="prompt_too_long: 9 of 8"), "generation_failed", "prompt_too_long: 9 of 8"),
        (TEXT, Output("How do", "length", 2), "truncated", "2 tokens"),
        (TEXT, " \n", "empty", "white space"),
        (TEXT_ZH, "指令：", "empty", "white space"),
        (TEXT, "I'm sorry, I can't do that.", "refusal", "opens with \"I'm sorry, I can't\""),
        (TEXT_ZH, "抱歉，我无法写出指令。", "refusal", "opens with '抱歉，我无法'"),
        (TEXT, "The instruction that this text is for", "prompt_leaked", "the instruction that this text"),
        (TEXT_ZH, "下面这段文字是对某个指令的回答", "prompt_leaked", "下面这段文字是对某"),
        (TEXT, TEXT.upper(), "copied", "ROUGE-L 1.000"),
        (TEXT_ZH, TEXT_ZH[:-6], "copied", "ROUGE-L 0.909"),
    ],
)
def test_instruction_that_breaks_a_rule_is_a_dropped_row_that_stands_for_the_text(text, said, rule, detail):
    table = texts(text, task="howto")
    after = run(table, says(said))
    (row,) = after.to_pylist()
    assert (row["drop_stage"], row["drop_rule"], row["drop_detail"]) == (STAGE, rule, detail)
    assert (row["parents"], row["task"]) == (table["id"].to_pylist(), "howto")
    assert row["messages"][-1] == {"role": "assistant", "content": text}
    raw = {str: said, Output: getattr(said, "text", None), Completion: None}[type(said)]
    assert row["raw"] == raw
    counts = count(table, after)
    assert (counts.consumed, counts.made_dropped, counts.rules) == (1, 1, {rule: 1})


RUN = "let it rest for an hour then bake it until the crust is"
LIST = "Apples, pears, plums and figs"
LIST_ZH = "苹果、梨、李子和无花果"
ASKED_LONG_ZH = "请说说为什么要先把面团揉十分钟，再醒一个小时，然后才能放进烤箱？"


@pytest.mark.parametrize(
    ("instruction", "text", "fields", "rule"),
    [
        (ASKED, TEXT, {}, None),
        (f"Say why I have to {RUN} dark.", TEXT, {}, ("copied", RUN.removesuffix(" is"))),
        (f"Say why I have to {RUN} dark.", TEXT, {"copied_words": 14}, None),
        (ASKED_LONG_ZH, TEXT_ZH, {}, None),
        (ASKED_LONG_ZH, TEXT_ZH, {"copied_words": 7}, ("copied", "先把面团揉十分钟再醒一个小")),
        (
            *(f"Sort these five or so by their weight, the lightest one first: {LIST}.", LIST),
            *({}, ("copied", "apples pears plums and figs")),
        ),
        (
            *(f"请把下面这几样东西按重量从轻到重排列，再说明一下理由：{LIST_ZH}。", LIST_ZH),
            *({}, ("copied", "苹果梨李子和无花果")),
        ),
        ("Is the film good, bad or not so good? Say good or bad.", "good", {}, None),
        ("这部电影好看不好看？回答好看或者不好看。", "好看", {}, None),
        ("Yes", "yes", {}, ("copied", "ROUGE-L 1.000")),
        ("word " * 9, TEXT, {"max_instruction_words": 8}, ("too_long", "9 words, at most 8")),
        ("字" * 17, TEXT_ZH, {"max_instruction_words": 8}, ("too_long", "9 words, at most 8")),
        ("字" * 16, TEXT_ZH, {"max_instruction_words": 8}, None),
    ],
)
def test_broken_rule_finds_what_gives_the_answer_away_and_what_is_long(instruction, text, fields, rule):
    lang = language(text)
    found = broken_rule(instruction, text, lang, Config(engine="t", **fields), Context(STAGE, "f", 0))
    assert found == rule


@pytest.mark.parametrize("size", [1, 7, 100])
def test_rows_do_not_depend_on_how_the_table_is_split(size):
    table, config = many(60), Config(engine="teacher")
    whole = run(table, ScriptedLLM())
    context = Context(STAGE, "f", 0, engine=ScriptedLLM())
    split = [backtranslate(table.slice(i, size), config, context) for i in range(0, len(table), size)]
    assert whole.sort_by("id").equals(pa.concat_tables(split).sort_by("id"))
    counts = count(table, whole)
    assert counts.consumed == counts.made_kept + counts.made_dropped == 60
    assert {"refusal", "copied"} <= set(counts.rules)
    assert pc.count_distinct(whole["id"]).as_py() == 60


def test_prompt_that_a_recipe_replaces_is_asked_and_hashed():
    own = {"backtranslate.zh": "问题？{{ text }}"}
    seen = []

    def script(request):
        seen.append(text_of(request))
        return ASKED_ZH

    config, engines = Config(engine="e"), {"e": ScriptedLLM(script)}
    (row,) = run_local(STAGE, texts(TEXT_ZH), config, engines=engines, prompts=own).to_pylist()
    assert seen == [f"问题？{TEXT_ZH}"]
    assert row["made_by"]["prompt"] == prompt_hash("backtranslate", "zh", own)


def test_empty_table_makes_nothing():
    assert run(samples([]), ScriptedLLM()).equals(samples([]))


def test_config_with_bounds_that_do_not_meet_is_refused():
    with pytest.raises(ValidationError, match=r"min_words \(9\) is more than max_words \(8\)"):
        Config(engine="t", min_words=9, max_words=8)
