"""What `raysft gc` takes for garbage in a run's folder, and what is left when it removed it."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from raysft.cli import OK, WRONG, main
from raysft.runtime import housekeeping, leftovers
from raysft.runtime.housekeeping import DAY, Asked, Found, as_text, clean_up, seconds
from raysft.runtime.lease import LeaseHeld, leased
from raysft.runtime.leftovers import in_run
from raysft.runtime.listing import objects
from raysft.runtime.manifest import (
    Manifest,
    Record,
    chain_to,
    commit,
    manifest_digest,
    read_manifest,
    read_records,
    seal,
    shard_path,
    verify,
)
from raysft.runtime.storage import Storage
from raysft.stage import Counts
from tests.fixtures.runs import write_conversations

PAST = Asked(removes=True)
ALL = Asked(removes=True, superseded=True)
LATER = time.time() + 2 * DAY


def write(storage: Storage, folder: str, units: int = 2, attempts: int = 1, rows: int = 3) -> list[Record]:
    """Commit so many work shards of a stage, each after this many attempts; the last one counts."""
    table = pa.table({"id": [f"{folder}-{i}" for i in range(rows)]})
    counts = Counts(rows_in=rows, passed=rows)
    return [
        [
            commit(storage, folder, f"{n:05d}", table, base=None, input="x", counts=counts)
            for _ in range(attempts)
        ][-1]
        for n in range(units)
    ]


def sealed(
    storage: Storage, folder: str, records: list[Record], parents: list[Manifest] | None = None
) -> Manifest:
    above = {m.folder: manifest_digest(m) for m in parents or []}
    counts = Counts(rows_in=3 * len(records), passed=3 * len(records))
    return seal(storage, Manifest("curate.rules", folder, "f", "rows", tuple(records), counts, parents=above))


def a_run(storage: Storage, folders: list[str], **status: str) -> None:
    """What makes a folder a run's: its recipe, its plan and its status."""
    storage.write_bytes("recipe.yaml", b"run: one\n")
    storage.write_json("plan.json", {"folders": folders})
    storage.write_json("status.json", {"state": "succeeded", **status})


def paths(found: Found) -> list[str]:
    """The first paths of all that goes."""
    return sorted(one.path for told in found.going.values() for one in told.first)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "run"))


def names(storage: Storage, folder: str = "") -> set[str]:
    return {one.path for one in objects(storage, folder)}


def test_gc_of_a_sealed_stage_removes_the_attempts_that_it_does_not_name(storage: Storage) -> None:
    made = sealed(storage, "stages/00-a-1", write(storage, "stages/00-a-1", units=3, attempts=3))
    a_run(storage, ["stages/00-a-1"])
    before = names(storage)
    found = clean_up(storage, PAST, now=LATER)
    assert found.removed.objects == 6
    assert before - names(storage) == set(paths(found))
    verify(storage, made)
    assert read_records(storage, "stages/00-a-1").keys() == {"00000", "00001", "00002"}


def test_gc_of_an_unfinished_stage_keeps_what_is_committed(storage: Storage) -> None:
    records = write(storage, "stages/00-a-1", units=2, attempts=2)
    orphan = shard_path("stages/00-a-1", "00007-aaaaaaaa.parquet")
    storage.write_bytes(orphan, b"of a unit that nobody committed")
    a_run(storage, ["stages/00-a-1"])
    found = clean_up(storage, PAST, now=LATER)
    assert found.removed.objects == 3
    assert orphan in paths(found)
    left = {name for name in storage.names("stages/00-a-1/shards")}
    assert left == {record.name for record in records}


def test_gc_without_yes_removes_nothing_and_tells_the_same(storage: Storage) -> None:
    sealed(storage, "stages/00-a-1", write(storage, "stages/00-a-1", attempts=2))
    a_run(storage, ["stages/00-a-1"])
    before = names(storage)
    shown = clean_up(storage, Asked(), now=LATER)
    assert names(storage) == before
    assert shown.removed.objects == 0
    text = as_text(storage, Asked(), shown)
    assert "would remove 2 objects" in text
    assert all(path in text for path in paths(shown))
    done = clean_up(storage, PAST, now=LATER)
    assert paths(done) == paths(shown)
    assert f"removed 2 objects, {done.removed.bytes:,} bytes" in as_text(storage, PAST, done)
    assert "nothing to remove" in as_text(storage, Asked(), clean_up(storage, Asked(), now=LATER))


def test_gc_leaves_alone_what_is_younger_than_asked(storage: Storage) -> None:
    write(storage, "stages/00-a-1", attempts=2)
    a_run(storage, ["stages/00-a-1"])
    assert clean_up(storage, PAST).removed.objects == 0
    assert clean_up(storage, PAST).young.objects == 2
    assert clean_up(storage, Asked(older_than=3 * DAY, removes=True), now=LATER).removed.objects == 0
    assert clean_up(storage, Asked(older_than=0, removes=True), now=time.time() + 1).removed.objects == 2


