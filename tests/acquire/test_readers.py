import errno
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.acquire import readers
from raysft.acquire.readers import BadRow, Record, kind_of, records
from raysft.acquire.streams import BLOCK_BYTES
from raysft.sample import digest

ROWS = [{"prompt": f'第{i}个 question,\n"quoted"', "completion": f"answer\t{i}"} for i in range(5)]
PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


def jsonl(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def separated(rows: list[dict[str, str]], delimiter: str) -> bytes:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    table = [list(rows[0]), *(row.values() for row in rows)]
    return "".join(delimiter.join(map(quoted, fields)) + "\r\n" for fields in table).encode()


CONTENT = {
    "jsonl": jsonl(ROWS),
    "json": json.dumps(ROWS, ensure_ascii=False, indent=2).encode(),
    "csv": separated(ROWS, ","),
    "tsv": separated(ROWS, "\t"),
}


def written(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def read(folder: Path, name: str, content: bytes) -> tuple[list[Record], list[BadRow]]:
    found = list(records(written(folder, name, content)))
    return [r for r in found if isinstance(r, Record)], [r for r in found if isinstance(r, BadRow)]


@pytest.mark.parametrize("kind", CONTENT)
@pytest.mark.parametrize("ending", PACK)
def test_records_of_each_kind_and_compression_are_the_rows(tmp_path: Path, kind: str, ending: str) -> None:
    good, bad = read(tmp_path, f"rows.{kind}{ending}", PACK[ending](CONTENT[kind]))
    assert [r.value for r in good] == ROWS
    assert [r.row for r in good] == [0, 1, 2, 3, 4]
    assert bad == []


@pytest.mark.parametrize("kind", CONTENT)
def test_records_behind_a_byte_order_mark_are_read(tmp_path: Path, kind: str) -> None:
    good, bad = read(tmp_path, f"rows.{kind}", b"\xef\xbb\xbf" + CONTENT[kind])
    assert ([r.value for r in good], bad) == (ROWS, [])


def test_records_of_parquet_are_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS * 1_000), path, row_group_size=700)
    found = list(records(str(path)))
    assert [r.value for r in found if isinstance(r, Record)] == ROWS * 1_000
    assert [r.row for r in found] == list(range(5_000))


def test_records_of_several_members_in_one_file_are_all_read(tmp_path: Path) -> None:
    for ending in (".gz", ".zst"):
        content = PACK[ending](jsonl(ROWS[:2])) + PACK[ending](jsonl(ROWS[2:]))
        good, bad = read(tmp_path, f"rows.jsonl{ending}", content)
        assert ([r.value for r in good], bad) == (ROWS, [])


