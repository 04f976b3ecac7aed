"""Budgets: when a limit is reached, that the run then stops with all that is committed, and goes on later."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysft.costs import Budget, Prices
from raysft.engines.protocol import Completion, Request
from raysft.engines.spec import Engine
from raysft.recipe import Recipe
from raysft.runtime import driver
from raysft.runtime.budget import OverBudget, Watch, cost_of, reached
from raysft.runtime.capacity import Capacity
from raysft.runtime.ledger import Ledgers, Spent, Used
from raysft.runtime.manifest import Manifest, read_records
from raysft.runtime.metering import Usage
from raysft.runtime.plan import make_plan
from raysft.runtime.progress import Progress
from raysft.runtime.status import Status
from raysft.runtime.storage import Storage
from tests.fixtures.engines import build_fake, texts_seen
from tests.fixtures.runs import by_id, execute, fake_engines, recipe_of, rows_of, write_conversations

QUESTIONS = [(f"Describe the year {1900 + n} in a few words, please.",) for n in range(64)]
PRICES = Prices(
    gpu_hour=2.0,
    cpu_hour=0.5,
    engines={"llm": {"input_million_tokens": 1.0, "output_million_tokens": 3.0}},
)
SPENT = Spent(
    starts=2,
    driver_seconds=1800.0,
    engines={
        "llm": Used(1, 3600.0, 30.0, 3600.0, 7200.0, Usage(10, 1_000_000, 2_000_000, 900.0)),
        "judge": Used(1, 360.0, 3.0, 360.0, 0.0, Usage(5, 40, 2, 9.0)),
    },
    training=Used(4, 720.0, 0.0, 1440.0, 720.0),
    tasks={"stages/00-acquire-x": 1800.0},
)


def test_cost_of_what_was_spent_adds_hours_and_tokens() -> None:
    # 2.2 GPU-hours, 2 CPU-hours, a million tokens read and two written
    assert (SPENT.gpu_hours, SPENT.cpu_hours, SPENT.hours) == pytest.approx((2.2, 2.0, 0.5))
    assert cost_of(SPENT, PRICES) == pytest.approx(2.2 * 2 + 2 * 0.5 + 1 + 6)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({"tokens": 3_000_043}, None),
        ({"tokens": 3_000_042}, "3,000,042 tokens of budget.tokens 3,000,042"),
        ({"gpu_hours": 2.21}, None),
        ({"gpu_hours": 2}, "2.200 GPU-hours of budget.gpu_hours 2"),
        ({"cost": 12.5}, None),
        ({"cost": 12}, "12.4 USD of budget.cost 12"),
        ({"hours": 0.6}, None),
        ({"hours": 0.5}, "0.500 hours of budget.hours 0.5"),
        ({}, None),
    ],
)
def test_limit_is_reached_at_its_value(budget: dict[str, Any], expected: str | None) -> None:
    found = reached(Budget(**budget), SPENT, PRICES)
    assert found == ([expected] if expected else [])


def small_run(folder: Path, name: str, **settings: Any) -> Recipe:
    source = folder / "questions.jsonl"
    if not source.exists():
        write_conversations(source, QUESTIONS)
    cut = {"rows_per_shard": 1}
    stages: list[Any] = [{"augment.respond": {"engine": "llm", **cut}}, {"curate.rules": cut}]
    engines = settings.pop("engines", fake_engines(folder))
    return recipe_of(folder, [source], stages, run=name, engines=engines, **settings)


def build_slow(spec: Engine) -> Any:
    """A fake whose calls take so long that the driver hears of the first ones before the last begin."""
    engine = build_fake(spec)
    answer = engine.generate

    def generate(requests: Sequence[Request]) -> list[Completion]:
        time.sleep(0.2)
        return answer(requests)

    engine.generate = generate
    return engine


def watched(recipe: Recipe, has: Capacity) -> list[Manifest]:
    """Run a recipe's stages with fake engines, looking at the budget after every work shard."""
    storage = Storage(recipe.run_root)
    progress = Progress(io.StringIO())
    return driver.start(
        make_plan(recipe),
        storage,
        lambda: contextlib.nullcontext(has),
        progress,
        Status(storage, recipe.settings.run),
        build_engine=build_slow,
        watch=Watch(storage, recipe.budget, recipe.prices, look_s=0),
    )


def committed(recipe: Recipe) -> dict[str, str]:
    """Names of the answers' shards by work shard."""
    plan = make_plan(recipe)
    records = read_records(Storage(recipe.run_root), plan.passes[0].folder)
    return {unit: record.name for unit, record in records.items()}


def test_run_over_its_budget_stops_and_goes_on_with_the_same_rows_and_nothing_twice(
    local_ray: Capacity, tmp_path: Path
) -> None:
    whole = small_run(tmp_path, "whole")
    manifests, _ = execute(whole, local_ray)
    used = manifests[1].usage
    assert used.requests == len(QUESTIONS)
    assert Ledgers(Storage(whole.run_root)).spent().tokens >= used.tokens > 0

    limited = small_run(tmp_path, "limited", budget={"tokens": used.tokens // 4})
    with pytest.raises(OverBudget, match=r"budget.tokens.*raise the limit"):
        watched(limited, local_ray)
    done = committed(limited)
    assert 0 < len(done) < len(QUESTIONS)
    before = texts_seen(tmp_path / "llm")
    with pytest.raises(OverBudget):
        watched(limited, local_ray)
    assert (committed(limited), texts_seen(tmp_path / "llm")) == (done, before)

    raised = small_run(tmp_path, "limited", budget={"tokens": used.tokens * 9})
    after = watched(raised, local_ray)
    assert done.items() <= committed(raised).items()
    assert [m.folder for m in after] == [m.folder for m in manifests]
    assert by_id(rows_of(raised, after)) == by_id(rows_of(whole, manifests))
    assert replace(after[1].usage, engine_seconds=0) == replace(used, engine_seconds=0)
    assert Ledgers(Storage(raised.run_root)).spent().starts == 2


def test_work_that_outlasts_the_grace_is_interrupted_and_told_as_over_budget(tmp_path: Path) -> None:
    watch = Watch(Storage(str(tmp_path)), Budget(hours=1e-9), Prices(), look_s=0.01, grace_s=0.0)
    waited = []
    with pytest.raises(OverBudget, match=r"budget.hours 1e-09"), watch:
        waited.append(threading.Event().wait(60))
    assert waited == []


def test_work_in_its_grace_is_left_alone_and_workers_are_told_to_begin_no_more(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with Watch(storage, Budget(hours=1e-9), Prices(), look_s=0.0, grace_s=600.0) as watch:
        assert not storage.exists(watch.stop)
        assert watch.look()
        assert storage.exists(watch.stop)
        with pytest.raises(OverBudget):
            watch.check()


def test_interruption_by_a_user_stays_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Watch(Storage(str(tmp_path)), Budget(tokens=5), Prices()):
        raise KeyboardInterrupt


def test_run_without_a_budget_has_nothing_that_could_stop_it(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with Watch(storage, Budget(), Prices()) as watch:
        assert (watch.stop, watch.look()) == ("", False)
    assert Ledgers(storage).spent().starts == 1
