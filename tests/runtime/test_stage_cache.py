"""A cache of sealed stages: which entries fit, how they are published, and what becomes of spoilt ones."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from raysft.curate import rules
from raysft.runtime import stage_cache
from raysft.runtime.listing import objects
from raysft.runtime.manifest import (
    MANIFEST,
    DigestMismatch,
    Manifest,
    commit,
    manifest_digest,
    parents_of,
    read_manifest,
    seal,
    shard_path,
    total,
    verify,
)
from raysft.runtime.passes import Pass
from raysft.runtime.plan import make_plan
from raysft.runtime.preflight import PreflightError
from raysft.runtime.run import run_recipe
from raysft.runtime.stage_cache import StageCache, places, unreachable
from raysft.runtime.storage import Storage
from raysft.runtime.work import BARRIER, FITTED_VALUES, read_fitted, write_barrier
from raysft.stage import Counts, Fitted
from tests.fixtures.engines import model_folder
from tests.fixtures.runs import recipe_of, write_conversations

ACQUIRE = Pass("acquire", None, 1, "print-0", "stages/00-acquire-print-0", "rows")
RULES = Pass("curate.rules", rules.Config(), 1, "print-1", "stages/01-rules-print-1", "columns", (0,), (1,))


def cache_in(folder: Path, run: str = "first", max_bad: float = 1.0, **places: str) -> StageCache:
    told = {p.folder: places.get(p.stage.split(".")[-1], "here") for p in (ACQUIRE, RULES)}
    return StageCache(Storage(str(folder / "cache")), run, told, max_bad)


def make(
    storage: Storage, p: Pass, parents: Mapping[str, str], quarantined: int = 0, shards: int = 2
) -> Manifest:
    """Seal a stage with shards of three rows each, and what its barrier fitted if it has one."""
    table = pa.table({"id": ["a", "b", "c"]})
    counts = Counts(rows_in=3 + quarantined, passed=3, quarantined=quarantined)
    records = [
        commit(storage, p.folder, f"{n:05d}", table, base=None, input="x", counts=counts)
        for n in range(shards)
    ]
    if p.barriers:
        write_barrier(storage, p.folder, Fitted(values={"threshold": 0.5}), None, "x")
    made = Manifest(p.stage, p.folder, p.fingerprint, p.writes, tuple(records), total(records))
    return seal(storage, replace(made, parents=dict(parents), places="here"))


@pytest.fixture
def one(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "runs" / "first"))


@pytest.fixture
def two(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "runs" / "second"))


def published(tmp_path: Path, storage: Storage) -> list[Manifest]:
    """Two stages, one made from the other, that are in the cache."""
    cache = cache_in(tmp_path)
    acquired = make(storage, ACQUIRE, {})
    ruled = make(storage, RULES, parents_of([acquired]))
    assert [cache.publish(storage, m) for m in (acquired, ruled)] == [True, True]
    return [acquired, ruled]


def test_cache_stage_that_was_published_is_taken_with_all_its_files(
    tmp_path: Path, one: Storage, two: Storage
) -> None:
    acquired, ruled = published(tmp_path, one)
    cache, notes = cache_in(tmp_path, "second"), list[str]()
    two.write_bytes(f"{RULES.folder}/{FITTED_VALUES}", b"of an attempt that was stopped")
    two.write_bytes(f"{RULES.folder}/{BARRIER}", b"{}")
    for p, made in ((ACQUIRE, acquired), (RULES, ruled)):
        entry = cache.take(two, p, made.parents, notes.append)
        assert entry is not None
        assert read_manifest(two, p.folder) == made
        verify(two, made)
    assert read_fitted(two, [RULES.folder]).values == {"threshold": 0.5}
    assert "00-acquire-print: from the cache, made by run first" in notes[0]


def test_cache_stage_is_not_found_for_other_parents_fingerprints_or_places(
    tmp_path: Path, one: Storage
) -> None:
    acquired, _ = published(tmp_path, one)
    parents = parents_of([acquired])
    cache = cache_in(tmp_path)
    assert len(cache.find(RULES, parents)) == 1
    assert cache.find(RULES, {}) == []
    assert cache.find(RULES, {acquired.folder: "0" * 64}) == []
    assert cache.find(replace(RULES, fingerprint="print-1 and more"), parents) == []
    assert cache_in(tmp_path, rules="another server").find(RULES, parents) == []


def test_cache_of_two_equal_stages_gives_the_older_to_everyone(
    tmp_path: Path, one: Storage, two: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make(storage, ACQUIRE, {}) for storage in (one, two)]
    stamped = [
        replace(m, created=f"2026-11-22T1{hour}:00:00+00:00") for m, hour in zip(made, (2, 1), strict=True)
    ]
    for storage, m in zip((one, two), stamped, strict=True):
        assert cache_in(tmp_path).publish(storage, m)
    found = [entry.manifest for entry in cache_in(tmp_path).find(ACQUIRE, {})]
    assert found == stamped[::-1]


def test_cache_sources_with_more_bad_rows_than_allowed_are_not_taken(
    tmp_path: Path, one: Storage, two: Storage
) -> None:
    cache_in(tmp_path).publish(one, make(one, ACQUIRE, {}, quarantined=1))
    notes: list[str] = []
    assert cache_in(tmp_path, max_bad=0.1).take(two, ACQUIRE, {}, notes.append) is None
    assert cache_in(tmp_path, max_bad=0.3).take(two, ACQUIRE, {}, notes.append) is not None
    assert "its 2 bad rows are in quarantine/ of run first" in notes[-1]
    assert two.names("quarantine") == []


def test_cache_publishing_twice_copies_once(tmp_path: Path, one: Storage) -> None:
    made = published(tmp_path, one)
    cache = cache_in(tmp_path)
    before = [(o.path, o.modified) for o in objects(cache.storage)]
    assert [cache.publish(one, m) for m in made] == [False, False]
    assert not cache.publish(one, replace(made[0], places=""))
    assert [(o.path, o.modified) for o in objects(cache.storage)] == before


def test_cache_two_runs_that_publish_at_once_leave_whole_entries(
    tmp_path: Path, one: Storage, two: Storage
) -> None:
    """Each has its own rows of the same fingerprint, and one of them publishes from two processes."""
    made = {storage.root: make(storage, ACQUIRE, {}, shards=6) for storage in (one, two)}
    jobs = [
        threading.Thread(target=cache_in(tmp_path).publish, args=(storage, made[storage.root]))
        for storage in (one, two, one)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    cache = cache_in(tmp_path)
    found = cache.find(ACQUIRE, {})
    assert {manifest_digest(e.manifest) for e in found} == {manifest_digest(m) for m in made.values()}
    for entry in found:
        verify(cache.storage, replace(entry.manifest, folder=entry.folder))


def test_cache_publishing_of_a_spoilt_shard_is_refused(tmp_path: Path, one: Storage) -> None:
    made = make(one, ACQUIRE, {})
    one.write_bytes(shard_path(made.folder, made.shards[1].name), b"spoilt")
    cache = cache_in(tmp_path)
    with pytest.raises(DigestMismatch, match=made.shards[1].name):
        cache.publish(one, made)
    assert cache.find(ACQUIRE, {}) == []


@pytest.mark.parametrize("loss", ["changed shard", "lost shard", "changed fit", "lost fit"])
def test_cache_spoilt_entry_is_told_given_up_and_leaves_nothing_sealed(
    tmp_path: Path, one: Storage, two: Storage, loss: str
) -> None:
    acquired, ruled = published(tmp_path, one)
    cache, notes = cache_in(tmp_path), list[str]()
    (entry,) = cache.find(RULES, parents_of([acquired]))
    name = FITTED_VALUES if "fit" in loss else f"shards/{ruled.shards[0].name}"
    if loss.startswith("lost"):
        cache.storage.remove(f"{entry.folder}/{name}")
    else:
        cache.storage.write_bytes(f"{entry.folder}/{name}", b"{}")
    assert cache.take(two, RULES, parents_of([acquired]), notes.append) is None
    assert "spoilt in the cache, so it is not used" in notes[-1]
    assert name.rsplit("/", 1)[-1] in notes[-1]
    assert read_manifest(two, RULES.folder) is None
    assert cache.find(RULES, parents_of([acquired])) == []


@pytest.mark.parametrize("name", [MANIFEST, "_shared.json"])
def test_cache_entry_without_its_last_files_or_with_torn_ones_is_none(
    tmp_path: Path, one: Storage, name: str
) -> None:
    published(tmp_path, one)
    cache = cache_in(tmp_path)
    (entry,) = cache.find(ACQUIRE, {})
    path = f"{entry.folder}/{name}"
    whole = cache.storage.read_bytes(path)
    changed = whole.replace(b'"passed": 3', b'"passed": 2') if name == MANIFEST else b"[]"
    for data in (whole[:-5], changed):
        cache.storage.write_bytes(path, data)
        assert cache.find(ACQUIRE, {}) == []
    cache.storage.remove(path)
    assert cache.find(ACQUIRE, {}) == []


def test_cache_that_is_stopped_while_it_takes_a_stage_leaves_it_unsealed(
    tmp_path: Path, one: Storage, two: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path, one)
    copy, left = stage_cache._copy, [1]

    def stopping(*arguments: object) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        copy(*arguments)  # type: ignore[arg-type]

    cache = cache_in(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stage_cache, "_copy", stopping)
        with pytest.raises(KeyboardInterrupt):
            cache.take(two, ACQUIRE, {}, lambda line: None)
    assert read_manifest(two, ACQUIRE.folder) is None
    assert cache.take(two, ACQUIRE, {}, lambda line: None) is not None


def test_places_tell_where_sources_and_servers_were_as_fingerprints_do_not(tmp_path: Path) -> None:
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    for path in (here, there):
        write_conversations(path, [("Name a sea.", "The Baltic Sea.")])
    server = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    stages = [{"augment.respond": {"engine": "llm"}}, "curate.rules"]

    def told(source: Path, **engine: str) -> list[tuple[str, str]]:
        plan = make_plan(recipe_of(tmp_path, [source], stages, engines={"llm": {**server, **engine}}))
        return [(p.fingerprint, places(plan, p)) for p in plan.all_passes]

    first = told(here)
    assert told(here) == first
    for changed, at in ((told(there), 0), (told(here, base_url="http://127.0.0.1:2/v1"), 1)):
        assert [p for p, _ in changed] == [p for p, _ in first]
        assert [i for i in range(len(first)) if changed[i] != first[i]] == [at]


def test_run_whose_cache_cannot_be_written_is_refused_with_the_cause_before_any_work(tmp_path: Path) -> None:
    source = write_conversations(tmp_path / "a.jsonl", [("Name a sea.", "The Baltic Sea.")])
    (tmp_path / "cache").write_text("a file, where a folder should be")
    recipe = recipe_of(tmp_path, [source], ["curate.rules"], engines={}, cache=str(tmp_path / "cache"))
    (line,) = unreachable(recipe.settings.cache)
    assert line.startswith(f"cache {tmp_path / 'cache'}: cannot be written: ")
    (line,) = unreachable("nowhere://bucket/cache")
    assert line.startswith("cache nowhere://bucket/cache: cannot be used: ")
    with pytest.raises(PreflightError, match="cannot be written"):
        run_recipe(recipe)
    assert not (tmp_path / "runs" / "run" / "status.json").exists()


def test_cache_that_is_not_named_is_not_looked_for(tmp_path: Path) -> None:
    source = write_conversations(tmp_path / "a.jsonl", [("Name a sea.", "The Baltic Sea.")])
    engines = {"llm": {"kind": "vllm", "model": model_folder(tmp_path / "llm")}}
    recipe = recipe_of(tmp_path, [source], ["curate.rules"], engines=engines)
    assert stage_cache.cache_of(make_plan(recipe)) is None
    assert unreachable(recipe.settings.cache) == []
