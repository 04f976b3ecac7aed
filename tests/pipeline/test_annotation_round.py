"""A whole round: rows are chosen, three people judge them, their answers come back, and a tie is settled.

The numbers are counted by hand in the comments; nothing here needs Ray but the last test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raysft.cli import OK, WRONG, main
from raysft.curate.adjudicate import Config, keys, merge, report
from raysft.curate.annotation_batch import Config as BatchConfig
from raysft.executor import run_local
from raysft.report.annotation_files import files_of, write_files
from raysft.report.annotation_tasks import batch_of
from raysft.runtime.capacity import Capacity
from raysft.sample import append_rows, digest, live, samples
from raysft.stage import Context
from tests.fixtures.annotation import PATTERNS, annotation, fill, imported
from tests.fixtures.conversations import conversation
from tests.fixtures.runs import execute, recipe_of, write_rows

PEOPLE = ["ann", "bo", "陈"]
KNOWN, OPEN = 4, 8
ROUND: dict[str, Any] = {
    "name": "round1",
    "queue": "rate",
    "labels": ["bad", "good"],
    "guidelines": "Is the answer right? 回答对吗？",
    "budget": KNOWN + OPEN,
    "gold_share": KNOWN / (KNOWN + OPEN),
    "diversity": "random",
    "annotators": PEOPLE,
    "overlap": 1,
    "overlap_annotators": 2,
}


def pool() -> pa.Table:
    """Half of the rows right, half of them wrong, half Chinese; four with a label that came with the data."""
    rows = []
    for i in range(KNOWN + OPEN):
        question = f"{i} + 1 = ?" if i % 4 < 2 else f"{i} 加 1 等于几？"
        own = {"annotations": [annotation(truth(i), None)]} if i < KNOWN else {}
        answer = str(i + 1 if truth(i) == "good" else i + 2)
        rows.append({"id": digest(i), "messages": conversation(question, answer), "lang": "en", **own})
    return samples(rows)


def truth(i: int) -> str:
    return "good" if i % 2 else "bad"


PLACES = {digest(i): i for i in range(KNOWN + OPEN)}


def careless(annotator: str, id: str) -> str:
    """ann and 陈 are right; bo says "good" of everything."""
    return "good" if annotator == "bo" else truth(PLACES[id])


@pytest.mark.parametrize("format", PATTERNS)
def test_round_of_three_people_gives_labels_and_finds_the_careless_one(format: str, tmp_path: Path) -> None:
    marked = run_local("curate.annotation_batch", pool(), BatchConfig(**ROUND))
    chosen = {PLACES[r["id"]]: r["annotators"] for r in marked.to_pylist() if r["annotation_batch"]}
    assert len(chosen) == KNOWN + OPEN
    write_files(files_of(batch_of(marked, BatchConfig(**ROUND)), format), str(tmp_path))
    for name in PEOPLE:
        fill(tmp_path, format, name, careless)
    got = imported(tmp_path, PATTERNS[format])
    assert got.bad == []
    # four checks are everybody's, the eight other rows go to two of three
    assert got.told == {"answers": 4 * 3 + 8 * 2}
    both = append_rows(pool(), got.table)

    least = Config(least_gold_accuracy=0.8, least_gold_rows=4)
    agreement, annotators, labels = findings(both, least)
    # on the checks bo is right of the two good ones: 2 of 4
    assert [line[:1] + line[3:] for line in annotators] == [
        ["ann", 4, 4, 1.0, "no"],
        ["bo", 4, 2, 0.5, "yes"],
        ["陈", 4, 4, 1.0, "no"],
    ]
    assert agreement[0][:4] == by_hand(chosen)[:4]
    assert agreement[0][4] == pytest.approx(by_hand(chosen)[4], abs=6e-4)
    assert ["known from the data", KNOWN] in labels

    settled = live(run_local("curate.adjudicate", both, least))
    found = {PLACES[r["id"]]: r["annotation_label"] for r in settled.to_pylist()}
    assert found == {i: truth(i) for i in range(KNOWN + OPEN)}

    # with nobody left out, the bad rows that bo shared are ties, and wait for the adjudicator
    tied = live(run_local("curate.adjudicate", both, Config()))
    ties = {PLACES[r["id"]] for r in tied.to_pylist() if r["annotation_tie"]}
    assert ties == {i for i, names in chosen.items() if "bo" in names and i >= KNOWN and truth(i) == "bad"}
    assert ties
    second = {**ROUND, "name": "ties", "annotators": ["adjudicator"], "gold_share": 0}
    waiting = run_local("curate.annotation_batch", tied, BatchConfig(**second))
    folder = tmp_path / "ties"
    write_files(files_of(batch_of(waiting, BatchConfig(**second)), format), str(folder))
    fill(folder, format, "adjudicator", lambda _, id: truth(PLACES[id]))
    word = imported(folder, PATTERNS[format])
    assert word.told["answers"] == len(ties)
    final = live(run_local("curate.adjudicate", append_rows(both, word.table), Config()))
    assert {PLACES[r["id"]]: r["annotation_label"] for r in final.to_pylist()} == found


def findings(table: pa.Table, config: Config) -> list[list[list[Any]]]:
    context = Context("curate.adjudicate", "local", 0)
    keyed = keys(table.append_column("row", pa.array(range(len(table)))), config, context)
    values = report(merge(keyed, config, context), config, context).values
    return [found["rows"] for found in values["findings"]]


def by_hand(chosen: dict[int, list[str]]) -> list[Any]:
    """The line on all rows. Of a row of m answers each ordered pair weighs 1/(m−1): on a check, of six, a
    half. Answers differ only where bo says "good" of a bad row."""
    disputed_checks = sum(truth(i) == "bad" for i in range(KNOWN))
    disputed = sum(truth(i) == "bad" and "bo" in names for i, names in chosen.items() if i >= KNOWN)
    unequal = 2 * disputed_checks + disputed
    pairs = 3 * KNOWN + OPEN
    answers = [careless(name, digest(i)) for i, names in chosen.items() for name in names]
    n, good = len(answers), answers.count("good")
    observed = (4 * disputed_checks / 2 + 2 * disputed) / n
    expected = 2 * good * (n - good) / (n * (n - 1))
    return ["all", KNOWN + OPEN, pairs, round((pairs - unequal) / pairs, 3), 1 - observed / expected]


def test_run_exports_its_batch_and_the_next_run_takes_the_answers(
    local_ray: Capacity, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"messages": r["messages"], "verdict": truth(i) if i < KNOWN else None}
        for i, r in enumerate(pool().to_pylist())
    ]
    write_rows(tmp_path / "rows.jsonl", rows)
    first: dict[str, Any] = {"path": str(tmp_path / "rows.jsonl"), "annotations": {"quality": "verdict"}}
    stages = [{"curate.annotation_batch": ROUND}]
    recipe = recipe_of(tmp_path, [first], stages, run="one", engines={})
    path = tmp_path / "one.yaml"
    path.write_text(json.dumps({**recipe.resolved, "prompts": None}), encoding="utf-8")
    out = tmp_path / "out"
    command = ["export-annotations", str(path), "--format", "csv", "--out", str(out)]
    assert main(command) != OK
    assert "raysft run comes first" in capsys.readouterr().err
    execute(recipe, local_ray)
    assert main([*command, "--batch", "round2"]) == WRONG
    assert "no batch 'round2'; the recipe has: round1" in capsys.readouterr().err
    assert main(command) == OK
    assert "batch round1: 12 rows for ann, bo, 陈" in capsys.readouterr().out
    ids = {row["id"]: row["messages"] for row in json.loads((out / "batch.json").read_text())["rows"]}
    truths = {conversation_text(r["messages"]): truth(i) for i, r in enumerate(pool().to_pylist())}
    right = {id: truths[conversation_text(messages)] for id, messages in ids.items()}
    for name in PEOPLE:
        fill(out, "csv", name, lambda who, id: "good" if who == "bo" else right[id])
    answers = {"kind": "annotations", "path": str(out / "*.csv"), "batch": str(out / "batch.json")}
    stages = [{"curate.adjudicate": {"least_gold_accuracy": 0.8, "least_gold_rows": 4}}]
    manifests, _ = execute(recipe_of(tmp_path, [first, answers], stages, run="two", engines={}), local_ray)
    assert manifests[-1].counts.rules == {"merged": KNOWN + OPEN}
    assert manifests[-1].counts.rows_out == KNOWN + OPEN
    titles = [found["title"] for m in manifests for found in m.findings]
    assert titles == ["Agreement on quality (nominal)", "Annotators of quality", "Labels of quality"]


def conversation_text(messages: list[dict[str, str]]) -> str:
    return messages[0]["content"]
