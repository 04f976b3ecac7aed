"""The command line over real, cheap runs without engines: what is printed, where it goes, exit status."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from raysft import recipe as recipes
from raysft.augment import prompts
from raysft.cli import FAILED, OK, WRONG, main
from raysft.runtime.capacity import Capacity
from raysft.runtime.plan import make_plan
from raysft.runtime.run import sealed_of
from raysft.runtime.storage import Storage
from tests.fixtures.cheap_runs import (
    DUPLICATES,
    PLAIN,
    REFUSALS,
    conversations,
    write_recipe,
)
from tests.fixtures.runs import rows_of, write_rows

pytestmark = pytest.mark.usefixtures("session_ray_alone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def ran(folder: Path, local_ray: Capacity) -> tuple[str, str]:
    """A recipe that was run up to exact_dedup and then to its end, and its manifests' folder names then."""
    path = write_recipe(folder, "cheap")
    assert main(["run", path, "--until", "exact_dedup"]) == OK
    stages = sorted(p.parent.name for p in (folder / "runs/cheap/stages").glob("*/_manifest.json"))
    assert not (folder / "runs/cheap/_SUCCESS").exists()
    assert main(["curate", path]) == OK
    assert (folder / "runs/cheap/_SUCCESS").exists()
    return path, " ".join(stages)


def marked(path: str) -> dict[str, dict[str, Any]]:
    """Rows by id as they stand before the stage that takes rows out."""
    loaded = recipes.load(path)
    sealed = sealed_of(make_plan(loaded), Storage(loaded.run_root))
    before = [manifest for manifest in sealed if manifest.stage != "curate.select"]
    return {row["id"]: row for row in rows_of(loaded, before).to_pylist()}


