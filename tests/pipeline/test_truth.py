"""Truth columns stay where they were acquired: no stage, and nothing made of its rows, is given them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysft import executor
from raysft.recipe import Recipe, RecipeError
from raysft.runtime.capacity import Capacity
from raysft.runtime.curated import export_curated, read_curated
from raysft.runtime.plan import Plan, make_plan
from raysft.runtime.storage import Storage
from raysft.runtime.view import run_view
from raysft.sample import SCHEMA, TRUTH_PREFIX
from tests.fixtures import probe
from tests.fixtures.conversations import table_of
from tests.fixtures.runs import execute, recipe_of

NARROW = {"id", "messages", "row", "owned"}
KINDS = tuple(probe.STEPS)
WORLD = {"kind": "world", "rows": 12, "seed": 3, "rows_per_unit": 5}


def told(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name.startswith(TRUTH_PREFIX)]


def with_truth() -> pa.Table:
    table = table_of([("What is 1 + 1?", "2"), ("Name a sea.", "The Baltic Sea.")])
    return table.append_column("truth_answer", pa.array(["2", None])).append_column(
        "truth_noise", pa.array([[], ["refusal"]], pa.list_(pa.string()))
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the probe notes what it saw."""
    (tmp_path / "seen").mkdir()
    return tmp_path / "seen"


def probe_plan(recipe: Recipe) -> Plan:
    plan = make_plan(recipe)
    return replace(plan, passes=tuple(probe.probed(p) for p in plan.passes))


@pytest.mark.parametrize("kind", KINDS)
def test_run_local_step_of_every_kind_is_given_no_truth(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    probe.install(monkeypatch, probe.STEPS[kind])
    after = executor.run_local(probe.PROBE, with_truth(), probe.Config(folder=str(folder)))
    found = probe.seen(folder)
    own = {"map": set(SCHEMA.names), "partition": {*NARROW, "key"}}.get(kind, NARROW)
    assert found[kind] == own
    assert told(after) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "map"])
def test_run_local_barrier_that_names_a_truth_column_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    probe.install(monkeypatch, probe.STEPS[kind])
    with pytest.raises(KeyError, match="truth_answer"):
        executor.run_local(
            probe.PROBE, with_truth(), probe.Config(folder=str(folder), names=("messages", "truth_answer"))
        )
    assert probe.seen(folder) == {}


def test_ray_steps_of_every_kind_are_given_no_truth_and_nothing_downstream_has_any(
    local_ray: Capacity, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe.install(monkeypatch)
    stages_ = [
        {probe.PROBE: {"folder": str(folder), "rows_per_shard": 4}},
        {"curate.select": {"budget": 8, "diversity": "random"}},
    ]
    recipe = recipe_of(tmp_path, [WORLD], stages_)
    plan = probe_plan(recipe)
    manifests, _ = execute(recipe, local_ray, plan)
    storage = Storage(recipe.run_root)
    shards = Path(recipe.run_root, manifests[0].folder, "shards")
    acquired = pa.concat_tables([pq.read_table(path) for path in sorted(shards.iterdir())])
    assert len(told(acquired)) == 5
    assert acquired["truth_kind"].null_count == 0
    found = probe.seen(folder)
    assert found == {
        "map": set(SCHEMA.names),
        "fit": NARROW,
        "keys": NARROW,
        "partition": {*NARROW, "key"},
        "gather": NARROW,
    }
    for path in Path(recipe.run_root).rglob("*.parquet"):
        if path.parent != shards:
            assert told(pq.read_table(path)) == [], path
    export_curated(storage, manifests)
    curated = read_curated(storage)
    assert len(curated) == 8
    assert told(curated) == []
    seen = run_view(plan, storage, manifests, curated, None)
    assert TRUTH_PREFIX not in repr((seen.drops, seen.kept_examples))
    assert len(seen.drops) > 0


@pytest.mark.parametrize(
    "stage",
    [
        {"curate.select": {"where": "truth_difficulty < 3"}},
        {"curate.probe": {"folder": "nowhere", "names": ["truth_group"]}},
    ],
    ids=["a condition", "a key"],
)
def test_recipe_whose_stage_names_a_truth_column_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: dict[str, dict[str, object]]
) -> None:
    probe.install(monkeypatch)
    with pytest.raises(RecipeError, match=r"needs a column 'truth_\w+'; columns that stages before it add"):
        recipe_of(tmp_path, [WORLD], [stage])
