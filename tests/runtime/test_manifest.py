"""Commit records and manifests: what is sealed is what was written, and nothing else is read."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from raysft.runtime import manifest
from raysft.runtime.manifest import COMMITS, MANIFEST, DigestMismatch, Manifest, Record, shard_path
from raysft.runtime.storage import Storage
from raysft.stage import Counts, RowsLost
from raysft.stores.retries import Patience, tried

FOLDER = "stages/01-rules-abc"
TABLE = pa.table({"id": ["a", "b", "c"]})
COUNTS = Counts(rows_in=4, passed=3, dropped_in=1, rules={"refusal": 1})


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def committed(storage: Storage, unit: str = "00000", base: tuple[str, int, int] | None = None) -> Record:
    return manifest.commit(storage, FOLDER, unit, TABLE, base=base, input="in", counts=COUNTS, seconds=0.1234)


def sealed(storage: Storage, *records: Record) -> Manifest:
    found = Manifest(
        "curate.rules",
        FOLDER,
        "abc",
        "rows",
        records,
        manifest.total(records),
        parents={"stages/00": "p"},
        config={"on": "conversation", "blocklist": ["a"]},
        seconds=1.5,
    )
    return manifest.seal(storage, found)


def test_record_is_read_back_as_it_was_committed(storage: Storage) -> None:
    record = committed(storage, base=("00000-x.parquet", 3, 6))
    assert manifest.read_record(storage, FOLDER, "00000") == record
    assert manifest.read_records(storage, FOLDER) == {"00000": record}
    assert (record.rows, record.seconds) == (3, 0.123)
    assert storage.read_table(shard_path(FOLDER, record.name)) == TABLE


def test_records_that_are_expected_and_not_listed_are_found_by_name(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = committed(storage)
    monkeypatch.setattr(Storage, "names", lambda self, folder: [])
    assert manifest.read_records(storage, FOLDER) == {}
    assert manifest.read_records(storage, FOLDER, ["00000", "00001"]) == {"00000": record}


def test_record_tells_how_often_its_thread_asked_a_store_again(storage: Storage) -> None:
    failures = [TimeoutError()]

    def call() -> None:
        if failures:
            raise failures.pop()

    tried(call, "s3://bucket/x", "read", Patience(sleep=lambda seconds: None))
    assert [committed(storage, unit).retries for unit in ("00000", "00001")] == [1, 0]


def test_record_of_a_shard_without_commit_is_none(storage: Storage) -> None:
    storage.write_table(shard_path(FOLDER, "00000-dead.parquet"), TABLE)
    assert manifest.read_record(storage, FOLDER, "00000") is None
    assert manifest.read_records(storage, FOLDER) == {}


def test_second_attempt_never_writes_over_the_first(storage: Storage) -> None:
    first, second = committed(storage), committed(storage)
    assert first.name != second.name
    assert storage.read_table(shard_path(FOLDER, first.name)) == TABLE
    assert manifest.read_record(storage, FOLDER, "00000") == second


def test_manifest_is_read_back_as_it_was_sealed(storage: Storage) -> None:
    written = sealed(storage, committed(storage, "00000"), committed(storage, "00001"))
    found = manifest.read_manifest(storage, FOLDER)
    assert found == written
    assert found is not None
    assert manifest.manifest_digest(found) == manifest.manifest_digest(written)
    assert found.counts == Counts(rows_in=8, passed=6, dropped_in=2, rules={"refusal": 2})
    assert manifest.read_manifest(storage, "stages/none") is None


def test_manifest_digest_tells_content_but_no_times(storage: Storage) -> None:
    one = sealed(storage, committed(storage))
    assert manifest.manifest_digest(replace(one, created="later", seconds=9.0)) == manifest.manifest_digest(
        one
    )
    for change in ({"fingerprint": "abd"}, {"parents": {"stages/00": "q"}}, {"shards": ()}):
        assert manifest.manifest_digest(replace(one, **change)) != manifest.manifest_digest(one)


def test_counts_that_do_not_add_up_are_not_sealed(storage: Storage) -> None:
    record = replace(committed(storage), counts=Counts(rows_in=4, passed=3))
    with pytest.raises(RowsLost, match="do not add up"):
        sealed(storage, record)
    assert not storage.exists(f"{FOLDER}/{MANIFEST}")


def test_verify_of_what_was_sealed_passes(storage: Storage) -> None:
    manifest.verify(storage, sealed(storage, committed(storage, "00000"), committed(storage, "00001")))


@pytest.mark.parametrize("change", ["bit", "truncated", "replaced"])
def test_verify_of_a_changed_shard_names_it_and_both_digests(storage: Storage, change: str) -> None:
    records = [committed(storage, f"{n:05d}") for n in range(3)]
    found = sealed(storage, *records)
    path = shard_path(FOLDER, records[1].name)
    data = storage.read_bytes(path)
    if change == "bit":
        storage.write_bytes(path, data[:8] + bytes([data[8] ^ 1]) + data[9:])
    elif change == "truncated":
        storage.write_bytes(path, data[:-1])
    else:
        storage.write_table(path, TABLE.slice(0, 2))
    with pytest.raises(DigestMismatch) as error:
        manifest.verify(storage, found)
    assert records[1].name in str(error.value)
    assert records[1].sha256 in str(error.value)


def test_verify_of_a_shard_that_is_gone_fails(storage: Storage) -> None:
    record = committed(storage)
    storage.remove(shard_path(FOLDER, record.name))
    with pytest.raises(FileNotFoundError):
        manifest.verify(storage, sealed(storage, record))


def test_records_without_folder_and_other_files_are_passed_over(storage: Storage) -> None:
    assert manifest.read_records(storage, FOLDER) == {}
    record = committed(storage)
    storage.write_bytes(f"{FOLDER}/{COMMITS}/note.txt", b"")
    assert manifest.read_records(storage, FOLDER) == {"00000": record}


def test_total_of_records_adds_counts_and_rules(storage: Storage) -> None:
    other = replace(committed(storage), counts=Counts(rows_in=2, passed=1, dropped_in=1, rules={"echo": 1}))
    counts = manifest.total([committed(storage), other])
    assert counts == Counts(rows_in=6, passed=4, dropped_in=2, rules={"echo": 1, "refusal": 1})
    assert manifest.total([]) == Counts()
