"""From a recipe to passes and segments: every fingerprint and folder is known before anything runs.

A *pass* is the part of a stage between two commits: the stage's barrier steps up to its next `Map`s, and
those `Map`s. Most stages are one pass. A *segment* is a run of passes that streams as one Ray Data plan;
a pass with a barrier needs its parent sealed, so it begins one. What needs the whole pool between rounds
(a config with `rounds`) becomes one pass, or more, a round.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raysft.acquire.source import expand
from raysft.acquire.unit import Unit
from raysft.augment.prompts import LANGUAGES, prompt_hash
from raysft.engines.build import model_identity
from raysft.engines.spec import Engine
from raysft.recipe import Recipe, RecipeError, StageEntry
from raysft.runtime.capacity import ONE_CPU, Capacity, Want, fit
from raysft.runtime.owned import Maker, NotOwned, columns_read, own
from raysft.runtime.passes import OwnedSet, Pass, semantic
from raysft.sample import digest
from raysft.stage import Map, Step, columns_added
from raysft.train.method_config import method_notes

ACQUIRE_VERSION = 3


@dataclass(frozen=True)
class Plan:
    """All that a run will do. `acquire` is the folder of the sources' samples; `notes` are lines for the
    user about what in the recipe has no effect or needs care; `later` are passes that `until` cut off."""

    recipe: Recipe
    units: tuple[tuple[int, Unit], ...]
    acquire: Pass
    passes: tuple[Pass, ...]
    identities: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...] = ()
    later: tuple[Pass, ...] = ()

    @property
    def all_passes(self) -> tuple[Pass, ...]:
        return (self.acquire, *self.passes)

    @property
    def whole(self) -> tuple[Pass, ...]:
        """The passes of the recipe, also those that this run does not come to."""
        return (*self.all_passes, *self.later)

    def until(self, stage: str) -> Plan:
        """The plan cut after the last pass of a stage, given as `family.name` or `name`.

        Raises:
            LookupError: the plan has no such stage.
        """
        last = [i for i, p in enumerate(self.passes) if stage in (p.stage, p.stage.split(".")[1])]
        if stage == "acquire":
            return self._cut(0)
        if not last:
            known = ", ".join(dict.fromkeys(p.stage for p in self.passes))
            raise LookupError(f"no stage {stage!r} in this recipe; it has: acquire, {known}")
        return self._cut(last[-1] + 1)

    def _cut(self, passes: int) -> Plan:
        return replace(self, passes=self.passes[:passes], later=(*self.passes[passes:], *self.later))


def make_plan(recipe: Recipe) -> Plan:
    """Expand sources, fingerprint every stage and cut the recipe into passes.

    Raises:
        FileNotFoundError: a source matches nothing.
    """
    found = [(i, unit) for i, source in enumerate(recipe.sources) for unit in expand(source)]
    units, notes = read_once(found)
    identities = {name: _identity(spec) for name, spec in recipe.engines.items()}
    sources = [semantic(s) for s in recipe.sources]
    for source in sources:
        source.pop("path", None)
    contents = [(i, unit.content) for i, unit in units]
    parent = digest("acquire", ACQUIRE_VERSION, json.dumps(sources, sort_keys=True), contents)
    acquire = Pass("acquire", None, 1, parent, _folder(0, "acquire", parent), "rows")
    passes: list[Pass] = []
    owned = _owned_sets(recipe, identities)
    for i, entry in enumerate(recipe.stages):
        rounds: list[str] = []
        for round in range(1, getattr(entry.config, "rounds", 1) + 1):
            for made in _passes(
                entry, round, recipe, identities, parent, len(passes) + 1, tuple(rounds), owned[i]
            ):
                passes.append(made)
                parent = made.fingerprint
            rounds.append(passes[-1].stage_fingerprint)
    notes += method_notes(recipe.train.method) if recipe.train else ()
    return Plan(recipe, tuple(units), acquire, tuple(passes), identities, tuple(notes))


def read_once(units: Sequence[tuple[int, Unit]]) -> tuple[list[tuple[int, Unit]], list[str]]:
    """(source, unit) of each content once, and a line on each unit left out.

    Ids of rows come from a unit's content, so a second copy could only repeat the first's rows. Of copies
    with other limits the one with most rows stays, else the first.
    """
    best: dict[str, tuple[int, Unit]] = {}
    for i, unit in units:
        known = best.get(unit.content)
        if known is None or _stop(unit) > _stop(known[1]):
            best[unit.content] = (i, unit)
    kept = [(i, unit) for i, unit in units if best[unit.content] == (i, unit)]
    notes = [
        f"{unit.uri} is not read: its content is that of {best[unit.content][1].uri}"
        for i, unit in units
        if best[unit.content] != (i, unit)
    ]
    return kept, notes


def _stop(unit: Unit) -> float:
    return float("inf") if unit.stop is None else unit.stop


def _identity(spec: Engine) -> dict[str, str]:
    identity = model_identity(spec)
    return {"kind": spec.kind, "model": identity.model, "revision": identity.revision}


def _passes(
    entry: StageEntry,
    round: int,
    recipe: Recipe,
    identities: Mapping[str, Mapping[str, str]],
    parent: str,
    number: int,
    earlier_rounds: tuple[str, ...],
    owned: tuple[OwnedSet, ...],
) -> list[Pass]:
    """The passes of one round of a stage."""
    module = entry.module
    asked = getattr(module, "PROMPTS", ())
    prompts = {name: text for name, text in recipe.prompts.items() if name.rsplit(".", 1)[0] in asked}
    engines = {name: (identities[name], semantic(recipe.engines[name])) for name in entry.engine_names()}
    for _, settings in engines.values():
        for name in ("model", "revision", "adapter"):  # the identity tells their content
            settings.pop(name, None)
    stage_print = digest(
        entry.name,
        module.VERSION,
        json.dumps(semantic(entry.config), sort_keys=True),
        json.dumps(engines, sort_keys=True),
        prompts_digest(asked, prompts),
        recipe.settings.seed,
        round,
        parent,
        *(one.digest for one in owned),
    )
    groups = cut_steps(module.STEPS)
    has_maps = any(isinstance(s, Map) for s in module.STEPS)
    passes: list[Pass] = []
    for i, (barriers, maps) in enumerate(groups):
        writes = module.WRITES if maps or not has_maps else "columns"
        fingerprint = digest(stage_print, i) if i else stage_print
        short = entry.name.split(".")[1] + (f".r{round}" if round > 1 or _rounds(entry) > 1 else "")
        label = short + (f".p{i + 1}" if len(groups) > 1 else "")
        engine_field = next((module.STEPS[m].engine for m in maps if module.STEPS[m].engine), None)
        passes.append(
            Pass(
                entry.name,
                entry.config,
                round,
                fingerprint,
                _folder(number + i, label, fingerprint),
                writes,
                barriers,
                maps,
                getattr(entry.config, engine_field) if engine_field else None,
                stage_print,
                tuple(p.folder for p in passes),
                earlier_rounds,
                prompts,
                owned,
            )
        )
    return passes


def _owned_sets(recipe: Recipe, identities: Mapping[str, Mapping[str, str]]) -> list[tuple[OwnedSet, ...]]:
    """The sets that each stage's `against` names.

    Raises:
        RecipeError: lists those that cannot be used.
    """
    makers: dict[str, Maker] = {}
    found, problems = [], []
    for i, entry in enumerate(recipe.stages):
        engines = [identities[name] for name in entry.engine_names()]
        asking = Maker(entry.name, semantic(entry.config), engines)
        sets = []
        for n, uri in enumerate(getattr(entry.config, "against", ())):
            try:
                sets.append(own(uri, asking, columns_read(entry.module, entry.config), makers))
            except NotOwned as error:
                problems.append(f"stages[{i}].{entry.name}.against[{n}]: {error}")
        found.append(tuple(sets))
        makers |= dict.fromkeys(columns_added(entry.module, entry.config), asking)
    if problems:
        raise RecipeError(problems)
    return found


def _rounds(entry: StageEntry) -> int:
    return getattr(entry.config, "rounds", 1)


def _folder(number: int, label: str, fingerprint: str) -> str:
    return f"stages/{number:02d}-{label}-{fingerprint[:12]}"


def cut_steps(steps: Sequence[Step]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(barriers, maps) of each pass: a barrier after a Map, or a second engine, begins a new one."""
    groups: list[tuple[list[int], list[int]]] = []
    engine: str | None = None
    for i, step in enumerate(steps):
        is_barrier = not isinstance(step, Map)
        other_engine = isinstance(step, Map) and step.engine and engine and step.engine != engine
        if not groups or (is_barrier and groups[-1][1]) or other_engine:
            groups.append(([], []))
            engine = None
        if isinstance(step, Map):
            groups[-1][1].append(i)
            engine = engine or step.engine
        else:
            groups[-1][0].append(i)
    return [(tuple(b), tuple(m)) for b, m in groups]


