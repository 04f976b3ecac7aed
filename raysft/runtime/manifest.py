"""Commit records and sealed manifests: how a stage's output comes to exist exactly once.

A worker writes a shard under a name no other attempt has, then a commit record that names it, with
counts and digest. The driver checks the records of all work shards and seals the stage by writing
`_manifest.json` last. Readers look at sealed manifests only. Below a stage's folder:

    shards/<unit>-<attempt>.parquet   written by attempts; those that no record names are garbage
    _commits/<unit>.json              one record a work shard
    _manifest.json                    present means sealed
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from raysft.runtime.metering import NOTHING_USED, Usage
from raysft.runtime.storage import Storage
from raysft.stage import Counts
from raysft.stores.retries import take_repeated

MANIFEST = "_manifest.json"
COMMITS = "_commits"
NOT_CONTENT = ("created", "seconds", "engine_start_seconds", "places")


class DigestMismatch(RuntimeError):
    """An object is not what its manifest says: changed, truncated or replaced."""


@dataclass(frozen=True)
class Record:
    """One work shard's commit: the object it wrote, what it was made from, and where its rows went.

    `base` is (shard name, start, stop) of the rows that a sidecar annotates, None for a shard of rows.
    `input` is a digest of what was read, so that a record made from a superseded shard is not trusted.
    `usage` is what it took of an engine; `seconds` passed from its reading to its commit. `retries` is how
    often an operation on a store was tried again by the thread that made it.
    """

    unit: str
    name: str
    rows: int
    bytes: int
    sha256: str
    base: tuple[str, int, int] | None
    input: str
    counts: Counts
    seconds: float = 0.0
    usage: Usage = NOTHING_USED
    retries: int = 0

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Record:
        base = tuple(value["base"]) if value["base"] else None
        told = {"base": base, "counts": Counts(**value["counts"]), "usage": Usage(**value["usage"])}
        return Record(**{**value, **told})


@dataclass(frozen=True)
class Manifest:
    """A sealed stage: which shards it has, what made them, and where every row went. `version` is the
    stage's VERSION, 0 for what has none; `findings` are the
    tables (`raysft.stage.finding`) that it wants people to see; `places` stands for where its sources and
    servers were (raysft/runtime/stage_cache.py), which the fingerprint does not tell."""

    stage: str
    folder: str
    fingerprint: str
    writes: str
    shards: tuple[Record, ...]
    counts: Counts
    usage: Usage = NOTHING_USED
    base: str | None = None
    round: int = 1
    version: int = 0
    parents: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    engines: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Mapping[str, Any], ...] = ()
    places: str = ""
    seconds: float = 0.0
    engine_start_seconds: float = 0.0
    created: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Manifest:
        shards = tuple(Record.from_json(s) for s in value["shards"])
        told = {
            "shards": shards,
            "counts": Counts(**value["counts"]),
            "usage": Usage(**value["usage"]),
            "findings": tuple(value["findings"]),
        }
        return Manifest(**{**value, **told})


def shard_path(folder: str, name: str) -> str:
    """Path below the storage root of a shard by its manifest's folder and its record's name."""
    return f"{folder}/shards/{name}"


def commit(
    storage: Storage,
    folder: str,
    unit: str,
    table: pa.Table,
    *,
    base: tuple[str, int, int] | None,
    input: str,
    counts: Counts,
    seconds: float = 0.0,
    usage: Usage = NOTHING_USED,
) -> Record:
    """Write a shard under an attempt-unique name, then its commit record."""
    name = f"{unit}-{uuid.uuid4().hex[:8]}.parquet"
    blob = storage.write_table(shard_path(folder, name), table)
    made = (unit, name, len(table), blob.bytes, blob.sha256)
    record = Record(*made, base, input, counts, round(seconds, 3), usage, take_repeated())
    storage.write_json(f"{folder}/{COMMITS}/{unit}.json", asdict(record))
    return record


def read_record(storage: Storage, folder: str, unit: str) -> Record | None:
    """The commit record of a work shard, or None while it is not committed."""
    try:
        return Record.from_json(storage.read_json(f"{folder}/{COMMITS}/{unit}.json"))
    except FileNotFoundError:
        return None


def read_records(storage: Storage, folder: str, expected: Iterable[str] = ()) -> dict[str, Record]:
    """All commit records of a folder by work shard. Those `expected` are looked for by name too: a store may
    list an object later than it has it."""
    listed = {n.removesuffix(".json") for n in storage.names(f"{folder}/{COMMITS}") if n.endswith(".json")}
    units = sorted(listed.union(expected))
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda unit: read_record(storage, folder, unit), units))
    return {record.unit: record for record in found if record is not None}


def seal(storage: Storage, manifest: Manifest) -> Manifest:
    """Write the manifest, last of all; from now on the stage exists.

    Raises:
        RowsLost: the counts of the shards do not add up.
    """
    manifest.counts.check()
    stamped = Manifest(**{**manifest.__dict__, "created": datetime.now(UTC).isoformat(timespec="seconds")})
    storage.write_json(f"{manifest.folder}/{MANIFEST}", stamped.to_json())
    return stamped


def read_manifest(storage: Storage, folder: str) -> Manifest | None:
    """The sealed manifest of a folder, or None while it is not sealed."""
    try:
        return Manifest.from_json(storage.read_json(f"{folder}/{MANIFEST}"))
    except FileNotFoundError:
        return None


def manifest_digest(manifest: Manifest) -> str:
    """SHA-256 over the manifest's content without its times and places: what children and models refer to."""
    told = manifest.to_json()
    timeless = {name: value for name, value in told.items() if name not in NOT_CONTENT}
    return hashlib.sha256(json.dumps(timeless, sort_keys=True, default=list).encode()).hexdigest()


def parents_of(sealed: Sequence[Manifest]) -> dict[str, str]:
    """The stage sealed last, by digest, as the manifest of the next one names it."""
    return {m.folder: manifest_digest(m) for m in sealed[-1:]}


def chain_to(storage: Storage, folder: str) -> list[Manifest]:
    """The sealed stages up to the one in `folder`, sources first, each found as the parent of the next.

    Raises:
        FileNotFoundError: names the first, seen from the end, that is not sealed.
    """
    found: list[Manifest] = []
    while folder:
        sealed = read_manifest(storage, folder)
        if sealed is None:
            raise FileNotFoundError(f"{storage.uri(folder)} is not sealed; raysft curate makes it again")
        found.insert(0, sealed)
        folder = next(iter(sealed.parents), "")
    return found


def verify(storage: Storage, manifest: Manifest) -> None:
    """Read every shard and compare its digest.

    Raises:
        DigestMismatch: names the shard and both digests.
    """

    def check(record: Record) -> None:
        path = shard_path(manifest.folder, record.name)
        found = hashlib.sha256(storage.read_bytes(path)).hexdigest()
        if found != record.sha256:
            raise DigestMismatch(
                f"{storage.uri(path)}: SHA-256 is {found}, its manifest says {record.sha256}"
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, manifest.shards))


def total_usage(records: Sequence[Record]) -> Usage:
    """What all records took of an engine, added up."""
    return sum((record.usage for record in records), NOTHING_USED)


def total(records: Sequence[Record]) -> Counts:
    """The counts of all records, added up."""
    result = Counts()
    for record in records:
        result = result + record.counts
    return result
