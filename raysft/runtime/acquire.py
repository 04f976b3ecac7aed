"""The first stage on Ray: sources become sealed shards of samples, bad rows go to quarantine/."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray
from ray.data import TaskPoolStrategy

from raysft.acquire.source import read
from raysft.acquire.unit import Unit
from raysft.runtime import manifest
from raysft.runtime.manifest import Record
from raysft.runtime.passes import Pass
from raysft.runtime.storage import Storage
from raysft.stage import Counts


def stream_acquire(
    storage: Storage, p: Pass, todo: Sequence[tuple[str, Any, Unit]]
) -> Iterator[tuple[Record, str]]:
    """Read units of sources on Ray Data; yields each one's record and what it was read as, in words.

    `todo` holds (unit name, source, unit).
    """
    items = [{"at": i} for i in range(len(todo))]
    items_data: Any = ray.data.from_items(items, override_num_blocks=len(items))
    data = items_data.map_batches(
        _read_block,
        fn_args=(storage, p.folder, ray.put(list(todo))),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
        compute=TaskPoolStrategy(),
    )
    for batch in data.iter_batches(batch_size=None, batch_format="pyarrow"):
        for text, format in zip(batch["record"].to_pylist(), batch["format"].to_pylist(), strict=True):
            yield Record.from_json(json.loads(text)), format


def _read_block(block: pa.Table, storage: Storage, folder: str, todo: Any) -> pa.Table:
    units = ray.get(todo)
    done = [acquire_unit(storage, folder, *units[i]) for i in block["at"].to_pylist()]
    return pa.table(
        {"record": [json.dumps(asdict(record)) for record, _ in done], "format": [form for _, form in done]}
    )


def acquire_unit(storage: Storage, folder: str, name: str, source: Any, unit: Unit) -> tuple[Record, str]:
    """Read one unit, write its bad rows to quarantine/ and commit its samples; returns its record and what
    it was read as, in words."""
    started = time.monotonic()
    got = read(source, unit)
    if got.bad:
        lines = (json.dumps(asdict(bad), ensure_ascii=False) for bad in got.bad)
        text = "".join(line + "\n" for line in lines)
        storage.write_bytes(quarantine_path(folder, name), text.encode("utf-8", "replace"))
    good, bad = len(got.table), len(got.bad)
    reasons = Counter(b.reason.split(":")[0] for b in got.bad)
    counts = Counts(rows_in=good + bad, passed=good, quarantined=bad, rules=dict(sorted(reasons.items())))
    record = manifest.commit(
        storage,
        folder,
        name,
        got.table,
        base=None,
        input=unit.content,
        counts=counts,
        seconds=time.monotonic() - started,
    )
    told = ", ".join(f"{name} {n:,}" for name, n in sorted(got.told.items()))
    return record, f"{got.format} ({told})" if told else got.format


def quarantine_path(folder: str, unit: str) -> str:
    """Where a unit's bad rows are, one JSON object a line."""
    return f"quarantine/{folder.rsplit('/', 1)[-1]}/{unit}.jsonl"
