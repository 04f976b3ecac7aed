"""Sealed stages shared between runs: a recipe's `cache: <root>`.

A stage that was sealed is copied below the root of the cache, and a run that would make the same stage takes
it from there:

    <cache>/shared/<NN>-<name>-<fingerprint>/<digest of the manifest>/
        shards/…, _barrier.json and its files    as in the run's folder
        _shared.json                             which run made it, and digests of the barrier's files
        _manifest.json                           as in the run's folder; written last

Stages are copied, not referred to: a run's folder stays whole whatever becomes of the cache and of other
runs. An entry is named by what is in it and never changed, so that two runs may publish at once. Every digest
is compared when a stage is taken; an entry that does not hold what it says is given up.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysft import stage as stages
from raysft.runtime import preflight
from raysft.runtime.listing import in_bytes
from raysft.runtime.manifest import (
    MANIFEST,
    DigestMismatch,
    Manifest,
    manifest_digest,
    parents_of,
    read_manifest,
    shard_path,
)
from raysft.runtime.passes import Pass
from raysft.runtime.plan import Plan
from raysft.runtime.storage import Storage
from raysft.runtime.work import BARRIER, read_marker
from raysft.sample import digest
from raysft.stores.failures import StoreError

SHARED = "shared"
ABOUT = "_shared.json"
COPIES = 8  # under way at once, each through a piece of memory of 1 MiB
DIGEST_DIGITS = 32


@dataclass(frozen=True)
class Entry:
    """A sealed stage in the cache: its folder there, its manifest, which run made it and the digests of its
    files by name."""

    folder: str
    manifest: Manifest
    run: str
    files: Mapping[str, str]

    @property
    def bytes(self) -> int:
        return sum(record.bytes for record in self.manifest.shards)


@dataclass(frozen=True)
class StageCache:
    """The cache of one run. `places` are those of each pass by its folder."""

    storage: Storage
    run: str
    places: Mapping[str, str]
    max_bad_fraction: float

    def find(self, p: Pass, parents: Mapping[str, str]) -> list[Entry]:
        """The entries that are just what a pass would make from these parents, oldest first.

        The whole fingerprint is compared, not only the part of it in the folder's name.
        """
        folder = _folder(p.folder)
        entries = (self._read(f"{folder}/{name}") for name in self.storage.names(folder))
        fitting = [e for e in entries if e is not None and self._fits(e.manifest, p, parents)]
        return sorted(fitting, key=lambda entry: (entry.manifest.created, entry.folder))

    def _read(self, folder: str) -> Entry | None:
        """The entry in a folder; None while it is being published, and where it says what it cannot be."""
        try:
            about = self.storage.read_json(f"{folder}/{ABOUT}")
            sealed = read_manifest(self.storage, folder)
            if sealed is None or _entry(sealed) != folder:
                return None
            names = [*about["files"], *(record.name for record in sealed.shards)]
            if any("/" in name for name in names):  # it would be written elsewhere than in the stage's folder
                return None
            return Entry(folder, sealed, about["run"], about["files"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):  # torn, or of another version of raysft
            return None

    def _fits(self, sealed: Manifest, p: Pass, parents: Mapping[str, str]) -> bool:
        same = (sealed.fingerprint, sealed.folder, sealed.parents) == (p.fingerprint, p.folder, dict(parents))
        same = same and sealed.places == self.places[p.folder]
        counts = sealed.counts
        too_bad = p.config is None and counts.quarantined > self.max_bad_fraction * counts.rows_in
        return same and not too_bad

    def take(
        self, storage: Storage, p: Pass, parents: Mapping[str, str], note: Callable[[str], None]
    ) -> Entry | None:
        """Copy a pass's stage into the run, its manifest last; None if the cache has no sound one.

        What is spoilt is told, and loses its manifest in the cache, so that no run tries it again.
        """
        for entry in self.find(p, parents):
            note(f"  {_name(p.folder)}: from the cache, made by run {entry.run}, {in_bytes(entry.bytes)}")
            if p.config is None and (bad := entry.manifest.counts.quarantined):
                note(f"  {_name(p.folder)}: its {bad:,} bad rows are in quarantine/ of run {entry.run}")
            try:
                self._copy_in(storage, entry)
            except (DigestMismatch, FileNotFoundError) as error:
                note(f"  {_name(p.folder)}: spoilt in the cache, so it is not used: {error}")
                self._give_up(entry)
                continue
            return entry
        return None

    def _copy_in(self, storage: Storage, entry: Entry) -> None:
        sealed = entry.manifest
        if storage.exists(f"{sealed.folder}/{BARRIER}"):  # it would speak for files that are replaced now
            storage.remove(f"{sealed.folder}/{BARRIER}")
        _copy_shards(self.storage, entry.folder, storage, sealed.folder, sealed)
        for name in sorted(entry.files, key=lambda name: name == BARRIER):  # the marker last
            there, here = f"{entry.folder}/{name}", f"{sealed.folder}/{name}"
            _copy(self.storage, there, storage, here, entry.files[name])
        storage.write_json(f"{sealed.folder}/{MANIFEST}", sealed.to_json())

    def _give_up(self, entry: Entry) -> None:
        path = f"{entry.folder}/{MANIFEST}"
        if self.storage.exists(path):
            self.storage.remove(path)

    def publish(self, storage: Storage, sealed: Manifest) -> bool:
        """Copy a run's sealed stage to the cache, its manifest last; False if it is there already, or was
        sealed without its places.

        Raises:
            DigestMismatch: the run's own shard is not what its manifest says.
        """
        folder = _entry(sealed)
        if not sealed.places or self.storage.exists(f"{folder}/{MANIFEST}"):
            return False
        _copy_shards(storage, sealed.folder, self.storage, folder, sealed)
        marker = read_marker(storage, sealed.folder) if sealed.stage != "acquire" else None
        files: dict[str, str] = {}
        for name, sha256 in (marker["files"] if marker else {}).items():
            _copy(storage, f"{sealed.folder}/{name}", self.storage, f"{folder}/{name}", sha256)
            files[name] = sha256
        if marker:
            files[BARRIER] = self.storage.write_json(f"{folder}/{BARRIER}", marker).sha256
        self.storage.write_json(f"{folder}/{ABOUT}", {"run": self.run, "files": files})
        self.storage.write_json(f"{folder}/{MANIFEST}", sealed.to_json())
        return True


def cache_of(plan: Plan) -> StageCache | None:
    """The cache that a plan's recipe names, if it names one."""
    settings = plan.recipe.settings
    if settings.cache is None:
        return None
    known = {p.folder: places(plan, p) for p in plan.all_passes}
    return StageCache(Storage(settings.cache), settings.run, known, settings.max_bad_fraction)


