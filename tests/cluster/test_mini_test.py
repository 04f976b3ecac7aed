"""What is copied from a local run, when two runs are the same, and one recipe on three nodes over S3."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from cluster import mini_test
from cluster.mini_test import Asked, CheckFailed, compare, generation, local_run, share
from cluster.record import read
from raysft import recipe as recipes
from raysft.runtime.curated import FOLDER, MARKER
from raysft.runtime.manifest import MANIFEST, Manifest, parents_of, seal
from raysft.runtime.plan import Plan, make_plan
from raysft.runtime.run import sealed_of
from raysft.runtime.status import Status
from raysft.runtime.storage import Storage
from raysft.stage import Counts
from tests.fixtures.engines import model_folder
from tests.fixtures.runs import write_conversations
from tests.fixtures.swift import NoSwift, serving

ROOT = Path(__file__).resolve().parents[2]
STAGES = [{"augment.respond": {"engine": "llm"}}, "curate.rules", "curate.select"]


def recipe_file(folder: Path, stages: Sequence[object]) -> Path:
    source = write_conversations(
        folder / "rows.jsonl",
        ([f"How long is bridge {i // 2}?", f"It is {i // 2} m long."] for i in range(120)),
    )
    settings = {
        "run": "small",
        "root": str(folder / "runs"),
        "engines": {"llm": {"kind": "vllm", "model": model_folder(folder / "llm")}},
        "sources": [{"path": str(source)}],
        "stages": list(stages),
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(recipes.load(recipe_file(tmp_path, STAGES)))


def sealed_run(
    plan: Plan, storage: Storage, ids: Sequence[str], known: Sequence[Manifest] = ()
) -> list[Manifest]:
    """A run that ended well: every stage sealed, those in `known` as they are, and a curated set of `ids`."""
    sealed = list(known)
    for p in plan.all_passes[len(known) :]:
        storage.write_bytes(f"{p.folder}/shards/one.parquet", p.folder.encode())
        made = Manifest(p.stage, p.folder, p.fingerprint, p.writes, (), Counts(), parents=parents_of(sealed))
        sealed.append(seal(storage, made))
    storage.write_table(f"{FOLDER}/data-00000.parquet", pa.table({"id": list(ids)}))
    storage.write_json(MARKER, {"files": {"data-00000.parquet": ""}})
    Status(storage, "small").succeeded({})
    return sealed


def test_generation_ends_with_the_last_augment_stage(plan: Plan, tmp_path: Path) -> None:
    sealed = sealed_run(plan, Storage(str(tmp_path / "here")), ["a"])
    assert [m.stage for m in generation(plan, sealed)] == ["acquire", "augment.respond"]


def test_generation_of_a_run_that_is_not_sealed_is_refused(plan: Plan) -> None:
    with pytest.raises(CheckFailed, match="0 of 5 stages of the local run are sealed"):
        generation(plan, [])


def test_shared_stages_are_found_sealed_by_the_other_run(plan: Plan, tmp_path: Path) -> None:
    here, there = Storage(str(tmp_path / "here")), Storage(str(tmp_path / "there"))
    shared = share(here, there, generation(plan, sealed_run(plan, here, ["a"])))
    assert sealed_of(plan, there) == shared
    assert there.read_bytes(f"{shared[1].folder}/shards/one.parquet") == shared[1].folder.encode()


def test_shared_stage_is_sealed_by_its_last_file(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = Storage(str(tmp_path / "here")), Storage(str(tmp_path / "there"))
    written: list[str] = []
    write = Storage.write_file
    monkeypatch.setattr(
        Storage, "write_file", lambda self, file, path: (written.append(path), write(self, file, path))[1]
    )
    shared = share(here, there, generation(plan, sealed_run(plan, here, ["a"])))
    for stage in shared:
        assert [path for path in written if path.startswith(stage.folder)][-1].endswith(MANIFEST)


def test_compare_same_ids_in_another_order_gives_their_number(plan: Plan, tmp_path: Path) -> None:
    here, there = Storage(str(tmp_path / "here")), Storage(str(tmp_path / "there"))
    shared = generation(plan, sealed_run(plan, here, ["a", "b"]))
    sealed_run(plan, there, ["b", "a"], share(here, there, shared))
    assert compare(plan, here, there, shared) == 2


def test_compare_other_ids_are_counted(plan: Plan, tmp_path: Path) -> None:
    here, there = Storage(str(tmp_path / "here")), Storage(str(tmp_path / "there"))
    shared = generation(plan, sealed_run(plan, here, ["a", "b"]))
    sealed_run(plan, there, ["b", "c", "d"], share(here, there, shared))
    told = "1 curated rows of the local run are not in the job's, 2 of the job's not in the local run's"
    with pytest.raises(CheckFailed, match=told):
        compare(plan, here, there, shared)


def test_compare_run_that_generated_anew_is_refused(plan: Plan, tmp_path: Path) -> None:
    here, there = Storage(str(tmp_path / "here")), Storage(str(tmp_path / "there"))
    shared = generation(plan, sealed_run(plan, here, ["a"]))
    again = [seal(there, Manifest(**{**shared[0].__dict__, "version": 9}))]
    sealed_run(plan, there, ["a"], again)
    with pytest.raises(CheckFailed, match="made a stage again"):
        compare(plan, here, there, shared)


@pytest.mark.parametrize(
    ("state", "told"), [("failed", "is failed: ValueError: no luck"), ("", "never begun")]
)
def test_compare_run_without_success_tells_its_state(
    plan: Plan, tmp_path: Path, state: str, told: str
) -> None:
    here, there = Storage(str(tmp_path / "here")), Storage(str(tmp_path / "there"))
    shared = generation(plan, sealed_run(plan, here, ["a"]))
    if state:
        Status(there, "small").failed(ValueError("no luck"))
    with pytest.raises(CheckFailed, match=told):
        compare(plan, here, there, shared)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--nodes", "1"], "nodes is 1; allowed: 2 or more"), (["--recipe", "none.yaml"], "no such file")],
)
def test_command_that_cannot_be_done_ends_with_1_and_the_cause(arguments: list[str], told: str) -> None:
    done = command(arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def command(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "AWS_"))}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = [sys.executable, "-m", mini_test.__name__, *arguments]
    return subprocess.run(
        started, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def test_recipe_on_three_nodes_over_s3_keeps_the_rows_of_the_local_run(tmp_path: Path) -> None:
    (tmp_path / "swift").mkdir()
    try:
        with serving(tmp_path / "swift"):
            pass
    except NoSwift as error:
        pytest.skip(str(error))
    path = recipe_file(tmp_path, ["curate.exact_dedup", "curate.select"])
    done = command(["--recipe", str(path), "--no-train", "--folder", str(tmp_path / "ray")])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "copied 00-acquire-" in done.stdout
    assert "00-acquire                   kept from an earlier run: 120 rows" in done.stdout
    assert "succeeded, 60 curated rows, the same ids as the local run's" in done.stdout
    assert read(tmp_path / "ray") is None, "the cluster is gone"
    status = json.loads((tmp_path / "runs" / "small" / "status.json").read_text())
    assert status["state"] == "succeeded"


def test_recipe_whose_source_is_not_there_ends_the_command_before_anything_starts(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, ["curate.rules"])
    (tmp_path / "rows.jsonl").unlink()
    done = command(["--recipe", str(path), "--folder", str(tmp_path / "ray")])
    assert done.returncode == 1
    assert "rows.jsonl" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_local_run_that_fails_is_told_with_its_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(recipe_file(tmp_path, ["curate.rules"]))
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(CheckFailed, match="the local run ended with 1"):
        local_run(asked, make_plan(asked.load()))
