"""All objects below a folder of a storage root, with size and age, without holding them all at once.

A bucket is read in pages of 1,000 keys, a folder of this machine one folder at a time. For other stores
(`gs://`, `az://`) fsspec gives the whole list in one piece. Only housekeeping lists: a run finds what it
needs by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raysft.runtime.storage import Storage

MODIFIED = ("LastModified", "mtime", "updated", "last_modified", "created")
"""Names under which file systems of fsspec tell when an object was last written."""


PAGE = 1_000
"""Keys that are asked for at once; S3 gives no more."""


@dataclass(frozen=True)
class Object:
    """One object: its path below the storage root, its size and when it was written, in seconds since 1970
    by the store's clock; None where the store does not tell."""

    path: str
    bytes: int
    modified: float | None


def objects(storage: Storage, folder: str = "") -> Iterator[Object]:
    """All objects below a folder at any depth; those of one subfolder follow each other, sorted by name.

    Links are neither followed nor named, so nothing outside the root is ever told.
    """
    prefix = f"{folder}/" if folder else ""
    if storage.is_local:
        yield from _of_folder(storage.full(folder), prefix)
    elif hasattr(storage.filesystem, "call_s3"):
        yield from _of_bucket(storage, prefix)
    else:
        yield from _of_store(storage, folder)


def _of_folder(full: str, prefix: str) -> Iterator[Object]:
    try:
        with os.scandir(full) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _of_folder(entry.path, f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            try:
                told = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # removed since the folder was read
                continue
            yield Object(f"{prefix}{entry.name}", told.st_size, told.st_mtime)


def _of_bucket(storage: Storage, prefix: str) -> Iterator[Object]:
    fs = storage.filesystem
    bucket, root, _ = fs.split_path(storage.full(""))
    root = f"{root.rstrip('/')}/" if root else ""
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": root + prefix, "MaxKeys": PAGE}
    while True:
        page = fs.call_s3("list_objects_v2", **asked)
        for entry in page.get("Contents", []):
            if not entry["Key"].endswith("/"):  # a folder's place holder, which some tools write
                yield Object(
                    entry["Key"].removeprefix(root), entry["Size"], entry["LastModified"].timestamp()
                )
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def _of_store(storage: Storage, folder: str) -> Iterator[Object]:
    root = storage.full("").rstrip("/") + "/"
    storage.filesystem.invalidate_cache()
    found = storage.filesystem.find(storage.full(folder), detail=True)
    for path, told in sorted(found.items()):
        yield Object(path.removeprefix(root), told.get("size") or 0, _modified(told))


def _modified(told: dict[str, Any]) -> float | None:
    value = next((told[name] for name in MODIFIED if told.get(name) is not None), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.timestamp() if isinstance(value, datetime) else value


def in_bytes(size: int) -> str:
    """A size for people."""
    return f"{size:,} bytes" if size < 1 << 20 else f"{size / 2**20:,.1f} MiB"
