"""The driver of a run: acquire, segments, the curated set, training, the report; status all along.

Whatever is sealed is skipped, whatever is committed is kept, so that starting a stopped run again is all
there is to resuming it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from raysft import stage as stages
from raysft.augment.prompts import SUFFIX
from raysft.engines.spec import Engine
from raysft.recipe import Recipe
from raysft.runtime import chain, manifest, preflight
from raysft.runtime.acquire import quarantine_path, stream_acquire
from raysft.runtime.barrier import run_barriers, with_cause
from raysft.runtime.capacity import ONE_CPU, Capacity, Want
from raysft.runtime.cluster import living_nodes
from raysft.runtime.manifest import Manifest, Record
from raysft.runtime.node_watch import NodeWatch, watched
from raysft.runtime.passes import Pass
from raysft.runtime.plan import Plan, operators, segments, want_of, wants
from raysft.runtime.progress import Progress
from raysft.runtime.segment import EngineBuilder, build_engine, stream
from raysft.runtime.status import Status
from raysft.runtime.storage import Storage
from raysft.runtime.work import read_fitted
from raysft.stage import Fit

EARLY_CHECK_ROWS = 1000


class TooManyBadRows(RuntimeError):
    """More rows were quarantined than the recipe's `max_bad_fraction` allows."""


class Uncommitted(RuntimeError):
    """A segment ended and some work shards have no valid commit; running again redoes just those."""


@dataclass
class Run:
    """One run of a plan on a joined cluster. `sealed` grows as stages are sealed, in order."""

    plan: Plan
    storage: Storage
    capacity: Capacity
    progress: Progress
    status: Status
    build_engine: EngineBuilder = build_engine
    watch: NodeWatch = field(default_factory=NodeWatch)
    sealed: list[Manifest] = field(default_factory=list)

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    def execute(self) -> list[Manifest]:
        """Acquire and run every pass of the plan; returns their manifests."""
        text = yaml.safe_dump(dict(self.recipe.resolved), allow_unicode=True, sort_keys=False)
        self.storage.write_bytes("recipe.yaml", text.encode())
        for name, prompt in self.recipe.prompts.items():
            self.storage.write_bytes(f"prompts/{name}{SUFFIX}", prompt.encode())
        for note in self.plan.notes:
            self.progress.note(note)
        self._acquire()
        for segment in segments(self.plan, self.capacity):
            self._run_segment(segment)
        return self.sealed

    def _acquire(self) -> None:
        p = self.plan.acquire
        known = manifest.read_manifest(self.storage, p.folder)
        if known is not None:
            self._keep(known)
            return
        named = [(f"{n:05d}", self.recipe.sources[i], unit) for n, (i, unit) in enumerate(self.plan.units)]
        records = manifest.read_records(self.storage, p.folder)
        todo = [u for u in named if u[0] not in records or records[u[0]].input != u[2].content]
        self.status.running(label(p.folder))
        self.progress.begin([label(p.folder)], len(named), len(named) - len(todo))
        started = time.monotonic()
        if todo:
            self.watch.needs([ONE_CPU])
            units = {name: unit for name, _, unit in named}
            for record, form in stream_acquire(self.storage, p, todo):
                self.watch.heard()
                self.progress.advance(label(p.folder), record)
                self.progress.note(f"  read {units[record.unit].uri} as {form}: {record.rows:,} rows")
                records[record.unit] = record
                self._check_bad(list(records.values()), at_least=EARLY_CHECK_ROWS)
        records = manifest.read_records(self.storage, p.folder)
        shards = [records[name] for name, _, _ in named]
        self._check_bad(shards, at_least=0)
        self._seal(p, shards, time.monotonic() - started)

    def _check_bad(self, records: Sequence[Record], at_least: int) -> None:
        counts = manifest.total(records)
        bound = self.recipe.settings.max_bad_fraction
        if counts.rows_in and counts.rows_in >= at_least and counts.quarantined > bound * counts.rows_in:
            reasons = ", ".join(f"{rule} {n}" for rule, n in counts.rules.items())
            place = self.storage.uri(quarantine_path(self.plan.acquire.folder, "*"))
            raise TooManyBadRows(
                f"{counts.quarantined:,} of {counts.rows_in:,} rows are bad ({reasons}); "
                f"max_bad_fraction allows {bound:g}. They are in {place}"
            )

    def _keep(self, known: Manifest) -> None:
        self.sealed.append(known)
        self.progress.skipped(label(known.folder), known.counts)

    def _run_segment(self, segment: Sequence[Pass]) -> None:
        """Run what of a segment is not sealed: its barrier, then all its passes in one stream."""
        pending = list(segment)
        while pending:
            known = manifest.read_manifest(self.storage, pending[0].folder)
            if known is None or known.parents != manifest.parents_of(self.sealed):
                break
            self._keep(known)
            pending.pop(0)
        if not pending:
            return
        started = time.monotonic()
        self.status.running(", ".join(label(p.folder) for p in pending))
        ranges = chain.plan_ranges(self.storage, self.sealed, pending)
        shards = chain.work_shards(self.sealed, ranges)
        labels = [label(p.folder) for p in pending]
        if pending[0].barriers:
            self.progress.begin(labels, len(shards), 0)
            self.watch.needs(barrier_wants(pending[0], self.recipe.engines))
            seed, partitions = self.recipe.settings.seed, int(self.capacity.cpus)
            shards = run_barriers(
                self.storage,
                pending[0],
                shards,
                seed,
                partitions,
                sealed=self.sealed,
                engines=self.recipe.engines,
                build_engine=self.build_engine,
            )
        records = {p.folder: manifest.read_records(self.storage, p.folder) for p in pending}
        todo = [s for s in shards if not chain.is_done(s, pending, records)]
        self.progress.begin(labels, len(shards), len(shards) - len(todo))
        engine_starts: dict[str, float] = {}
        self.watch.needs([replace(want, count=1) for want in wants(pending, self.recipe.engines)])
        for committed, starts in self._stream(pending, todo):
            self.watch.heard()
            engine_starts.update(starts)
            for folder, record in committed:
                self.progress.advance(label(folder), record)
        records = {p.folder: manifest.read_records(self.storage, p.folder) for p in pending}
        missing = [s.unit for s in shards if not chain.is_done(s, pending, records)]
        if missing:
            raise Uncommitted(f"{len(missing)} of {len(shards)} work shards are not committed; run again")
        wall, started_in = time.monotonic() - started, sum(engine_starts.values())
        work = {p.folder: sum(records[p.folder][s.unit].seconds for s in shards) for p in pending}
        for p in pending:
            share = work[p.folder] / (sum(work.values()) or 1.0)
            first = next((q for q in pending if q.engine), None)
            committed = [records[p.folder][s.unit] for s in shards]
            self._seal(p, committed, wall * share, started_in if p is first else 0.0)

    def _stream(self, pending: Sequence[Pass], todo: Sequence[Any]) -> Any:
        if not todo:
            return iter(())
        return stream(
            self.storage,
            operators(pending),
            todo,
            dict(self.recipe.engines),
            self.recipe.settings.seed,
            self.build_engine,
        )

    def _seal(self, p: Pass, shards: Sequence[Record], seconds: float, engine_starts: float = 0.0) -> None:
        """`seconds` are the pass's part of its segment's wall time, by the work of its shards."""
        base = None if p.writes == "rows" else chain.split(self.sealed)[0].folder
        told = read_fitted(self.storage, [p.folder]).values if p.barriers else {}
        sealed = manifest.seal(
            self.storage,
            Manifest(
                stage=p.stage,
                folder=p.folder,
                fingerprint=p.fingerprint,
                writes=p.writes,
                shards=tuple(shards),
                counts=manifest.total(shards),
                base=base,
                round=p.round,
                version=getattr(stages.load(p.stage), "VERSION", 0) if p.config is not None else 0,
                parents=manifest.parents_of(self.sealed),
                config=p.semantic_config if p.config is not None else {},
                engines={p.engine: dict(self.plan.identities[p.engine])} if p.engine else {},
                findings=tuple(told.get("findings", ())),
                seconds=round(seconds, 3),
                engine_start_seconds=round(engine_starts, 3),
            ),
        )
        self.sealed.append(sealed)
        self.progress.end(label(p.folder), sealed.counts, sealed.seconds)
        for note in told.get("notes", ()):
            self.progress.note(f"  {label(p.folder)}: {note}")


