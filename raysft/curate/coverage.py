"""Find which terms, scenarios and processes of a domain the pool touches, and report the gaps.

Columns in: messages, domain, op.
Columns out: `terms`, `scenarios`, `process_steps`, list<string>: what of each the row touches, in all of its
    turns; null for rows of another domain, where the config names one. A step reads "<process>: <step>".
Drops: none.

A row touches a term that stands in it (raysft/algorithms/term_index.py), and a scenario of which a word
does. It shows a process when it has two of its steps, or one and the process's name, or the only step there
is; else steps in it count for nothing, since a word such as "record" alone says little. A term or scenario is
covered when at least `least` rows touch it; a process, when that many rows show it and each of its steps
stands in that many of them. The order of steps is not looked at.

Findings: how many of each are listed and covered, and the gaps by name, those with the fewest rows first.
Rows that were acquired and rows that a stage made are counted apart. Counted is what is live at this stage:
to measure the documents, put it before `augment.grounded`; to measure what will be trained on, at the end.

Yardstick (docs/yardstick.md): nothing to find; it marks and scores no row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pydantic import Field

from raysft.acquire.domain_terms import DomainTerms, Terms, spellings
from raysft.algorithms.term_index import TermIndex
from raysft.curate.texts import texts_of
from raysft.sample import set_column
from raysft.stage import Context, Fit, Fitted, Map, TableConfig, finding

VERSION = 1
WRITES = "columns"
ADDS = ("terms", "scenarios", "process_steps")
STEPS_TO_SHOW = 2
STEPS_NAMED = 5

Key = tuple[str, ...]  # (kind, name) or ("step", process, step)


class Config(TableConfig):
    terms: Terms = Field(
        description="the domain's terms, scenarios and processes: a file, a list of terms, or a mapping"
    )
    domain: str | None = Field(None, description="look at rows of this domain only; at all if unset")
    least: int = Field(3, ge=1, description="rows that must touch a thing for it to be covered; our choice")
    gaps_shown: int = Field(50, ge=1, description="gaps of a kind to name at most; the others are counted")


def index_of(terms: DomainTerms) -> TermIndex[Key]:
    """All words of a domain: keys are ("term", t), ("scenario", s), ("process", p) and ("step", p, step)."""
    found: dict[Key, Sequence[str]] = {("term", t): own for t, own in terms.term_spellings.items()}
    found |= {("scenario", name): own for name, own in terms.scenario_spellings.items()}
    for name, steps in sorted(terms.processes.items()):
        found["process", name] = [name]
        found |= {("step", name, spellings(step)[0]): spellings(step) for step in steps}
    return TermIndex(found)


def touched(keys: Iterable[Key], terms: DomainTerms) -> dict[str, list[str]]:
    """The columns' values for a text in which these keys were found."""
    values: dict[str, list[str]] = {name: [] for name in ADDS}
    names, steps = set(), []
    for key in keys:
        if key[0] == "term":
            values["terms"].append(key[1])
        elif key[0] == "scenario":
            values["scenarios"].append(key[1])
        elif key[0] == "process":
            names.add(key[1])
        else:
            steps.append((key[1], key[2]))
    found = Counter(process for process, _ in steps)
    for process, step in steps:
        enough = min(STEPS_TO_SHOW, len(_steps(terms, process)))
        if found[process] + (process in names) >= enough:
            values["process_steps"].append(_label(process, step))
    return values