def places(plan: Plan, p: Pass) -> str:
    """What two runs must have in common beside a pass's fingerprint, which lets files and servers move: where
    the sources were, which rows carry along and stages look at, and which servers answered."""
    if p.config is None:
        return digest("sources", *(unit.uri for _, unit in plan.units))
    names = [getattr(p.config, name) for name, _ in stages.engine_fields(p.steps)]
    asked = [plan.recipe.engines[name] for name in names if name is not None]
    return digest("servers", *(getattr(spec, "base_url", "") for spec in asked))


def unreachable(cache: str | None) -> list[str]:
    """A line if the root of a cache cannot be written, with the cause."""
    if cache is None:
        return []
    try:
        return preflight.not_writable(Storage(cache), "cache")
    except StoreError as error:  # its scheme is not known, its package or its bucket is not there
        return [f"cache {cache}: cannot be used: {error}"]


def states_of(plan: Plan, storage: Storage, with_cache: bool = True) -> dict[str, str]:
    """For each pass by folder what a run would find: "sealed", "in cache" or "to do". After one that is to
    do the cache holds nothing for sure, since its parent does not exist yet."""
    cache, states = cache_of(plan) if with_cache else None, dict[str, str]()
    above: list[Manifest] | None = []
    for p in plan.all_passes:
        known, state = read_manifest(storage, p.folder), "sealed"
        if above is not None and (known is None or known.parents != parents_of(above)):
            found = cache.find(p, parents_of(above)) if cache else []
            known, state = (found[0].manifest, "in cache") if found else (None, "to do")
        states[p.folder] = state if known is not None else "to do"
        above = [known] if known is not None and above is not None else None
    return states


def _folder(folder: str) -> str:
    return f"{SHARED}/{folder.rsplit('/', 1)[-1]}"


def _entry(sealed: Manifest) -> str:
    return f"{_folder(sealed.folder)}/{manifest_digest(sealed)[:DIGEST_DIGITS]}"


def _name(folder: str) -> str:
    return folder.rsplit("/", 1)[-1].rsplit("-", 1)[0]


def _copy_shards(source: Storage, folder: str, target: Storage, into: str, sealed: Manifest) -> None:
    def copy(record: Any) -> None:
        _copy(source, shard_path(folder, record.name), target, shard_path(into, record.name), record.sha256)

    with ThreadPoolExecutor(COPIES) as pool:
        for _ in pool.map(copy, sealed.shards):
            pass


def _copy(source: Storage, path: str, target: Storage, to: str, sha256: str) -> None:
    """Copy one object if it has this digest.

    Raises:
        DigestMismatch: it has another one; nothing is written.
    """
    with tempfile.TemporaryDirectory(prefix="raysft-cache-") as folder:
        here = Path(folder) / "object"
        local = Path(source.full(path)) if source.is_local else source.download_file(path, here)
        with open(local, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise DigestMismatch(f"{source.uri(path)}: SHA-256 is {found}, its manifest says {sha256}")
        target.write_file(local, to)