def label(folder: str) -> str:
    """A stage's folder as the progress view names it: "03-evolve"."""
    return folder.rsplit("/", 1)[-1].rsplit("-", 1)[0]


def start(
    plan: Plan,
    storage: Storage,
    join: Callable[[], AbstractContextManager[Capacity]],
    progress: Progress,
    status: Status,
    *,
    with_training: bool = False,
    finish: Callable[[Run], None] | None = None,
    build_engine: EngineBuilder = build_engine,
) -> list[Manifest]:
    """Preflight, join the cluster, run the plan, then `finish` (export, training, report).

    Raises:
        PreflightError: lists all that would keep the run from ending well.
        NodesMissing: the cluster lacked nodes for longer than the recipe waits for them.
    """
    problems = preflight.missing_models(plan.recipe)
    if problems:
        raise preflight.PreflightError(problems)
    with ExitStack() as stack:
        has = stack.enter_context(join())
        problems = preflight.does_not_fit(plan, has, with_training)
        if problems:
            raise preflight.PreflightError(problems)
        stack.enter_context(progress)
        wait_s = plan.recipe.settings.wait_for_nodes_s
        watch = stack.enter_context(watched(wait_s, progress.note, living_nodes))
        run = Run(plan, storage, has, progress, status, build_engine, watch)
        try:
            run.execute()
            if finish:
                finish(run)
        except Exception as error:
            raise with_cause(error) from None
        return run.sealed


def barrier_wants(p: Pass, engines: Mapping[str, Engine]) -> list[Want]:
    """What a pass's barrier needs: a CPU for its tasks, and a place for each engine that a `Fit` asks."""
    named = [
        step.engine for step in (p.steps[i] for i in p.barriers) if isinstance(step, Fit) and step.engine
    ]
    used = dict.fromkeys(getattr(p.config, name) for name in named)
    return [*(replace(want_of(name, engines[name]), count=1) for name in used if name), ONE_CPU]
