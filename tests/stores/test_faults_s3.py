"""A real S3 server behind a proxy that harms requests: operations go on, and say that they were harmed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysft.acquire.streams import blocks
from raysft.runtime import storage as storages
from raysft.runtime.storage import Storage
from raysft.stores import download
from raysft.stores.opening import REQUEST_ATTEMPTS
from tests.fixtures.stores import Proxy, harming_proxy
from tests.fixtures.swift import S3

DATA = bytes(range(256)) * 40_000  # 10 MiB


@pytest.fixture
def proxy(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the store, which from now on is the endpoint."""
    s3fs = pytest.importorskip("s3fs")
    with harming_proxy(s3.endpoint) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        yield made
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def storage(s3: S3, proxy: Proxy) -> Storage:
    return Storage(f"{s3.uri}/runs/one")


@pytest.mark.parametrize(("harm", "times"), [("busy", 1), ("reset", 2)])
def test_storage_write_survives_more_failures_than_one_request_is_repeated(
    storage: Storage, proxy: Proxy, harm: str, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    # a connection that was used before and is reset is opened again by aiohttp itself, without a word
    proxy.only, proxy.harm = "PUT", [harm] * (times * REQUEST_ATTEMPTS + 1)
    with caplog.at_level(logging.WARNING, "raysft.stores"):
        storage.write_bytes("a/x.json", b"{}")
    assert proxy.harm == []
    assert storage.read_bytes("a/x.json") == b"{}"
    assert {record.getMessage().split(" (")[0] for record in caplog.records} == {
        f"{storage.uri('a/x.json')} could not be written"
    }


@pytest.mark.parametrize("harm", ["busy", "reset", "cut"])
def test_storage_read_survives_what_a_proxy_does_to_it(storage: Storage, proxy: Proxy, harm: str) -> None:
    storage.write_bytes("a/x.bin", DATA)
    proxy.only, proxy.harm = "GET", [harm] * 2
    assert storage.read_bytes("a/x.bin") == DATA
    assert proxy.harm == []


def test_source_read_in_blocks_survives_answers_that_are_cut(storage: Storage, proxy: Proxy) -> None:
    storage.write_bytes("a/x.jsonl", DATA)
    proxy.only, proxy.harm = "GET", ["cut", "reset"]
    assert (
        hashlib.sha256(b"".join(blocks(storage.uri("a/x.jsonl")))).digest() == hashlib.sha256(DATA).digest()
    )
    assert proxy.harm == []


def test_storage_large_file_goes_up_in_parts_and_repeats_the_harmed_part_alone(
    storage: Storage, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "PART_BYTES", 5 << 20)
    file = tmp_path / "weights"
    file.write_bytes(DATA * 2)
    proxy.only, proxy.harm = "PUT", ["busy", "reset"]
    blob = storage.write_file(file, "model/weights")
    parts = [path for method, path, _ in proxy.seen if method == "PUT" and "partNumber" in path]
    assert blob.bytes == len(DATA) * 2
    assert len({path.split("partNumber=")[1].split("&")[0] for path in parts}) == 4
    assert len(parts) == 4 + 2
    assert storage.read_bytes("model/weights") == DATA * 2


def test_storage_large_file_comes_down_in_pieces_and_repeats_the_harmed_piece_alone(
    storage: Storage, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PIECE_BYTES", 4 << 20)
    storage.write_bytes("model/weights", DATA)
    proxy.only, proxy.harm = "GET", ["cut"]
    assert storage.download_file("model/weights", tmp_path / "copy").read_bytes() == DATA
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]
    assert sum(method == "GET" and path.endswith("weights") for method, path, _ in proxy.seen) == 3 + 1


def test_storage_object_is_whole_although_the_answer_to_its_writing_was_lost(
    storage: Storage, proxy: Proxy
) -> None:
    storage.write_bytes("status.json", b"old")
    proxy.only, proxy.harm = "PUT", ["reset"]
    storage.write_bytes("status.json", b"new")
    assert storage.read_bytes("status.json") == b"new"
