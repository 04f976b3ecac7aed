"""The command line at a budget's end: what is printed and left, and a plan's estimate by such a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from raysft.cli import OK, OVER_BUDGET, WRONG, main
from raysft.runtime.capacity import Capacity
from tests.fixtures.runs import write_conversations

TALKS = [(f"Name the river number {n}.", f"It is called river {n}, says the map.") for n in range(30)]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe without engines whose hours are used up as soon as it has begun."""
    folder = tmp_path_factory.mktemp("budget")
    source = write_conversations(folder / "rows.jsonl", TALKS)
    tree = {
        "run": "short",
        "root": str(folder / "runs"),
        "sources": [{"path": str(source)}],
        "stages": ["curate.rules"],
        "prices": {"cpu_hour": 3.6},
        "budget": {"hours": 1e-7},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_curate_over_its_budget_exits_with_a_status_of_its_own_and_goes_on_when_it_is_raised(
    local_ray: Capacity, recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    root = recipe.parent / "runs/short"
    assert main(["curate", str(recipe)]) == OVER_BUDGET
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("raysft: the budget is used up: 0.0")
    assert "of budget.hours 1e-07" in told
    status = json.loads((root / "status.json").read_text())
    assert (status["state"], (root / "_SUCCESS").exists()) == ("over_budget", False)
    assert "raise the limit" in status["error"]
    assert (main(["curate", str(recipe)]), capsys.readouterr().err.count("budget.hours")) == (OVER_BUDGET, 1)

    (manifest,) = root.glob("stages/00-acquire-*/_manifest.json")
    sealed = manifest.read_text()
    assert main(["curate", str(recipe), "--set", "budget.hours=5"]) == OK
    printed = capsys.readouterr()
    assert manifest.read_text() == sealed
    assert "  used " in printed.out
    assert "USD, over 2 starts" in printed.out
    assert json.loads((root / "status.json").read_text())["state"] == "succeeded"
    # all of it is sealed: nothing is left to stop
    assert main(["curate", str(recipe)]) == OK
    assert (root / "_SUCCESS").exists()
    page = (root / "report/index.html").read_text()
    assert "What was used" in page
    assert "cost, USD" in page


def test_plan_with_rates_tells_rows_time_and_cost_and_a_folder_without_a_run_is_refused(
    local_ray: Capacity, recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    root = str(recipe.parent / "runs/short")
    assert main(["curate", str(recipe), "--set", "budget.hours=5"]) == OK
    capsys.readouterr()
    other = ["--set", "run=other"]
    assert main(["plan", str(recipe), *other, "--rates", root, "--json"]) == OK
    found = json.loads(capsys.readouterr().out)["estimate"]
    assert [s["rows_out"] for s in found["stages"]] == [30, 30]
    assert found["total"]["cost"] == pytest.approx(3.6 * found["total"]["cpu_hours"])
    assert any("beyond budget.hours" in note for note in found["notes"])
    assert main(["plan", str(recipe), *other, "--rates", str(recipe.parent)]) == WRONG
    assert "no sealed stage is there" in capsys.readouterr().err
