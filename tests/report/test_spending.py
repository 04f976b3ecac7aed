"""The report's section on what a run used: figures, what is not told, and names that could be markup."""

from __future__ import annotations

from typing import Any

from raysft.report.page import render
from raysft.report.spending import line, tables
from tests.report.runs import view


def spent(currency: str = "EUR") -> dict[str, Any]:
    """A run with a teacher and an embedder."""
    hours = {"gpu_hours": 1.5, "cpu_hours": 0.25, "cost": 4.0125}
    tokens = {"requests": 1200, "tokens_in": 34_000, "tokens_out": 5_600}
    engine = {"processes": 2, "alive_hours": 0.5, "busy_share": 0.9, "start_share": 0.04, **hours, **tokens}
    silent = {**engine, "requests": 10, "tokens_in": 0, "tokens_out": 0}
    stage = {"label": "03-evolve", "engine": "teacher", "engine_seconds": 75.0, **hours, **tokens}
    return {
        "currency": currency,
        "starts": 2,
        "hours": 0.6,
        "engines": {"teacher<script>": engine, "embedder": silent},
        "tasks": {"cpu_hours": 0.125, "cost": 0.01},
        "stages": [stage],
        "total": {"gpu_hours": 1.5, "cpu_hours": 123.4, "tokens": 39_600, "cost": 1234.5},
    }


def test_line_tells_hours_tokens_cost_and_starts() -> None:
    assert line(spent()) == "1.500 GPU-hours, 123.4 CPU-hours, 39,600 tokens, 1,234.50 EUR, over 2 starts"
    assert line({**spent(""), "starts": 1}).endswith("39,600 tokens, over 1 start")


def test_tables_have_a_cost_only_where_something_has_a_price() -> None:
    priced, free = tables(spent()), tables(spent(""))
    assert priced is not None
    assert free is not None
    assert priced["engines"]["columns"][-1] == "cost, EUR"
    for found in (priced, free):
        for table in (found["engines"], found["stages"]):
            assert all(len(cells) == len(table["columns"]) for _, cells in table["rows"])
    name, cells = priced["engines"]["rows"][1]
    assert (name, cells[6:9]) == ("embedder", ["10", "–", "–"])
    assert tables({}) is None


def test_page_escapes_names_of_engines_and_leaves_the_section_out_where_nothing_is_told() -> None:
    page = render(view(spending=spent()))
    assert "teacher&lt;script&gt;" in page
    assert "34,000" in page
    assert "1,234.50 EUR" in page
    assert "What was used" not in render(view())
