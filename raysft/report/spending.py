"""What a run used and cost, as tables of the report: by engine, then by stage. Numbers only; names are
escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysft.report import figures, untrusted

ENGINE_COLUMNS = ("processes", "alive", "with work", "starting", "GPU-hours", "CPU-hours")
STAGE_COLUMNS = ("engine time", "GPU-hours", "CPU-hours")
TOKENS = ("requests", "tokens in", "tokens out")


def tables(spent: Mapping[str, Any]) -> dict[str, Any] | None:
    """The section's line and its two tables; None of a run that told nothing."""
    if not spent:
        return None
    currency = spent["currency"]
    cost = [f"cost, {currency}"] if currency else []
    return {
        "line": line(spent),
        "engines": {
            "columns": [*ENGINE_COLUMNS, *TOKENS, *cost],
            "rows": [
                *((untrusted.one_line(n, 60), _engine(e, bool(cost))) for n, e in spent["engines"].items()),
                ("tasks without an engine", _tasks(spent["tasks"], bool(cost))),
            ],
        },
        "stages": {
            "columns": [*STAGE_COLUMNS, *TOKENS, *cost],
            "rows": [(untrusted.one_line(s["label"], 60), _stage(s, bool(cost))) for s in spent["stages"]],
        },
    }


def line(spent: Mapping[str, Any]) -> str:
    """What all of it came to, in words: hours, tokens, cost."""
    total, starts = spent["total"], spent["starts"]
    parts = [
        f"{hours(total['gpu_hours'])} GPU-hours",
        f"{hours(total['cpu_hours'])} CPU-hours",
        f"{figures.number(total['tokens'])} tokens",
    ]
    if spent["currency"]:
        parts.append(f"{figures.number(total['cost'], 2)} {spent['currency']}")
    return f"{', '.join(parts)}, over {starts} start{'s' if starts != 1 else ''}"


def hours(value: float) -> str:
    """Hours with as many decimals as a short run needs."""
    return figures.number(value, 1 if value >= 100 else 3)


def _engine(told: Mapping[str, Any], has_cost: bool) -> list[str]:
    cells = [
        figures.number(told["processes"]),
        figures.duration(told["alive_hours"] * 3600),
        figures.percent(told["busy_share"]),
        figures.percent(told["start_share"]),
        hours(told["gpu_hours"]),
        hours(told["cpu_hours"]),
    ]
    return [*cells, *_tokens(told), *_cost(told, has_cost)]


def _tasks(told: Mapping[str, Any], has_cost: bool) -> Sequence[str]:
    blank = [figures.NOTHING] * 4
    tokens = [figures.NOTHING] * len(TOKENS)
    return [*blank, hours(0.0), hours(told["cpu_hours"]), *tokens, *_cost(told, has_cost)]


def _stage(told: Mapping[str, Any], has_cost: bool) -> list[str]:
    busy = figures.duration(told["engine_seconds"]) if told["engine"] else figures.NOTHING
    cells = [busy, hours(told["gpu_hours"]), hours(told["cpu_hours"])]
    return [*cells, *_tokens(told), *_cost(told, has_cost)]


def _tokens(told: Mapping[str, Any]) -> list[str]:
    """Counts of an engine that was asked; dashes where none was, or where its tokens are not told."""
    counts = [told["requests"], told["tokens_in"], told["tokens_out"]]
    return [figures.number(n) if n else figures.NOTHING for n in counts]


def _cost(told: Mapping[str, Any], has_cost: bool) -> list[str]:
    return [figures.number(told["cost"], 4)] if has_cost else []
