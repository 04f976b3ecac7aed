"""The report of a run: one HTML page that needs nothing but itself (no script, no font, no network).

Everything that a model or a source wrote is data: autoescaped, never rendered as a template, its
invisible characters spelled out and long texts cut with a note of what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from raysft.report import evaluations, figures, spending, training, untrusted
from raysft.report.charts import histogram
from raysft.report.view import (
    DropExample,
    RunView,
    count_of,
    dropped_rows,
    findings,
    models,
    operation_counts,
    rows_out,
    rule_counts,
    totals,
)
from raysft.sample import SCHEMA

MESSAGE_CHARACTERS = 1200
MESSAGES_SHOWN = 6
EXAMPLES_PER_RULE = 3
SAMPLES_PER_LANGUAGE = 3
FINDING_ROWS = 100
FIRST_LANGUAGES = ("en", "zh")
WRONG_TURNS = (("asked", "prompt"), ("right", "expected"), ("answered", "got"))


def render(view: RunView) -> str:
    """The page. It can be encoded in UTF-8 whatever the rows hold."""
    page = _template().render(
        view=view,
        run=untrusted.one_line(view.run),
        totals=totals(view),
        facts=_facts(view),
        stages=_stages(view),
        rules=_rules(view),
        operations=_operations(view),
        findings=_findings(view),
        lengths=_lengths(view.length_histograms),
        training=training.shown(view.training) if view.training else None,
        answers=_answers((view.training or {}).get("exact_match")),
        choices=evaluations.choices((view.training or {}).get("multiple_choice")),
        side_by_side=evaluations.side_by_side((view.training or {}).get("samples")),
        samples=_samples(view.kept_examples),
        times=_times(view.seconds),
        spent=spending.tables(view.spending),
        models=models(view),
        recipe=untrusted.visible(yaml.safe_dump(dict(view.recipe), allow_unicode=True, sort_keys=False)),
    )
    return page.encode("utf-8", "replace").decode("utf-8")


@cache
def _template() -> Template:
    """The page's template; an undefined name in it is an error."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": figures.number,
        "percent": figures.percent,
        "duration": figures.duration,
        "language": figures.language,
        "one_line": untrusted.one_line,
    }
    return environment.get_template("page.html.jinja")


def _facts(view: RunView) -> list[str]:
    """What stands under the title: when, how long, how much of it for starting engines."""
    created = max((str(m.get("created") or "") for m in view.manifests), default="")
    facts = [f"last stage sealed {created[:16].replace('T', ' ')}"] if created else []
    if view.seconds:
        facts.append(figures.duration(sum(view.seconds.values())))
        facts.append(f"{figures.percent(view.engine_start_share)} of it starting engines")
    return [untrusted.one_line(fact) for fact in facts]


def _stages(view: RunView) -> list[dict[str, Any]]:
    """The funnel's rows. The bars share one scale: the rows of the largest stage."""
    names = [m["stage"] for m in view.manifests]
    widest = max((count_of(m, "rows_in", "made_kept", "made_dropped") for m in view.manifests), default=0)
    found = []
    for manifest in view.manifests:
        parts = {
            "passed": count_of(manifest, "passed"),
            "made": count_of(manifest, "made_kept"),
            "dropped": dropped_rows(manifest),
            "quarantined": count_of(manifest, "quarantined"),
            "consumed": count_of(manifest, "consumed"),
        }
        found.append(
            {
                "name": untrusted.one_line(manifest["stage"]),
                "round": manifest.get("round") if names.count(manifest["stage"]) > 1 else None,
                "folder": untrusted.one_line(manifest["folder"]),
                "rows_in": count_of(manifest, "rows_in"),
                "made": count_of(manifest, "made_kept", "made_dropped"),
                "dropped": parts["dropped"],
                "quarantined": parts["quarantined"],
                "out": rows_out(manifest),
                "seconds": manifest.get("seconds"),
                "bar": [(kind, n, 100 * n / widest) for kind, n in parts.items() if n],
            }
        )
    return found


def _rules(view: RunView) -> list[dict[str, Any]]:
    """Stages that took rows out, each with its rules, their counts and a few examples."""
    counts = rule_counts(view)
    most = max((c.rows for c in counts), default=1)
    by_rule: dict[tuple[str, str], list[DropExample]] = {}
    for example in view.drops:
        by_rule.setdefault((example.stage, example.rule), []).append(example)
    stages: dict[str, dict[str, Any]] = {}
    for rule in counts:
        stage = stages.setdefault(
            rule.stage,
            {
                "name": untrusted.one_line(rule.stage),
                "rows": 0,
                "rules": [],
                "is_quarantine": rule.is_quarantine,
            },
        )
        stage["rows"] += rule.rows
        examples = by_rule.get((rule.stage, rule.rule), [])[:EXAMPLES_PER_RULE]
        stage["rules"].append(
            {
                "name": untrusted.one_line(rule.rule),
                "rows": rule.rows,
                "width": 100 * rule.rows / most,
                "examples": [_example(e) for e in examples],
            }
        )
    return list(stages.values())


def _operations(view: RunView) -> list[dict[str, Any]]:
    """What became of the rows that each operation made."""
    return [
        {
            "stage": untrusted.one_line(c.stage),
            "name": untrusted.one_line(c.operation),
            "made": c.made,
            "kept": c.kept,
            "share": c.kept / c.made if c.made else None,
            "width": 100 * c.kept / c.made if c.made else 0,
            "rules": [(untrusted.one_line(rule), rows) for rule, rows in c.rules.items()],
        }
        for c in operation_counts(view)
    ]