def test_gc_shows_superseded_stages_and_removes_them_only_when_told(storage: Storage) -> None:
    first = sealed(storage, "stages/00-a-1", write(storage, "stages/00-a-1"))
    sealed(storage, "stages/01-b-old", write(storage, "stages/01-b-old"), [first])
    write(storage, "stages/02-c-old")
    storage.write_bytes("quarantine/00-a-old/00000.jsonl", b"{}\n")
    a_run(storage, ["stages/00-a-1", "stages/01-b-new"])
    kept = clean_up(storage, PAST, now=LATER)
    assert kept.removed.objects == 0
    text = as_text(storage, PAST, kept)
    assert "sealed stage that the plan does not name; stays, --superseded removes it: 5 objects" in text
    assert "unfinished stage that the plan does not name; stays, --superseded" in text
    gone = clean_up(storage, ALL, now=LATER)
    assert gone.removed.objects == 5 + 4 + 1
    assert storage.names("stages") == ["00-a-1"]
    assert storage.names("quarantine") == []
    verify(storage, first)


def test_gc_keeps_the_chain_of_the_curated_set_although_the_plan_is_another_by_now(storage: Storage) -> None:
    first = sealed(storage, "stages/00-a-old", write(storage, "stages/00-a-old"))
    last = sealed(storage, "stages/01-b-old", write(storage, "stages/01-b-old"), [first])
    packed = "stages/02-train.pack-1"
    sealed(storage, packed, write(storage, packed), [last])
    stale = "stages/02-train.pack-2"
    sealed(
        storage, stale, write(storage, stale), [Manifest("x", "stages/01-b-gone", "", "rows", (), Counts())]
    )
    storage.write_json("curated/_manifest.json", {"stage": last.folder, "files": {}})
    a_run(storage, ["stages/00-a-new", "stages/01-b-new"])
    found = clean_up(storage, ALL, now=LATER)
    assert paths(found) == [stale]
    assert [m.folder for m in chain_to(storage, packed)] == [first.folder, last.folder, packed]


def test_gc_without_a_plan_knows_no_superseded_stage_and_says_so(storage: Storage) -> None:
    sealed(storage, "stages/00-a-1", write(storage, "stages/00-a-1", attempts=2))
    storage.write_bytes("recipe.yaml", b"")
    found = clean_up(storage, ALL, now=LATER)
    assert found.removed.objects == 2
    assert read_manifest(storage, "stages/00-a-1") is not None
    assert "superseded stages are not known" in as_text(storage, ALL, found)


def test_gc_removes_unfinished_writes_probes_torn_checkpoints_and_files_that_nothing_names(
    storage: Storage,
) -> None:
    step = "train/f00/checkpoints/aa/step-000000010-bb"
    whole = "train/f00/checkpoints/aa/step-000000020-bb"
    token = uuid.uuid4().hex
    garbage = {
        f"status.json.{token}.tmp": b"x",
        "_probe-0123abcd": b"raysft",
        f"stages/00-a-1/shards/00000-ab12cd34.parquet.{token}.tmp": b"x",
        f"{step}/shard-00000-of-00002.safetensors": b"x",
        f"{step}/written-00000-of-00002.json": b"{}",
        "curated/data-00007.parquet": b"x",
    }
    needed = {
        f"{whole}/shard-00000-of-00001.safetensors": b"x",
        f"{whole}/written-00000-of-00001.json": b"{}",
        "train/f00/adapter/adapter_model.safetensors": b"x",
        "train/f00/result.json": b"{}",
        "curated/data-00000.parquet": b"x",
        "curated/README.md": b"x",
        "report/index.html": b"x",
    }
    for path, data in {**garbage, **needed}.items():
        storage.write_bytes(path, data)
    storage.write_json("curated/_manifest.json", {"stage": "", "files": {"data-00000.parquet": "x"}})
    a_run(storage, ["stages/00-a-1"])
    found = clean_up(storage, PAST, now=LATER)
    assert found.removed.objects == len(garbage)
    assert not names(storage) & garbage.keys()
    assert names(storage) >= needed.keys()


def test_gc_of_a_run_that_somebody_runs_refuses_to_remove(storage: Storage) -> None:
    write(storage, "stages/00-a-1", attempts=2)
    a_run(storage, ["stages/00-a-1"])
    with leased(storage):
        assert clean_up(storage, Asked(older_than=0), now=time.time() + 1).going
        with pytest.raises(LeaseHeld, match="is being run by"):
            clean_up(storage, Asked(older_than=0, removes=True), now=time.time() + 1)
    assert len(storage.names("stages/00-a-1/shards")) == 4
    assert clean_up(storage, Asked(older_than=0, removes=True), now=time.time() + 1).removed.objects


