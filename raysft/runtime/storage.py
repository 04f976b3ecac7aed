"""One storage root, a folder or any fsspec URI (`s3://bucket/prefix`), for everything a run writes.

Objects are written whole and never changed in place. Nothing here relies on rename, on conditional
writes or on listing being atomic; a reader knows an object by a record that names it (manifest.py). What a
store fails to do is tried again as `raysft.stores.retries` says; large objects go up and come down in parts.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysft.stores.addresses import S3, is_uri, scheme_of
from raysft.stores.download import download_folder, download_object
from raysft.stores.opening import asked, is_local, open_store, opened, trust_stores
from raysft.stores.retries import tried

ROW_GROUP_ROWS = 4096
PIECE_BYTES = 1 << 20
CONDITION_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict")
"""S3's error codes for "only if there is none" where there is one, or where another is just being written."""
PART_BYTES = 16 << 20
"""Of a multipart upload. Objects below twice as much go up in one request."""
MAX_PARTS = 10_000  # of one upload, as S3 allows
PARTS_AT_ONCE = 4


@dataclass(frozen=True)
class Blob:
    """An object that was written: its name within its folder, size in bytes and SHA-256."""

    name: str
    bytes: int
    sha256: str


class Storage:
    """Reads and writes objects below a root by relative path ("stages/03-evolve-…/part.parquet").

    Cheap to pickle: the file system is opened again where it is used.
    """

    def __init__(self, root: str) -> None:
        self.root = root if is_uri(root) else str(Path(root).resolve())
        self._open()

    def _open(self) -> None:
        self._fs, self._path = open_store(self.root)
        self._is_local = is_local(self._fs)

    def __getstate__(self) -> dict[str, str]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.root = state["root"]
        trust_stores()
        self._open()

    def full(self, path: str) -> str:
        """The path as its file system names it."""
        return f"{self._path.rstrip('/')}/{path}" if path else self._path

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return self._is_local

    @property
    def filesystem(self) -> Any:
        """The fsspec file system behind it, for what goes beyond whole objects."""
        return self._fs

    def uri(self, path: str = "") -> str:
        """The path as a user would type it."""
        return f"{self.root.rstrip('/')}/{path}" if path else self.root

    def write_bytes(self, path: str, data: bytes) -> Blob:
        """Write an object whole; on a folder through a temporary name, so that no reader sees a part."""
        full = self.full(path)
        if self._is_local:
            Path(full).parent.mkdir(parents=True, exist_ok=True)
            temporary = f"{full}.{uuid.uuid4().hex}.tmp"
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, full)
        else:
            tried(lambda: self._fs.pipe_file(full, data, **self._parts(len(data))), self.uri(path), "written")
        return Blob(path.rsplit("/", 1)[-1], len(data), hashlib.sha256(data).hexdigest())

    def create_bytes(self, path: str, data: bytes) -> bool:
        """Write an object where there is none; False where there is one. A folder keeps to that; of stores,
        some let several writers at once succeed (Swift does), so that nothing may rest on it.

        Raises:
            UnsupportedOperation: this store or file system cannot do it; nothing was written.
        """
        if not self._is_local:
            try:
                self._fs.pipe_file(self.full(path), data, mode="create")  # once: again, it would find itself
            except FileExistsError:
                return False
            except OSError as error:
                if any(code in str(error.__cause__) for code in CONDITION_REFUSED):
                    return False
                if error.errno == errno.ENOSYS:
                    raise io.UnsupportedOperation(str(error)) from None
                raise
            return True
        unlinked = f"{path}.{uuid.uuid4().hex}.tmp"
        self.write_bytes(unlinked, data)
        try:
            os.link(self.full(unlinked), self.full(path))
        except FileExistsError:
            return False
        except OSError as error:  # a file system without hard links
            raise io.UnsupportedOperation(str(error)) from None
        finally:
            os.unlink(self.full(unlinked))
        return True

    def write_file(self, source: Path, path: str) -> Blob:
        """Copy a local file to an object, whole as `write_bytes` does; it may be larger than memory."""
        full, state = self.full(path), hashlib.sha256()
        with open(source, "rb") as file:
            while piece := file.read(PIECE_BYTES):
                state.update(piece)
        if self._is_local:
            Path(full).parent.mkdir(parents=True, exist_ok=True)
            temporary = f"{full}.{uuid.uuid4().hex}.tmp"
            shutil.copyfile(source, temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, full)
        else:
            parts = self._parts(source.stat().st_size)
            tried(lambda: self._fs.put_file(str(source), full, **parts), self.uri(path), "written")
        return Blob(path.rsplit("/", 1)[-1], source.stat().st_size, state.hexdigest())

    def read_bytes(self, path: str) -> bytes:
        """The whole object; `FileNotFoundError` where there is none."""
        data: bytes = self._ask(self._fs.cat_file, path, "read")
        return data

    def exists(self, path: str) -> bool:
        """Whether there is an object or folder."""
        found: bool = self._ask(self._fs.exists, path, "read")
        return found

    def _ask(self, call: Callable[..., Any], path: str, doing: str, **options: Any) -> Any:
        """An idempotent call of the file system on a path; a store's is tried again, a folder's is not."""
        full = self.full(path)
        return asked(self._fs, lambda: call(full, **options), self.uri(path), doing)

    def _parts(self, size: int) -> dict[str, int]:
        """How an object of this size is cut for an upload; other stores than S3 have ways of their own."""
        if scheme_of(self.root) not in S3:
            return {}
        return {"chunksize": max(PART_BYTES, -(-size // MAX_PARTS)), "max_concurrency": PARTS_AT_ONCE}

    def names(self, folder: str) -> list[str]:
        """Sorted names directly below a folder; empty where there is no such folder."""
        try:
            entries = self._ask(self._fs.ls, folder, "listed", detail=False)
        except FileNotFoundError:
            return []
        names = (entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries)
        return sorted(name for name in names if name and not name.endswith(".tmp"))

    def remove(self, path: str) -> None:
        """Delete an object or a folder with all that is in it."""
        try:
            self._ask(self._fs.rm, path, "removed", recursive=True)
        except FileNotFoundError:
            if self._is_local:
                raise  # a store may have removed it and lost its answer

    def write_json(self, path: str, value: Any) -> Blob:
        return self.write_bytes(path, json.dumps(value, ensure_ascii=False, sort_keys=True).encode())

    def read_json(self, path: str) -> Any:
        return json.loads(self.read_bytes(path))

    def write_table(self, path: str, table: pa.Table) -> Blob:
        """Write a table as one Parquet object (zstd). Texts get dictionaries, numbers none: most of them are
        hashes, scores or vectors, which hardly repeat."""
        sink = io.BytesIO()
        texts = [path for field in table.schema for path in _text_columns(field.type, field.name)]
        pq.write_table(
            table, sink, compression="zstd", row_group_size=ROW_GROUP_ROWS, use_dictionary=texts or False
        )
        return self.write_bytes(path, sink.getvalue())

    def read_table(
        self, path: str, columns: list[str] | None = None, start: int = 0, stop: int | None = None
    ) -> pa.Table:
        """Rows [start, stop) of a Parquet object; of columns it does not have, none are returned."""
        with opened(self._fs, self.full(path), self.uri(path)) as handle:
            file = pq.ParquetFile(handle)
            have = file.schema_arrow.names
            wanted = have if columns is None else [c for c in columns if c in have]
            total = file.metadata.num_rows
            stop = total if stop is None else min(stop, total)
            groups, first, offset = [], None, 0
            for g in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(g).num_rows
                if offset < stop and offset + rows > start:
                    first = offset if first is None else first
                    groups.append(g)
                offset += rows
            table = file.read_row_groups(groups, columns=wanted)
        return table.slice(start - (first or 0), stop - start).combine_chunks()

    def row_groups(self, path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """A Parquet object's rows, at most `ROW_GROUP_ROWS` at a time; of columns it does not have, none."""
        with opened(self._fs, self.full(path), self.uri(path)) as handle:
            file = pq.ParquetFile(handle)
            wanted = [c for c in file.schema_arrow.names if columns is None or c in columns]
            for batch in file.iter_batches(ROW_GROUP_ROWS, columns=wanted):
                yield pa.Table.from_batches([batch])

    def table_schema(self, path: str) -> pa.Schema:
        """Names and types of a Parquet object's columns."""
        with opened(self._fs, self.full(path), self.uri(path)) as handle:
            return pq.ParquetFile(handle).schema_arrow

    def download(self, folder: str, target: Path) -> Path:
        """Copy a folder's objects to a local folder and return it."""
        return download_folder(self.uri(folder), target)

    def download_file(self, path: str, target: Path) -> Path:
        """Copy one object to a local file and return it."""
        download_object(self._fs, self.full(path), self.uri(path), target)
        return target

    def upload(self, source: Path, folder: str) -> None:
        """Copy a local folder's files below a folder here; "" is the root."""
        for file in sorted(p for p in source.rglob("*") if p.is_file()):
            self.write_file(file, f"{folder}/{file.relative_to(source).as_posix()}".lstrip("/"))


def _text_columns(type: pa.DataType, path: str) -> list[str]:
    """Parquet's paths of the strings in a column of this type."""
    if pa.types.is_struct(type):
        return [found for child in type for found in _text_columns(child.type, f"{path}.{child.name}")]
    if pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type):
        return _text_columns(type.value_type, f"{path}.list.element")
    return [path] if pa.types.is_string(type) or pa.types.is_large_string(type) else []