def _findings(view: RunView) -> list[dict[str, Any]]:
    """The tables that stages found, each under its title."""
    return [
        {
            "stage": untrusted.one_line(stage),
            "title": untrusted.one_line(table["title"]),
            "columns": [untrusted.one_line(column, 60) for column in table["columns"]],
            "rows": [[_cell(cell) for cell in row] for row in table["rows"][:FINDING_ROWS]],
            "more": max(0, len(table["rows"]) - FINDING_ROWS),
        }
        for stage, table in findings(view)
    ]


def _cell(value: Any) -> str:
    """A cell of a finding: a number as a figure, a text at more length."""
    return untrusted.one_line(value, 400) if isinstance(value, str) else untrusted.value(value)


def _example(example: DropExample) -> dict[str, Any]:
    turns, more = _turns(example.messages)
    return {
        "id": untrusted.one_line(example.id, 40),
        "op": untrusted.one_line(example.op or "", 60),
        "detail": untrusted.one_line(example.detail or "", 400),
        "turns": turns,
        "more_turns": more,
        "raw": _text(example.raw) if example.raw else None,
    }


def _text(text: object) -> dict[str, Any]:
    shown, missing = untrusted.cut(text, MESSAGE_CHARACTERS)
    return {"text": shown, "missing": missing}


def _turns(messages: Sequence[Mapping[str, Any]] | None) -> tuple[list[dict[str, Any]], int]:
    """The first turns of a conversation as role and cut text, and how many are left off."""
    turns = messages or []
    shown = [
        {"role": untrusted.one_line(m.get("role") or "no role", 30), **_text(m.get("content") or "")}
        for m in turns[:MESSAGES_SHOWN]
    ]
    return shown, len(turns) - len(shown)


def _lengths(histograms: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    """One histogram for each language and part, all on one x axis."""
    longest = max((max(values) for values in histograms.values() if values), default=0)
    found = []
    for key, values in histograms.items():
        if not values:
            continue
        code, _, part = key.partition("/")
        name = untrusted.one_line(f"{figures.language(code)}{', ' if part else ''}{part}", 60)
        ordered = sorted(values)
        found.append(
            {
                "name": name,
                "rows": len(ordered),
                "median": ordered[len(ordered) // 2],
                "p95": ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)],
                "longest": ordered[-1],
                "svg": histogram(ordered, longest, f"Lengths: {name}", "characters", "rows"),
            }
        )
    return found


def _answers(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Exact match before and after: the totals, a table by task and one by language, wrong answers."""
    if not found:
        return None
    return {
        "before": figures.points(found["before"]),
        "after": figures.points(found["after"]),
        "asked": found["after"]["asked"],
        "right": (found["before"]["right"], found["after"]["right"]),
        "tables": [
            (kind, lines)
            for kind, lines in (
                ("language", [_tallies(figures.language(n), t) for n, t in found["by_lang"].items()]),
                ("task", [_tallies(name, t) for name, t in found["by_task"].items()]),
            )
            if lines
        ],
        "left_out": evaluations.left_out(found),
        "wrong": [
            {
                "about": [untrusted.one_line(w[k], 60) for k in ("task", "lang") if w[k]],
                "turns": [{"role": role, **_text(w[key])} for role, key in WRONG_TURNS],
                "more_turns": 0,
            }
            for w in found["wrong"]
        ],
    }


def _tallies(name: str, tallies: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """A line of a table; the widths of its bars are in per cent of the tasks asked."""
    line: dict[str, Any] = {"name": untrusted.one_line(name, 60), "asked": tallies["after"]["asked"]}
    for when in ("before", "after"):
        tally = tallies[when]
        line[when] = {
            "right": tally["right"],
            "points": figures.points(tally),
            "width": 100 * (figures.share(tally) or 0.0),
        }
    return line


def _samples(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A few kept rows of each language, English and Chinese first."""
    by_language: dict[str, list[Mapping[str, Any]]] = {code: [] for code in FIRST_LANGUAGES}
    for row in rows:
        by_language.setdefault(str(row.get("lang") or ""), []).append(row)
    chosen = [row for group in by_language.values() for row in group[:SAMPLES_PER_LANGUAGE]]
    found = []
    for row in chosen:
        turns, more = _turns(row.get("messages"))
        made_by, source = row.get("made_by") or {}, row.get("source") or {}
        model, uri = made_by.get("model"), source.get("uri")
        about = [row.get("task"), row.get("op"), model and f"by {model}", uri and f"from {uri}"]
        scores = [
            (n, v) for n, v in row.items() if n not in SCHEMA.names and isinstance(v, int | float | str)
        ]
        found.append(
            {
                "id": untrusted.one_line(row.get("id") or "", 40),
                "lang": untrusted.one_line(row.get("lang") or "", 12),
                "about": [untrusted.one_line(a, 80) for a in about if a],
                "scores": [(untrusted.one_line(n, 40), untrusted.value(v)) for n, v in scores],
                "turns": turns,
                "more_turns": more,
            }
        )
    return found


def _times(seconds: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """Stage, its seconds, and its bar's width in per cent of the slowest."""
    slowest = max(seconds.values(), default=0) or 1
    return [(untrusted.one_line(stage), s, 100 * s / slowest) for stage, s in seconds.items()]
