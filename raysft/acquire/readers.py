"""File → raw records, each with its place in the file; what cannot be read becomes a `BadRow`.

Kinds, by ending: .jsonl .json .csv .tsv, each also with .gz or .zst, and .parquet.

A *row* is one record, counted from 0 over good and bad ones alike (blank lines are none); so a bad row
that is mended in place leaves the offsets of all others as they were. A *line* is counted from 1; in a
CSV it is the line where the record starts. Reasons begin with a word of their own, then a colon:
broken_json, bad_utf8, broken_csv, wrong_field_count, missing_header, corrupt_parquet, empty_file, and
those of `raysft.acquire.streams.Damaged`. Where one `BadRow` stands for the whole rest of a file, its
reason says so.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from raysft.acquire.streams import Damaged, blocks, lines
from raysft.stores.opening import is_local, open_store, opened

KINDS = ("jsonl", "json", "csv", "tsv", "parquet")
ALLOWED_ENDINGS = ".jsonl .json .csv .tsv (each also .gz or .zst) .parquet"
BINARY = ("parquet", "pdf")
MAX_RAW_CHARACTERS = 1_000
MAX_REASON_CHARACTERS = 300
PARQUET_BATCH_ROWS = 1_024
REST_IS_LOST = "the rest of the file is lost"
COPY_BYTES = 8 << 20
# A .json file is taken for JSON lines when one of its first lines is an object by itself.
JSONL_LINES = 20
_BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Record:
    """One row as it was read: any JSON value. `raw` is its text, cut, or None where there is none."""

    row: int
    line: int | None
    value: Any
    raw: str | None


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: where it is, why (`reason`), and its text (at most 1,000 characters)."""

    uri: str
    row: int | None
    line: int | None
    reason: str
    raw: str


def kind_of(name: str, kinds: Collection[str] = KINDS) -> str | None:
    """The kind of file that a name's ending tells, or None for an ending that is none of `kinds`."""
    endings = name.lower().rpartition("/")[2].split(".")[1:]
    is_compressed = endings[-1:] in (["gz"], ["zst"])
    kind = endings[-2 if is_compressed else -1] if len(endings) > is_compressed else None
    return kind if kind in kinds and not (is_compressed and kind in BINARY) else None


def records(uri: str) -> Iterator[Record | BadRow]:
    """All rows of a file, in order.

    Raises:
        ValueError: the ending is not one that is read.
        OSError: the file cannot be opened or fetched.
    """
    kind = kind_of(uri)
    if kind == "jsonl":
        return _read_jsonl(uri)
    if kind == "json":
        return _read_json(uri)
    if kind in ("csv", "tsv"):
        return _read_csv(uri, "," if kind == "csv" else "\t")
    if kind == "parquet":
        return _read_parquet(uri)
    raise ValueError(f"{uri}: this ending is not read; allowed: {ALLOWED_ENDINGS}")


def bad_row(uri: str, row: int | None, line: int | None, reason: str, raw: str | bytes) -> BadRow:
    """A `BadRow` whose texts are cut to length and hold nothing that UTF-8 cannot."""
    if isinstance(raw, bytes):
        # Four bytes are the most a character takes.
        raw = raw[: 4 * MAX_RAW_CHARACTERS].decode("utf-8", "backslashreplace")
    return BadRow(uri, row, line, _plain(reason, MAX_REASON_CHARACTERS), _plain(raw, MAX_RAW_CHARACTERS))


def _plain(text: str, limit: int) -> str:
    return text[:limit].encode("utf-8", "backslashreplace").decode("utf-8")[:limit]


def _read_jsonl(uri: str) -> Iterator[Record | BadRow]:
    row, number = 0, 0
    try:
        for number, line in enumerate(lines(uri), 1):
            text = line.removeprefix(_BOM) if number == 1 else line
            if text.strip():
                yield _json_line(uri, row, number, text)
                row += 1
    except Damaged as damage:
        yield bad_row(uri, row, number + 1, f"{damage.reason}; {REST_IS_LOST}", damage.tail)
        return
    if row == 0:
        yield _empty_file(uri)