def annotate(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The table with its three columns."""
    index = index_of(config.terms)
    rows: list[dict[str, list[str]] | None] = []
    for text, domain in zip(
        texts_of(table, "conversation").to_pylist(), table["domain"].to_pylist(), strict=True
    ):
        is_looked_at = config.domain is None or domain == config.domain
        rows.append(touched(index.found(text), config.terms) if is_looked_at else None)
    for name in ADDS:
        values = [None if row is None else row[name] for row in rows]
        table = set_column(table, name, pa.array(values, pa.list_(pa.string())))
    return table


@dataclass
class Tally:
    """Rows that touch each thing of one kind; [acquired, made]."""

    rows: dict[str, list[int]] = field(default_factory=dict)
    touching: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, things: Iterable[str], is_made: bool) -> None:
        things = set(things)
        self.touching[is_made] += bool(things)
        for thing in things:
            self.rows.setdefault(thing, [0, 0])[is_made] += 1

    def of(self, thing: str) -> list[int]:
        return self.rows.get(thing, [0, 0])


def report(rows: pa.Table, config: Config, context: Context) -> Fitted:
    """`values["findings"]`: the summary, and a table of gaps for each kind that has any; `values["notes"]`: a
    line of it."""
    terms = config.terms
    process_of = {
        _label(name, step): name for name in terms.processes for step in _steps(terms, name)
    }  # fmt: skip
    tallies = {kind: Tally() for kind in ("term", "scenario", "process", "step")}
    columns = [rows[name].to_pylist() for name in (*ADDS, "op")]
    for own_terms, scenarios, steps, op in zip(*columns, strict=True):
        is_made = op is not None
        tallies["term"].add(own_terms or (), is_made)
        tallies["scenario"].add(scenarios or (), is_made)
        tallies["step"].add(steps or (), is_made)
        tallies["process"].add((process_of[step] for step in steps or ()), is_made)
    summary, gaps = [], []
    for kind, names in (
        ("term", list(terms.term_spellings)),
        ("scenario", sorted(terms.scenarios)),
        ("process", sorted(terms.processes)),
    ):
        if not names:
            continue
        weak = [name for name in names if _is_gap(kind, name, tallies, config)]
        covered = len(names) - len(weak)
        share = round(covered / len(names), 3)
        summary.append([PLURALS[kind], len(names), covered, share, *tallies[kind].touching])
        if weak:
            weak.sort(key=lambda name: sum(tallies[kind].of(name)))
            gaps.append(_gaps(kind, weak, tallies, config))
    columns_named = ["", "listed", "covered", "share", "acquired rows that touch any", "made rows that do"]
    title = f"Coverage of {config.domain or 'the domain'}, by {config.least} rows or more"
    note = ", ".join(f"{covered} of {listed} {kinds}" for kinds, listed, covered, *_ in summary)
    tables = [finding(title, columns_named, summary), *gaps]
    return Fitted(values={"findings": tables, "notes": [f"covers {note}"]})


PLURALS = {"term": "terms", "scenario": "scenarios", "process": "processes"}


def _is_gap(kind: str, name: str, tallies: Mapping[str, Tally], config: Config) -> bool:
    return sum(tallies[kind].of(name)) < config.least or (
        kind == "process" and bool(_weak_steps(name, tallies["step"], config))
    )


def _weak_steps(process: str, tally: Tally, config: Config) -> list[str]:
    steps = _steps(config.terms, process)
    return [step for step in steps if sum(tally.of(_label(process, step))) < config.least]


def _gaps(kind: str, names: Sequence[str], tallies: Mapping[str, Tally], config: Config) -> dict[str, Any]:
    """The finding that names gaps, as many as may be shown."""
    columns = [kind, "acquired rows", "made rows"]
    rows: list[list[Any]] = [[name, *tallies[kind].of(name)] for name in names[: config.gaps_shown]]
    if kind == "process":
        columns.append(f"steps in fewer than {config.least} of them")
        for row in rows:
            weak = _weak_steps(row[0], tallies["step"], config)
            rest = f" and {len(weak) - STEPS_NAMED} more" if len(weak) > STEPS_NAMED else ""
            row.append("; ".join(weak[:STEPS_NAMED]) + rest)
    if len(names) > len(rows):
        rows.append([f"and {len(names) - len(rows)} more", *[None] * (len(columns) - 1)])
    return finding(f"Gaps: {PLURALS[kind]} that are not covered", columns, rows)


def _steps(terms: DomainTerms, process: str) -> list[str]:
    """The steps of a process, each by its first spelling, in order and once."""
    return list(dict.fromkeys(spellings(step)[0] for step in terms.processes[process]))


def _label(process: str, step: str) -> str:
    return f"{process}: {step}"


STEPS = (Map(fn=annotate), Fit(fn=report, columns=(*ADDS, "op")))
