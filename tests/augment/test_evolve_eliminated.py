"""Each rule of `augment.evolve` at work: the row that it leaves, and that the next step starts afresh."""

import re
from pathlib import Path

import pytest

from raysft.augment.prompts import render
from raysft.augment.verdict import CHOICES
from raysft.engines.protocol import Completion, Output
from raysft.stage import MADE, count
from tests.fixtures.evolving import (
    IN,
    NEW,
    NEW_ZH,
    SORRY,
    SORRY_ZH,
    STAGE,
    TABLE,
    TABLE_ZH,
    TASK,
    TASK_ZH,
    Script,
    conversation,
    made,
    run,
    table_of,
)
from tests.fixtures.fake_llm import ScriptedLLM, text_of

PAGE = Path(__file__).parents[2] / "docs" / "evol_instruct.md"

# What is said for a rewriting, a verdict and an answer → rule, detail, and what the row holds and had raw.
ELIMINATED = {
    "rewriting_failed": (
        *("en", TASK, {"rewritings": [Completion(error="prompt too long")]}),
        *("generation_failed", "instruction: prompt too long", None, None),
    ),
    "rewriting_truncated": (
        *("en", TASK, {"rewritings": [Output("New task: Rank", "length", 4)]}),
        *("truncated", "instruction: 4 tokens", conversation("Rank"), "New task: Rank"),
    ),
    "rewriting_empty": (
        *("zh", TASK_ZH, {"rewritings": ["  \n"]}),
        *("empty", "instruction: white space", conversation(""), "  \n"),
    ),
    "rewriting_copied": (
        *("en", TASK, {"rewritings": [TASK]}),
        *("copied", "instruction: ROUGE-L 1.000, 0 tokens added", conversation(TASK), TASK),
    ),
    "rewriting_copied_zh": (
        *("zh", TASK_ZH, {"rewritings": [TASK_ZH]}),
        *("copied", "instruction: ROUGE-L 1.000, 0 tokens added", conversation(TASK_ZH), TASK_ZH),
    ),
    "rewriting_refused": (
        *("en", TASK, {"rewritings": [SORRY]}),
        *("refusal", "instruction: sorry, 4 words", conversation(SORRY), SORRY),
    ),
    "rewriting_refused_zh": (
        *("zh", TASK_ZH, {"rewritings": [SORRY_ZH]}),
        *("refusal", "instruction: 抱歉, 3 words", conversation(SORRY_ZH), SORRY_ZH),
    ),
    "rewriting_of_signs": (
        *("en", TASK, {"rewritings": ["?!"]}),
        *("punctuation_only", "instruction: ?!", conversation("?!"), "?!"),
    ),
    "rewriting_leaked": (
        *("en", TASK, {"rewritings": ["The given prompt, but harder"]}),
        *("prompt_leaked", "instruction: given prompt"),
        *(conversation("The given prompt, but harder"), "The given prompt, but harder"),
    ),
    "rewriting_leaked_zh": (
        *("zh", TASK_ZH, {"rewritings": ["只回答新任务本身。"]}),
        *(
            "prompt_leaked",
            "instruction: 新任务本身",
            conversation("只回答新任务本身。"),
            "只回答新任务本身。",
        ),
    ),
    "rewriting_without_the_table": (
        *("en", TABLE, {"rewritings": [NEW]}),
        *("lost_nontext", "instruction: no table a|b", conversation(NEW), NEW),
    ),
    "rewriting_without_the_table_zh": (
        *("zh", TABLE_ZH, {"rewritings": [NEW_ZH]}),
        *("lost_nontext", "instruction: no table 甲|乙", conversation(NEW_ZH), NEW_ZH),
    ),
    "judge_says_same": (
        *("en", TASK, {"rewritings": [NEW], "verdicts": ["Yes."]}),
        *("no_gain", "judge: Yes.", conversation(NEW), "Yes."),
    ),
    "judge_says_same_zh": (
        *("zh", TASK_ZH, {"rewritings": [NEW_ZH], "verdicts": ["是"]}),
        *("no_gain", "judge: 是", conversation(NEW_ZH), "是"),
    ),
    "judge_cannot_be_read": (
        *("en", TASK, {"rewritings": [NEW], "verdicts": ["well", "hard", "perhaps"]}),
        *("unjudged", "judge: unparsable: neither yes nor no: 'perhaps'", conversation(NEW), "perhaps"),
    ),
    "judge_cannot_be_read_zh": (
        *("zh", TASK_ZH, {"rewritings": [NEW_ZH], "verdicts": ["不好说"]}),
        *("unjudged", "judge: unparsable: neither yes nor no: '不好说'", conversation(NEW_ZH), "不好说"),
    ),
    "judge_failed": (
        *("en", TASK, {"rewritings": [NEW], "verdicts": [Completion(error="prompt too long")]}),
        *("unjudged", "judge: generation_failed: prompt too long", conversation(NEW), None),
    ),
    "answer_failed": (
        *("en", TASK, {"rewritings": [NEW], "answers": [Completion()]}),
        *("generation_failed", "answer: the engine returned no output", conversation(NEW), None),
    ),
    "answer_truncated": (
        *("en", TASK, {"rewritings": [NEW], "answers": [Output("The Yang", "length", 3)]}),
        *("truncated", "answer: 3 tokens", conversation(NEW, "The Yang"), "The Yang"),
    ),
    "answer_empty": (
        *("en", TASK, {"rewritings": [NEW], "answers": [" "]}),
        *("empty", "answer: white space", conversation(NEW, ""), " "),
    ),
    "answer_refused": (
        *("en", TASK, {"rewritings": [NEW], "answers": [SORRY]}),
        *("refusal", "answer: sorry, 4 words", conversation(NEW, SORRY), SORRY),
    ),
    "answer_refused_zh": (
        *("zh", TASK_ZH, {"rewritings": [NEW_ZH], "verdicts": ["不是"], "answers": [SORRY_ZH]}),
        *("refusal", "answer: 抱歉, 3 words", conversation(NEW_ZH, SORRY_ZH), SORRY_ZH),
    ),
    "answer_of_signs": (
        *("en", TASK, {"rewritings": [NEW], "answers": ["It is the..."]}),
        *("punctuation_only", "answer: It is the...", conversation(NEW, "It is the..."), "It is the..."),
    ),
    "answer_of_signs_zh": (
        *("zh", TASK_ZH, {"rewritings": [NEW_ZH], "verdicts": ["不是"], "answers": ["……"]}),
        *("punctuation_only", "answer: ……", conversation(NEW_ZH, "……"), "……"),
    ),
}


