"""Sealed stages as a chain: the last one that wrote rows, the sidecars since, and work shards over both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from raysft.runtime.manifest import Manifest, Record
from raysft.runtime.passes import Pass
from raysft.runtime.storage import Storage
from raysft.runtime.work import Piece, WorkShard, advance, digest_of, is_of

UNITS = "_units.json"


def split(manifests: Sequence[Manifest]) -> tuple[Manifest, list[Manifest]]:
    """(the last manifest that wrote rows, those of the sidecars after it)."""
    last = max(i for i, m in enumerate(manifests) if m.writes == "rows")
    return manifests[last], list(manifests[last + 1 :])


def work_shards(
    manifests: Sequence[Manifest], ranges: Iterable[tuple[str, str, int, int | None]], first: int = 0
) -> list[WorkShard]:
    """Work shards over a chain, numbered from `first`; a range is (unit, unit of the base shard, start, stop
    or None for all)."""
    base, sidecars = split(manifests)
    records = {r.unit: r for r in base.shards}
    layers = [_by_base(m) for m in sidecars]
    shards = []
    for number, (unit, of, start, stop) in enumerate(ranges, first):
        record = records[of]
        end = record.rows if stop is None else stop
        told, pieces = digest_of([(record, start, end)]), []
        for manifest, layer in zip(sidecars, layers, strict=True):
            covered = _cover(layer[record.name], start, end)
            told = digest_of(covered, told)
            pieces.append(tuple(Piece(manifest.folder, r.name, a, b) for r, a, b in covered))
        shards.append(
            WorkShard(unit, Piece(base.folder, record.name, start, end), tuple(pieces), told, number=number)
        )
    return shards


def _by_base(manifest: Manifest) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in sorted(manifest.shards, key=lambda r: r.base[1] if r.base else 0):
        assert record.base is not None
        found.setdefault(record.base[0], []).append(record)
    return found


def _cover(records: Sequence[Record], start: int, stop: int) -> list[tuple[Record, int, int]]:
    """The parts of sidecars that cover base rows [start, stop), as rows within each sidecar."""
    parts = []
    for record in records:
        assert record.base is not None
        _, first, last = record.base
        if (first < stop and last > start) or first == last == start:
            parts.append((record, max(start, first) - first, min(stop, last) - first))
    return parts


def ranges_of(manifests: Sequence[Manifest], rows_per_shard: int) -> list[tuple[str, str, int, int | None]]:
    """Cut the base shards of a chain into ranges of at most `rows_per_shard` rows."""
    base, _ = split(manifests)
    ranges: list[tuple[str, str, int, int | None]] = []
    for i, record in enumerate(sorted(base.shards, key=lambda r: r.unit)):
        for start in range(0, max(record.rows, 1), rows_per_shard):
            stop = min(start + rows_per_shard, record.rows)
            ranges.append((f"{i:05d}-{start:08d}-{stop:08d}", record.unit, start, stop))
    return ranges


def plan_ranges(
    storage: Storage, manifests: Sequence[Manifest], passes: Sequence[Pass]
) -> list[tuple[str, str, int, int | None]]:
    """The ranges of a segment: those an interrupted run began with, else fresh ones, kept for the next.

    `rows_per_shard` may so change between runs without any committed shard being lost.
    """
    path = f"{passes[0].folder}/{UNITS}"
    if storage.exists(path):
        kept = [(u, of, start, stop) for u, of, start, stop in storage.read_json(path)]
        if _covers(kept, split(manifests)[0]):
            return kept
    size = min(p.config.rows_per_shard for p in passes)
    ranges = ranges_of(manifests, size)
    current: list[tuple[str, str, int, int | None]] = ranges
    for p in passes:
        storage.write_json(f"{p.folder}/{UNITS}", current)
        if p.writes == "rows":
            current = [(unit, unit, 0, None) for unit, _, _, _ in ranges]
    return ranges


def _covers(ranges: Iterable[tuple[str, str, int, int | None]], base: Manifest) -> bool:
    """Whether the ranges hold every row of the base's shards exactly once: shards that were lost and made
    again may have other numbers of rows."""
    rows = {r.unit: r.rows for r in base.shards}
    spans: dict[str, list[tuple[int, int]]] = {}
    for _, of, start, stop in ranges:
        spans.setdefault(of, []).append((start, rows.get(of, 0) if stop is None else stop))
    return spans.keys() == rows.keys() and all(
        [start for start, _ in sorted(found)] + [rows[of]] == [0] + [stop for _, stop in sorted(found)]
        for of, found in spans.items()
    )


def is_done(shard: WorkShard, passes: Sequence[Pass], records: Mapping[str, Mapping[str, Record]]) -> bool:
    """Whether every pass has committed this work shard, each from what the pass before it committed."""
    for p in passes:
        record = records[p.folder].get(shard.unit)
        if record is None or not is_of(record, shard):
            return False
        shard = advance(shard, p, record)
    return True
