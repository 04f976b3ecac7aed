"""Runs that are killed, stopped, or hit by a bug, and started again: nothing lost, nothing twice, and only
what was not committed is done again. The runs are real ones in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from raysft import recipe as recipes
from raysft.cli import STOPPED
from raysft.recipe import Recipe
from raysft.runtime.lease import with_driver
from raysft.runtime.manifest import Record, read_records
from raysft.runtime.plan import make_plan
from raysft.runtime.run import run_recipe, sealed_of
from raysft.runtime.storage import Storage
from tests.fixtures.engines import model_folder
from tests.fixtures.held_engines import BUG, BUG_TEXT, HELD, HOLD, build_held, requests_made
from tests.fixtures.runs import rows_of, write_conversations

ROOT = Path(__file__).resolve().parents[2]
MARK = "RAYSFT_TEST_RUN"
ROWS, ROWS_PER_SHARD = 200, 10
SHARDS = ROWS // ROWS_PER_SHARD
REWRITES_ONLY = {"engine": "llm", "judge": False, "answers": False}  # so that one request makes one row
# Requests until an engine waits: more than all rewritings (one a row), so that answers are under way too,
# and fewer than rewritings and answers (two a row, less what was dropped) together.
HOLD_AFTER = 320
DEADLINE_S = 180  # for machines that do much else
FAIL_S = 60


class Site:
    """A recipe in a folder of its own, and the model folder that steers its LLM."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.llm = Path(model_folder(folder / "llm"))
        source = write_conversations(
            folder / "rows.jsonl",
            ([f"Describe the way from village {i} to town {i * 7}"] for i in range(ROWS)),
        )
        tree: dict[str, Any] = {
            "run": "killed",
            "root": str(folder / "runs"),
            "seed": 7,
            "engines": {
                "llm": {"kind": "vllm", "model": str(self.llm)},
                "judge": {"kind": "transformers", "model": model_folder(folder / "judge")},
            },
            "sources": [{"path": str(source)}],
            "stages": [
                {"augment.evolve": {**REWRITES_ONLY, "rows_per_shard": ROWS_PER_SHARD}},
                {"augment.respond": {"engine": "llm"}},
                {"curate.perplexity": {"engine": "judge"}},
            ],
        }
        self.path = folder / "recipe.yaml"
        self.path.write_text(yaml.safe_dump({**tree, **changes}), encoding="utf-8")

    @property
    def recipe(self) -> Recipe:
        return recipes.load(self.path)

    @property
    def run(self) -> Path:
        return Path(self.recipe.run_root)

    def hold(self, after: int) -> None:
        (self.llm / HELD).unlink(missing_ok=True)
        (self.llm / HOLD).write_text(str(after))

    def release(self) -> None:
        (self.llm / HOLD).unlink()

    def held_by(self) -> int | None:
        """Process id of the engine actor that waits."""
        text = (self.llm / HELD).read_text() if (self.llm / HELD).exists() else ""
        return int(text) if text else None

    def status(self) -> dict[str, Any]:
        return json.loads((self.run / "status.json").read_text())

    def records(self) -> dict[str, dict[str, Record]]:
        """Commit records by stage, then by work shard."""
        storage = Storage(self.recipe.run_root)
        return {p.stage: read_records(storage, p.folder) for p in make_plan(self.recipe).all_passes}

    def rows(self) -> dict[str, dict[str, Any]]:
        """All rows by id, live or not, as they are at the end."""
        sealed = sealed_of(make_plan(self.recipe), Storage(self.recipe.run_root))
        rows = rows_of(self.recipe, sealed).to_pylist()
        assert len({row["id"] for row in rows}) == len(rows)
        return {row["id"]: row for row in rows}