def _empty_file(uri: str) -> BadRow:
    return bad_row(uri, None, None, "empty_file: there is nothing in it", "")


def _json_line(uri: str, row: int, number: int, line: bytes) -> Record | BadRow:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return bad_row(uri, row, number, f"bad_utf8: {error.reason} at byte {error.start}", line)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return bad_row(uri, row, number, f"broken_json: {error}", text)
    return Record(row, number, value, text[:MAX_RAW_CHARACTERS])


def _read_json(uri: str) -> Iterator[Record | BadRow]:
    """An array of rows, one row, or (as many .json files are) one row a line."""
    damage: Damaged | None = None
    parts: list[bytes] = []
    try:
        parts.extend(blocks(uri))
    except Damaged as error:
        damage = error
    # The stdlib decoder wants text: bytes that are not UTF-8 become lone surrogates until a row is judged.
    text = b"".join(parts).removeprefix(_BOM).decode("utf-8", "surrogateescape")
    del parts
    begin = _skip_space(text, 0)
    if begin == len(text) and damage is None:
        yield _empty_file(uri)
    elif text.startswith("[", begin):
        yield from _json_array(uri, text, begin, damage)
    elif any(_is_json_object(line) for line in text[begin:].split("\n", JSONL_LINES)[:JSONL_LINES]):
        yield from _read_jsonl(uri)
    else:
        yield from _json_value(uri, text, damage)


def _is_json_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _json_value(uri: str, text: str, damage: Damaged | None) -> Iterator[Record | BadRow]:
    reason = damage.reason if damage else ""
    line = 1
    if not reason:
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            reason, line = f"broken_json: {error}", error.lineno
        except (ValueError, RecursionError) as error:
            reason = f"broken_json: {error}"
    if reason:
        yield _bad_text(uri, 0, line, f"{reason}; {REST_IS_LOST}", text)
    else:
        yield _judged(uri, Record(0, 1, value, text[:MAX_RAW_CHARACTERS]), text)


def _json_array(uri: str, text: str, begin: int, damage: Damaged | None) -> Iterator[Record | BadRow]:
    """The elements of a top-level array one by one, up to the first that does not parse."""
    decode = json.JSONDecoder().raw_decode
    row, line, seen = 0, 1, 0
    at = _skip_space(text, begin + 1)
    closed = text.startswith("]", at)
    reason = ""
    while not closed and not reason:
        line, seen = line + text.count("\n", seen, at), at
        try:
            value, end = decode(text, at)
        except (ValueError, RecursionError) as error:
            reason = f"broken_json: {error}"
            break
        element = text[at:end]
        yield _judged(uri, Record(row, line, value, element[:MAX_RAW_CHARACTERS]), element)
        row, at = row + 1, _skip_space(text, end)
        closed = text.startswith("]", at)
        if text.startswith(",", at):
            at = _skip_space(text, at + 1)
        elif not closed:
            reason = "broken_json: no comma after an element"
    if closed and text[at + 1 :].strip():
        reason = "broken_json: there is more after the array"
    if damage:
        reason = damage.reason
    if reason:
        line += text.count("\n", seen, at)
        yield _bad_text(uri, row, line, f"{reason}; {REST_IS_LOST}", text[at:])


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _judged(uri: str, record: Record, text: str) -> Record | BadRow:
    """The record, or a bad row where its text held bytes that are not UTF-8."""
    if _has_bad_bytes(text):
        return _bad_text(uri, record.row, record.line, "bad_utf8: bytes that are not UTF-8", text)
    return record


