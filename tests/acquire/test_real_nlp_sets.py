"""Published NLP data sets through templates: every row accounted for, gold kept, by the recipe that ships."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from raysft import recipe
from raysft.acquire.nlp_tasks import NlpTasksSource
from raysft.acquire.source import check, expand, read

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

# file → (rows, {form: samples}, {reason: bad rows}) of jobs/recipes/nlp_tasks.yaml, as in docs/nlp_tasks.md.
# What is drawn changes a little with every edit of a template, for its text is part of the draw.
NLP_TASKS: dict[str, tuple[int, dict[str, int], dict[str, int]]] = {
    "p3_t0_templated.jsonl.gz": (
        55_185,
        {"answer": 53_785, "ask": 2_603},
        {"blank_content: completion has no text": 1_400},
    ),
    "gsm8k_train.jsonl.gz": (7_473, {"solve": 7_473, "ask": 1_482}, {}),
    "tatoeba_en_zh.jsonl.gz": (20_403, {"forward": 20_403, "backward": 4_200}, {}),
    "sst2.jsonl.gz": (9_613, {"judge": 9_613, "write": 1_924}, {}),
    "trec_questions.jsonl.gz": (5_952, {"classify": 5_952, "write": 1_227}, {}),
    "cmrc2018_zh_qa.jsonl.gz": (
        4_221,
        {"answer": 4_219, "ask": 810},
        {"blank_content: question has no text": 2},
    ),
    "mmlu_dev_val.jsonl.gz": (1_816, {"choose": 1_816, "ask": 381, "with demonstrations": 384}, {}),
}
# What stands before the letter and text of an option in an answer.
SAID = ("", "The right one is ", "应该选")


def test_read_published_nlp_sets_account_for_every_row_and_keep_gold(
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
        assert (got.rows, reasons) == (rows, bad), source.path
        assert dict(got.told) == pytest.approx(samples, rel=0.2), source.path
        plain = next(iter(samples))
        assert got.told[plain] == samples[plain] == rows - len(got.bad)
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
