"""What a plan would take: rows, tokens, hours and cost, stage by stage, by the rates of an earlier run.

Each stage is scaled from that run: what it made and dropped, and what it took of engines and tasks, by its
rows in; of a stage with a `target`, what it made by the target; `curate.select` keeps its `budget` at most.
What of a segment's time its stages do not explain (engines and workers that start) stays what it was, and so
does what the shortest barrier took. Pools are taken to have `replicas.min` workers, alive while their segment
streams: so a pool that waits for another costs as much as one that works. Without an earlier run only bounds
are told. docs/costs.md says how far off this was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raysft.acquire.streams import Damaged, blocks
from raysft.acquire.unit import Unit
from raysft.costs import Budget, Prices
from raysft.runtime.manifest import Manifest
from raysft.runtime.metering import Usage
from raysft.runtime.passes import Pass
from raysft.runtime.plan import Plan, operators
from raysft.runtime.rates import Earlier
from raysft.train.config import TrainConfig

JSON_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
FEW_SHARDS = 4
SEALED, ESTIMATED, BOUND, UNKNOWN = "sealed", "estimated", "at most", "unknown"


@dataclass(frozen=True)
class StageEstimate:
    """One stage of a plan, or its training. `rows_are` says what the rows are worth; None is not known.
    Hours and cost are those still to come: of a sealed stage 0."""

    label: str
    engine: str | None = None
    rows_are: str = UNKNOWN
    rows_in: float | None = None
    rows_out: float | None = None
    tokens_in: float | None = None
    tokens_out: float | None = None
    gpu_hours: float | None = None
    cpu_hours: float | None = None
    seconds: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Estimate:
    """All stages, the sums of what is known, and what is unsure about them in words."""

    stages: tuple[StageEstimate, ...]
    total: StageEstimate
    notes: tuple[str, ...] = ()
    currency: str = ""


@dataclass(frozen=True)
class Scaled:
    """A pass held against an earlier one: its rows, and by how much its work and its own making grow."""

    rows_in: float | None = None
    rows_out: float | None = None
    rows_are: str = UNKNOWN
    work: float | None = None
    earlier: Manifest | None = None


def estimate(
    plan: Plan,
    segments: Sequence[Sequence[Pass]],
    earlier: Earlier | None,
    sealed: Mapping[str, Manifest],
    labels: Mapping[str, str],
) -> Estimate:
    """Estimate a plan that is cut into `segments`; `sealed` are its stages, by folder, that need not run, and
    `labels` the names of all."""
    held = earlier.of(plan.all_passes) if earlier else {}
    scaled = _rows(plan, held, sealed)
    found = {p.folder: _bare(p, scaled[p.folder], labels[p.folder]) for p in plan.all_passes}
    for segment in [[plan.acquire], *segments]:
        todo = [p for p in segment if p.folder not in sealed]
        for p in segment:
            if p.folder in sealed:
                found[p.folder] = _nothing(found[p.folder])
        if earlier and todo and all(scaled[p.folder].work is not None for p in todo):
            found |= _segment(plan, todo, scaled, earlier, found)
    stages = list(found.values())
    if plan.recipe.train is not None:
        stages.append(_training(plan.recipe.train, stages[-1], earlier))
    prices = plan.recipe.prices
    stages = [replace(s, cost=_cost(s, prices)) for s in stages]
    total = _total(stages)
    notes = (*_notes(plan, earlier, held, stages), *_beyond(total, plan.recipe.budget, prices))
    return Estimate(tuple(stages), total, notes, "" if prices.is_free else prices.currency)


def _rows(plan: Plan, held: Mapping[str, Manifest], sealed: Mapping[str, Manifest]) -> dict[str, Scaled]:
    """Rows of each pass, each from those of the pass before it."""
    rows, rows_are = source_rows([unit for _, unit in plan.units])
    found: dict[str, Scaled] = {}
    for p in plan.all_passes:
        m = sealed.get(p.folder)
        if m is not None:
            found[p.folder] = Scaled(m.counts.rows_in, m.counts.rows_out, SEALED, 0.0, m)
        elif p.folder in held:
            found[p.folder] = _held_against(p, rows, rows_are, held[p.folder])
        else:
            found[p.folder] = _bounded(p, rows)
        rows = found[p.folder].rows_out
        rows_are = ESTIMATED if p.folder in held or m else BOUND
    return found


def source_rows(units: Sequence[Unit]) -> tuple[float | None, str]:
    """Rows of all units at most, and whether that is known; None where a unit's rows cannot be told cheaply.
    Only JSON lines on this machine are counted, which planning has read anyway."""
    counts = [_unit_rows(unit) for unit in units]
    if any(n is None for n in counts):
        return None, UNKNOWN
    return float(sum(n for n in counts if n is not None)), BOUND


def _unit_rows(unit: Unit) -> int | None:
    limit = None if unit.stop is None else unit.stop - (unit.start or 0)
    if not unit.bytes or "://" in unit.uri or not unit.uri.lower().endswith(JSON_LINES):
        return limit
    rows, last = 0, b"\n"
    try:
        for block in blocks(unit.uri):
            rows += block.count(b"\n")
            last = block[-1:] or last
    except (Damaged, OSError):  # the run will say what is wrong with it
        return limit
    rows += last != b"\n"
    return rows if limit is None else min(rows, limit)


def _held_against(p: Pass, rows: float | None, rows_are: str, m: Manifest) -> Scaled:
    """A pass's rows and work, by those of an earlier one."""
    counts = m.counts
    if rows is None or (not counts.rows_in and rows):
        return Scaled(rows, None, UNKNOWN, None, m)
    grown = rows / counts.rows_in if counts.rows_in else 1.0
    target, before = getattr(p.config, "target", None), m.config.get("target")
    making = target / before if isinstance(target, int) and before else grown
    dropped = (counts.dropped_in - _cut_by_budget(m)) * making + counts.quarantined * grown
    out = max(0.0, rows - dropped - counts.consumed * grown) + counts.made_kept * making
    budget = getattr(p.config, "budget", None)
    if p.stage == "curate.select" and budget is not None:
        out = min(out, float(budget))
    return Scaled(rows, out, ESTIMATED, making if m.usage.requests else grown, m)


