"""The yardstick as Markdown, to be read in a terminal and pasted into docs, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from raysft.report.figures import NOTHING, number, percent
from raysft.report.terminal import width
from raysft.report.yardstick import COPIES, CopyLine, RuleLine, Yardstick, share

Row = Sequence[str]


def as_markdown(found: Yardstick) -> str:
    """All tables, each with the line that says how to read it; empty ones left out."""
    parts = [
        f"{number(found.rows)} rows, {number(found.clean)} of them clean.",
        *_section(
            "Rules that judge a row by itself. Recall is over the live rows that are bad as meant.",
            ("stage", "rule", "meant for", "live", "dropped", "precision", "recall", "clean dropped"),
            map(_rule_row, found.rules),
        ),
        *_section(
            "Rules that compare rows. Precision: lost to a copy of itself. Recall, for each kind of copy: "
            "redundant ones that this stage or an earlier one resolved.",
            ("stage", "rule", "live", "dropped", "precision", *COPIES, "clean dropped"),
            map(_copy_row, found.copies),
        ),
        *_section(
            "Scores: AUC of bad against clean rows, 0.50 for a score that tells nothing. Where no end is "
            "declared bad, above 0.50 says that bad rows are higher.",
            ("stage", "score", "bad end", "meant for", "bad", "clean", "AUC"),
            (
                (
                    s.stage,
                    s.score,
                    s.worse or NOTHING,
                    _meant(s.meant),
                    number(s.bad),
                    number(s.clean),
                    _auc(s.auc),
                )
                for s in found.scores
            ),
        ),
        *_section(
            "AUC of each noise alone against clean rows.",
            ("noise", *(s.score for s in found.scores)),
            (
                (noise.noise, *(_auc(s.by_noise.get(noise.noise)) for s in found.scores))
                for noise in found.noises
                if found.scores
            ),
        ),
        *_section(
            "Bad rows among the live ones, before and after each stage.",
            ("stage", "live before", "after", "bad before", "after"),
            (
                (
                    s.stage,
                    number(s.rows_in),
                    number(s.rows_out),
                    percent(share(s.bad_in, s.rows_in)),
                    percent(share(s.bad_out, s.rows_out)),
                )
                for s in found.stages
            ),
        ),
        *_section(
            "Rows of each noise, and what dropped them; of a copy, the original may be gone instead.",
            ("noise", "rows", "dropped", "by"),
            (
                (n.noise, number(n.rows), percent(share(sum(n.dropped.values()), n.rows)), _by(n.dropped))
                for n in found.noises
            ),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def as_json(found: Yardstick) -> dict[str, Any]:
    """Every number, shares as fractions."""
    shares = ("precision", "recall", "false_drops")

    def line(of: RuleLine | CopyLine) -> dict[str, Any]:
        return asdict(of) | {name: getattr(of, name) for name in shares if hasattr(of, name)}

    return asdict(found) | {"rules": [*map(line, found.rules)], "copies": [*map(line, found.copies)]}


def _rule_row(line: RuleLine) -> Row:
    return (
        line.stage,
        line.rule,
        _meant(line.meant),
        number(line.seen),
        number(line.dropped),
        percent(line.precision),
        percent(line.recall),
        percent(line.false_drops),
    )


def _copy_row(line: CopyLine) -> Row:
    return (
        line.stage,
        line.rule,
        number(line.seen),
        number(line.dropped),
        percent(line.precision),
        *(percent(share(*line.copies[name])) for name in COPIES),
        percent(line.false_drops),
    )


def _meant(noises: Sequence[str]) -> str:
    return ", ".join(noises) or "anything bad"


def _auc(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _by(dropped: Mapping[str, int]) -> str:
    falling = sorted(dropped.items(), key=lambda item: -item[1])
    return ", ".join(f"{rule} {number(rows)}" for rule, rows in falling) or NOTHING


def _section(title: str, header: Row, rows: Iterable[Row]) -> list[str]:
    """The title and a Markdown table whose columns line up; nothing where there are no rows."""
    table = [header, *rows]
    if len(table) == 1:
        return []
    widths = [max(width(row[i]) for row in table) for i in range(len(header))]
    lines = [_line(row, widths) for row in table]
    rule = "|".join("-" * (wide + 2) for wide in widths)
    return [title, "\n".join([lines[0], f"|{rule}|", *lines[1:]])]


def _line(row: Row, widths: Sequence[int]) -> str:
    cells = (cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True))
    return f"| {' | '.join(cells)} |"
