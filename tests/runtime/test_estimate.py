"""Estimates: a plan's rows, tokens, hours and cost by a run of known rates, and bounds without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysft.acquire.unit import Unit
from raysft.recipe import Recipe
from raysft.runtime.capacity import Capacity, Nodes
from raysft.runtime.estimate import BOUND, SEALED, Estimate, StageEstimate, as_lines, estimate, source_rows
from raysft.runtime.ledger import Spent, Used
from raysft.runtime.manifest import Manifest, Record, seal
from raysft.runtime.metering import Usage
from raysft.runtime.plan import Plan, make_plan, segments
from raysft.runtime.rates import Earlier, read_earlier
from raysft.runtime.storage import Storage
from raysft.stage import Counts
from tests.fixtures.runs import fake_engines, recipe_of, write_conversations

ROWS = 100
PRICES = {"gpu_hour": 2.0, "cpu_hour": 0.1, "engines": {"llm": {"output_million_tokens": 10.0}}}


def recipe(folder: Path, rows: int = ROWS, run: str = "run", **settings: Any) -> Recipe:
    """respond, rules and select over so many questions; the LLM has half a GPU."""
    source = write_conversations(folder / f"{rows}.jsonl", [(f"What is {n}?",) for n in range(rows)])
    engines = fake_engines(folder)
    engines["llm"] |= {"gpus": 0.5, **settings.pop("llm", {})}
    stages = [
        {"augment.respond": {"engine": "llm"}},
        "curate.rules",
        {"curate.select": {"budget": 150, "diversity": "random"}},
    ]
    return recipe_of(folder, [source], stages, run=run, engines=engines, **settings)


def sealed(p: Any, counts: Counts, seconds: float, **more: Any) -> Manifest:
    """A sealed pass of one shard, which took so long and of which its segment took as long."""
    usage = more.pop("usage", Usage())
    record = Record("0", "0.parquet", counts.rows_out, 1, "", None, "", counts, seconds, usage)
    config = p.semantic_config if p.config is not None else {}
    told = {"config": config, "engines": {p.engine: {"model": "m"}} if p.engine else {}, **more}
    return Manifest(
        p.stage, p.folder, p.fingerprint, p.writes, (record,), counts, usage, seconds=seconds, **told
    )


def earlier(plan: Plan) -> Earlier:
    """A run of a hundred questions: 60 s of the LLM after a start of 20, an answer in ten dropped."""
    acquire, respond, rules, *select = plan.all_passes
    used = Usage(ROWS, 2_000, 5_000, 60.0)
    manifests = [
        sealed(acquire, Counts(ROWS, ROWS), 2.0),
        sealed(
            respond,
            Counts(ROWS, 0, ROWS, made_kept=ROWS),
            80.0,
            usage=used,
            engine_start_seconds=20.0,
        ),
        sealed(rules, Counts(ROWS, 90, 0, 10), 0.0),
        *(sealed(p, Counts(90, 90), 1.0) for p in select),
    ]
    spent = Spent(1, 100.0, {"llm": Used(1, 80.0, 20.0, 80.0, 40.0, used)}, tasks={acquire.folder: 2.0})
    return Earlier("runs/before", tuple(manifests), spent, {"engines": {"llm": {"replicas": {"min": 1}}}})


def estimated(plan: Plan, rates: Earlier | None, done: Mapping[str, Manifest] | None = None) -> Estimate:
    labels = {p.folder: p.folder.removeprefix("stages/").rsplit("-", 1)[0] for p in plan.all_passes}
    return estimate(plan, segments(plan, Capacity((Nodes(8, 4),), "a cluster")), rates, done or {}, labels)


def named(found: Estimate, part: str) -> StageEstimate:
    return next(s for s in found.stages if part in s.label)


def test_estimate_of_the_very_run_that_was_measured_is_what_it_took(tmp_path: Path) -> None:
    plan = make_plan(recipe(tmp_path, prices=PRICES))
    found = estimated(plan, earlier(plan))
    respond = named(found, "respond")
    assert (respond.rows_in, respond.rows_out) == (ROWS, ROWS)
    assert (respond.tokens_in, respond.tokens_out) == (2_000, 5_000)
    assert respond.seconds == pytest.approx(80.0)
    assert respond.gpu_hours == pytest.approx(80.0 * 0.5 / 3600)
    assert respond.cost == pytest.approx(40.0 / 3600 * 2 + 80.0 / 3600 * 0.1 + 5_000 * 10 / 1e6)
    assert named(found, "acquire").cpu_hours == pytest.approx(2.0 / 3600)
    assert found.total.cost == pytest.approx(sum(s.cost or 0 for s in found.stages))
    assert found.currency == "USD"


def test_estimate_of_more_rows_grows_with_them_but_for_engine_starts_and_the_selection(
    tmp_path: Path,
) -> None:
    rates = earlier(make_plan(recipe(tmp_path)))
    found = estimated(make_plan(recipe(tmp_path, rows=3 * ROWS)), rates)
    respond, select = named(found, "respond"), named(found, "select")
    assert (respond.rows_out, named(found, "rules").rows_out) == (300, 270)
    assert (respond.tokens_out, respond.seconds) == (15_000, pytest.approx(20.0 + 3 * 60.0))
    assert (select.rows_in, select.rows_out) == (270, 150)
    assert any("runs/before" in note for note in found.notes)
    assert any("fewer than 4 work shards" in note for note in found.notes)


def test_estimate_with_twice_the_workers_halves_the_time_and_not_the_hours_of_work(tmp_path: Path) -> None:
    rates = earlier(make_plan(recipe(tmp_path)))
    found = estimated(make_plan(recipe(tmp_path, llm={"replicas": {"min": 2, "max": 2}})), rates)
    respond = named(found, "respond")
    assert respond.seconds == pytest.approx(20.0 + 30.0)
    assert respond.gpu_hours == pytest.approx(2 * 50.0 * 0.5 / 3600)


def test_estimate_of_a_sealed_stage_costs_nothing_and_tells_its_rows(tmp_path: Path) -> None:
    plan = make_plan(recipe(tmp_path, prices=PRICES))
    rates = earlier(plan)
    done = {m.folder: m for m in rates.manifests[:2]}
    found = estimated(plan, rates, done)
    respond = named(found, "respond")
    assert (respond.rows_are, respond.rows_out, respond.cost) == (SEALED, ROWS, 0.0)
    assert found.total.tokens_out == 0
    assert "sealed" in next(line for line in as_lines(found) if "respond" in line)


def test_estimate_without_rates_tells_bounds_and_what_is_not_known(tmp_path: Path) -> None:
    found = estimated(make_plan(recipe(tmp_path)), None)
    assert [(s.rows_are, s.rows_in) for s in found.stages[:2]] == [(BOUND, ROWS), (BOUND, ROWS)]
    assert (named(found, "select").rows_out, found.total.seconds, found.total.cost) == (150, None, None)
    assert any("--rates" in note for note in found.notes)
    assert any("augment.respond at most 2,048" in note for note in found.notes)
    text = "\n".join(as_lines(found))
    assert "≤100" in text
    assert "?" in text


def test_estimate_by_a_run_that_lacks_a_stage_leaves_it_out_of_the_sums_and_says_so(tmp_path: Path) -> None:
    plan = make_plan(recipe(tmp_path))
    rates = earlier(plan)
    short = replace(rates, manifests=rates.manifests[:1])
    found = estimated(plan, short)
    assert named(found, "respond").seconds is None
    assert any("not in the sums" in note and "respond" in note for note in found.notes)


def test_estimate_beyond_the_budget_or_of_another_model_is_told(tmp_path: Path) -> None:
    rates = earlier(make_plan(recipe(tmp_path)))
    found = estimated(make_plan(recipe(tmp_path, budget={"tokens": 6_000, "gpu_hours": 9})), rates)
    beyond = [note for note in found.notes if "beyond" in note]
    assert beyond == ["the estimate, 7,000, is beyond budget.tokens 6,000: the run would stop there"]
    assert any("engine 'llm' was m there" in note for note in found.notes)


def test_source_rows_are_counted_in_json_lines_and_bounded_by_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a": 3}')
    whole = Unit(str(path), "c", 27)
    assert source_rows([whole, Unit("world", "w", 0, 10, 14)]) == (7.0, BOUND)
    assert source_rows([Unit(str(path), "c", 27, 0, 2)])[0] == 2.0
    assert source_rows([whole, Unit("s3://b/rows.jsonl", "c", 27)])[0] is None
    assert source_rows([Unit("s3://b/rows.jsonl", "c", 27, 0, 50)])[0] == 50.0


def test_read_earlier_finds_the_chain_that_was_sealed_last(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    first = seal(storage, manifest_of("stages/00-acquire-a"))
    seal(storage, manifest_of("stages/01-old-a", {first.folder: "x"}))
    seal(storage, manifest_of("stages/02-new-b", {first.folder: "x"}))
    found = read_earlier(str(tmp_path))
    assert [m.folder for m in found.manifests] == ["stages/00-acquire-a", "stages/02-new-b"]
    with pytest.raises(LookupError, match="no sealed stage is there"):
        read_earlier(str(tmp_path / "nowhere"))


def manifest_of(folder: str, parents: Mapping[str, str] | None = None) -> Manifest:
    return Manifest("acquire", folder, "f", "rows", (), Counts(), parents=parents or {})
