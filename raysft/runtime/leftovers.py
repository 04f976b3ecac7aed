"""What in a run's folder, or in a cache of stages, is garbage: shards of attempts that nothing names, writes
that were not finished, stages that the plan no longer has.

Two kinds are told apart. What no command of any recipe could read goes by default (`by_default`). A stage
that the run's plan does not name may still be read, by another run's `against` or after the recipe is changed
back, and only its owner knows. Never named are: what a sealed manifest of the plan or of the curated set's
chain names, committed work shards of the plan's stages, and anything of a training but torn checkpoints.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from raysft.runtime.curated import MARKER
from raysft.runtime.driver import PLAN
from raysft.runtime.listing import Object, objects
from raysft.runtime.manifest import COMMITS, MANIFEST, read_record
from raysft.runtime.stage_cache import SHARED
from raysft.runtime.storage import Storage
from raysft.runtime.training_checkpoints import FOLDER as CHECKPOINTS

STAGES, QUARANTINE, TRAIN = "stages", "quarantine", "train"
PACK = "-train.pack-"
UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.tmp$")
PROBE = re.compile(r"_probe-[0-9a-f]{8}$")
EXPORTED = re.compile(r"curated/(data-\d{5}\.parquet|messages-\d{5}\.jsonl)$")
DEPTHS = {STAGES: 2, QUARANTINE: 2, SHARED: 3, TRAIN: 5}
"""How many parts of a path name the thing that is kept or goes as one, by the folder that it is in."""


@dataclass(frozen=True)
class Garbage:
    """An object, or a folder with `objects` in it: why nobody needs it, its bytes, when it was last written
    (None: not known). What is not `by_default` goes only when its owner says so."""

    path: str
    why: str
    bytes: int
    modified: float | None
    objects: int = 1
    is_folder: bool = False
    by_default: bool = True


@dataclass(frozen=True)
class Kept:
    """Folders below stages/ that are needed; None where the run's folder does not tell its plan."""

    folders: frozenset[str] | None

    def has(self, folder: str) -> bool:
        return self.folders is None or folder in self.folders


def in_run(storage: Storage) -> Iterator[Garbage]:
    """All garbage in a run's folder, from one listing of it."""
    kept = kept_of(storage)
    for place, found in itertools.groupby(objects(storage), key=lambda one: _place(one.path)):
        top = place.split("/")[0]
        stage = f"{STAGES}/{place.split('/')[-1]}"
        if top in (STAGES, QUARANTINE) and place != top and not kept.has(stage):
            yield _superseded(storage, place, found)
        elif top == STAGES and place != top:
            yield from _of_stage(storage, place, found)
        elif top == TRAIN and place.split("/")[2:3] == [CHECKPOINTS]:
            yield from _of_checkpoint(place, list(found))
        else:
            yield from _elsewhere(storage, found)


def in_cache(storage: Storage) -> Iterator[Garbage]:
    """All entries of a cache; one that is whole is garbage only when its owner says how old it may be."""
    for place, found in itertools.groupby(objects(storage), key=lambda one: _place(one.path)):
        if place.startswith(f"{SHARED}/"):
            is_whole = storage.exists(f"{place}/{MANIFEST}")
            why = "shared stage" if is_whole else "shared stage that was not finished, or given up as spoilt"
            yield _folder(place, found, why, by_default=not is_whole)
        else:
            yield from _elsewhere(storage, found)


def _place(path: str) -> str:
    parts = path.split("/")
    return "/".join(parts[: min(DEPTHS.get(parts[0], 1), len(parts) - 1)])


def kept_of(storage: Storage) -> Kept:
    """The stages of the plan that the run was last started with, those that the curated set was made from,
    and what training packed of either."""
    try:
        folders = set(storage.read_json(PLAN)["folders"])
    except FileNotFoundError:
        return Kept(None)
    marker = storage.read_json(MARKER) if storage.exists(MARKER) else {}
    above = str(marker.get("stage", ""))
    while above:
        folders.add(above)
        above = next(iter(_parents(storage, above)), "")
    packed = [f"{STAGES}/{name}" for name in storage.names(STAGES) if PACK in name]
    return Kept(frozenset(folders.union(f for f in packed if folders.issuperset(_parents(storage, f)))))


