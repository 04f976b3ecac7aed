"""`raysft evaluate-curation`: what it prints and writes, and what it cannot measure."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from raysft.cli import OK, WRONG, main
from tests.fixtures.cheap_runs import write_recipe

pytestmark = pytest.mark.usefixtures("session_ray_alone")
WORLD = {"kind": "world", "rows": 150, "seed": 4, "noise": {"refusal": 0.2, "exact_copy": 0.2}}


def test_evaluate_curation_prints_what_each_rule_found_and_writes_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = ["curate.rules", "curate.exact_dedup"]
    path = write_recipe(tmp_path, "measured", sources=[WORLD], stages=stages, train={"model": "owner/model"})
    out = tmp_path / "yardstick.json"
    assert main(["evaluate-curation", path, "--rows", "120", "--seed", "9", "--json", str(out)]) == OK
    text = capsys.readouterr().out
    assert text.startswith(
        f"measured-yardstick: a noisy world of seed 9, in {tmp_path}/runs/measured-yardstick\n"
    )
    assert "Left out of the recipe: train." in text
    assert re.search(r"\| curate.rules \| refusal +\| refusal +\| 120 +\| \d+ +\| 100 %", text)
    assert re.search(r"\| curate.exact_dedup \| exact_duplicate +\| \d+ +\| \d+ +\| 100 %", text)
    value = json.loads(out.read_text(encoding="utf-8"))
    assert (value["rows"], value["source"]["seed"]) == (120, 9)
    assert value["source"]["noise"]["refusal"] == 0.2
    refusal = next(line for line in value["rules"] if line["rule"] == "refusal")
    assert 0 < refusal["recall"] <= 1
    assert not (tmp_path / "runs/measured").exists()
    status = json.loads((tmp_path / "runs/measured-yardstick/status.json").read_text())
    assert (status["state"], status["numbers"]["rows_in"]) == ("succeeded", 120)


@pytest.mark.parametrize(
    ("changes", "options", "expected"),
    [
        ({}, ["--train"], "train: is missing, and --train asks for it"),
        ({"stages": []}, [], "stages: none of them curates"),
        (
            {"stages": [{"curate.select": {"where": "truth_difficulty < 3"}}]},
            [],
            "stages[0].curate.select: needs a column 'truth_difficulty'; columns that stages before it add",
        ),
    ],
    ids=["no training", "nothing curates", "a truth column"],
)
def test_evaluate_curation_of_a_recipe_that_it_cannot_measure_is_wrong(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    options: list[str],
    expected: str,
) -> None:
    assert main(["evaluate-curation", write_recipe(tmp_path, "unmeasured", **changes), *options]) == WRONG
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "runs/unmeasured-yardstick").exists()