@pytest.mark.parametrize("case", ELIMINATED)
def test_eliminated_row_is_dropped_with_rule_and_detail_and_the_input_passes(case):
    _, task, said, rule, detail, messages, raw = ELIMINATED[case]
    table = table_of(task)
    after = run(table, ScriptedLLM(Script(**said)), operations={"deepen": 1})
    (row,) = made(table, after)
    assert (row["drop_stage"], row["drop_rule"], row["drop_detail"]) == (STAGE, rule, detail)
    assert (row["messages"], row["raw"], row["op"]) == (messages, raw, "evolve_deepen")
    counts = count(table, after)
    assert (counts.passed, counts.made_kept, counts.made_dropped, counts.rules) == (1, 0, 1, {rule: 1})
    assert counts.operations == {"evolve_deepen": {MADE: 1, rule: 1}}


@pytest.mark.parametrize("case", ELIMINATED)
def test_eliminated_row_goes_back_unevolved_into_the_next_step(case):
    lang, task, said, rule, *_ = ELIMINATED[case]
    _, _, newer, answer = IN[lang]
    if rule == "lost_nontext":
        newer = f"{newer}\n{task}"
    no = CHOICES[lang][1]
    later = {"rewritings": [newer], "verdicts": [no], "answers": [answer]}
    # a verdict that cannot be read is asked for three times
    first = {"verdicts": said.get("verdicts", [])} | said
    if rule == "unjudged" and "unparsable" in ELIMINATED[case][4]:
        first["verdicts"] = (first["verdicts"] * 3)[:3]
    script = Script(**{kind: [*first.get(kind, []), *later[kind]] for kind in later})
    table = table_of(task)
    failed, kept = made(table, run(table, ScriptedLLM(script), depth=2, operations={"deepen": 1}))
    assert failed["drop_rule"] == rule
    assert [r["round"] for r in (failed, kept)] == [1, 2]
    assert failed["parents"] == kept["parents"] == table["id"].to_pylist()
    again = [text_of(request) for request in script.seen["rewrite"]]
    assert again == [render("evolve_deepen", lang, instruction=task, least=10, most=20)] * 2
    assert (kept["drop_rule"], kept["messages"]) == (None, conversation(newer, answer))


def test_page_names_every_rule_and_case_and_only_tests_that_exist():
    page = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"(?m)^\| `(\w+)` \| .* \| .* \| .* \|", page)) >= {
        rule for _, _, _, rule, *_ in ELIMINATED.values()
    }
    assert set(re.findall(r"\[(\w+)\](?!\()", page)) == set(ELIMINATED)
    tests = "".join(path.read_text(encoding="utf-8") for path in PAGE.parents[1].glob("tests/a*/test_*.py"))
    assert set(re.findall(r"`(test_\w+)`", page)) <= set(re.findall(r"def (test_\w+)", tests))
