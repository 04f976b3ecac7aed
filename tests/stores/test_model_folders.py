"""Models fetched from a store: once a node, whole or not at all, and never a pickle."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import filelock
import fsspec
import numpy as np
import pytest
import safetensors.numpy
from fsspec.implementations.memory import MemoryFileSystem

from raysft.stores import model_folders
from raysft.stores.failures import StoreError
from raysft.stores.model_folders import fetched, listing_digest, listing_of

SUFFIXES = (".json", ".safetensors", ".txt")
WEIGHTS = safetensors.numpy.save({"w": np.arange(1000, dtype=np.float32)})
URI = "tagged://bucket/models/small"
FILES = {
    "config.json": b"{}",
    "vocab.txt": "你\n".encode(),
    "model.safetensors": WEIGHTS,
    "README.md": b"notes",
}


class TaggedStore(MemoryFileSystem):
    """A store in memory with ETags, which counts what it gives and stops the process where told to."""

    protocol = "tagged"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    given: ClassVar[Counter[str]] = Counter()
    kills_at = ""

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(str(path).replace("tagged://", "memory://"))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        found = super().info(path, **options)
        return self._tag(found)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        found = super().ls(path, detail=True, **options)
        return [self._tag(f) for f in found] if detail else [f["name"] for f in found]

    def find(self, path: str, detail: bool = False, **options: Any) -> Any:
        found = super().find(path, detail=True, **options)
        return {name: self._tag(info) for name, info in found.items()} if detail else sorted(found)

    def cat_file(self, path: str, start: Any = None, end: Any = None, **options: Any) -> bytes:
        name = path.rpartition("/")[2]
        if name == self.kills_at:
            raise KeyboardInterrupt
        type(self).given[name] += 1
        return super().cat_file(path, start, end, **options)

    def _tag(self, info: dict[str, Any]) -> dict[str, Any]:
        if info["type"] != "file":
            return info
        data = self.store[self._strip_protocol(info["name"])].getvalue()
        return {**info, "ETag": f'"{hashlib.md5(data).hexdigest()}"'}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[TaggedStore]]:
    """A store with a model, and an empty folder for fetched ones."""
    fsspec.register_implementation("tagged", TaggedStore, clobber=True)
    monkeypatch.setenv("RAYSFT_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(TaggedStore, "store", {})
    monkeypatch.setattr(TaggedStore, "pseudo_dirs", [""])
    monkeypatch.setattr(TaggedStore, "given", Counter())
    put(FILES)
    yield TaggedStore
    TaggedStore.clear_instance_cache()


def put(files: dict[str, bytes]) -> None:
    for name, data in files.items():
        fsspec.filesystem("tagged").pipe_file(f"/bucket/models/small/{name}", data)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_fetched_model_is_whole_and_what_is_no_part_of_it_stays(store: type[TaggedStore]) -> None:
    got = content(fetched(URI, SUFFIXES))
    got.pop("_fetched.json")
    assert got == {name: data for name, data in FILES.items() if name != "README.md"}


def test_fetched_model_is_asked_for_once_by_many_at_the_same_time(store: type[TaggedStore]) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: fetched(URI, SUFFIXES), range(8)))
    assert len(folders) == 1
    assert store.given == {"config.json": 1, "vocab.txt": 1, "model.safetensors": 1}


def test_fetched_model_that_changed_is_another_folder_and_the_old_one_stays(store: type[TaggedStore]) -> None:
    before = fetched(URI, SUFFIXES)
    digest = listing_digest(listing_of(URI, SUFFIXES))
    put({"config.json": b'{"changed": 1}'})
    after = fetched(URI, SUFFIXES)
    assert (after / "config.json").read_bytes() == b'{"changed": 1}'
    assert (before / "config.json").read_bytes() == b"{}"
    assert listing_digest(listing_of(URI, SUFFIXES)) != digest


def test_fetched_model_of_a_fetcher_that_was_stopped_goes_on_with_what_is_missing(
    store: type[TaggedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as now:
        now.setattr(TaggedStore, "kills_at", "model.safetensors")
        with pytest.raises(KeyboardInterrupt):
            fetched(URI, SUFFIXES)
    assert not [p for p in model_folders.cache_folder().iterdir() if p.is_dir() and p.suffix != ".fetching"]
    assert (fetched(URI, SUFFIXES) / "model.safetensors").read_bytes() == WEIGHTS
    assert store.given == {"config.json": 1, "vocab.txt": 1, "model.safetensors": 1}


def test_fetched_model_whose_fetcher_was_killed_is_not_waited_for(store: type[TaggedStore]) -> None:
    folder = fetched(URI, SUFFIXES)
    (folder / "config.json").unlink()  # so that it is fetched again, under the lock
    held = f"held = filelock.FileLock({f'{folder}.lock'!r}); held.acquire()"
    code = f"import filelock; {held}; print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    assert (fetched(URI, SUFFIXES) / "config.json").read_bytes() == b"{}"


def test_fetched_model_that_another_fetches_for_too_long_says_so(
    store: type[TaggedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetched(URI, SUFFIXES)
    (folder / "config.json").unlink()
    monkeypatch.setattr(model_folders, "WAIT_S", 0.05)
    held = filelock.FileLock(f"{folder}.lock")
    with held, ThreadPoolExecutor(1) as pool, pytest.raises(StoreError, match=r"another process .*\.lock"):
        pool.submit(fetched, URI, SUFFIXES).result()


def test_fetched_model_that_was_damaged_here_is_fetched_again(store: type[TaggedStore]) -> None:
    folder = fetched(URI, SUFFIXES)
    (folder / "model.safetensors").write_bytes(WEIGHTS[:100])
    assert (fetched(URI, SUFFIXES) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("weights", [WEIGHTS[:-7], b"not weights at all"], ids=["cut", "other"])
def test_fetched_weights_that_are_no_safetensors_are_refused(
    store: type[TaggedStore], weights: bytes
) -> None:
    put({"model.safetensors": weights})
    with pytest.raises(StoreError, match=r"model\.safetensors is no whole safetensors file"):
        fetched(URI, SUFFIXES)


def test_fetched_file_that_is_not_what_the_store_says_is_refused(
    store: type[TaggedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TaggedStore, "cat_file", lambda self, path, start, end: b"x" * (end - start))
    with pytest.raises(StoreError, match=r"has MD5 \w+, the store says"):
        fetched(URI, SUFFIXES)


def test_fetched_model_with_pickled_weights_alone_is_refused(store: type[TaggedStore]) -> None:
    fsspec.filesystem("tagged").rm_file("/bucket/models/small/model.safetensors")
    put({"pytorch_model.bin": b"pickle"})
    with pytest.raises(StoreError, match=r"weights in pytorch_model\.bin, which may hold code"):
        fetched(URI, SUFFIXES)


def test_fetched_model_that_does_not_fit_the_disk_is_refused_with_the_numbers(
    store: type[TaggedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_folders, "SPARE_BYTES", 1 << 60)
    with pytest.raises(StoreError, match=r"GiB; .* free, .* set RAYSFT_MODELS"):
        fetched(URI, SUFFIXES)


def test_fetched_model_of_an_empty_folder_names_what_is_looked_for(store: type[TaggedStore]) -> None:
    with pytest.raises(FileNotFoundError, match=r"tagged://bucket/none holds no model files \(\.json"):
        fetched("tagged://bucket/none", SUFFIXES)