class Process:
    """`raysft run` of a site as a process, with every process that descends from it."""

    def __init__(self, site: Site) -> None:
        self.mark = uuid.uuid4().hex
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        environment |= {MARK: self.mark, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.log = site.path.with_suffix(f".{self.mark[:4]}.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fixtures.held_engines", "run", str(site.path)],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )

    def wait_until(self, holds: Callable[[], Any]) -> None:
        """Poll until `holds()`; a run that ends first, or takes too long, fails the test."""
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            assert self.process.poll() is None, f"the run ended: {self.log.read_text()}"
            assert time.monotonic() < deadline, f"timed out: {self.log.read_text()}"
            time.sleep(0.05)

    def ends(self) -> tuple[int, str]:
        """Its exit status and what it printed."""
        return self.process.wait(DEADLINE_S), self.log.read_text()

    def kill_all(self) -> None:
        """SIGKILL to the driver and all that descends from it; then nothing of it is left."""
        left = self.process_tree()
        self.process.kill()
        self.process.wait()
        deadline = time.monotonic() + DEADLINE_S
        while left:  # again, for those that were started between listing and killing
            for process in left:
                _kill(process)
            assert time.monotonic() < deadline, left
            psutil.wait_procs(left, timeout=10)
            left = self.survivors()

    def process_tree(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def wait_for_survivors(self) -> None:
        """Until the processes that the driver left behind have ended by themselves."""
        deadline = time.monotonic() + DEADLINE_S
        while left := self.survivors():
            assert time.monotonic() < deadline, left
            time.sleep(0.2)

    def survivors(self) -> list[psutil.Process]:
        """Live processes that inherited this run's mark, wherever they hang in the tree now."""
        return [p for p in psutil.process_iter() if _has_mark(p, self.mark)]


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark
    except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def start() -> Iterator[Callable[[Site], Process]]:
    """Starts runs; whatever of them is left at the end of the test is killed."""
    started: list[Process] = []

    def begin(site: Site) -> Process:
        started.append(Process(site))
        return started[-1]

    yield begin
    for process in started:
        process.kill_all()


@pytest.fixture(scope="module")
def undisturbed(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The same recipe run from beginning to end elsewhere."""
    site = Site(tmp_path_factory.mktemp("undisturbed"))
    run_recipe(site.recipe, build_engine=build_held)
    return site


def is_in_the_middle(site: Site) -> bool:
    """Engine at rest, and some but not all work shards committed by every stage."""
    if site.held_by() is None:
        return False
    done = site.records()
    return len(done["augment.respond"]) >= 3 and len(done["curate.perplexity"]) >= 1


def assert_counts_add_up(site: Site) -> None:
    manifests = [json.loads(p.read_text()) for p in sorted((site.run / "stages").glob("*/_manifest.json"))]
    assert [m["stage"] for m in manifests] == [
        "acquire",
        "augment.evolve",
        "augment.respond",
        "curate.perplexity",
    ]
    incoming = ROWS
    for m in manifests:
        c = m["counts"]
        assert c["rows_in"] == c["passed"] + c["consumed"] + c["dropped_in"] + c["quarantined"]
        assert c["rows_in"] == sum(s["counts"]["rows_in"] for s in m["shards"]) == incoming
        assert len({s["unit"] for s in m["shards"]}) == len(m["shards"])
        incoming = c["passed"] + c["made_kept"]


def assert_same_rows(site: Site, other: Site) -> None:
    mine, theirs = site.rows(), other.rows()
    assert mine.keys() == theirs.keys()
    for id, row in mine.items():
        source, its_source = row.pop("source"), theirs[id].pop("source")
        assert {**source, "uri": None} == {**its_source, "uri": None} if source else its_source is None
        assert row == theirs[id]


def requests_of(records: dict[str, dict[str, Record]], known: dict[str, dict[str, Record]]) -> int:
    """LLM requests that the records stand for that are not among the known ones."""
    fresh = {
        stage: [r for unit, r in records[stage].items() if known[stage].get(unit) != r] for stage in records
    }
    evolved = sum(r.counts.made_kept + r.counts.made_dropped for r in fresh["augment.evolve"])
    return evolved + sum(r.counts.consumed for r in fresh["augment.respond"])


def assert_kept(before: dict[str, dict[str, Record]], after: dict[str, dict[str, Record]]) -> None:
    for stage, records in before.items():
        assert records.items() <= after[stage].items(), stage


def test_run_killed_in_the_middle_resumes_with_what_was_not_committed(
    start: Callable[[Site], Process], undisturbed: Site, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    site.hold(HOLD_AFTER)
    first = start(site)
    first.wait_until(lambda: is_in_the_middle(site))
    first.kill_all()

    before, asked = site.records(), requests_made(site.llm)
    assert 0 < len(before["augment.respond"]) < SHARDS
    assert site.status()["state"] == "running"
    assert with_driver(Storage(str(site.run)), site.status(), print)["state"] == "abandoned"
    assert not (site.run / "_SUCCESS").exists()
    assert not list((site.run / "stages").glob("*-evolve-*/_manifest.json"))

    site.release()
    code, said = start(site).ends()
    assert code == 0, said
    after = site.records()
    assert {stage: len(found) for stage, found in after.items()} == {
        "acquire": 1,
        "augment.evolve": SHARDS,
        "augment.respond": SHARDS,
        "curate.perplexity": SHARDS,
    }
    assert_kept(before, after)
    assert requests_made(site.llm) - asked == requests_of(after, before)
    assert_counts_add_up(site)
    assert_same_rows(site, undisturbed)
    assert site.status()["state"] == "succeeded"
    assert (site.run / "_SUCCESS").exists()


def test_run_stopped_by_sigterm_says_so_and_resumes_past_a_killed_engine(
    start: Callable[[Site], Process], undisturbed: Site, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    site.hold(HOLD_AFTER)
    first = start(site)
    first.wait_until(lambda: is_in_the_middle(site))
    first.process.send_signal(signal.SIGTERM)
    code, said = first.ends()
    assert code == STOPPED, said
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert site.status()["state"] == "stopped"
    assert not (site.run / "_SUCCESS").exists()
    stopped = site.records()

    first.wait_for_survivors()  # else an actor that ends late could be the one that waits below
    site.hold(40)
    second = start(site)
    second.wait_until(lambda: site.held_by() is not None)
    actor = psutil.Process(site.held_by())
    assert actor.pid in {p.pid for p in second.process_tree()}
    actor.kill()
    site.release()
    code, said = second.ends()
    assert code == 0, said
    assert_kept(stopped, site.records())
    assert_counts_add_up(site)
    assert_same_rows(site, undisturbed)
    assert (site.run / "_SUCCESS").exists()
    assert first.survivors() + second.survivors() == []


def test_run_with_a_bug_in_an_engine_stage_fails_in_seconds_and_resumes_after_the_fix(
    undisturbed: Site, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    (site.llm / BUG).touch()
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError) as caught:
        run_recipe(site.recipe, build_engine=build_held)
    assert time.monotonic() - started < FAIL_S
    assert str(caught.value) == BUG_TEXT
    status = site.status()
    assert (status["state"], status["error"]) == ("failed", f"ZeroDivisionError: {BUG_TEXT}")
    assert not (site.run / "_SUCCESS").exists()
    acquired = site.records()["acquire"]

    (site.llm / BUG).unlink()
    run_recipe(site.recipe, build_engine=build_held)
    assert site.records()["acquire"] == acquired
    assert_same_rows(site, undisturbed)
    assert site.status()["state"] == "succeeded"


def test_run_with_a_bug_in_a_barrier_fails_with_the_error_itself_and_resumes_after_the_fix(
    local_ray: None, tmp_path: Path
) -> None:
    wrong = [
        {"curate.rules": {"min_answer_words": None, "no_answer": False}},
        {"curate.select": {"where": "op > 1"}},
    ]
    site = Site(tmp_path, stages=wrong)
    with pytest.raises(ValueError, match="column op is string; a condition compares numbers") as caught:
        run_recipe(site.recipe, build_engine=build_held)
    assert "ray" not in str(caught.value)
    assert site.status()["error"] == "ValueError: column op is string; a condition compares numbers"
    rules = site.records()["curate.rules"]

    run_recipe(recipes.load(site.path, ["stages.select.where=prompt_chars > 1"]), build_engine=build_held)
    assert site.records()["curate.rules"] == rules
    assert site.status()["state"] == "succeeded"