def _cut_by_budget(m: Manifest) -> int:
    return m.counts.rules.get("select_budget", 0)


def _bounded(p: Pass, rows: float | None) -> Scaled:
    """Rows of a pass that nothing was measured of: a stage that makes none hands on as many at most."""
    if p.writes == "rows" and p.stage.startswith("augment."):
        target = getattr(p.config, "target", None)
        if rows is None or target is None:
            return Scaled(rows, None, BOUND if rows is not None else UNKNOWN)
        return Scaled(rows, rows + (target if p.round == 1 else 0), BOUND)
    budget = getattr(p.config, "budget", None) if p.stage == "curate.select" else None
    most = min((n for n in (rows, budget) if n is not None), default=None)
    return Scaled(rows, most, BOUND if most is not None else UNKNOWN)


def _bare(p: Pass, scaled: Scaled, label: str) -> StageEstimate:
    """A pass's rows, and the tokens that go with them."""
    m, work = scaled.earlier, scaled.work
    known = m is not None and work is not None
    usage = m.usage if m is not None and known else Usage()
    tells = bool(p.engine) and known
    return StageEstimate(
        label,
        p.engine,
        scaled.rows_are,
        scaled.rows_in,
        scaled.rows_out,
        usage.tokens_in * (work or 0.0) if tells else None,
        usage.tokens_out * (work or 0.0) if tells else None,
    )


def _nothing(stage: StageEstimate) -> StageEstimate:
    return replace(stage, gpu_hours=0.0, cpu_hours=0.0, seconds=0.0)


