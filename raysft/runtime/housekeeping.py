"""`raysft gc`: shows what of a run's folder, or of a cache of stages, nobody needs; removes it when told to.

Removal keeps readers safe at every moment: a stage loses its manifest before anything else, then its commit
records, then its shards, and a stage that was made from another one goes before that one. A removal that was
stopped is gone on with by the same command.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from raysft.runtime.lease import leased
from raysft.runtime.leftovers import Garbage, in_cache, in_run, kept_of
from raysft.runtime.listing import in_bytes, objects
from raysft.runtime.manifest import COMMITS, MANIFEST
from raysft.runtime.stage_cache import SHARED
from raysft.runtime.storage import Storage
from raysft.runtime.work import BARRIER

DAY = 86_400.0
UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": DAY}
BATCH = 1_000
One = TypeVar("One")
THREADS = 16
SHOWN = 10
"""Paths that are printed of each reason; the number and the bytes of all are printed too."""


class Amount(NamedTuple):
    """A number of objects and their bytes."""

    objects: int = 0
    bytes: int = 0

    def plus(self, found: Garbage) -> Amount:
        return Amount(self.objects + found.objects, self.bytes + found.bytes)

    def __str__(self) -> str:
        noun = "object" if self.objects == 1 else "objects"
        return f"{self.objects:,} {noun}, {in_bytes(self.bytes)}"


NOTHING = Amount()


@dataclass
class Told:
    """What was found for one reason: how much, and the first paths."""

    amount: Amount = NOTHING
    first: list[Garbage] = field(default_factory=list)

    def add(self, found: Garbage) -> None:
        self.amount = self.amount.plus(found)
        if len(self.first) < SHOWN:
            self.first.append(found)


@dataclass
class Found:
    """The result: by reason what can go and what stays until its owner says so, what is too young, and
    how much was removed."""

    is_run: bool
    going: dict[str, Told] = field(default_factory=dict)
    staying: dict[str, Told] = field(default_factory=dict)
    young: Amount = NOTHING
    removed: Amount = NOTHING
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """What a user asked for: `older_than` in seconds, None for the default of a day; whether stages go that
    the plan does not name; whether anything is removed at all."""

    older_than: float | None = None
    superseded: bool = False
    removes: bool = False

    @property
    def age(self) -> float:
        return DAY if self.older_than is None else self.older_than


def clean_up(storage: Storage, asked: Asked, now: float | None = None) -> Found:
    """Find what nobody needs below a root and remove it if asked; memory does not grow with the objects of
    the whole root, only with those of one stage.

    Raises:
        LookupError: the root is neither a run's nor a cache.
        LeaseHeld: somebody runs it, and something is to be removed.
    """
    is_run = storage.exists("recipe.yaml")
    if not is_run and not storage.names(SHARED):
        raise LookupError(f"{storage.uri()} is neither the folder of a run, with a recipe.yaml, nor a cache")
    found, now = Found(is_run), time.time() if now is None else now
    if is_run and kept_of(storage).folders is None:
        found.notes.append("it has no plan.json, so superseded stages are not known; raysft run writes it")
    if not asked.removes:
        _sort_out(storage, asked, found, now)
        return found
    with leased(storage) if is_run else nullcontext():
        _sort_out(storage, asked, found, now)
    return found


def _sort_out(storage: Storage, asked: Asked, found: Found, now: float) -> None:
    """Put each piece of garbage into `found`, and remove what goes: single objects in batches as they come,
    folders at the end."""
    folders: list[Garbage] = []

    def single() -> Iterator[Garbage]:
        for one in in_run(storage) if found.is_run else in_cache(storage):
            if one.modified is None or one.modified > now - asked.age:
                found.young = found.young.plus(one)
            elif not (one.by_default or _is_asked_for(found.is_run, asked)):
                found.staying.setdefault(one.why, Told()).add(one)
            else:
                found.going.setdefault(one.why, Told()).add(one)
                if one.is_folder:
                    folders.append(one)
                else:
                    yield one

    for batch in _batched(single()):
        if asked.removes:
            _remove(storage, (one.path for one in batch))
            for one in batch:
                found.removed = found.removed.plus(one)
    if asked.removes:
        _remove_folders(storage, folders)
        for one in folders:
            found.removed = found.removed.plus(one)


def _is_asked_for(is_run: bool, asked: Asked) -> bool:
    """A run's superseded stages go when that is said, a cache's when it is said how old they may be."""
    return asked.superseded if is_run else asked.older_than is not None


def _batched(found: Iterable[One]) -> Iterator[tuple[One, ...]]:
    iterator = iter(found)
    while batch := tuple(itertools.islice(iterator, BATCH)):
        yield batch


def _remove(storage: Storage, paths: Iterable[str]) -> None:
    """Remove single objects; one that is gone already is no error."""

    def remove(path: str) -> None:
        with suppress(FileNotFoundError):
            storage.filesystem.rm_file(storage.full(path))

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(remove, paths):
            pass


def _remove_folders(storage: Storage, folders: Iterable[Garbage]) -> None:
    """Remove whole folders: all manifests, those of later stages first, then folder by folder the commit
    records and the rest. So nothing is ever sealed or committed whose shards are not there."""
    last_first = sorted((one.path for one in folders), reverse=True)
    for path in last_first:
        for name in (MANIFEST, BARRIER):
            _remove(storage, [f"{path}/{name}"])
    for path in last_first:
        for below in (f"{path}/{COMMITS}", path):
            for batch in _batched(objects(storage, below)):  # once: a store may go on listing what is gone
                _remove(storage, (one.path for one in batch))
        if storage.is_local:
            _remove_empty(storage.full(path))


def _remove_empty(folder: str) -> None:
    """Remove a folder of this machine in which no file is left, and its subfolders."""
    for at, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(at):
            os.rmdir(at)


def root_of(target: str, overrides: Iterable[str] = ()) -> Storage:
    """The root to clean up: of a recipe's run, if `target` is a recipe's file, else `target` itself."""
    if "://" in target or not Path(target).is_file():
        return Storage(target)
    from raysft import recipe

    return Storage(recipe.load(target, overrides).run_root)


def seconds(text: str) -> float:
    """An age such as "1d", "12h", "30m" or "45s".

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None:
        raise ValueError(f"got {text!r}; allowed: a number and s, m, h or d, such as 1d or 12h")
    return float(match[1]) * UNITS[match[2]]


def as_text(storage: Storage, asked: Asked, found: Found) -> str:
    """The result for a terminal."""
    lines = [storage.uri(), *(f"  note: {note}" for note in found.notes)]
    for why, told in sorted(found.going.items()):
        lines += _paragraph(why, told)
    for why, told in sorted(found.staying.items()):
        flag = "--superseded removes it" if found.is_run else "--older-than AGE removes it"
        lines += _paragraph(f"{why}; stays, {flag}", told)
    if found.young.objects:
        lines.append(f"  left alone, since younger than {asked.age / 3_600:g} hours: {found.young}")
    total = NOTHING
    for told in found.going.values():
        total = Amount(total.objects + told.amount.objects, total.bytes + told.amount.bytes)
    if asked.removes:
        lines.append(f"removed {found.removed}")
    else:
        lines.append(f"would remove {total}; --yes removes it" if total.objects else "nothing to remove")
    return "\n".join(lines)


def _paragraph(why: str, told: Told) -> list[str]:
    lines = [f"  {why}: {told.amount}"]
    for one in told.first:
        many = f", {one.objects:,} objects" if one.is_folder else ""
        lines.append(f"    {one.path}  {in_bytes(one.bytes)}{many}")
    return lines