def _has_bad_bytes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _read_csv(uri: str, delimiter: str) -> Iterator[Record | BadRow]:
    """Rows as objects of text, keyed by the header line."""
    header: list[str] | None = None
    row = 0
    for line, fields, reason, raw in _csv_fields(uri, delimiter):
        if header is None:
            if reason or _has_bad_bytes(raw) or len(set(fields)) < len(fields):
                why = reason or "missing_header: the first line does not name the columns"
                yield _bad_text(uri, None, line, f"{why}; {REST_IS_LOST}", raw)
                return
            header = fields
            continue
        if reason:
            yield _bad_text(uri, row, line, reason, raw)
        else:
            yield _csv_row(uri, row, line, header, fields, raw)
        row += 1
    if header is None:
        yield _empty_file(uri)


def _csv_fields(uri: str, delimiter: str) -> Iterator[tuple[int, list[str], str, str]]:
    """(line, fields, reason, text) of each non-blank record; `reason` is "" where it could be read."""
    # The library's limit is for the whole process; 131,072 characters are too few for a long answer.
    csv.field_size_limit(sys.maxsize)
    consumed: list[str] = []

    def text_lines() -> Iterator[str]:
        for number, line in enumerate(lines(uri)):
            text = line if number else line.removeprefix(_BOM)
            consumed.append(text.decode("utf-8", "surrogateescape"))
            yield consumed[-1]

    reader = csv.reader(text_lines(), delimiter=delimiter, strict=True)
    while True:
        consumed.clear()
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except Damaged as damage:
            consumed.append(damage.tail.decode("utf-8", "surrogateescape"))
            yield line, [], f"{damage.reason}; {REST_IS_LOST}", "".join(consumed)
            return
        except csv.Error as error:
            yield line, [], f"broken_csv: {error}", "".join(consumed)
            continue
        if fields:
            yield line, fields, "", "".join(consumed)


def _bad_text(uri: str, row: int | None, line: int | None, reason: str, text: str) -> BadRow:
    raw = text[:MAX_RAW_CHARACTERS].encode("utf-8", "surrogateescape")
    return bad_row(uri, row, line, reason, raw)


def _csv_row(
    uri: str, row: int, line: int, header: list[str], fields: list[str], raw: str
) -> Record | BadRow:
    if len(fields) != len(header):
        return bad_row(uri, row, line, f"wrong_field_count: {len(fields)}, not {len(header)}", raw)
    record = Record(row, line, dict(zip(header, fields, strict=True)), raw[:MAX_RAW_CHARACTERS])
    return _judged(uri, record, raw)


def _read_parquet(uri: str) -> Iterator[Record | BadRow]:
    with _local_copy(uri) as (path, size):
        if size == 0:
            yield _empty_file(uri)
            return
        with open(path, "rb") as handle:
            yield from _parquet_rows(uri, handle)


def _parquet_rows(uri: str, handle: BinaryIO) -> Iterator[Record | BadRow]:
    row = 0
    try:
        with pq.ParquetFile(handle) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                yield from _batch_rows(uri, batch, row)
                row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        # Arrow reports damage as an OSError without a number; one with a number is the disk's.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        yield bad_row(uri, row, None, f"corrupt_parquet: {error}; {REST_IS_LOST}", "")


@contextmanager
def _local_copy(uri: str) -> Iterator[tuple[str, int]]:
    """Path and size in bytes of a file on this machine, fetched first where it is elsewhere: so that a
    broken connection is never taken for a broken file."""
    fs, path = open_store(uri)
    if is_local(fs):
        yield path, fs.size(path)
        return
    with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
        with opened(fs, path, uri) as remote:
            shutil.copyfileobj(remote, copy, COPY_BYTES)
        copy.flush()
        yield copy.name, copy.tell()


def _batch_rows(uri: str, batch: pa.RecordBatch, start: int) -> Iterator[Record | BadRow]:
    try:
        values = batch.to_pylist()
    except UnicodeDecodeError:
        for i in range(batch.num_rows):
            try:
                (value,) = batch.slice(i, 1).to_pylist()
            except UnicodeDecodeError as error:
                reason = f"bad_utf8: {error.reason} at byte {error.start}"
                yield bad_row(uri, start + i, None, reason, error.object)
            else:
                yield Record(start + i, None, value, None)
        return
    for i, value in enumerate(values):
        yield Record(start + i, None, value, None)
