"""Copies of a store's objects on this machine: in pieces, each of which is tried again, and whole."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from raysft.stores.failures import StoreError
from raysft.stores.opening import files_below, info_of, is_local, open_store
from raysft.stores.retries import tried

PIECE_BYTES = 32 << 20
PIECES_AT_ONCE = 4


def download_object(fs: Any, path: str, uri: str, target: Path) -> None:
    """Copy one object to a local file, which is there under its name only when it is whole.

    Raises:
        FileNotFoundError: there is no such object.
        StoreError: the store did not give all of it.
    """
    info = info_of(fs, path, uri)
    if info is None:
        raise FileNotFoundError(f"{uri}: there is no such object")
    part = target.with_name(f"{target.name}.part")
    if is_local(fs):
        shutil.copyfile(path, part)
    else:
        _in_pieces(fs, path, uri, part, int(info["size"]))
    os.replace(part, target)


def _in_pieces(fs: Any, path: str, uri: str, target: Path, size: int) -> None:
    spans = [(start, min(start + PIECE_BYTES, size)) for start in range(0, size, PIECE_BYTES)]
    with open(target, "wb") as file, ThreadPoolExecutor(PIECES_AT_ONCE) as pool:
        file.truncate(size)
        number = file.fileno()

        def copy(span: tuple[int, int]) -> None:
            data = tried(lambda: fs.cat_file(path, start=span[0], end=span[1]), uri, "read")
            if len(data) != span[1] - span[0]:
                raise StoreError(f"{uri} changed while it was read; start again")
            os.pwrite(number, data, span[0])

        list(pool.map(copy, spans))


def download_folder(uri: str, target: Path) -> Path:
    """Copy all files of a folder below a local one, and return that.

    Raises:
        FileNotFoundError: there is nothing.
    """
    fs, path = open_store(uri)
    found = files_below(uri)
    if not found:
        raise FileNotFoundError(f"{uri}: there is no file in it")
    for name in found:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        download_object(fs, f"{path.rstrip('/')}/{name}", f"{uri.rstrip('/')}/{name}", place)
    return target
