"""From an address to its file system, and from a path to its bytes: the only place where stores are opened.

Endpoint, credentials and region come from the environment, from the profile it names, or from the machine's
role, as botocore, gcsfs and adlfs find them; a recipe cannot hold them. A process that talks to a bucket of
S3 for the first time asks it one question: a wrong endpoint, bucket or key is told within seconds.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import fsspec

from raysft.stores.addresses import PACKAGES, S3, has_credentials, redacted, scheme_of
from raysft.stores.failures import StoreError, is_missing, is_no_answer, is_transient, told
from raysft.stores.retries import tried

CONNECT_S, READ_S = 3, 20
"""Seconds to wait for a connection, and for the next bytes of an answer."""
REQUEST_ATTEMPTS = 3
FIRST_ANSWER_S = 15
"""Seconds for the first answer of a bucket to a process that is no worker, all attempts together."""
BUFFER_BYTES = 1 << 20
Result = TypeVar("Result")

S3_OPTIONS: dict[str, Any] = {
    "use_listings_cache": False,
    "config_kwargs": {
        "connect_timeout": CONNECT_S,
        "read_timeout": READ_S,
        # "standard" waits with jitter and stops repeating where most requests fail
        "retries": {"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
    },
}

_lock = threading.Lock()
_answered: set[tuple[str, ...]] = set()
_is_worker = False


def trust_stores() -> None:
    """Called where work arrives from a process that has talked to the stores: what does not answer here is a
    disturbance, to be patient with, and no mistake of the recipe."""
    global _is_worker  # noqa: PLW0603
    _is_worker = True


def open_store(uri: str) -> tuple[Any, str]:
    """(the file system of an address or path, the path as it names it).

    Raises:
        StoreError: a package is missing, the scheme is unknown, or the bucket cannot be talked to.
    """
    scheme = scheme_of(uri)
    if has_credentials(uri):
        raise StoreError(
            f"{redacted(uri)} holds credentials, which would be stored with the run; "
            "leave them out: they are taken from the environment or the machine's role"
        )
    options = S3_OPTIONS if scheme in S3 else {"use_listings_cache": False} if scheme in PACKAGES else {}
    try:
        fs, path = fsspec.core.url_to_fs(uri, **options)
    except ImportError as error:
        package = PACKAGES.get(scheme)
        hint = f"pip install {package}" if package else redacted(str(error))
        raise StoreError(f"{scheme}:// needs the package {package or 'named here'}: {hint}") from error
    except ValueError as error:
        known = ", ".join(f"{s}://" for s in ("s3", "gs", "az"))
        raise StoreError(f"{redacted(uri)}: {error}; allowed: a path of this machine, {known}") from error
    if scheme in S3:
        fs.retries = 1  # raysft.stores.retries says who repeats what
        _greet(fs, uri, path)
    return fs, path


def is_local(fs: Any) -> bool:
    """Whether a file system is this machine's."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def _greet(fs: Any, uri: str, path: str) -> None:
    """Ask the bucket for one name, once a process: an answer of any kind but the wrong bucket or the wrong
    credentials will do, since a role may be allowed to read objects and not to list them."""
    bucket = path.partition("/")[0]
    if not bucket:
        raise StoreError(f"{redacted(uri)} names no bucket; allowed: s3://bucket/prefix")
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    known = (bucket, *(hashlib.sha256(os.environ.get(name, "").encode()).hexdigest() for name in names))
    with _lock:
        if _is_worker or known in _answered:
            return
        try:
            fs.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1, timeout=FIRST_ANSWER_S)
        except Exception as error:
            final = told(error, uri, "listed")
            is_denied = isinstance(final, StoreError) and " may not be " in str(final)
            is_busy = is_transient(error) and not is_no_answer(error)
            if not (is_denied or is_busy or is_missing(error)):
                raise final from error
        _answered.add(known)


class _Patient(io.RawIOBase):
    """A store's file, of which each read is tried again while its errors are transient."""

    def __init__(self, file: Any, uri: str) -> None:
        self._file = file
        self._uri = uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, target: Any) -> int:
        data = tried(lambda: self._file.read(len(target)), self._uri, "read")
        target[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextmanager
def open_file(uri: str) -> Iterator[io.BufferedReader[Any]]:
    """A file to be read, of this machine or of a store.

    Raises:
        FileNotFoundError: there is none.
        StoreError: the store did not give it.
    """
    fs, path = open_store(uri)
    with opened(fs, path, uri) as file:
        yield file


@contextmanager
def opened(fs: Any, path: str, uri: str) -> Iterator[io.BufferedReader[Any]]:
    """`open_file` where the file system is at hand."""
    if is_local(fs):
        with open(path, "rb") as file:
            yield file
        return
    remote = tried(lambda: fs.open(path, "rb"), uri, "read")
    with io.BufferedReader(_Patient(remote, uri), BUFFER_BYTES) as buffered:
        yield buffered


def read_bytes(uri: str, limit: int | None = None) -> bytes:
    """The bytes of a small file, of this machine or of a store; at most `limit` of them.

    Raises:
        FileNotFoundError, StoreError: see `open_file`.
    """
    with open_file(uri) as file:
        return file.read() if limit is None else file.read(limit)


def write_bytes(uri: str, data: bytes) -> None:
    """Write a small file whole, on this machine or in a store.

    Raises:
        StoreError: the store did not take it.
    """
    fs, path = open_store(uri)
    if is_local(fs):
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    asked(fs, lambda: fs.pipe_file(path, data), uri, "written")


def read_text(uri: str) -> str:
    """The text of a small file in UTF-8, its lines ended by line feeds; see `read_bytes`."""
    return io.TextIOWrapper(io.BytesIO(read_bytes(uri)), encoding="utf-8").read()


def asked(fs: Any, call: Callable[[], Result], uri: str, doing: str) -> Result:
    """What an idempotent call of a file system returns: a store's is tried again, this machine's is not."""
    return call() if is_local(fs) else tried(call, uri, doing)


def info_of(fs: Any, path: str, uri: str) -> dict[str, Any] | None:
    """What a file system says of a path, None where there is nothing."""
    try:
        found: dict[str, Any] = asked(fs, lambda: fs.info(path), uri, "read")
    except FileNotFoundError:
        return None
    return found


def files_below(folder: str) -> dict[str, dict[str, Any]]:
    """All files of a folder, also of folders in it: relative name → what its file system says of it.

    Raises:
        StoreError: the store did not list them.
    """
    fs, path = open_store(folder)
    found: dict[str, dict[str, Any]] = asked(fs, lambda: fs.find(path, detail=True), folder, "listed")
    root = path.rstrip("/") + "/"
    below = {name.removeprefix(root): info for name, info in found.items() if name.startswith(root)}
    return {name: info for name, info in sorted(below.items()) if name and info["type"] == "file"}


def files_in(folder: str) -> list[str]:
    """Names of the files directly in a folder, sorted; empty where there is no such folder."""
    fs, path = open_store(folder)
    try:
        entries: list[dict[str, Any]] = asked(fs, lambda: fs.ls(path, detail=True), folder, "listed")
    except (FileNotFoundError, NotADirectoryError):
        return []
    root = path.rstrip("/") + "/"
    files = (entry["name"] for entry in entries if entry["type"] == "file")
    return sorted(name.removeprefix(root) for name in files if name.startswith(root) and name != root)


def etag_of(info: dict[str, Any]) -> str:
    """What a store says of an object's content, "" where it says nothing."""
    return str(info.get("ETag") or info.get("etag") or "").strip('"')