def _segment(
    plan: Plan,
    todo: Sequence[Pass],
    scaled: Mapping[str, Scaled],
    earlier: Earlier,
    found: Mapping[str, StageEstimate],
) -> dict[str, StageEstimate]:
    """Times and hours of the passes of a segment that are to do."""
    in_tasks = {p.folder for o in operators(todo) if not o.engine for p in o.passes}
    fixed = earlier.least_barrier_seconds
    work, tasks, barrier, before, starts, then = {}, {}, 0.0, 0.0, 0.0, 0.0
    for p in todo:
        one = scaled[p.folder]
        m, grown = one.earlier, one.work
        assert m is not None
        assert grown is not None
        shards = sum(record.seconds for record in m.shards)
        was = earlier.barrier_seconds(m)
        waits = fixed + (was - fixed) * grown if was else 0.0
        took = m.usage.engine_seconds / earlier.replicas(p.engine) if p.engine else shards
        then += took
        work[p.folder] = took * grown * _pool_ratio(p, plan, earlier)
        tasks[p.folder] = waits + (shards * grown if p.folder in in_tasks else 0.0)
        barrier += waits
        before += m.seconds - was
        starts += m.engine_start_seconds / (earlier.replicas(p.engine) if p.engine else 1)
    # where stages run beside each other, their own times add up to more than passed
    explained = min(then, max(0.0, before - starts))
    grows = sum(work.values()) / then if then else 1.0
    streaming = max(0.0, before - explained) + explained * grows
    told = {}
    for p in todo:
        share = work[p.folder] / (sum(work.values()) or 1.0)
        gpus, cpus = _pool(p, todo, plan, work, streaming)
        told[p.folder] = replace(
            found[p.folder],
            gpu_hours=gpus / 3600,
            cpu_hours=(cpus + tasks[p.folder]) / 3600,
            seconds=streaming * share + (barrier if p.barriers else 0.0),
        )
    return told


def _pool_ratio(p: Pass, plan: Plan, earlier: Earlier) -> float:
    """Workers of a pass's engine then, for each of now."""
    if not p.engine:
        return 1.0
    return earlier.replicas(p.engine) / plan.recipe.engines[p.engine].replicas.min


def _pool(
    p: Pass, todo: Sequence[Pass], plan: Plan, work: Mapping[str, float], seconds: float
) -> tuple[float, float]:
    """GPU and CPU seconds that a pass's pool reserves, shared with the others of its engine by their work."""
    if not p.engine:
        return 0.0, 0.0
    spec = plan.recipe.engines[p.engine]
    on_it = [q.folder for q in todo if q.engine == p.engine]
    all_work = sum(work[folder] for folder in on_it)
    share = work[p.folder] / all_work if all_work else 1.0 / len(on_it)
    alive = seconds * share * spec.replicas.min
    return alive * spec.gpus, alive * spec.cpus


def _training(config: TrainConfig, last: StageEstimate, earlier: Earlier | None) -> StageEstimate:
    """The training: tokens by curated rows and epochs, time by the earlier one's speed, and what it spent
    beside its steps (loading, measuring, exporting) once more. Workers are those of the recipe at the
    least."""
    bare = StageEstimate("train", None, last.rows_are, last.rows_out, None)
    told = earlier.training if earlier else None
    if earlier is None or told is None or last.rows_out is None:
        return bare
    before = earlier.manifests[-1].counts.rows_out
    settings = earlier.recipe.get("train") or {}
    grown = last.rows_out / before if before else 1.0
    grown *= config.epochs / float(settings.get("epochs") or config.epochs)
    steps = told["steps"] * grown
    if config.max_steps is not None and steps > config.max_steps:
        grown *= config.max_steps / steps
    used = earlier.spent.training
    workers = max(1, int(told.get("workers") or 1))
    beside = max(0.0, used.alive_seconds / workers - told["seconds"])
    seconds = told["seconds"] * grown * workers / config.min_workers + beside
    return replace(
        bare,
        tokens_in=told["tokens"] * grown,
        seconds=seconds,
        gpu_hours=seconds * config.min_workers * config.gpus_per_worker / 3600,
        cpu_hours=seconds * config.min_workers * config.cpus_per_worker / 3600,
    )


def _cost(stage: StageEstimate, prices: Prices) -> float | None:
    """What a stage still costs; tokens of a training are nobody's price."""
    if stage.gpu_hours is None or stage.cpu_hours is None:
        return None
    if stage.rows_are == SEALED:
        return 0.0
    tokens = (stage.tokens_in or 0.0, stage.tokens_out or 0.0)
    return prices.cost(stage.gpu_hours, stage.cpu_hours, stage.engine, *tokens)


def _total(stages: Sequence[StageEstimate]) -> StageEstimate:
    """Sums over what is to come and known; of tokens those of engines."""
    todo = [s for s in stages if s.rows_are != SEALED]
    engines = [s for s in todo if s.engine]

    def added(name: str, of: Sequence[StageEstimate]) -> float | None:
        known = [getattr(s, name) for s in of if getattr(s, name) is not None]
        return sum(known) if known or not of else None

    return StageEstimate(
        "total",
        tokens_in=added("tokens_in", engines),
        tokens_out=added("tokens_out", engines),
        gpu_hours=added("gpu_hours", todo),
        cpu_hours=added("cpu_hours", todo),
        seconds=added("seconds", todo),
        cost=added("cost", todo),
    )