def test_gc_of_a_folder_that_is_no_run_refuses(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(LookupError, match="neither the folder of a run"):
        clean_up(Storage(str(tmp_path)), ALL, now=LATER)
    assert (tmp_path / "letters.txt").exists()


def test_gc_follows_no_link_out_of_the_run(storage: Storage, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"a.{uuid.uuid4().hex}.tmp").write_text("x")
    a_run(storage, [])
    os.symlink(outside, tmp_path / "run" / "stages")
    os.symlink(outside, tmp_path / "run" / "linked")
    assert clean_up(storage, ALL, now=LATER).removed.objects == 0
    assert len(list(outside.iterdir())) == 1


def test_gc_that_is_stopped_at_any_moment_leaves_nothing_sealed_or_committed_without_its_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The removal is stopped before its n-th object, for every n, and then started again."""
    monkeypatch.setattr(housekeeping, "THREADS", 1)
    steps = 0
    while True:
        storage = Storage(str(tmp_path / f"run{steps}"))
        first = sealed(storage, "stages/00-a-1", write(storage, "stages/00-a-1"))
        second = sealed(storage, "stages/01-b-old", write(storage, "stages/01-b-old"), [first])
        sealed(storage, "stages/02-c-old", write(storage, "stages/02-c-old"), [second])
        a_run(storage, ["stages/00-a-1"])
        with monkeypatch.context() as patch:
            stop_after(steps, storage, patch)
            try:
                clean_up(storage, ALL, now=LATER)
                is_whole = True
            except KeyboardInterrupt:
                is_whole = False
        for folder in storage.names("stages"):
            consistent(storage, f"stages/{folder}")
        clean_up(storage, ALL, now=LATER)
        assert storage.names("stages") == ["00-a-1"]
        verify(storage, first)
        if is_whole:
            break
        steps += 1
    assert steps == 10


def stop_after(objects: int, storage: Storage, patch: pytest.MonkeyPatch) -> None:
    """Let so many objects be removed and no more."""
    remove: Callable[[str], None] = storage.filesystem.rm_file
    left = [objects]

    def counted(path: str) -> None:
        if not os.path.exists(path):
            return remove(path)
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return remove(path)

    patch.setattr(storage.filesystem, "rm_file", counted)


def consistent(storage: Storage, folder: str) -> None:
    """What is sealed has its shards and all that it was made from; what is committed has its shard."""
    made = read_manifest(storage, folder)
    if made is not None:
        verify(storage, made)
        chain_to(storage, folder)
    for record in read_records(storage, folder).values():
        assert storage.exists(shard_path(folder, record.name))


def test_gc_reads_commit_records_only_where_attempts_compete(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(storage, "stages/00-a-1", units=30)
    write(storage, "stages/00-a-1", units=2)
    a_run(storage, ["stages/00-a-1"])
    read: list[str] = []
    record_of = leftovers.read_record
    monkeypatch.setattr(leftovers, "read_record", lambda *a: read.append(a[2]) or record_of(*a))
    assert len(list(in_run(storage))) == 2
    assert read == ["00000", "00001"]


def test_gc_command_shows_first_and_removes_when_told(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(storage, "stages/00-a-1", attempts=2)
    a_run(storage, ["stages/00-a-1"])
    assert main(["gc", storage.root]) == OK
    assert "left alone, since younger than 24 hours: 2 objects" in capsys.readouterr().out
    for path in (tmp_path / "run").rglob("*.parquet"):
        os.utime(path, (0, 0))
    assert main(["gc", storage.root]) == OK
    assert "would remove 2 objects" in capsys.readouterr().out
    assert main(["gc", storage.root, "--yes"]) == OK
    assert "removed 2 objects" in capsys.readouterr().out
    assert len(storage.names("stages/00-a-1/shards")) == 2


def test_gc_command_of_a_recipe_cleans_the_folder_of_its_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_conversations(tmp_path / "a.jsonl", [("Name a sea.", "The Baltic Sea.")])
    tree = {"run": "one", "root": str(tmp_path / "runs"), "sources": [{"path": str(source)}], "stages": []}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    storage = Storage(str(tmp_path / "runs" / "two"))
    a_run(storage, [])
    assert main(["gc", str(tmp_path / "r.yaml"), "--set", "run=two"]) == OK
    assert capsys.readouterr().out == f"{storage.root}\nnothing to remove\n"
    assert main(["gc", str(tmp_path / "r.yaml")]) == WRONG
    assert "runs/one is neither the folder of a run" in capsys.readouterr().err


def test_listing_of_a_folder_names_every_object_once_with_its_size(storage: Storage) -> None:
    for path in ("a", "b/c", "b/d/e", "b-c", "文/件"):
        storage.write_bytes(path, path.encode())
    assert {one.path: one.bytes for one in objects(storage)} == {
        path: len(path.encode()) for path in ("a", "b/c", "b/d/e", "b-c", "文/件")
    }
    assert [one.path for one in objects(storage, "b")] == ["b/c", "b/d/e"]
    assert list(objects(storage, "none")) == []


@pytest.mark.parametrize(("text", "expected"), [("1d", DAY), ("12h", DAY / 2), ("1.5m", 90.0), ("45s", 45.0)])
def test_seconds_age_is_understood(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "1", "d", "-1d", "1w", "1 d"])
def test_seconds_what_is_no_age_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: a number and s, m, h or d"):
        seconds(text)
