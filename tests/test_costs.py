"""Prices and budgets of a recipe: what a quantity costs, and every mistake by its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raysft.costs import Budget, Prices
from raysft.recipe import RecipeError
from raysft.runtime.plan import make_plan
from tests.fixtures.runs import recipe_of, write_conversations


def test_price_of_hours_and_tokens_is_their_sum() -> None:
    tokens = {"judge": {"input_million_tokens": 3.0, "output_million_tokens": 15.0}}
    prices = Prices(gpu_hour=2.5, cpu_hour=0.05, engines=tokens)
    assert prices.cost(gpu_hours=4, cpu_hours=10) == pytest.approx(10.5)
    assert prices.cost(engine="judge", tokens_in=2e6, tokens_out=1e5) == pytest.approx(7.5)
    assert prices.cost(engine="teacher", tokens_in=2e6, tokens_out=1e5) == 0
    assert (Prices().is_free, prices.is_free, Prices(engines=tokens).is_free) == (True, False, False)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"prices": {"gpu_hour": -1}}, r"prices.gpu_hour: got -1; allowed: 0 or more"),
        ({"prices": {"currency": "euro"}}, r"prices.currency: got 'euro'"),
        ({"prices": {"engines": {"lmm": {}}}}, r"prices.engines.lmm: unknown key; did you mean 'llm'"),
        ({"budget": {"token": 5}}, r"budget.token: unknown key"),
        ({"budget": {"hours": 0}}, r"budget.hours: got 0; allowed: more than 0"),
        ({"budget": {"cost": 5}}, r"budget.cost: has no price to reckon with; give prices.gpu_hour"),
    ],
)
def test_mistakes_in_prices_and_budget_are_told_by_their_path(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    source = write_conversations(tmp_path / "rows.jsonl", [("Name a sea.", "The Baltic Sea.")])
    with pytest.raises(RecipeError, match=told):
        recipe_of(tmp_path, [source], [], **settings)


def test_prices_and_budget_are_part_of_no_fingerprint_and_are_kept_with_the_run(tmp_path: Path) -> None:
    source = write_conversations(tmp_path / "rows.jsonl", [("Name a sea.", "The Baltic Sea.")])
    stages = [{"augment.respond": {"engine": "llm"}}, "curate.rules"]
    plain = recipe_of(tmp_path, [source], stages)
    limited = recipe_of(tmp_path, [source], stages, prices={"gpu_hour": 2}, budget={"cost": 5, "tokens": 9})
    assert make_plan(plain).passes == make_plan(limited).passes
    assert (plain.budget, plain.prices) == (Budget(), Prices())
    assert limited.resolved["budget"] == {"tokens": 9, "gpu_hours": None, "cost": 5.0, "hours": None}
    assert limited.resolved["prices"]["gpu_hour"] == 2.0
