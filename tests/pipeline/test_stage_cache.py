"""Runs that share sealed stages: what one made, the next takes, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raysft.recipe import Recipe
from raysft.runtime.capacity import Capacity
from raysft.runtime.manifest import MANIFEST, Manifest, manifest_digest, verify
from raysft.runtime.plan import make_plan
from raysft.runtime.stage_cache import SHARED, states_of
from raysft.runtime.storage import Storage
from tests.fixtures.engines import texts_seen
from tests.fixtures.runs import by_id, execute, recipe_of, rows_of, write_conversations

QUESTIONS = [(f"Describe the year {1900 + n} in a few words, please.",) for n in range(8)]


def recipe(folder: Path, run: str, budget: int = 6, **settings: Any) -> Recipe:
    """Made rows, a barrier and a choice, in a run of this name that shares its stages below `folder`."""
    source = folder / "questions.jsonl"
    if not source.exists():
        write_conversations(source, QUESTIONS)
    stages: list[dict[str, Any]] = [
        {"augment.evolve": {"engine": "llm", "answers": False, "rows_per_shard": 4}},
        {"augment.respond": {"engine": "llm", "rows_per_shard": 4}},
        {"curate.minhash_dedup": {}},
        {"curate.select": {"budget": budget, "diversity": "random"}},
    ]
    return recipe_of(folder, [source], stages, run=run, **{"cache": str(folder / "cache"), **settings})


@pytest.fixture(scope="module")
def first(local_ray: Capacity, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Manifest]]:
    """A folder with a run that published all its stages, and its manifests."""
    folder = tmp_path_factory.mktemp("cache")
    return folder, execute(recipe(folder, "first"), local_ray)[0]


def states(recipe: Recipe) -> list[str]:
    return list(states_of(make_plan(recipe), Storage(recipe.run_root)).values())


def test_second_run_of_the_same_recipe_takes_every_stage_from_the_cache(
    local_ray: Capacity, first: tuple[Path, list[Manifest]]
) -> None:
    folder, made = first
    second = recipe(folder, "second")
    seen = texts_seen(folder / "llm")
    assert set(states(second)) == {"in cache"}
    taken, said = execute(second, local_ray)
    assert texts_seen(folder / "llm") == seen > 0
    assert [manifest_digest(m) for m in taken] == [manifest_digest(m) for m in made]
    assert said.count("kept from run first") == len(made)
    assert set(states(second)) == {"sealed"}
    for sealed in taken:
        verify(Storage(second.run_root), sealed)
    assert by_id(rows_of(second, taken)) == by_id(rows_of(recipe(folder, "first"), made))


def test_run_with_a_changed_stage_makes_that_one_and_those_after_it(
    local_ray: Capacity, first: tuple[Path, list[Manifest]]
) -> None:
    folder, made = first
    seen = texts_seen(folder / "llm")
    changed, said = execute(recipe(folder, "changed", budget=3), local_ray)
    anew = [m.stage for m, old in zip(changed, made, strict=True) if m.folder != old.folder]
    assert set(anew) == {"curate.select"}
    assert said.count("kept from run first") == len(made) - len(anew)
    assert texts_seen(folder / "llm") == seen
    assert changed[-1].counts.rows_out == 3


def test_run_whose_cache_is_spoilt_says_so_and_makes_the_stage_anew(
    local_ray: Capacity, tmp_path: Path
) -> None:
    made, _ = execute(recipe(tmp_path, "first"), local_ray)
    respond = next(m for m in made if m.stage == "augment.respond")
    (entry,) = (tmp_path / "cache" / SHARED / respond.folder.split("/")[1]).iterdir()
    shard = entry / "shards" / respond.shards[0].name
    shard.write_bytes(shard.read_bytes()[:-1])
    seen = texts_seen(tmp_path / "llm")
    second = recipe(tmp_path, "second")
    taken, said = execute(second, local_ray)
    assert "spoilt in the cache" in said
    assert str(shard) in said
    assert not (entry / MANIFEST).exists()
    assert said.count("kept from run first") == made.index(respond)
    assert texts_seen(tmp_path / "llm") - seen == respond.counts.consumed
    for sealed in taken:
        verify(Storage(second.run_root), sealed)
    third, said = execute(recipe(tmp_path, "third"), local_ray)
    assert said.count("kept from run first") == made.index(respond)
    assert said.count("kept from run second") == len(made) - made.index(respond)
    assert [manifest_digest(m) for m in third] == [manifest_digest(m) for m in taken]
