"""The closing text of a run: plain, aligned, fit for a log file and for a terminal of 80 columns."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

from raysft.report.evaluations import WAYS
from raysft.report.figures import duration, number, percent, points
from raysft.report.spending import line
from raysft.report.untrusted import one_line
from raysft.report.view import RunView, rule_counts, totals

NAME_LIMIT = 60

Line = tuple[str, str, str]  # name, its number (set right), what stands behind it


def summary(view: RunView, paths: Mapping[str, str] | None = None) -> str:
    """Rows in, made, dropped by each rule, kept, what the training changed, then `paths` (label → path)."""
    rows = _rows(view)
    facts = _facts(view) + [(one_line(label, NAME_LIMIT), str(path)) for label, path in (paths or {}).items()]
    name_width = max(width(name) for name, _, _ in rows)
    number_width = max(width(figure) for _, figure, _ in rows)
    label_width = max((width(label) for label, _ in facts), default=0)
    lines = [one_line(view.run, NAME_LIMIT), ""]
    for name, figure, note in rows:
        line = f"  {name}{' ' * (name_width - width(name))}  {figure.rjust(number_width)}"
        lines.append(f"{line}  {note}" if note else line)
    if facts:
        lines.append("")
    for label, text in facts:
        lines.append(f"  {label}{' ' * (label_width - width(label))}  {one_line(text, 4096)}")
    return "\n".join(lines) + "\n"


def _rows(view: RunView) -> list[Line]:
    run = totals(view)
    rules = rule_counts(view)
    dropped = [(r.stage, r.rule, r.rows) for r in rules if not r.is_quarantine]
    quarantined = [(r.stage, r.rule, r.rows) for r in rules if r.is_quarantine]
    rows = [("rows in", number(run.rows_in), "")]
    if run.quarantined:
        rows += [("quarantined", number(run.quarantined), ""), *_by_rule(quarantined)]
    rows.append(("made", number(run.made), ""))
    if run.consumed:
        rows.append(("rewritten", number(run.consumed), ""))
    rows += [("dropped", number(run.dropped), ""), *_by_rule(dropped), ("kept", number(run.kept), "")]
    if run.unaccounted:
        rows.append(("unaccounted for", number(run.unaccounted), "the stages' counts do not add up"))
    return rows


def _by_rule(rules: Iterable[tuple[str, str, int]]) -> list[Line]:
    return [
        (f"  {one_line(stage, NAME_LIMIT)} {one_line(rule, NAME_LIMIT)}", number(rows), "")
        for stage, rule, rows in rules
    ]


def _facts(view: RunView) -> list[tuple[str, str]]:
    facts = []
    training = view.training or {}
    if training.get("loss_after") is not None:
        before, after = training.get("loss_before"), training["loss_after"]
        facts.append(("held-out loss", f"{number(before, 3)} → {number(after, 3)} nats per token"))
    if training.get("perplexity_after") is not None:
        before, after = training.get("perplexity_before"), training["perplexity_after"]
        facts.append(("perplexity", f"{number(before, 1)} → {number(after, 1)}"))
    if training.get("exact_match"):
        before, after = training["exact_match"]["before"], training["exact_match"]["after"]
        asked = f"{number(after['asked'])} held-out tasks"
        facts.append(("exact match", f"{points(before)} → {points(after)} of {asked}"))
    for way, groups in ((training.get("multiple_choice") or {}).get("ways") or {}).items():
        before, after = groups["all"]["before"], groups["all"]["after"]
        asked = f"{number(after['asked'])} questions"
        facts.append((WAYS[way], f"{points(before)} → {points(after)} of {asked}"))
    judged = (training.get("samples") or {}).get("judge")
    if judged:
        told = f"{judged['wins']} won, {judged['ties']} tied, {judged['losses']} lost"
        facts.append(("against the base", f"{told}, says {one_line(judged['name'], NAME_LIMIT)}"))
    if view.seconds:
        share = percent(view.engine_start_share)
        facts.append(("time", f"{duration(sum(view.seconds.values()))}, {share} of it starting engines"))
    if view.spending:
        facts.append(("used", line(view.spending)))
    return facts


def width(text: str) -> int:
    """Terminal cells of a text: East Asian wide and full-width characters take two, combining ones none."""
    cells = 0
    for character in text:
        if not unicodedata.combining(character):
            cells += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return cells
