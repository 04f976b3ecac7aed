"""The storage root and the sources over a real S3 server, as a folder on disk has them."""

import gzip
import json
import pickle
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysft.acquire.instructions import FileSource
from raysft.acquire.source import expand, read
from raysft.runtime.storage import ROW_GROUP_ROWS, Storage
from tests.fixtures.swift import S3

ROWS = [{"instruction": f"第{i}题：{i}加一等于几？", "input": "", "output": str(i + 1)} for i in range(20)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


@pytest.fixture
def storage(s3: S3) -> Storage:
    return Storage(f"{s3.uri}/runs/one")


def test_storage_object_is_read_back_as_it_was_written(storage: Storage) -> None:
    blob = storage.write_bytes("stages/a/part 1.bin", b"\x00\xff" * 1_000)
    assert (blob.name, blob.bytes) == ("part 1.bin", 2_000)
    assert storage.read_bytes("stages/a/part 1.bin") == b"\x00\xff" * 1_000
    assert storage.uri("x") == f"{storage.root}/x"


def test_storage_empty_object_is_an_object(storage: Storage) -> None:
    storage.write_bytes("_SUCCESS", b"")
    assert storage.exists("_SUCCESS")
    assert storage.read_bytes("_SUCCESS") == b""


def test_storage_missing_object_is_not_found(storage: Storage) -> None:
    assert not storage.exists("stages/none.json")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("stages/none.json")
    assert storage.names("stages") == []


def test_storage_json_with_chinese_survives(storage: Storage) -> None:
    storage.write_json("status.json", {"名": "值", "n": 1})
    assert storage.read_json("status.json") == {"名": "值", "n": 1}


def test_storage_sees_at_once_what_another_process_wrote(storage: Storage) -> None:
    assert storage.names("stages/a") == []
    assert not storage.exists("stages/a/two")
    other = pickle.loads(pickle.dumps(storage))
    other.write_bytes("stages/a/two", b"2")
    other.write_bytes("stages/a/one", b"1")
    assert storage.names("stages/a") == ["one", "two"]
    assert storage.exists("stages/a/two")
    other.remove("stages/a/one")
    assert storage.names("stages/a") == ["two"]


def test_storage_overwritten_object_is_the_new_one(storage: Storage) -> None:
    storage.write_bytes("status.json", b"old and longer")
    storage.write_bytes("status.json", b"new")
    assert storage.read_bytes("status.json") == b"new"


def test_storage_names_of_a_folder_are_its_own_only(storage: Storage) -> None:
    for path in ("stages/a/1", "stages/a/deep/2", "stages/ab/3"):
        storage.write_bytes(path, b"x")
    assert storage.names("stages") == ["a", "ab"]
    assert storage.names("stages/a") == ["1", "deep"]


def test_storage_removed_folder_is_gone_with_all_in_it(storage: Storage) -> None:
    for i in range(5):
        storage.write_bytes(f"stages/a/{i}", b"x")
    storage.write_bytes("stages/b/0", b"x")
    storage.remove("stages/a")
    assert storage.names("stages") == ["b"]


def test_storage_table_is_read_back_by_columns_and_rows(storage: Storage) -> None:
    rows = 2 * ROW_GROUP_ROWS + 10
    table = pa.table({"id": [f"{i:05d}" for i in range(rows)], "n": list(range(rows))})
    storage.write_table("part.parquet", table)
    assert storage.read_table("part.parquet").equals(table)
    start = ROW_GROUP_ROWS - 3
    part = storage.read_table("part.parquet", ["n", "absent"], start, start + 6)
    assert part.to_pydict() == {"n": list(range(start, start + 6))}


def test_storage_object_larger_than_one_multipart_part_survives(storage: Storage) -> None:
    data = bytes(range(256)) * (60 * 4_096)
    blob = storage.write_bytes("large.bin", data)
    assert blob.bytes == len(data) == 60 << 20
    assert storage.read_bytes("large.bin") == data


def test_storage_folder_goes_up_and_comes_down(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "model"
    (source / "sub").mkdir(parents=True)
    (source / "config.json").write_text("{}")
    (source / "sub" / "weights.bin").write_bytes(b"w" * 10)
    storage.upload(source, "train/model")
    got = storage.download("train/model", tmp_path / "copy")
    assert {p.relative_to(got).as_posix(): p.read_bytes() for p in got.rglob("*") if p.is_file()} == {
        "config.json": b"{}",
        "sub/weights.bin": b"w" * 10,
    }


def test_expand_bucket_folder_is_sorted_and_known_by_etag_and_size(s3: S3) -> None:
    fs = fsspec.filesystem("s3")
    for name in ("b.jsonl", "a.jsonl.gz", "_hidden.jsonl", "notes.txt", "sub/c.jsonl"):
        fs.pipe_file(f"{s3.bucket}/data/{name}", name.encode())
    units = expand(FileSource(path=f"{s3.uri}/data"))
    assert [u.uri for u in units] == [f"{s3.uri}/data/{n}" for n in ("a.jsonl.gz", "b.jsonl", "sub/c.jsonl")]
    etag = fs.info(f"{s3.bucket}/data/b.jsonl")["ETag"].strip('"')
    assert (units[1].content, units[1].bytes) == (f"{etag}:7", 7)


def test_expand_bucket_glob_sees_files_that_came_later(s3: S3) -> None:
    source = FileSource(path=f"{s3.uri}/data/*.jsonl")
    with pytest.raises(FileNotFoundError, match=r"data/\*\.jsonl"):
        expand(source)
    fsspec.filesystem("s3").pipe_file(f"{s3.bucket}/data/a.jsonl", LINES)
    assert [u.uri for u in expand(source)] == [f"{s3.uri}/data/a.jsonl"]


def test_expand_changed_object_has_another_content(s3: S3) -> None:
    source = FileSource(path=f"{s3.uri}/a.jsonl")
    fs = fsspec.filesystem("s3")
    contents = []
    for text in (LINES, LINES.replace(b"20", b"21")):
        fs.pipe_file(f"{s3.bucket}/a.jsonl", text)
        contents.append(expand(source)[0].content)
    assert contents[0] != contents[1]


def test_read_objects_of_each_kind_gives_the_rows_of_local_files(s3: S3, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_bytes(LINES)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(LINES))
    (tmp_path / "d.json").write_text(json.dumps(ROWS))
    fs = fsspec.filesystem("s3")
    fs.put(f"{tmp_path}/", f"{s3.bucket}/data/", recursive=True)
    source, local = FileSource(path=f"{s3.uri}/data"), FileSource(path=str(tmp_path))
    units = expand(source)
    assert len(units) == 4
    for unit, same in zip(units, expand(local), strict=True):
        got, expected = read(source, unit), read(local, same)
        assert (got.bad, got.format) == ([], "alpaca")
        assert got.table["messages"].equals(expected.table["messages"])
        assert set(got.table["source"].to_pylist()[0].values()) >= {unit.uri, unit.content}


def test_read_ids_stay_when_an_object_moves(s3: S3) -> None:
    fs = fsspec.filesystem("s3")
    fs.pipe_file(f"{s3.bucket}/a.jsonl", LINES)
    fs.cp_file(f"{s3.bucket}/a.jsonl", f"{s3.bucket}/elsewhere/b.jsonl")
    ids = []
    for path in ("a.jsonl", "elsewhere/b.jsonl"):
        source = FileSource(path=f"{s3.uri}/{path}")
        (unit,) = expand(source)
        ids.append(read(source, unit).table["id"].to_pylist())
    assert ids[0] == ids[1]


def test_read_bad_rows_of_objects_are_quarantined_with_their_uri(s3: S3) -> None:
    fs = fsspec.filesystem("s3")
    fs.pipe_file(f"{s3.bucket}/a.jsonl", LINES + b"{broken\n" + LINES)
    fs.pipe_file(f"{s3.bucket}/b.parquet", b"PAR1 not really")
    fs.pipe_file(f"{s3.bucket}/c.jsonl.gz", gzip.compress(LINES)[:-20])
    fs.pipe_file(f"{s3.bucket}/d.jsonl", b"")
    source = FileSource(path=s3.uri)
    got = [read(source, unit) for unit in expand(source)]
    assert [(b.uri.rpartition("/")[2], b.reason.partition(":")[0]) for a in got for b in a.bad] == [
        ("a.jsonl", "broken_json"),
        ("b.parquet", "corrupt_parquet"),
        ("c.jsonl.gz", "truncated_gz"),
        ("d.jsonl", "empty_file"),
    ]
    assert got[0].table.num_rows == 40


def test_read_object_that_is_gone_raises_instead_of_being_bad(s3: S3) -> None:
    fs = fsspec.filesystem("s3")
    for name in ("a.jsonl", "b.parquet"):
        fs.pipe_file(f"{s3.bucket}/{name}", LINES)
    source = FileSource(path=s3.uri)
    units = expand(source)
    for unit in units:
        fs.rm_file(unit.uri)
        with pytest.raises(FileNotFoundError):
            read(source, unit)
