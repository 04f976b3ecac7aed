"""What the report page shows of a training run's loss: numbers before and after, curves over the steps, and
tables by task, language and source. What else was measured is in raysft/report/evaluations.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from raysft.report import evaluations, figures, untrusted
from raysft.report.charts import Mark, curve

GROUPS_SHOWN = 40
"""Of each kind; the others are counted."""
KINDS = {"task": "task", "lang": "language", "source": "source"}


def shown(training: Mapping[str, Any]) -> dict[str, Any]:
    """Losses, curves and the other numbers of the training run, as far as they are there."""
    facts = [
        ("trainable parameters", figures.number(training.get("trainable_parameters"))),
        ("tokens", figures.number(training.get("tokens"))),
        ("steps", figures.number(training.get("steps"))),
        ("time", figures.duration(training.get("seconds"))),
    ]
    if training.get("tokens") and training.get("seconds"):
        facts.append(("tokens a second", figures.number(training["tokens"] / training["seconds"])))
    if training.get("mfu") is not None:
        facts.append(("model FLOPs utilisation", figures.percent(training["mfu"])))
    return {
        "before": training.get("loss_before"),
        "after": training.get("loss_after"),
        "perplexity": (training.get("perplexity_before"), training.get("perplexity_after")),
        "facts": [(name, value) for name, value in facts if value != figures.NOTHING],
        "curves": _curves(training),
        "ending": evaluations.ending(training.get("early_stopping")),
        "groups": _groups(training.get("by_group") or {}),
    }


def _curves(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The training loss beside the held-out losses, and the throughput, over the steps.

    Held-out losses are measured before and after, and with early stopping between; what was measured last
    is then the loss of the best step's weights.
    """
    history = training.get("history") or []
    stopping = training.get("early_stopping") or {}
    measured = _series(stopping.get("measured") or [], "loss")
    before, after = training.get("loss_before"), training.get("loss_after")
    marks = []
    if before is not None and after is not None:
        last = history[-1]["step"] if history else training.get("steps") or 1
        marks = [
            Mark(0, before, f"held-out, before: {before:.3f}"),
            Mark(stopping.get("best_step", last), after, f"held-out, after: {after:.3f}"),
        ]
    loss = curve(
        _series(history, "loss"),
        "Loss over the steps",
        "optimizer step",
        "nats per token",
        beside=measured,
        marks=marks,
    )
    speed = curve(
        _series(history, "tokens_per_s"), "Throughput", "optimizer step", "tokens per second", from_zero=True
    )
    charts = [
        {"name": "Loss", "note": "Solid: training. Dashed: held-out." if measured else "", "svg": loss},
        {"name": "Throughput", "note": "", "svg": speed},
    ]
    return [chart for chart in charts if chart["svg"] != Markup("")]


def _series(history: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(float(h["step"]), float(h[name])) for h in history if h.get(name) is not None]


def _groups(by_group: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """A table of held-out numbers for each kind of groups: task, language, source."""
    tables = []
    for kind, groups in by_group.items():
        columns = list(dict.fromkeys(column for numbers in groups.values() for column in numbers))
        first = list(groups.items())[:GROUPS_SHOWN]
        name = figures.language if kind == "lang" else str
        tables.append(
            {
                "kind": KINDS.get(kind, untrusted.one_line(kind, 60)),
                "columns": [untrusted.one_line(column.replace("_", " "), 60) for column in columns],
                "rows": [
                    (
                        untrusted.one_line(name(group), 60),
                        [untrusted.value(numbers.get(column)) for column in columns],
                    )
                    for group, numbers in first
                ],
                "more": len(groups) - len(first),
            }
        )
    return tables