def _notes(
    plan: Plan, earlier: Earlier | None, held: Mapping[str, Manifest], stages: Sequence[StageEstimate]
) -> list[str]:
    """What is not known, and why a number may be wrong."""
    if earlier is None:
        bounds = [
            f"{p.stage} at most {p.config.max_tokens:,}"
            for p in plan.passes
            if p.engine and getattr(p.config, "max_tokens", None)
        ]
        known = (
            "rows are bounds; tokens, times and cost are not known without --rates RUN (a preview's folder)"
        )
        return [known, *([f"tokens out of a request: {', '.join(dict.fromkeys(bounds))}"] if bounds else [])]
    lines = [f"by the rates of {earlier.root}"]
    unknown = [s.label for s in stages if s.seconds is None]
    if unknown:
        lines.append(f"not known, and not in the sums: {', '.join(unknown)}")
    if earlier.spent.starts > 1:
        times = f"that run was started {earlier.spent.starts} times"
        lines.append(f"{times}: its seconds may lack what earlier starts did")
    shards = [len(m.shards) for m in earlier.manifests]
    if sum(n < FEW_SHARDS for n in shards) > len(shards) / 2:
        lines.append(
            f"most stages of that run had fewer than {FEW_SHARDS} work shards: what each process does once "
            "is taken for work on rows, so times and hours are too high; preview more rows"
        )
    for name, identity in plan.identities.items():
        others = {m.engines[name]["model"] for m in held.values() if name in m.engines}
        if others - {identity["model"]}:
            told = ", ".join(sorted(others))
            lines.append(f"engine {name!r} was {told} there and is {identity['model']} here")
    return lines


def _beyond(total: StageEstimate, budget: Budget, prices: Prices) -> list[str]:
    """A line for each limit that the estimate is beyond."""
    tokens = None if total.tokens_in is None else total.tokens_in + (total.tokens_out or 0.0)
    hours = None if total.seconds is None else total.seconds / 3600
    wanted = {"tokens": tokens, "gpu_hours": total.gpu_hours, "cost": total.cost, "hours": hours}
    return [
        f"the estimate, {wanted[name]:,.4g}, is beyond budget.{name} {limit:,.4g}: the run would stop there"
        for name, limit in budget.model_dump().items()
        if limit is not None and wanted[name] is not None and wanted[name] > limit
    ]


NOTHING = "–"
COLUMNS = ("rows in", "rows out", "tokens in", "tokens out", "GPU-h", "CPU-h", "time")


def as_lines(found: Estimate) -> list[str]:
    """The estimate as a table for a terminal."""
    cost = [f"cost {found.currency}"] if found.currency else []
    head = "".join(f"{name:>12}" for name in (*COLUMNS, *cost))
    lines = [f"  {'estimate':<24}{head}"]
    for s in (*found.stages, found.total):
        bound = "≤" if s.rows_are == BOUND else ""
        cells = [_count(s.rows_in, bound), _count(s.rows_out, bound)]
        cells = cells if s is not found.total else [NOTHING, NOTHING]
        cells += [_tokens(s, s.tokens_in), _tokens(s, s.tokens_out)]
        cells += [_hours(s.gpu_hours), _hours(s.cpu_hours), _time(s.seconds)]
        cells += [_hours(s.cost)] if cost else []
        if s.rows_are == SEALED:
            cells = [*cells[:2], "sealed"]
        lines.append(f"  {s.label:<24}" + "".join(f"{cell:>12}" for cell in cells))
    return [*lines, *(f"  {note}" for note in found.notes)]


def _count(value: float | None, before: str = "") -> str:
    return "?" if value is None else f"{before}{round(value):,}"


def _tokens(stage: StageEstimate, value: float | None) -> str:
    """A dash where no engine is asked, or where it tells no tokens of this kind."""
    asks = stage.engine is not None or stage.label in ("train", "total")
    return _count(value) if asks and value != 0 else NOTHING


def _hours(value: float | None) -> str:
    return "?" if value is None else f"{value:,.3f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 3600:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
    return f"{seconds / 3600:,.1f} h"