def _parents(storage: Storage, folder: str) -> list[str]:
    """The folder that a sealed stage was made from; none of one that is not sealed."""
    try:
        return list(storage.read_json(f"{folder}/{MANIFEST}")["parents"])
    except FileNotFoundError:
        return []


def _superseded(storage: Storage, place: str, found: Iterator[Object]) -> Garbage:
    if place.startswith(QUARANTINE):
        why = "bad rows of a stage that the plan does not name"
    else:
        sealed = "sealed" if storage.exists(f"{place}/{MANIFEST}") else "unfinished"
        why = f"{sealed} stage that the plan does not name"
    return _folder(place, found, why, by_default=False)


def _folder(place: str, found: Iterator[Object], why: str, by_default: bool) -> Garbage:
    size, number = 0, 0
    newest: float | None = 0.0
    for one in found:
        size, number = size + one.bytes, number + 1
        newest = None if newest is None or one.modified is None else max(newest, one.modified)
    return Garbage(place, why, size, newest, number, is_folder=True, by_default=by_default)


def _of_stage(storage: Storage, folder: str, found: Iterator[Object]) -> Iterator[Garbage]:
    """Shards that neither the manifest nor their unit's commit record names. Records are read only for units
    of which it is not clear without."""
    named, committed = _named(storage, folder), set[str]()
    for (kind, unit), group in itertools.groupby(found, key=lambda one: _kind(folder, one)):
        if kind == COMMITS:
            committed.add(unit)
        elif kind == "shards":
            written = list(group)
            yield from _unfinished(iter(written))
            attempts = [one for one in written if not UNFINISHED.search(one.path)]
            open_ones = [a for a in attempts if named is None or _name(a) not in named]
            if named is None and len(attempts) == 1 and unit in committed:
                continue
            record = read_record(storage, folder, unit) if open_ones and unit in committed else None
            for attempt in open_ones:
                if record is None or record.name != _name(attempt):
                    why = "attempt that no commit record and no manifest names"
                    yield Garbage(attempt.path, why, attempt.bytes, attempt.modified)
        else:
            yield from _elsewhere(storage, group)


def _kind(folder: str, one: Object) -> tuple[str, str]:
    """("_commits" or "shards", the work shard), or ("", "")."""
    part, _, name = one.path.removeprefix(f"{folder}/").partition("/")
    if part == COMMITS and name.endswith(".json"):
        return part, name.removesuffix(".json")
    if part == "shards" and ".parquet" in name:  # an unfinished write's name goes on behind it
        return part, name.partition(".parquet")[0].rpartition("-")[0]
    return "", ""


def _named(storage: Storage, folder: str) -> set[str] | None:
    """Names of a sealed stage's shards; None where it is not sealed."""
    try:
        return {shard["name"] for shard in storage.read_json(f"{folder}/{MANIFEST}")["shards"]}
    except FileNotFoundError:
        return None


def _name(one: Object) -> str:
    return one.path.rsplit("/", 1)[-1]


def _of_checkpoint(place: str, found: list[Object]) -> Iterator[Garbage]:
    """A training checkpoint that not all processes came to the end of, and unfinished writes."""
    # It imports torch, which takes seconds, and few folders have checkpoints.
    from raysft.train.checkpoint import is_whole

    is_one = place.rsplit("/", 1)[-1].startswith("step-")
    if is_one and not is_whole(_name(one) for one in found):
        yield _folder(place, iter(found), "training checkpoint that was not finished", by_default=True)
        return
    yield from _unfinished(iter(found))


def _elsewhere(storage: Storage, found: Iterator[Object]) -> Iterator[Garbage]:
    exported: set[str] | None = None
    for one in found:
        if EXPORTED.fullmatch(one.path):
            if exported is None:
                exported = _exported(storage)
            if exported and _name(one) not in exported:
                yield Garbage(one.path, "file that the curated set does not name", one.bytes, one.modified)
        else:
            yield from _unfinished(iter([one]))


def _exported(storage: Storage) -> set[str]:
    return set(storage.read_json(MARKER)["files"]) if storage.exists(MARKER) else set()


def _unfinished(found: Iterator[Object]) -> Iterator[Garbage]:
    for one in found:
        if UNFINISHED.search(one.path):
            yield Garbage(one.path, "write that was not finished", one.bytes, one.modified)
        elif PROBE.fullmatch(one.path):
            yield Garbage(one.path, "probe of whether the root can be written", one.bytes, one.modified)
