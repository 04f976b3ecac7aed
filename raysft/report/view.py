"""What a run's reports are made from: plain data, and the sums that every report states.

A manifest is a sealed stage's JSON, as a dict; `manifests` are in run order. Of `counts` a manifest of
an acquire stage has `rows_in` (records read, good and bad), `passed` (good) and `quarantined` (bad), and
its `rules` count the reasons of the bad ones; every other stage has the fields of `raysft.stage.Counts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raysft.stage import MADE

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class DropExample:
    """One row that did not get through: dropped by a rule, or quarantined for a reason."""

    id: str
    stage: str
    rule: str
    detail: str | None = None
    messages: list[dict[str, Any]] | None = None
    raw: str | None = None
    op: str | None = None


@dataclass(frozen=True)
class RunView:
    """One run, as the page, the terminal and the dataset card see it.

    `recipe` has its secrets redacted already. `length_histograms` holds raw lengths in characters of the
    curated rows under "<language>/<part>", e.g. "zh/answer". `training` has `loss_before`, `loss_after`
    (nats per token, held-out rows), `perplexity_before`, `perplexity_after`, `tokens`, `steps`,
    `seconds`, `trainable_parameters`, `history` (dicts of `step`, `loss`, `tokens_per_s`), `by_group`
    (group → numbers, or kind of group → group → numbers) and `exact_match` (see
    raysft.train.answers.compared); any of them may be missing. `seconds` are wall
    seconds by stage, training included; `engine_start_share` is the part of them, 0 to 1, that went into
    starting engines. `spending` is what raysft.runtime.spending tells of hours, tokens and cost.
    """

    run: str
    recipe: Mapping[str, Any]
    manifests: list[dict[str, Any]]
    drops: list[DropExample] = field(default_factory=list)
    kept_examples: list[dict[str, Any]] = field(default_factory=list)
    length_histograms: Mapping[str, list[int]] = field(default_factory=dict)
    training: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    engine_start_share: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    spending: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Totals:
    """Rows of a whole run. `dropped` counts rows read and rows made; `consumed` rows were rewritten."""

    rows_in: int
    made: int
    dropped: int
    quarantined: int
    consumed: int
    kept: int

    @property
    def unaccounted(self) -> int:
        """rows_in + made − dropped − quarantined − consumed − kept: 0 in a run that lost nothing."""
        return self.rows_in + self.made - self.dropped - self.quarantined - self.consumed - self.kept


@dataclass(frozen=True)
class RuleCount:
    """Rows that one rule of one stage took out, over all rounds; of an acquire stage, bad records."""

    stage: str
    rule: str
    rows: int
    is_quarantine: bool


def is_acquire(manifest: Manifest) -> bool:
    """True for the manifest of a source rather than of a stage that has parents."""
    return str(manifest["stage"]).partition(".")[0] == "acquire"


def count_of(manifest: Manifest, *names: str) -> int:
    """The sum of the named counts of a manifest; a count it does not have is 0."""
    counts = manifest["counts"]
    return sum(counts.get(name) or 0 for name in names)


def rows_out(manifest: Manifest) -> int:
    """Live rows that a stage handed on."""
    return count_of(manifest, "passed", "made_kept")


def dropped_rows(manifest: Manifest) -> int:
    """Rows that a stage dropped, of those it got and those it made."""
    return count_of(manifest, "dropped_in", "made_dropped")


def totals(view: RunView) -> Totals:
    """The run's rows from end to end; `kept` are the rows of the stages that no other stage read."""
    sources = [m for m in view.manifests if is_acquire(m)] or view.manifests[:1]
    read = {parent for m in view.manifests for parent in [*(m.get("parents") or {}), m.get("base")]}
    made = sum(count_of(m, "made_kept", "made_dropped") for m in view.manifests)
    return Totals(
        rows_in=sum(count_of(m, "rows_in") for m in sources),
        made=made,
        dropped=sum(dropped_rows(m) for m in view.manifests),
        quarantined=sum(count_of(m, "quarantined") for m in view.manifests),
        consumed=sum(count_of(m, "consumed") for m in view.manifests),
        kept=sum(rows_out(m) for m in view.manifests if m["folder"] not in read),
    )


def rule_counts(view: RunView) -> list[RuleCount]:
    """Every rule that took rows out, stages in run order, a stage's rules by falling count."""
    found: dict[tuple[str, str], RuleCount] = {}
    stages: dict[str, int] = {}
    for manifest in view.manifests:
        stage = manifest["stage"]
        stages.setdefault(stage, len(stages))
        for rule, rows in (manifest["counts"].get("rules") or {}).items():
            before = found.get((stage, rule))
            so_far = before.rows if before else 0
            found[stage, rule] = RuleCount(stage, rule, so_far + rows, is_acquire(manifest))
    return sorted(found.values(), key=lambda r: (stages[r.stage], -r.rows, r.rule))


@dataclass(frozen=True)
class OperationCount:
    """What became of the rows that one operation of a stage made, over all rounds: `rules` are those of the
    same stage, by falling count."""

    stage: str
    operation: str
    made: int
    rules: Mapping[str, int]

    @property
    def kept(self) -> int:
        return self.made - sum(self.rules.values())


def operation_counts(view: RunView) -> list[OperationCount]:
    """Every operation that made rows, in run order."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for manifest in view.manifests:
        for operation, counts in (manifest["counts"].get("operations") or {}).items():
            so_far = found.setdefault((manifest["stage"], operation), {})
            for what, rows in counts.items():
                so_far[what] = so_far.get(what, 0) + rows
    return [
        OperationCount(stage, operation, counts[MADE], _by_falling_count(counts))
        for (stage, operation), counts in found.items()
        if MADE in counts
    ]


def findings(view: RunView) -> list[tuple[str, Mapping[str, Any]]]:
    """(stage, table) of what stages found, in run order; of a table that every round of a stage has, the
    last round's."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    known: dict[tuple[str, str], tuple[int, int]] = {}  # (stage, title) → its place and round
    for manifest in view.manifests:
        stage, round = manifest["stage"], manifest.get("round") or 1
        for table in manifest.get("findings") or ():
            place, before = known.get((stage, table["title"]), (-1, round))
            if round > before:
                found[place] = (stage, table)
            else:  # the first of its title, or of another stage of the recipe of the same name
                place = len(found)
                found.append((stage, table))
            known[stage, table["title"]] = (place, round)
    return found


def _by_falling_count(counts: Mapping[str, int]) -> dict[str, int]:
    rules = [(rule, rows) for rule, rows in counts.items() if rule != MADE]
    return dict(sorted(rules, key=lambda r: (-r[1], r[0])))


def models(view: RunView) -> dict[str, tuple[str, str]]:
    """Engine name → (model, revision) over all stages, in run order."""
    found: dict[str, tuple[str, str]] = {}
    for manifest in view.manifests:
        for name, engine in (manifest.get("engines") or {}).items():
            found[name] = (str(engine.get("model") or ""), str(engine.get("revision") or ""))
    return found
