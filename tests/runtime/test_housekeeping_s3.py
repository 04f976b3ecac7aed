"""Housekeeping and the cache of stages on a real S3 server."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from raysft.runtime import listing
from raysft.runtime.housekeeping import DAY, Asked, clean_up
from raysft.runtime.listing import objects
from raysft.runtime.manifest import read_manifest, verify
from raysft.runtime.stage_cache import StageCache
from raysft.runtime.storage import Storage
from tests.fixtures.swift import S3
from tests.runtime.test_housekeeping import a_run, sealed, write
from tests.runtime.test_stage_cache import ACQUIRE, make

LATER = time.time() + 2 * DAY


def test_listing_of_a_bucket_names_every_object_once_over_many_pages(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 3)
    storage = Storage(f"{s3.uri}/runs/one")
    expected = {f"stages/0{i % 2}-a/shards/{i:05d}-文.parquet": i for i in range(8)}
    for path, size in {**expected, "status.json": 4}.items():
        storage.write_bytes(path, b"x" * size)
    Storage(f"{s3.uri}/runs/one-more").write_bytes("not/ours", b"x")
    found = list(objects(storage))
    assert {one.path: one.bytes for one in found} == {**expected, "status.json": 4}
    assert len(found) == 9
    assert all(one.modified is not None and abs(one.modified - time.time()) < 600 for one in found)
    assert len(list(objects(storage, "stages/00-a"))) == 4


def test_gc_on_a_bucket_removes_orphans_and_superseded_stages_only(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 3)
    storage = Storage(f"{s3.uri}/runs/one")
    first = sealed(storage, "stages/00-a-1", write(storage, "stages/00-a-1", attempts=2))
    sealed(storage, "stages/01-b-old", write(storage, "stages/01-b-old"), [first])
    a_run(storage, ["stages/00-a-1", "stages/01-b-new"])
    assert clean_up(storage, Asked(removes=True), now=LATER).removed.objects == 2
    assert read_manifest(storage, "stages/01-b-old") is not None
    gone = clean_up(storage, Asked(removes=True, superseded=True), now=LATER)
    assert gone.removed.objects == 5
    assert storage.names("stages") == ["00-a-1"]
    verify(storage, first)


def test_cache_on_a_bucket_gives_a_run_in_a_folder_its_stages(s3: S3, tmp_path: Path) -> None:
    one, two = Storage(f"{s3.uri}/runs/one"), Storage(str(tmp_path / "two"))
    made = make(one, ACQUIRE, {})
    cache = StageCache(Storage(f"{s3.uri}/cache"), "one", {ACQUIRE.folder: "here"}, 1.0)
    assert cache.publish(one, made)
    notes: list[str] = []
    assert cache.take(two, ACQUIRE, {}, notes.append) is not None
    verify(two, made)
    (entry,) = cache.find(ACQUIRE, {})
    cache.storage.write_bytes(f"{entry.folder}/shards/{made.shards[0].name}", b"spoilt")
    assert cache.take(Storage(str(tmp_path / "three")), ACQUIRE, {}, notes.append) is None
    assert "spoilt" in notes[-1]
