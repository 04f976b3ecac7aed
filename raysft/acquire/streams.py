"""The bytes of a file, decompressed, up to the point where the compression is damaged.

Local paths and addresses of stores. An error of the disk or the store is raised as it is: only
damage inside a gzip or zstd stream can be blamed on the file, and raises `Damaged`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import zstandard

from raysft.stores.opening import open_file

BLOCK_BYTES = 1 << 20
# A zstd frame written with `--long=31` needs a 2 GiB window; the library refuses above 128 MiB by itself.
MAX_WINDOW_BYTES = 1 << 31


class Damaged(Exception):
    """A compressed stream ends too early or does not decode; `tail` is the unfinished last line.

    `reason` starts with truncated_gz, corrupt_gz, truncated_zst or corrupt_zst.
    """

    def __init__(self, reason: str, tail: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.tail = tail


def blocks(uri: str) -> Iterator[bytes]:
    """Decompressed bytes in pieces of no fixed size; compression is told from the ending.

    Raises:
        Damaged: after all bytes before the damage have been given out.
    """
    lower = uri.lower()
    with open_file(uri) as file:
        pieces = iter(lambda: file.read(BLOCK_BYTES), b"")
        if lower.endswith(".gz"):
            yield from _decompressed(pieces, _gzip_member, "gz")
        elif lower.endswith(".zst"):
            yield from _decompressed(pieces, _zstd_frame, "zst")
        else:
            yield from pieces


def lines(uri: str) -> Iterator[bytes]:
    """Lines with their line feeds; the last may lack it. A line of any length is given out whole.

    Raises:
        Damaged: after the last whole line before the damage; its `tail` is the cut line.
    """
    rest: list[bytes] = []
    try:
        for block in blocks(uri):
            *whole, tail = block.split(b"\n")
            for line in whole:
                yield b"".join(rest) + line + b"\n"
                rest = []
            rest.append(tail)
    except Damaged as damage:
        raise Damaged(damage.reason, b"".join(rest)) from damage
    last = b"".join(rest)
    if last:
        yield last


def _gzip_member() -> Any:
    return zlib.decompressobj(wbits=31)


def _zstd_frame() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()


def _decompressed(pieces: Iterator[bytes], new_decoder: Callable[[], Any], kind: str) -> Iterator[bytes]:
    """All members (gzip) or frames (zstd) of a stream, one after the other."""
    decoder = None
    first = True
    for piece in pieces:
        rest = piece
        while rest:
            if decoder is None:
                # gzip allows zero bytes after a member, as padding to a tape's or disk's block.
                rest = rest if first or kind != "gz" else rest.lstrip(b"\0")
                if not rest:
                    break
                decoder, first = new_decoder(), False
            try:
                data = decoder.decompress(rest)
            except (zlib.error, zstandard.ZstdError) as error:
                raise Damaged(f"corrupt_{kind}: {error}") from error
            if data:
                yield data
            if not decoder.eof:
                break
            rest, decoder = decoder.unused_data, None
    if decoder is not None:
        raise Damaged(f"truncated_{kind}: the compressed stream ends before its end mark")