def test_records_of_gzip_padded_with_zeros_are_read(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.jsonl.gz", gzip.compress(jsonl(ROWS)) + bytes(512))
    assert (len(good), bad) == (5, [])


def test_records_of_jsonl_know_their_lines_and_skip_blank_ones(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.jsonl", b'\n{"a": 1}\r\n\n  \n{"a": 2}')
    assert [(r.row, r.line, r.value) for r in good] == [(0, 2, {"a": 1}), (1, 5, {"a": 2})]
    assert bad == []


def test_records_of_pretty_json_know_the_line_each_begins_on(tmp_path: Path) -> None:
    good, _ = read(tmp_path, "rows.json", b'[\n  {"a":\n 1},\n\n  {"a": 2}\n]\n')
    assert [r.line for r in good] == [2, 5]


def test_records_of_csv_know_the_line_each_begins_on(tmp_path: Path) -> None:
    good, _ = read(tmp_path, "rows.csv", b'a,b\n"1\n1",2\n\n3,4\n')
    assert [(r.row, r.line) for r in good] == [(0, 2), (1, 5)]


def test_records_of_json_lines_under_a_json_ending_are_read_by_line(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.json", b"oops\n" + jsonl(ROWS))
    assert [r.value for r in good] == ROWS
    assert [(b.row, b.line) for b in bad] == [(0, 1)]


def test_records_of_one_json_object_are_one_row(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.json", b'{\n "prompt": "a",\n "completion": "b"\n}\n')
    assert ([r.value for r in good], bad) == ([{"prompt": "a", "completion": "b"}], [])


def test_records_of_a_line_longer_than_a_block_are_whole(tmp_path: Path) -> None:
    long = "长" * BLOCK_BYTES
    good, bad = read(tmp_path, "rows.jsonl", jsonl([{"a": long}, {"a": "short"}]))
    assert ([len(r.value["a"]) for r in good], bad) == ([BLOCK_BYTES, 5], [])
    good, bad = read(tmp_path, "rows.csv", f"a,b\n{long},1\nshort,2\n".encode())
    assert ([len(r.value["a"]) for r in good], bad) == ([BLOCK_BYTES, 5], [])


def test_records_with_nul_and_duplicate_keys_are_read(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.jsonl", b'{"a": "x\\u0000y", "a": "z\\u0000"}\n')
    assert ([r.value for r in good], bad) == ([{"a": "z\0"}], [])
    good, bad = read(tmp_path, "rows.csv", b"a,b\nx\0y,1\n")
    assert ([r.value for r in good], bad) == ([{"a": "x\0y", "b": "1"}], [])


LINES = jsonl(ROWS).splitlines(keepends=True)
DAMAGED_LINE = {
    "broken_json: ": b'{"prompt": "cut\n',
    "bad_utf8: ": b'{"prompt": "\xff\xfe", "completion": "b"}\n',
    "broken_json: m": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("reason", DAMAGED_LINE)
@pytest.mark.parametrize("ending", PACK)
def test_records_around_a_bad_line_go_through_with_their_offsets(
    tmp_path: Path, reason: str, ending: str
) -> None:
    content = b"".join([*LINES[:2], DAMAGED_LINE[reason], *LINES[2:]])
    good, bad = read(tmp_path, f"rows.jsonl{ending}", PACK[ending](content))
    assert [r.value for r in good] == ROWS
    assert [r.row for r in good] == [0, 1, 3, 4, 5]
    assert [(b.row, b.line) for b in bad] == [(2, 3)]
    assert bad[0].reason.startswith(reason)
    assert bad[0].raw
    assert len(bad[0].raw) <= 1_000


def test_records_of_json_array_with_bad_bytes_lose_that_element_only(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.json", b'[{"a": "x"},\n {"a": "\xff"},\n {"a": "\\ud83d\\ude00"}]')
    assert [(r.row, r.value) for r in good] == [(0, {"a": "x"}), (2, {"a": "😀"})]
    assert [(b.row, b.line, b.reason.partition(":")[0]) for b in bad] == [(1, 2, "bad_utf8")]


def test_records_of_csv_with_bad_bytes_lose_that_row_only(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.csv", b"a,b\n1,2\n\xff,3\n4,5\n")
    assert [(r.row, r.value["a"]) for r in good] == [(0, "1"), (2, "4")]
    assert [(b.row, b.line, b.reason.partition(":")[0], b.raw) for b in bad] == [
        (1, 3, "bad_utf8", "\\xff,3\n")
    ]


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "tsv"])
@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_records_before_the_cut_of_a_truncated_file_are_kept(tmp_path: Path, kind: str, ending: str) -> None:
    # Digests hardly compress, and 10,000 of them fill several zstd blocks (128 KiB each).
    rows = [{"prompt": digest(i), "completion": str(i)} for i in range(10_000)]
    content = {
        "json": json.dumps(rows).encode(),
        "jsonl": jsonl(rows),
        "csv": separated(rows, ","),
        "tsv": separated(rows, "\t"),
    }
    whole = PACK[ending](content[kind])
    good, bad = read(tmp_path, f"rows.{kind}{ending}", whole[: len(whole) * 3 // 4])
    assert 2_500 < len(good) < 10_000
    assert [r.value for r in good] == rows[: len(good)]
    assert [(b.row, b.reason.partition(":")[0]) for b in bad] == [(len(good), f"truncated_{ending[1:]}")]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_records_of_a_file_that_is_not_compressed_at_all_are_one_bad_row(tmp_path: Path, ending: str) -> None:
    good, bad = read(tmp_path, f"rows.jsonl{ending}", jsonl(ROWS))
    assert (good, [b.reason.partition(":")[0] for b in bad]) == ([], [f"corrupt_{ending[1:]}"])


def test_records_of_a_file_whose_checksum_is_wrong_say_corrupt(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(jsonl(ROWS)))
    content[-6] ^= 1
    _, bad = read(tmp_path, "rows.jsonl.gz", bytes(content))
    assert [b.reason.partition(":")[0] for b in bad] == ["corrupt_gz"]


EMPTY = ["rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "rows.parquet"]


@pytest.mark.parametrize("name", EMPTY)
def test_records_of_a_zero_byte_file_are_one_bad_row(tmp_path: Path, name: str) -> None:
    good, bad = read(tmp_path, name, b"")
    assert good == []
    assert [(b.row, b.reason.partition(":")[0]) for b in bad] == [(None, "empty_file")]


def test_records_of_a_zero_byte_file_under_gz_are_one_bad_row(tmp_path: Path) -> None:
    assert [b.reason.partition(":")[0] for b in read(tmp_path, "a.jsonl.gz", b"")[1]] == ["empty_file"]
    assert [b.reason.partition(":")[0] for b in read(tmp_path, "b.csv.gz", gzip.compress(b""))[1]] == [
        "empty_file"
    ]


def test_records_of_files_that_hold_no_row_on_purpose_are_none(tmp_path: Path) -> None:
    assert read(tmp_path, "rows.json", b" [ ] \n") == ([], [])
    assert read(tmp_path, "rows.csv", b"prompt,completion\n") == ([], [])
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "rows.parquet")
    assert list(records(str(tmp_path / "rows.parquet"))) == []


@pytest.mark.parametrize(
    ("content", "rows_kept", "line"),
    [
        (b'{"prompt": \n "a"', 0, 2),
        (b"nothing like JSON", 0, 1),
        (b'[{"a": 1},\n{"a": 2},\n{"a": oops}]', 2, 3),
        (b'[{"a": 1}\n{"a": 2}]', 1, 2),
        (b'[{"a": 1}', 1, 1),
        (b'[{"a": 1},', 1, 1),
        (b'[{"a": 1}]\n[{"a": 2}]', 1, 1),
    ],
)
def test_records_of_json_that_does_not_parse_end_there_with_one_bad_row(
    tmp_path: Path, content: bytes, rows_kept: int, line: int
) -> None:
    good, bad = read(tmp_path, "rows.json", content)
    assert len(good) == rows_kept
    assert [(b.row, b.line) for b in bad] == [(rows_kept, line)]
    assert bad[0].reason.startswith("broken_json: ")
    assert bad[0].reason.endswith("the rest of the file is lost")


def test_records_of_csv_with_wrong_field_counts_lose_those_rows_only(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.csv", b"a,b\n1,2\n3\n4,5,6\n7,8\n")
    assert [(r.row, r.value) for r in good] == [(0, {"a": "1", "b": "2"}), (3, {"a": "7", "b": "8"})]
    assert [(b.row, b.line, b.reason) for b in bad] == [
        (1, 3, "wrong_field_count: 1, not 2"),
        (2, 4, "wrong_field_count: 3, not 2"),
    ]


def test_records_of_csv_with_a_stray_quote_lose_that_row_only(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.csv", b'a,b\n1,2\n"3"x,4\n5,6\n')
    assert [r.row for r in good] == [0, 2]
    assert [(b.row, b.line, b.reason.partition(":")[0]) for b in bad] == [(1, 3, "broken_csv")]


def test_records_of_csv_with_a_quote_never_closed_end_there(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.csv", b'a,b\n1,2\n"3,4\n5,6\n')
    assert [r.row for r in good] == [0]
    assert [(b.row, b.line, b.reason.partition(":")[0]) for b in bad] == [(1, 3, "broken_csv")]


def test_records_of_csv_whose_header_repeats_a_name_are_one_bad_row(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.csv", b"a,a\n1,2\n")
    assert (good, [b.reason.partition(":")[0] for b in bad]) == ([], ["missing_header"])


def test_records_of_corrupt_parquet_are_one_bad_row(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "rows.parquet", b"PAR1 but nothing else of it PAR1")
    assert good == []
    assert [(b.row, b.line, b.reason.partition(":")[0]) for b in bad] == [(0, None, "corrupt_parquet")]


def test_records_of_parquet_damaged_in_a_later_row_group_keep_the_first(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = [{"prompt": f"{i * 7919 % 10_007:08d}", "completion": "b"} for i in range(4_096)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2_048, compression="zstd")
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(bytes(content))
    found = list(records(str(path)))
    assert [r.value for r in found[:-1] if isinstance(r, Record)] == rows[:2_048]
    assert isinstance(found[-1], BadRow)
    assert found[-1].row == 2_048
    assert found[-1].reason.startswith("corrupt_parquet: ")


def test_records_of_parquet_with_a_string_that_is_not_utf8_lose_that_row_only(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"\xff", b"c"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": raw}), tmp_path / "rows.parquet")
    found = list(records(str(tmp_path / "rows.parquet")))
    assert [r.row for r in found if isinstance(r, Record)] == [0, 2]
    assert [(b.row, b.reason.partition(":")[0]) for b in found if isinstance(b, BadRow)] == [(1, "bad_utf8")]


def test_records_of_a_missing_file_raise_instead_of_being_bad(tmp_path: Path) -> None:
    for name in ("rows.jsonl", "rows.json", "rows.csv", "rows.parquet"):
        with pytest.raises(FileNotFoundError):
            list(records(str(tmp_path / name)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "jsonl"),
        ("A.JSON.GZ", "json"),
        ("a.b.tsv.zst", "tsv"),
        ("a.parquet", "parquet"),
        ("a.parquet.gz", None),
        ("a.txt", None),
        ("a.gz", None),
        ("jsonl", None),
        ("jsonl.gz", None),
        ("rows.jsonl/part", None),
        ("s3://bucket/v1.2/rows.csv.gz", "csv"),
    ],
)
def test_kind_of_name_is_told_by_its_ending(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


@settings(deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from(["jsonl", "json", "csv", "tsv", "jsonl.gz", "json.zst", "parquet"]),
)
def test_records_of_any_bytes_never_raise_and_number_rows_in_order(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    found = list(records(written(folder, f"any.{ending}", content)))
    numbered = [r.row for r in found if r.row is not None]
    assert numbered == list(range(len(numbered)))
    pa.array([b.raw + b.reason for b in found if isinstance(b, BadRow)], pa.string())


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40) | st.just(b'{"a": 1}'), min_size=1, max_size=20))
def test_records_of_jsonl_account_for_every_line_that_is_not_blank(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    content = b"\n".join(parts)
    found = list(records(written(tmp_path_factory.getbasetemp(), "lines.jsonl", content)))
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    filled = [i for i, line in enumerate(lines, 1) if line.strip()]
    assert [r.line for r in found] == (filled or [None])


class FailingDisk(io.BytesIO):
    """A file whose bytes of the first megabyte cannot be read."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() < 1 << 20 and size != 0:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


def test_records_of_parquet_that_the_disk_fails_to_read_raise_instead_of_being_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.parquet").mkdir()
    with pytest.raises(IsADirectoryError):
        list(records(str(tmp_path / "rows.parquet")))
    content = io.BytesIO()
    pq.write_table(pa.table({"a": range(1_000_000)}), content, compression="none", use_dictionary=False)
    path = written(tmp_path, "large.parquet", content.getvalue())
    monkeypatch.setattr(readers, "open", lambda *_: FailingDisk(Path(path).read_bytes()), raising=False)
    with pytest.raises(OSError, match="Input/output error"):
        list(records(path))