def prompts_digest(names: Sequence[str], replaced: Mapping[str, str]) -> str:
    """A digest of the prompts that a stage asks with, in all languages; "" if it has none."""
    return (
        digest(*(prompt_hash(name, lang, replaced) for name in names for lang in LANGUAGES)) if names else ""
    )


@dataclass(frozen=True)
class Operator:
    """Consecutive passes of a segment that run in the same workers: actors with `engine`, or tasks."""

    engine: str | None
    passes: tuple[Pass, ...]


def operators(segment: Sequence[Pass]) -> list[Operator]:
    """Group a segment's passes: passes without an engine join the workers before them."""
    groups: list[tuple[str | None, list[Pass]]] = []
    for p in segment:
        if groups and (p.engine is None or p.engine == groups[-1][0]):
            groups[-1][1].append(p)
        else:
            groups.append((p.engine, [p]))
    return [Operator(engine, tuple(passes)) for engine, passes in groups]


def segments(plan: Plan, has: Capacity) -> list[list[Pass]]:
    """Cut the passes: before each barrier, and where the engines of a segment could not all live at
    once on a cluster (one CPU is kept for reading and writing)."""
    cut: list[list[Pass]] = []
    for p in plan.passes:
        joins = cut and not p.barriers and fit(wants([*cut[-1], p], plan.recipe.engines), has)
        if joins:
            cut[-1].append(p)
        else:
            cut.append([p])
    return cut


def wants(segment: Sequence[Pass], engines: Mapping[str, Engine]) -> list[Want]:
    """The smallest pools of a segment's engines, all alive at once, and a CPU to read and write."""
    named = Counter(o.engine for o in operators(segment) if o.engine)
    return [*(want_of(name, engines[name], pools) for name, pools in named.items()), ONE_CPU]


def want_of(name: str, spec: Engine, pools: int = 1) -> Want:
    """So many smallest pools of an engine."""
    return Want(name, spec.cpus, spec.gpus, pools * spec.replicas.min, spec.placement)


def resources(segment: Sequence[Pass], engines: Mapping[str, Engine]) -> tuple[float, float]:
    """CPUs and GPUs of the smallest pools of a segment's engines, all alive at once."""
    pools = [w for w in wants(segment, engines) if w is not ONE_CPU]
    return sum(w.cpus * w.count for w in pools), sum(w.gpus * w.count for w in pools)
