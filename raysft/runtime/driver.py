"""The driver of a run: acquire, segments, the curated set, training, the report; status all along.

Whatever is sealed is skipped, whatever is committed is kept, so that starting a stopped run again is all
there is to resuming it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from raysft import stage as stages
from raysft.augment.prompts import SUFFIX
from raysft.engines.spec import Engine
from raysft.recipe import Recipe
from raysft.runtime import chain, ledger, manifest, preflight
from raysft.runtime.acquire import quarantine_path, stream_acquire
from raysft.runtime.barrier import run_barriers, with_cause
from raysft.runtime.budget import Watch
from raysft.runtime.capacity import ONE_CPU, Capacity, Want
from raysft.runtime.cluster import living_nodes
from raysft.runtime.manifest import Manifest, Record
from raysft.runtime.metrics import RunMetrics
from raysft.runtime.node_watch import NodeWatch, watched
from raysft.runtime.passes import Pass
from raysft.runtime.plan import Plan, operators, segments, want_of, wants
from raysft.runtime.progress import Progress
from raysft.runtime.segment import EngineBuilder, build_engine, stream
from raysft.runtime.stage_cache import StageCache, cache_of, places
from raysft.runtime.status import Status
from raysft.runtime.storage import Storage
from raysft.runtime.work import WorkShard, read_fitted

EARLY_CHECK_ROWS = 1000
WAVE = 50_000
"""Work shards of one Ray Data execution, which keeps a record of each of its blocks in the driver."""
PLAN = "plan.json"
"""Names the folders of the plan that a run was last started with, by which housekeeping knows all others."""


class TooManyBadRows(RuntimeError):
    """More rows were quarantined than the recipe's `max_bad_fraction` allows."""


class Uncommitted(RuntimeError):
    """A segment ended and some work shards have no valid commit; running again redoes just those."""


def _unleased() -> None:
    """Who runs a plan without a lease, as benchmarks do, knows that nobody else works in the folder."""