def exported(path: str, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    assert main(["export", path, *options]) == OK
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_plan_good_recipe_shows_every_stage_and_exits_0(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(folder, "unrun")
    assert main(["plan", path]) == OK
    text = capsys.readouterr().out
    assert re.search(r"02-exact_dedup\S* .* to do", text)
    assert "this run cannot start" not in text
    assert main(["plan", path, "--json"]) == OK
    shown = json.loads(capsys.readouterr().out)
    assert list(dict.fromkeys(s["stage"] for s in shown["stages"])) == [
        "acquire",
        "curate.rules",
        "curate.exact_dedup",
        "curate.minhash_dedup",
        "curate.select",
    ]
    assert not any(s["is_sealed"] for s in shown["stages"])
    assert shown["problems"] == []
    assert not (folder / "runs" / "unrun").exists()


def test_plan_five_mistakes_prints_all_and_exits_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_recipe(
        folder,
        "wrong",
        sed=1,
        max_bad_fraction="few",
        sources=[{"path": str(folder / "nowhere-*.jsonl")}],
        engines={"judge": {"kind": "vlm", "model": "m"}},
        stages=["curate.exact_dedupe", {"curate.perplexity": {"engine": "nobody"}}],
    )
    assert main(["plan", path]) == WRONG
    error = capsys.readouterr().err
    assert "6 mistakes in the recipe:" in error
    for part in (
        "sed:",
        "max_bad_fraction:",
        "sources[0]:",
        "engines.judge.kind:",
        "stages[0]:",
        "stages[1].",
    ):
        assert f"  - {part}" in error
    assert "Traceback" not in error


def test_run_up_to_a_stage_seals_that_far_and_the_next_goes_on(ran: tuple[str, str], folder: Path) -> None:
    path, first = ran
    labels = re.findall(r"\d\d-(\w+)[.-]", first)
    assert list(dict.fromkeys(labels)) == ["acquire", "rules", "exact_dedup"]
    written = {p: p.stat().st_mtime_ns for p in (folder / "runs/cheap/stages").rglob("*") if p.is_file()}
    assert main(["curate", path]) == OK
    assert written == {
        p: p.stat().st_mtime_ns for p in (folder / "runs/cheap/stages").rglob("*") if p.is_file()
    }


def test_run_sealed_before_prints_the_numbers_and_the_places(
    ran: tuple[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curate", ran[0]]) == OK
    text = capsys.readouterr().out
    assert re.search(rf"rows in +{len(conversations())}\n", text)
    assert re.search(rf"curate\.rules refusal +{REFUSALS}\n", text)
    assert re.search(rf"curate\.exact_dedup \w+ +{DUPLICATES}\n", text)
    assert re.search(r"kept +20\n", text)
    assert str(folder / "runs/cheap/curated") in text
    assert (folder / "runs/cheap/report/index.html").stat().st_size > 0


def test_plan_after_a_run_shows_what_is_sealed(
    ran: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", ran[0], "--json"]) == OK
    assert all(s["is_sealed"] for s in json.loads(capsys.readouterr().out)["stages"])
    assert main(["plan", ran[0], "--set", "stages.select.budget=5", "--json"]) == OK
    passes = json.loads(capsys.readouterr().out)["stages"]
    assert {p["stage"] for p in passes if not p["is_sealed"]} == {"curate.select"}
    assert not any(p["is_sealed"] for p in passes if p["stage"] == "curate.select")


def test_status_tells_the_state_and_the_numbers(
    ran: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", ran[0]]) == OK
    status = json.loads(capsys.readouterr().out)
    assert status["state"] == "succeeded"
    assert (status["numbers"]["rows_in"], status["numbers"]["kept"]) == (len(conversations()), 20)
    assert status["numbers"]["unaccounted"] == 0


def test_status_of_a_run_that_never_was_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", write_recipe(folder, "never")]) == FAILED
    assert "has never been run" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["explain", "export", "report", "train"])
def test_command_that_needs_a_run_before_it_says_which(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = write_recipe(folder, "never", train={"model": "owner/model"})
    assert main([command, path, *(["0" * 32] if command == "explain" else [])]) == FAILED
    error = capsys.readouterr().err
    assert re.search(r"raysft (run|curate) comes first|raysft: NotSealed", error)
    assert "FileNotFoundError" not in error


def test_train_of_a_recipe_that_trains_nothing_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", write_recipe(folder, "untrained")]) == WRONG
    assert "train: is missing" in capsys.readouterr().err


def test_explain_kept_row_tells_its_source_and_stages(
    ran: tuple[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = recipes.load(ran[0])
    rows = rows_of(loaded, sealed_of(make_plan(loaded), Storage(loaded.run_root))).to_pylist()
    kept = next(row["id"] for row in rows if row["drop_rule"] is None)
    assert main(["explain", ran[0], kept, "--json"]) == OK
    story = json.loads(capsys.readouterr().out)["row"]
    assert story["fate"] == "kept"
    assert list(dict.fromkeys(s["stage"] for s in story["steps"])) == [
        "acquire",
        "curate.rules",
        "curate.exact_dedup",
        "curate.minhash_dedup",
        "curate.select",
    ]
    assert main(["explain", ran[0], kept]) == OK
    text = capsys.readouterr().out
    assert str(folder / "rows.jsonl") in text
    assert kept in text


def test_explain_dropped_row_tells_the_rule_and_the_winner(
    ran: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    loser = next(row for row in marked(ran[0]).values() if row["drop_stage"] == "curate.exact_dedup")
    assert main(["explain", ran[0], loser["id"], "--json"]) == OK
    story = json.loads(capsys.readouterr().out)["row"]
    assert story["fate"] == "dropped"
    last = story["steps"][-1]
    assert (last["stage"], last["drop_rule"]) == ("curate.exact_dedup", loser["drop_rule"])
    assert last["winner"] in marked(ran[0])
    assert main(["explain", ran[0], loser["id"]]) == OK
    assert last["winner"] in capsys.readouterr().out


def test_explain_unknown_id_says_it_is_unknown(
    ran: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", ran[0], "f" * 32, "--json"]) == OK
    assert json.loads(capsys.readouterr().out)["row"]["fate"] == "unknown"


def test_export_formats_that_hold_any_conversation_hold_the_curated_rows(
    ran: tuple[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = exported(ran[0], capsys)
    assert len(rows) == 20
    assert {m["role"] for row in rows for m in row["messages"]} == {"user", "assistant"}
    shared = exported(ran[0], capsys, "--format", "sharegpt")
    assert [len(row["conversations"]) for row in shared] == [len(row["messages"]) for row in rows]
    assert shared[0]["conversations"][0] == {"from": "human", "value": rows[0]["messages"][0]["content"]}
    out = folder / "out"
    assert main(["export", ran[0], "--out", str(out), "--columns", "id, lang"]) == OK
    assert f"20 rows as messages in 3 files below {out}" in capsys.readouterr().out
    written = [json.loads(line) for line in (out / "data/00000.jsonl").read_text("utf-8").splitlines()]
    assert [row["messages"] for row in written] == [row["messages"] for row in rows]
    assert set(written[0]) == {"messages", "id", "lang"}


def test_export_formats_leave_out_what_they_cannot_hold_and_say_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # everything but the refusals is kept here, the conversation of two exchanges too
    path = write_recipe(folder, "all", stages=["curate.rules"])
    assert main(["curate", path]) == OK
    capsys.readouterr()
    pairs = exported(path, capsys, "--format", "alpaca")
    assert [len(pair["history"]) for pair in pairs] == [0] * (PLAIN + DUPLICATES) + [1]
    write_rows(
        folder / "tools.jsonl",
        [
            {"messages": [{"role": "user", "content": "What is the weather in Bergen?"}, *answer]}
            for answer in (
                [
                    {"role": "tool", "content": "rain"},
                    {"role": "assistant", "content": "It is raining there."},
                ],
                [{"role": "assistant", "content": "I cannot look that far, sorry about it."}],
            )
        ],
    )
    path = write_recipe(folder, "tools", stages=[], sources=[{"path": str(folder / "tools.jsonl")}])
    assert main(["curate", path]) == OK
    capsys.readouterr()
    assert main(["export", path, "--format", "alpaca"]) == OK
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1
    assert "left out: 1 rows, tool turn" in told.err
    assert main(["export", path, "--format", "sharegpt", "--out", str(folder / "tools")]) == OK
    assert "note: 1 rows whose turns do not alternate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--format", "nope"], "no format 'nope'; there are: messages, sharegpt"),
        (["--as", "parquet"], "--as parquet needs a folder: --out FOLDER"),
        (["--format", "openai_batch"], "needs the name of the model to ask: --model NAME"),
        (["--columns", "id,nope"], "no column 'nope'; there are: "),
    ],
)
def test_export_wrong_call_exits_2_with_what_is_allowed(
    ran: tuple[str, str], capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert main(["export", ran[0], *options]) == WRONG
    output = capsys.readouterr()
    assert told in output.err
    assert output.out == ""


def test_limit_runs_few_rows_under_a_name_of_its_own(
    ran: tuple[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curate", ran[0], "--limit", "5", "--set", "stages=[curate.rules]"]) == OK
    assert re.search(r"rows in +5\n", capsys.readouterr().out)
    assert (folder / "runs/cheap-limit5/_SUCCESS").exists()
    assert main(["status", ran[0], "--limit", "5"]) == OK
    assert json.loads(capsys.readouterr().out)["numbers"]["rows_in"] == 5


def test_limit_that_is_no_number_of_rows_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", write_recipe(folder, "unrun"), "--limit", "0"])
    assert caught.value.code == WRONG
    assert "allowed: 1 or more" in capsys.readouterr().err


def test_until_a_stage_that_is_not_there_lists_those_that_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", write_recipe(folder, "unrun"), "--until", "novelty"]) == WRONG
    assert "it has: acquire, curate.rules, curate.exact_dedup" in capsys.readouterr().err
    assert not (folder / "runs" / "unrun").exists()


def test_doctor_tells_versions_and_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == OK
    text = capsys.readouterr().out
    assert re.search(r"ray +2\.\d+", text)
    assert re.search(r"local Ray +\d+ logical CPUs, \d+ GPUs", text)
    assert "curate.minhash_dedup" in text


def test_prompts_lists_all_and_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts"]) == OK
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == prompts.names()
    assert main(["prompts", "evolve_deepen"]) == OK
    shown = capsys.readouterr().out
    assert prompts.source("evolve_deepen", "en").strip() in shown
    assert prompts.source("evolve_deepen", "zh").strip() in shown
    assert "is given: instruction, least, most" in shown
    assert main(["prompts", "evolve_deepen.zh"]) == OK
    assert prompts.source("evolve_deepen", "en").strip() not in capsys.readouterr().out
    assert main(["prompts", "evolve_depen"]) == WRONG
    assert "no prompt evolve_depen; there are: " in capsys.readouterr().err


def test_prompts_of_a_recipe_are_those_that_it_replaces(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evolve_deepen.en.jinja").write_text("Much deeper: {{ instruction }}")
    path = write_recipe(folder, "own_prompts", prompts=str(tmp_path))
    assert main(["prompts", "--recipe", path]) == OK
    (own,) = [line for line in capsys.readouterr().out.splitlines() if line.endswith("from the recipe")]
    assert own.split()[0] == "evolve_deepen.en"
    assert main(["prompts", "evolve_deepen.en", "--recipe", path]) == OK
    assert "Much deeper: {{ instruction }}" in capsys.readouterr().out
