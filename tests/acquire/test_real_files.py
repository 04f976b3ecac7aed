"""Instruction sets as their authors published them: format told, every row read or its loss explained."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from raysft import recipe
from raysft.acquire.instructions import FileSource
from raysft.acquire.nlp_tasks import NlpTasksSource
from raysft.acquire.source import check, expand, read
from raysft.sample import ROLES

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

# file → (format, rows, {language: rows}, {offset: reason of a row that is bad in the file itself})
EXPECTED: dict[str, tuple[str, int, dict[str | None, int], dict[int, str]]] = {
    "self_instruct_seed_tasks.jsonl": ("seed_tasks", 175, {"en": 174, "zh": 1}, {}),
    "dolly_3k_chatgpt_filtered.jsonl.gz": ("alpaca", 2_996, {"en": 2_996}, {}),
    "gpteacher_roleplay.jsonl.gz": ("alpaca", 1_923, {"en": 1_923}, {}),
    "fastchat_dummy_conversation.jsonl.gz": ("sharegpt", 500, {"en": 500}, {}),
    # Row 9263 has an empty instruction and an empty output.
    "zh_supplement_instructions.jsonl.gz": (
        "alpaca",
        9_597,
        {"zh": 9_256, "en": 340},
        {9_263: "blank_content: turn 0 (user) has no text"},
    ),
    "llamafactory/alpaca_zh_demo.jsonl.gz": ("alpaca", 1_000, {"zh": 974, "en": 26}, {}),
    "llamafactory/alpaca_en_demo.jsonl.gz": ("alpaca", 999, {"en": 999}, {}),
    "llamafactory/glaive_toolcall_zh_demo.jsonl.gz": ("sharegpt", 300, {"zh": 292, "en": 8}, {}),
    "llamafactory/glaive_toolcall_en_demo.jsonl.gz": ("sharegpt", 300, {"en": 300}, {}),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_read_published_file_tells_its_format_and_accounts_for_every_row(name: str) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not beside the checkout")
    format, rows, languages, bad = EXPECTED[name]
    source = FileSource(path=str(DATA / name))
    (unit,) = expand(source)
    got = read(source, unit)
    assert got.format == format
    assert got.rows == rows
    assert {b.row: b.reason for b in got.bad} == bad
    assert got.table.num_rows == rows - len(bad)
    assert len(set(got.table["id"].to_pylist())) == got.table.num_rows
    seen = got.table["lang"].to_pylist()
    assert {lang: seen.count(lang) for lang in set(seen)} == languages
    roles = {m["role"] for turns in got.table["messages"].to_pylist() for m in turns}
    assert roles <= set(ROLES)


def test_read_published_tool_calls_keep_calls_results_and_tools() -> None:
    path = DATA / "llamafactory" / "glaive_toolcall_zh_demo.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the checkout")
    source = FileSource(path=str(path), limit=1)
    (unit,) = expand(source)
    (turns,) = read(source, unit).table["messages"].to_pylist()
    assert [m["role"] for m in turns] == ["system", "user", "assistant", "tool", "assistant"]
    assert "generate_invoice" in turns[0]["content"]
    assert "generate_invoice" in turns[2]["content"]
    assert "INV12345" in turns[3]["content"]


# file → (rows, {form: samples}, {reason: bad rows}) of jobs/recipes/nlp_tasks.yaml, as in docs/nlp_tasks.md
NLP_TASKS: dict[str, tuple[int, dict[str, int], dict[str, int]]] = {
    "p3_t0_templated.jsonl.gz": (
        55_185,
        {"answer": 53_785, "ask": 2_603},
        {"blank_content: completion has no text": 1_400},
    ),
    "gsm8k_train.jsonl.gz": (7_473, {"solve": 7_473, "ask": 1_482}, {}),
    "tatoeba_en_zh.jsonl.gz": (20_403, {"forward": 20_403, "backward": 3_961}, {}),
    "sst2.jsonl.gz": (9_613, {"judge": 9_613, "write": 1_924}, {}),
    "trec_questions.jsonl.gz": (5_952, {"classify": 5_952, "write": 1_227}, {}),
    "cmrc2018_zh_qa.jsonl.gz": (
        4_221,
        {"answer": 4_219, "ask": 829},
        {"blank_content: question has no text": 2},
    ),
    "mmlu_dev_val.jsonl.gz": (1_816, {"choose": 1_816, "ask": 381, "with demonstrations": 384}, {}),
}


def test_read_published_nlp_sets_through_templates_accounts_for_every_row_and_keeps_gold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATA", str(DATA))
    sources = recipe.load(ROOT / "jobs" / "recipes" / "nlp_tasks.yaml").sources
    assert {Path(source.path).name for source in sources} == set(NLP_TASKS)
    missing = [source.path for source in sources if not Path(source.path).exists()]
    if missing:
        pytest.skip(f"not beside the checkout: {', '.join(missing)}")
    for source in sources:
        check(source)
        (unit,) = expand(source)
        got = read(source, unit)
        rows, samples, bad = NLP_TASKS[Path(source.path).name]
        reasons = Counter(b.reason for b in got.bad)
        assert (got.rows, dict(got.told), reasons) == (rows, samples, bad), source.path
        read_rows = {s["row"] for s in got.table["source"].to_pylist()}
        assert len(read_rows) + len(got.bad) == rows
        assert not read_rows & {b.row for b in got.bad}
        assert len(set(got.table["id"].to_pylist())) == got.table.num_rows
        for row in got.table.select(["messages", "task", "options", "gold"]).to_pylist():
            assert row["gold"].strip()
            assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
            assert "{{" not in row["messages"][0]["content"] or "prompted" in source.template
            _check_gold(source.template, row)


def _check_gold(template: str, row: dict[str, Any]) -> None:
    """The answer says what the gold says, and the options have it."""
    asked, answer = (m["content"] for m in row["messages"])
    if "." in row["task"] and template != "prompted":
        assert row["options"] is None
    elif template == "multiple_choice":
        text = row["options"]["ABCD".index(row["gold"])]
        assert answer in (row["gold"], *(f"{said}{row['gold']}. {text}".rstrip() for said in SAID))
        assert f"{row['gold']}. {text}" in asked
    elif template in ("sentiment", "classification"):
        assert row["gold"] == answer in row["options"]
        assert all(option in asked for option in row["options"])
    elif template == "maths":
        assert re.fullmatch(r"-?\d+(\.\d+)?", row["gold"])
        assert row["gold"] in answer.splitlines()[-1]
        assert "<<" not in answer
    elif template == "extractive_qa":
        assert row["gold"] == answer in asked
    else:
        assert row["gold"] == answer


SAID = ("", "The right one is ", "应该选")


def test_read_published_mmlu_letters_are_those_of_the_file() -> None:
    path = DATA / "mmlu_dev_val.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the checkout")
    columns = {"options": "choices"}
    source = NlpTasksSource(kind="nlp_tasks", path=str(path), template="multiple_choice", columns=columns)
    (unit,) = expand(source)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for sample in read(source, unit).table.to_pylist():
        row = rows[sample["source"]["row"]]
        if sample["k"] is None:
            assert sample["options"] == [choice.strip() for choice in row["choices"]]
            assert sample["gold"] == row["answer"]
        else:
            assert sample["gold"] == row["question"].strip()
