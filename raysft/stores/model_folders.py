"""Models in a store, as folders of this machine: fetched once a node, by whoever needs one first.

A fetched folder is named after the address and what the store says of each file (ETag and size), so that
another model under the same address is another folder. It lies below `$RAYSFT_MODELS`, else below
`raysft/models` in the user's cache, and appears there whole or not at all:

    <name>-<digest>/            config, tokenizer, safetensors and `_fetched.json`, which lists them
    <name>-<digest>.fetching/   what a fetcher, perhaps one that was killed, has so far
    <name>-<digest>.lock        held by the process that fetches; the system lets go of it when that ends
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import filelock
from safetensors import SafetensorError, safe_open

from raysft.stores.addresses import redacted
from raysft.stores.download import download_object
from raysft.stores.failures import StoreError
from raysft.stores.opening import etag_of, files_below, is_local, open_store

LISTING = "_fetched.json"
WEIGHTS = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
FOLDER_VARIABLE = "RAYSFT_MODELS"
WAIT_S = 120
SLOWEST_BYTES_PER_S = 4 << 20
"""What another process that fetches is waited for: `WAIT_S`, and its bytes at this rate."""
SPARE_BYTES = 1 << 30
MD5 = re.compile(r"[0-9a-f]{32}")


def cache_folder() -> Path:
    """Where fetched models are kept on this machine."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / "raysft" / "models"
    usable = home if os.access(home, os.W_OK) else Path(tempfile.gettempdir())
    return usable / "raysft" / "models"


def listing_of(uri: str, suffixes: Collection[str]) -> dict[str, tuple[str, int]]:
    """Of a model's files with these endings what the store says: relative name → (ETag, bytes).

    Raises:
        FileNotFoundError: there is no such file.
        StoreError: its weights are pickles, or the store does not answer.
    """
    found = files_below(uri)
    kept = {
        name: (etag_of(info), int(info["size"]))
        for name, info in found.items()
        if Path(name).suffix in suffixes and not name.startswith(".")
    }
    if not kept:
        raise FileNotFoundError(f"{redacted(uri)} holds no model files ({', '.join(suffixes)})")
    pickles = [name for name in found if Path(name).suffix in PICKLES]
    if WEIGHTS in suffixes and pickles and not any(name.endswith(WEIGHTS) for name in kept):
        raise StoreError(
            f"{redacted(uri)} has its weights in {pickles[0]}, which may hold code; store it as safetensors"
        )
    return kept


def listing_digest(listing: Mapping[str, tuple[str, int]]) -> str:
    """SHA-256 over names, ETags and sizes: what tells a model in a store without reading it."""
    return hashlib.sha256(json.dumps(sorted(listing.items())).encode()).hexdigest()


def fetched(uri: str, suffixes: Collection[str]) -> Path:
    """A folder of this machine with the model's files that have these endings; fetched if it is not here.

    Raises:
        FileNotFoundError: there is no such file in the store.
        StoreError: it is not whole, does not fit the disk, or another process did not finish in time.
    """
    fs, path = open_store(uri)
    if is_local(fs):
        return Path(path)
    listing = listing_of(uri, suffixes)
    address = hashlib.sha256(uri.rstrip("/").encode()).hexdigest()
    digest = hashlib.sha256(f"{address}{listing_digest(listing)}".encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", uri.rstrip("/").rpartition("/")[2])
    target = cache_folder() / f"{name}-{digest}"
    if _is_whole(target, listing):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    size = sum(bytes for _, bytes in listing.values())
    patience = WAIT_S + size / SLOWEST_BYTES_PER_S
    try:
        with filelock.FileLock(f"{target}.lock", timeout=patience):
            if not _is_whole(target, listing):
                _fetch(fs, path.rstrip("/"), uri.rstrip("/"), target, listing)
    except filelock.Timeout:
        raise StoreError(
            f"another process of this machine has been fetching {redacted(uri)} for {patience:,.0f} s; "
            f"end it, or see what holds {target}.lock"
        ) from None
    return target


def _is_whole(folder: Path, listing: Mapping[str, tuple[str, int]]) -> bool:
    """Whether a folder has all files in their size."""
    try:
        known: dict[str, Any] = json.loads((folder / LISTING).read_text(encoding="utf-8"))
        same = {name: tuple(told) for name, told in known["files"].items()} == dict(listing)
        return same and all((folder / n).stat().st_size == size for n, (_, size) in listing.items())
    except (OSError, ValueError, KeyError):
        return False


def _fetch(fs: Any, path: str, uri: str, target: Path, listing: Mapping[str, tuple[str, int]]) -> None:
    """Fetch, under the lock. Files that an earlier fetcher finished are kept: only those have their names."""
    begun = target.with_name(f"{target.name}.fetching")
    begun.mkdir(parents=True, exist_ok=True)
    missing = {n: told for n, told in listing.items() if not _has(begun / n, told[1])}
    needed, free = sum(size for _, size in missing.values()), shutil.disk_usage(begun).free
    if needed + SPARE_BYTES > free:
        raise StoreError(
            f"{redacted(uri)} has {needed / 2**30:,.1f} GiB; {begun.parent} has {free / 2**30:,.1f} free, of "
            f"which {SPARE_BYTES >> 30} stays so; set {FOLDER_VARIABLE} to a folder with more room"
        )
    for name, told in missing.items():
        place = begun / name
        place.parent.mkdir(parents=True, exist_ok=True)
        download_object(fs, f"{path}/{name}", f"{uri}/{name}", place)
        _check(place, f"{uri}/{name}", *told)
    (begun / LISTING).write_text(
        json.dumps({"uri": redacted(uri), "files": dict(listing)}, indent=1), encoding="utf-8"
    )
    shutil.rmtree(target, ignore_errors=True)  # one that was damaged later
    os.replace(begun, target)


def _has(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size


def _check(file: Path, uri: str, etag: str, size: int) -> None:
    """Compare size and, where the ETag is one, MD5; read the header of weights. A bad file is removed."""
    problem = "" if _has(file, size) else f"has {file.stat().st_size:,} bytes instead of {size:,}"
    if not problem and MD5.fullmatch(etag):
        with open(file, "rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        problem = "" if found == etag else f"has MD5 {found}, the store says {etag}"
    if not problem and file.suffix == WEIGHTS:
        try:
            with safe_open(file, "numpy") as weights:
                weights.keys()
        except SafetensorError as error:
            problem = f"is no whole safetensors file: {error}"
    if problem:
        file.unlink()
        raise StoreError(f"{redacted(uri)} {problem}; it was changed meanwhile or is damaged: start again")