@dataclass
class Run:
    """One run of a plan on a joined cluster. `sealed` grows as stages are sealed, in order; `check_lease`
    raises when the run's folder is another driver's by now."""

    plan: Plan
    storage: Storage
    capacity: Capacity
    progress: Progress
    status: Status
    watch: Watch
    build_engine: EngineBuilder = build_engine
    cache: StageCache | None = None
    check_lease: Callable[[], None] = _unleased
    nodes: NodeWatch = field(default_factory=NodeWatch)
    sealed: list[Manifest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metrics = RunMetrics(self.recipe.settings.run)

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    def execute(self) -> list[Manifest]:
        """Acquire and run every pass of the plan; returns their manifests."""
        text = yaml.safe_dump(dict(self.recipe.resolved), allow_unicode=True, sort_keys=False)
        self.storage.write_bytes("recipe.yaml", text.encode())
        self.storage.write_json(PLAN, {"folders": [p.folder for p in self.plan.whole]})
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
        if self._finds(p):
            return
        named = [(f"{n:05d}", self.recipe.sources[i], unit) for n, (i, unit) in enumerate(self.plan.units)]
        records = manifest.read_records(self.storage, p.folder)
        todo = [u for u in named if u[0] not in records or records[u[0]].input != u[2].content]
        self.check_lease()
        self.status.running(label(p.folder))
        self.progress.begin([label(p.folder)], len(named), len(named) - len(todo))
        started = time.monotonic()
        if todo:
            self.nodes.needs([ONE_CPU])
            units = {name: unit for name, _, unit in named}
            waves = (todo[start : start + WAVE] for start in range(0, len(todo), WAVE))
            for record, form in (told for wave in waves for told in stream_acquire(self.storage, p, wave)):
                self.nodes.heard()
                self.progress.advance(label(p.folder), record)
                self.metrics.committed(label(p.folder), record.counts)
                self.watch.task(p.folder, record.seconds)
                self.progress.note(f"  read {units[record.unit].uri} as {form}: {record.rows:,} rows")
                records[record.unit] = record
                self._check_bad(list(records.values()), at_least=EARLY_CHECK_ROWS)
        records = manifest.read_records(self.storage, p.folder, [name for name, _, _ in named])
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

    def _finds(self, p: Pass) -> bool:
        """Go on with a pass as it was sealed already, in this run's folder or in the cache, if it was."""
        parents = manifest.parents_of(self.sealed)
        known, where = manifest.read_manifest(self.storage, p.folder), "an earlier run"
        if known is None or known.parents != parents:
            if self.cache is None:
                return False
            self.check_lease()
            found = self.cache.take(self.storage, p, parents, self.progress.note)
            if found is None:
                return False
            known, where = found.manifest, f"run {found.run}"
        self.sealed.append(known)
        self.progress.skipped(label(known.folder), known.counts, where)
        self._share(known)
        return True

    def _share(self, sealed: Manifest) -> None:
        """Publish a sealed stage in the cache. The run has what it needs without, so that a cache which fails
        now is only told of; the next start tries again."""
        if self.cache is None:
            return
        try:
            self.cache.publish(self.storage, sealed)
        except Exception as error:  # any store's own error: its text is the answer
            told = f"{type(error).__name__}: {error}"
            self.progress.note(
                f"  {label(sealed.folder)}: not in the cache {self.cache.storage.uri()}: {told}"
            )

    def _run_segment(self, segment: Sequence[Pass]) -> None:
        """Run what of a segment is not sealed: its barrier, then all its passes in one stream."""
        pending = list(segment)
        while pending and self._finds(pending[0]):
            pending.pop(0)
        if not pending:
            return
        self.watch.check()
        started = time.monotonic()
        self.check_lease()
        self.status.running(", ".join(label(p.folder) for p in pending))
        ranges = chain.plan_ranges(self.storage, self.sealed, pending)
        shards = chain.work_shards(self.sealed, ranges)
        labels = [label(p.folder) for p in pending]
        if pending[0].barriers:
            self.progress.begin(labels, len(shards), 0)
            self.nodes.needs(barrier_wants(pending[0], self.recipe.engines))
            shards = self._run_barriers(pending[0], shards)
        records = {p.folder: manifest.read_records(self.storage, p.folder) for p in pending}
        todo = [s for s in shards if not chain.is_done(s, pending, records)]
        self.progress.begin(labels, len(shards), len(shards) - len(todo))
        engine_starts: dict[str, float] = {}
        in_tasks = {p.folder for o in operators(pending) if not o.engine for p in o.passes}
        self.nodes.needs([replace(want, count=1) for want in wants(pending, self.recipe.engines)])
        for committed, starts in self._stream(pending, todo):
            self.nodes.heard()
            engine_starts.update(starts)
            for folder, record in committed:
                self.progress.advance(label(folder), record)
                self.metrics.committed(label(folder), record.counts)
                if folder in in_tasks:
                    self.watch.task(folder, record.seconds)
            self.watch.look()
        units = [s.unit for s in shards]
        records = {p.folder: manifest.read_records(self.storage, p.folder, units) for p in pending}
        missing = [s.unit for s in shards if not chain.is_done(s, pending, records)]
        if missing:
            self.watch.check()
            raise Uncommitted(f"{len(missing)} of {len(shards)} work shards are not committed; run again")
        wall, started_in = time.monotonic() - started, sum(engine_starts.values())
        work = {p.folder: sum(records[p.folder][s.unit].seconds for s in shards) for p in pending}
        for p in pending:
            share = work[p.folder] / (sum(work.values()) or 1.0)
            first = next((q for q in pending if q.engine), None)
            committed = [records[p.folder][s.unit] for s in shards]
            self._seal(p, committed, wall * share, started_in if p is first else 0.0)

    def _run_barriers(self, p: Pass, shards: Sequence[WorkShard]) -> list[WorkShard]:
        """Run a pass's barrier. One CPU is told of for its time, and of an engine that it fits with all."""
        started = time.monotonic()
        with ExitStack() as stack:
            for name in fitting_engines(p):
                spec = self.recipe.engines[name]
                held = (ledger.ENGINE, name, spec.cpus, spec.gpus)
                stack.enter_context(ledger.told(self.storage, self.watch.session, *held))
            found = run_barriers(
                self.storage,
                p,
                shards,
                self.recipe.settings.seed,
                int(self.capacity.cpus),
                sealed=self.sealed,
                engines=self.recipe.engines,
                build_engine=self.build_engine,
            )
        self.watch.task(p.folder, time.monotonic() - started)
        return found

    def _stream(self, pending: Sequence[Pass], todo: Sequence[Any]) -> Iterator[Any]:
        for start in range(0, len(todo), WAVE):
            yield from stream(
                self.storage,
                operators(pending),
                todo[start : start + WAVE],
                dict(self.recipe.engines),
                self.recipe.settings.seed,
                self.build_engine,
                session=self.watch.session,
                stop=self.watch.stop,
            )

    def _seal(self, p: Pass, shards: Sequence[Record], seconds: float, engine_starts: float = 0.0) -> None:
        """`seconds` are the pass's part of its segment's wall time, by the work of its shards."""
        base = None if p.writes == "rows" else chain.split(self.sealed)[0].folder
        told = read_fitted(self.storage, [p.folder]).values if p.barriers else {}
        self.check_lease()
        sealed = manifest.seal(
            self.storage,
            Manifest(
                stage=p.stage,
                folder=p.folder,
                fingerprint=p.fingerprint,
                writes=p.writes,
                shards=tuple(shards),
                counts=manifest.total(shards),
                usage=manifest.total_usage(shards),
                base=base,
                round=p.round,
                version=getattr(stages.load(p.stage), "VERSION", 0) if p.config is not None else 0,
                parents=manifest.parents_of(self.sealed),
                config=p.semantic_config if p.config is not None else {},
                engines={p.engine: dict(self.plan.identities[p.engine])} if p.engine else {},
                findings=tuple(told.get("findings", ())),
                places=places(self.plan, p),
                seconds=round(seconds, 3),
                engine_start_seconds=round(engine_starts, 3),
            ),
        )
        self.sealed.append(sealed)
        self.progress.end(label(p.folder), sealed.counts, sealed.seconds)
        repeated = sum(record.retries for record in shards)
        if repeated:
            self.progress.note(
                f"  {label(p.folder)}: operations on stores were tried again {repeated:,} times"
            )
        for note in told.get("notes", ()):
            self.progress.note(f"  {label(p.folder)}: {note}")
        self._share(sealed)


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
    watch: Watch | None = None,
    check_lease: Callable[[], None] = _unleased,
) -> list[Manifest]:
    """Preflight, join the cluster, run the plan, then `finish` (export, training, report).

    Raises:
        OverBudget: a limit of the recipe's budget is reached.
        PreflightError: lists all that would keep the run from ending well.
        NodesMissing: the cluster lacked nodes for longer than the recipe waits for them.
    """
    problems = preflight.missing_models(plan.recipe)
    if problems:
        raise preflight.PreflightError(problems)
    recipe = plan.recipe
    watch = watch or Watch(storage, recipe.budget, recipe.prices, progress.note)
    if any(manifest.read_manifest(storage, p.folder) is None for p in plan.all_passes):
        watch.check()
    with ExitStack() as stack:
        stack.enter_context(watch)
        has = stack.enter_context(join())
        problems = preflight.does_not_fit(plan, has, with_training)
        if problems:
            raise preflight.PreflightError(problems)
        stack.enter_context(progress)
        wait_s = recipe.settings.wait_for_nodes_s
        nodes = stack.enter_context(watched(wait_s, progress.note, living_nodes))
        run = Run(
            plan, storage, has, progress, status, watch, build_engine, cache_of(plan), check_lease, nodes
        )
        try:
            run.execute()
            if finish:
                finish(run)
        except Exception as error:
            raise with_cause(error) from None
        return run.sealed


def fitting_engines(p: Pass) -> list[str]:
    """Names of the engines that a pass's barrier asks."""
    fits = [step for step in (p.steps[i] for i in p.barriers) if isinstance(step, stages.Fit)]
    return [name for name in dict.fromkeys(getattr(p.config, s.engine) for s in fits if s.engine) if name]


def barrier_wants(p: Pass, engines: Mapping[str, Engine]) -> list[Want]:
    """What a pass's barrier needs: a CPU for its tasks, and a place for each engine that it asks."""
    return [*(replace(want_of(name, engines[name]), count=1) for name in fitting_engines(p)), ONE_CPU]
