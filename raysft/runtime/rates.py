"""What an earlier run tells of a later one: rows, tokens and times of its sealed stages, and of its training.

A pass of a plan is held against the pass of the same stage, the same one of its kind, of that run; where the
plan has more of them (rounds, say) against the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from raysft.runtime.ledger import Ledgers, Spent
from raysft.runtime.manifest import Manifest, chain_to, read_manifest
from raysft.runtime.passes import Pass
from raysft.runtime.storage import Storage

ROUNDING_S = 0.05


@dataclass(frozen=True)
class Earlier:
    """A run's sealed stages in order, its recipe, what it used, and what its training told, if it has one."""

    root: str
    manifests: tuple[Manifest, ...]
    spent: Spent
    recipe: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] | None = None

    def of(self, passes: Sequence[Pass]) -> dict[str, Manifest]:
        """By a pass's folder the stage of this run that it is held against."""
        mine: dict[str, list[Manifest]] = {}
        for m in self.manifests:
            mine.setdefault(m.stage, []).append(m)
        seen: dict[str, int] = {}
        found = {}
        for p in passes:
            place = seen.get(p.stage, 0)
            seen[p.stage] = place + 1
            if p.stage in mine:
                found[p.folder] = mine[p.stage][min(place, len(mine[p.stage]) - 1)]
        return found

    def replicas(self, engine: str) -> int:
        """The smallest pool of an engine in this run's recipe."""
        spec = (self.recipe.get("engines") or {}).get(engine) or {}
        return int((spec.get("replicas") or {}).get("min", 1))

    def barrier_seconds(self, m: Manifest) -> float:
        """Wall seconds of a stage's barrier, 0 without one: what its tasks are told to have taken beyond its
        work shards. A barrier begins a segment, so that these run in tasks unless they ask an engine."""
        others = 0.0 if m.engines else sum(record.seconds for record in m.shards)
        found = self.spent.tasks.get(m.folder, 0.0) - others
        return found if found > ROUNDING_S else 0.0

    @property
    def least_barrier_seconds(self) -> float:
        """The shortest barrier: what any barrier takes, whatever its rows."""
        found = [self.barrier_seconds(m) for m in self.manifests]
        return min((seconds for seconds in found if seconds), default=0.0)


def read_earlier(root: str) -> Earlier:
    """The run at `root`, a folder or a URI: of several chains of stages the one that was sealed last.

    Raises:
        LookupError: there is no sealed stage.
    """
    storage = Storage(root)
    sealed = [read_manifest(storage, f"stages/{name}") for name in storage.names("stages")]
    found = [m for m in sealed if m is not None]
    parents = {folder for m in found for folder in m.parents}
    ends = [m for m in found if m.folder not in parents]
    if not ends:
        raise LookupError(
            f"--rates {root}: no sealed stage is there; name the folder of a run, such as runs/demo"
        )
    last = max(ends, key=lambda m: (m.created, m.folder))
    recipe = yaml.safe_load(storage.read_bytes("recipe.yaml")) if storage.exists("recipe.yaml") else {}
    training = storage.read_json("train/result.json") if storage.exists("train/result.json") else None
    chain = tuple(chain_to(storage, last.folder))
    return Earlier(storage.uri(), chain, Ledgers(storage).spent(), recipe, training)
