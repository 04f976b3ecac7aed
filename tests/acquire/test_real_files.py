"""Instruction sets as their authors published them: format told, every row read or its loss explained."""

from pathlib import Path
from typing import Any

import pytest

from raysft.acquire.dialogues import DialoguesSource
from raysft.acquire.instructions import FileSource
from raysft.acquire.source import expand, read
from raysft.acquire.turns import in_order
from raysft.acquire.windows import exchanges_of, token_count
from raysft.sample import ROLES

DATA = Path(__file__).parents[2].parent / "shared" / "data"
TEACHER = Path(__file__).parents[2] / "jobs" / "models" / "teacher"

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


# file → (settings, layout, samples, bad rows, what was told)
DIALOGUES: dict[str, tuple[dict[str, Any], str, int, int, dict[str, int]]] = {
    "fastchat_dummy_conversation.jsonl.gz": ({}, "sharegpt", 500, 0, {}),
    "llamafactory/glaive_toolcall_zh_demo.jsonl.gz": ({}, "sharegpt", 300, 0, {}),
    "llamafactory/glaive_toolcall_en_demo.jsonl.gz": ({}, "sharegpt", 300, 0, {}),
    "llamafactory/reason_tool_use_demo_50.jsonl.gz": ({}, "openai", 50, 0, {}),
    "llamafactory/v1_sft_demo.jsonl.gz": ({}, "openai", 500, 0, {}),
    "zh_supplement_instructions.jsonl.gz": ({"layout": "queries"}, "queries", 9_596, 1, {}),
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_read_published_dialogues_are_in_order(name: str) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not beside the checkout")
    settings, layout, samples, bad, told = DIALOGUES[name]
    source = DialoguesSource(path=str(DATA / name), **settings)
    (unit,) = expand(source)
    got = read(source, unit)
    assert (got.format, got.table.num_rows, len(got.bad), got.told) == (layout, samples, bad, told)
    for turns in got.table["messages"].to_pylist():
        in_order(turns)


@pytest.mark.parametrize("overlong", ["split", "window"])
def test_read_published_dialogues_on_a_budget_lose_no_exchange_that_fits(overlong: Any) -> None:
    path = DATA / "llamafactory" / "glaive_toolcall_zh_demo.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the checkout")
    source = DialoguesSource(path=str(path), max_tokens=1_200, tokenizer=str(TEACHER), overlong=overlong)
    (unit,) = expand(source)
    got = read(source, unit)
    count = token_count(str(TEACHER))
    cut = got.table.to_pylist()
    assert max(count(row["messages"]) for row in cut) <= 1_200
    exchanges = {
        (row["source"]["row"], turns[0]["content"])
        for row in cut
        for turns in exchanges_of(row["messages"])[1]
    }
    whole = DialoguesSource(path=str(path))
    rows = read(whole, expand(whole)[0]).table.to_pylist()
    asked = {
        (row["source"]["row"], turns[0]["content"])
        for row in rows
        for turns in exchanges_of(row["messages"])[1]
    }
    assert got.told["cut_conversations"] > 10
    assert {row for row, _ in asked - exchanges} == {bad.row for bad in got.bad}
    assert got.rows == 300
