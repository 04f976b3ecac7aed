"""Started again, a run does only what is not done: after a change of the recipe, and after losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raysft.recipe import Recipe
from raysft.runtime import driver
from raysft.runtime.capacity import Capacity
from raysft.runtime.manifest import COMMITS, MANIFEST, Manifest, verify
from raysft.runtime.plan import make_plan
from raysft.runtime.storage import Storage
from tests.fixtures.engines import model_folder, texts_seen
from tests.fixtures.runs import (
    by_id,
    execute,
    fake_engines,
    recipe_of,
    reference,
    rows_of,
    write_conversations,
)

QUESTIONS = [(f"Describe the year {1900 + n} in a few words, please.",) for n in range(12)]


def chain(folder: Path, budget: int = 10, rows_per_shard: int = 4, scorer: str = "one") -> Recipe:
    """evolve, respond and embed in one segment, then minhash_dedup with perplexity, then select."""
    source = folder / "questions.jsonl"
    if not source.exists():
        write_conversations(source, QUESTIONS)
    engines = fake_engines(folder)
    engines["scorer"]["model"] = model_folder(folder / f"scorer-{scorer}", scorer)
    cut = {"rows_per_shard": rows_per_shard}
    stages: list[dict[str, Any]] = [
        {"augment.evolve": {"engine": "llm", "answers": False, **cut}},
        {"augment.respond": {"engine": "llm", **cut}},
        {"curate.embed": {"engine": "embedder", **cut}},
        {"curate.minhash_dedup": cut},
        {"curate.perplexity": {"engine": "scorer", **cut}},
        {"curate.select": {"budget": budget, **cut}},
    ]
    return recipe_of(folder, [source], stages, engines=engines)


def names(manifest: Manifest) -> dict[str, str]:
    """Shard files by work shard."""
    return {record.unit: record.name for record in manifest.shards}


@pytest.fixture(scope="module")
def finished(local_ray: Capacity, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Manifest]]:
    """A folder with a run of `chain` that ended, and its manifests."""
    folder = tmp_path_factory.mktemp("resume")
    return folder, execute(chain(folder), local_ray)[0]


def test_finished_run_started_again_does_nothing(
    local_ray: Capacity, finished: tuple[Path, list[Manifest]]
) -> None:
    folder, manifests = finished
    seen = texts_seen(folder / "llm")
    again, said = execute(chain(folder), local_ray)
    assert again == manifests
    assert said.count("kept from an earlier run") == len(manifests)
    assert texts_seen(folder / "llm") == seen


def test_run_with_other_shard_sizes_and_budget_redoes_select_alone(
    local_ray: Capacity, finished: tuple[Path, list[Manifest]]
) -> None:
    folder, manifests = finished
    changed, _ = execute(chain(folder, budget=5, rows_per_shard=3), local_ray)
    anew = [old.stage for old, new in zip(manifests, changed, strict=True) if old.folder != new.folder]
    assert set(anew) == {"curate.select"}
    assert changed[: -len(anew)] == manifests[: -len(anew)]
    assert changed[-1].counts.rows_out == 5


def test_run_with_another_scorer_generates_nothing_anew(
    local_ray: Capacity, finished: tuple[Path, list[Manifest]]
) -> None:
    folder, manifests = finished
    seen = texts_seen(folder / "llm"), texts_seen(folder / "embedder")
    recipe = chain(folder, scorer="two")
    changed, _ = execute(recipe, local_ray)
    anew = [m for m, old in zip(changed, manifests, strict=True) if m != old]
    assert list(dict.fromkeys(m.stage for m in anew)) == ["curate.perplexity", "curate.select"]
    assert (texts_seen(folder / "llm"), texts_seen(folder / "embedder")) == seen
    assert texts_seen(folder / "scorer-two") == anew[0].counts.rows_in
    assert rows_of(recipe, changed)["id"].equals(rows_of(chain(folder), manifests)["id"])


def test_run_that_lost_records_of_a_middle_stage_redoes_only_those_shards(
    local_ray: Capacity, tmp_path: Path
) -> None:
    recipe = chain(tmp_path)
    before, _ = execute(recipe, local_ray)
    storage, respond = Storage(recipe.run_root), before[2]
    lost = [record for record in respond.shards if record.counts.made_kept][:1]
    storage.remove(f"{respond.folder}/{MANIFEST}")
    for record in lost:
        storage.remove(f"{respond.folder}/{COMMITS}/{record.unit}.json")
    seen = texts_seen(tmp_path / "llm")
    after, said = execute(recipe, local_ray)
    assert texts_seen(tmp_path / "llm") - seen == sum(r.counts.consumed for r in lost)
    assert said.count("kept from an earlier run") == 2
    units = {r.unit for r in lost}
    places = {f"{i:05d}" for i, unit in enumerate(sorted(names(respond))) if unit in units}
    for old, new in zip(before, after, strict=True):
        changed = {unit for unit, name in names(new).items() if names(old)[unit] != name}
        if old.stage in ("augment.respond", "curate.embed"):
            assert changed == units
        else:  # sidecars beside a shard of respond that was made again are made again too
            beside = old.stage in ("curate.minhash_dedup", "curate.perplexity")
            assert {unit[:5] for unit in changed} == (places if beside else set())
        verify(storage, new)
    assert by_id(rows_of(recipe, after)) == by_id(rows_of(recipe, before))


def test_run_that_stopped_in_a_segment_keeps_its_work_shards_when_their_size_changes(
    local_ray: Capacity, tmp_path: Path
) -> None:
    recipe = chain(tmp_path)
    plan = make_plan(recipe)
    before, _ = execute(recipe, local_ray, plan.until("respond"))
    storage, evolve = Storage(recipe.run_root), before[1]
    for m in before[1:]:
        storage.remove(f"{m.folder}/{MANIFEST}")
    storage.remove(f"{evolve.folder}/{COMMITS}/{evolve.shards[0].unit}.json")
    again = chain(tmp_path, rows_per_shard=5)
    after, _ = execute(again, local_ray)
    assert names(after[1]).keys() == names(evolve).keys()
    kept = names(evolve).items() & names(after[1]).items()
    assert {unit for unit, _ in kept} == names(evolve).keys() - {evolve.shards[0].unit}
    expected = reference(make_plan(again), rows_of(again, after[:1]))
    assert by_id(rows_of(again, after)) == by_id(expected)


def test_run_in_waves_of_few_work_shards_has_the_same_rows(
    local_ray: Capacity,
    finished: tuple[Path, list[Manifest]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, manifests = finished
    monkeypatch.setattr(driver, "WAVE", 2)
    recipe = chain(tmp_path)
    in_waves, _ = execute(recipe, local_ray)
    assert max(len(m.shards) for m in in_waves) > driver.WAVE
    columns = ["id", "messages", "drop_rule"]
    one = rows_of(chain(folder), manifests).select(columns)
    assert rows_of(recipe, in_waves).select(columns).sort_by("id").equals(one.sort_by("id"))
