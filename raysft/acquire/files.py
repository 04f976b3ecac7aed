"""Files of a source: which ones a path names, what tells their content, and their rows.

In folders and globs, names that begin with `.` or `_` and unknown endings are passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

from pydantic import Field

from raysft.acquire.readers import KINDS, BadRow, Record, kind_of, records
from raysft.acquire.unit import Labels, Unit
from raysft.stage import StrictModel
from raysft.stores.opening import asked, etag_of, info_of, is_local, open_store, opened


class Files(StrictModel):
    """Fields of every source that is made of files."""

    path: str = Field(
        min_length=1, description="a file, a folder or a glob; local, or any fsspec URI such as s3://"
    )
    licence: str | None = Field(None, description="licence of the rows that name none")
    task: str | None = Field(None, description="task of the rows that name none")
    domain: str | None = Field(None, description="domain of the rows that name none")
    lang: str | None = Field(None, description="ISO 639-1 code of the rows that name none; guessed if unset")
    annotations: dict[str, str] = Field(
        {},
        description="fields that label a row, by the question they answer: {quality: is_correct}; a dot "
        "leads into an object, a missing field or null is no label",
    )
    limit: int | None = Field(None, ge=1, description="only the first n rows of each file")

    @property
    def labels(self) -> Labels:
        """What the recipe says of the rows."""
        return Labels(self.licence, self.task, self.domain, self.lang, self.annotations)


def units_of(source: Files, kinds: Collection[str] = KINDS) -> list[Unit]:
    """The files of a source, one unit each, sorted by path; `kinds` are the endings that it reads.

    Raises:
        FileNotFoundError: nothing matches; names the pattern.
        ValueError: a file named directly has an ending that is not read.
    """
    fs, path = open_store(source.path)
    start, stop = (0, source.limit) if source.limit else (None, None)
    units = []
    for found in _matches(fs, path, source.path, kinds):
        uri = found if is_local(fs) else fs.unstrip_protocol(found)
        content, size = _content_identity(fs, found, uri)
        units.append(Unit(uri, content, size, start, stop))
    return units


def records_of(unit: Unit) -> Iterator[Record | BadRow]:
    """The rows of a unit's range; what concerns the file as a whole belongs to its first row."""
    for row in records(unit.uri):
        at = row.row or 0
        if unit.stop is not None and at >= unit.stop:
            return
        if at >= (unit.start or 0):
            yield row


def _matches(fs: Any, path: str, pattern: str, kinds: Collection[str]) -> list[str]:
    """Paths of the files that a pattern names, sorted."""
    allowed = " ".join(f".{kind}" for kind in kinds) + "; also .gz and .zst of those that are text"
    is_glob = any(c in path for c in "*?[")
    info = info_of(fs, path, pattern)
    if info is not None and info["type"] == "file":
        if kind_of(path, kinds) is None:
            raise ValueError(f"{pattern}: this ending is not read; allowed: {allowed}")
        return [path]
    if info is not None:
        root = path.rstrip("/") + "/"
        listed = asked(fs, lambda: fs.find(path), pattern, "listed")
        found = [p for p in listed if not _is_hidden(p.removeprefix(root))]
    else:
        named = pattern.rstrip("/").rpartition("/")[2][:1] in (".", "_")
        listed = asked(fs, lambda: fs.glob(path, detail=True), pattern, "listed") if is_glob else {}
        files = [p for p, info in listed.items() if info["type"] == "file"]
        found = [p for p in files if named or not _is_hidden(p.rpartition("/")[2])]
    known = sorted(p for p in found if kind_of(p, kinds) is not None)
    if not known:
        passed_over = f" ({len(found)} with other endings)" if found else ""
        raise FileNotFoundError(f"no file matches {pattern!r}{passed_over}; read are: {allowed}")
    return known


def _is_hidden(relative: str) -> bool:
    return any(part.startswith((".", "_")) for part in relative.split("/"))


def content_of(path: str) -> str:
    """What tells the content of one file: the store's ETag if it has one, else SHA-256.

    Raises:
        FileNotFoundError: there is no such file.
    """
    fs, found = open_store(path)
    return _content_identity(fs, found, path)[0]


def _content_identity(fs: Any, path: str, uri: str) -> tuple[str, int]:
    """What tells a file's content, and its size in bytes: the store's ETag if it has one, else SHA-256."""
    if is_local(fs):
        info = fs.info(path)
        return _local_digest(path, info["size"], info["mtime"]), info["size"]
    found = info_of(fs, path, uri)
    if found is None:
        raise FileNotFoundError(f"{uri}: there is no such object")
    etag = etag_of(found)
    if etag:
        return f"{etag}:{found['size']}", found["size"]
    with opened(fs, path, uri) as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), found["size"]


@lru_cache(maxsize=65_536)
def _local_digest(path: str, size: int, mtime: float) -> str:
    """SHA-256 of a file. A plan is made more than once in a process; size and time are there so that a
    changed file is read again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
