"""A noisy world through a recipe's own stages with fake engines, measured against what is known of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raysft.acquire.world import WorldSource
from raysft.recipe import Recipe, RecipeError
from raysft.report.yardstick import COPIES
from raysft.runtime import yardstick
from raysft.runtime.capacity import Capacity
from raysft.runtime.plan import make_plan
from raysft.runtime.yardstick import RATES, Evaluation, as_json, as_text, evaluate, over_noisy_world
from raysft.sample import SCHEMA
from raysft.world.draw import Part
from raysft.world.noise import NAMES, Noise
from tests.fixtures.engines import build_fake, texts_seen
from tests.fixtures.runs import recipe_of, write_conversations

NOISE = {"refusal": 0.1, "exact_copy": 0.15, "near_duplicate": 0.1, "rambling": 0.1}
NOISY = {"kind": "world", "rows": 240, "seed": 5, "rows_per_unit": 100, "noise": NOISE}
STAGES: list[Any] = [
    {"augment.respond": {"engine": "llm"}},
    {"curate.rules": {"rows_per_shard": 70}},
    "curate.exact_dedup",
    "curate.minhash_dedup",
    {"curate.embed": {"engine": "embedder"}},
    {"curate.perplexity": {"engine": "scorer"}},
    {"curate.select": {"where": "perplexity <= q(perplexity, 0.9)"}},
    {"curate.exact_dedup": {"on": "instruction"}},
]


def noisy(folder: Path, *stages: Any, **settings: Any) -> Recipe:
    return recipe_of(folder, [NOISY], stages or STAGES, **settings)


@pytest.fixture(scope="module")
def measured(local_ray: Capacity, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    folder = tmp_path_factory.mktemp("yardstick")
    return folder, evaluate(noisy(folder), build_engine=build_fake)


def acquired(folder: Path) -> list[dict[str, Any]]:
    """Rows of the sealed first stage, truth columns and all."""
    shards = sorted((folder / "runs/run-yardstick/stages").glob("00-acquire-*/shards/*.parquet"))
    return [row for path in shards for row in pq.read_table(path).to_pylist()]


def noises_of(folder: Path) -> dict[str, int]:
    found = dict.fromkeys(NAMES, 0)
    for row in acquired(folder):
        for name in row["truth_noise"]:
            found[name] += 1
    return {name: n for name, n in found.items() if n}


def test_evaluation_runs_in_a_folder_of_its_own_and_leaves_augmenting_out(
    measured: tuple[Path, Evaluation],
) -> None:
    folder, found = measured
    assert found.run == "run-yardstick"
    assert Path(found.folder) == folder / "runs/run-yardstick"
    assert (folder / "runs/run-yardstick/_SUCCESS").exists()
    assert found.left_out == ("augment.respond",)
    assert texts_seen(folder / "llm") == 0
    assert [line.stage for line in found.found.stages] == [
        next(iter(s)) if isinstance(s, dict) else s for s in STAGES[1:]
    ]


def test_evaluation_counts_all_noise_of_the_world(measured: tuple[Path, Evaluation]) -> None:
    folder, found = measured
    counts = noises_of(folder)
    assert counts.keys() == NOISE.keys()
    assert {line.noise: line.rows for line in found.found.noises} == counts
    assert (found.found.rows, found.found.clean) == (240, 240 - sum(counts.values()))


def test_evaluation_agrees_with_the_marks_in_the_sealed_stages(measured: tuple[Path, Evaluation]) -> None:
    folder, found = measured
    noise = {row["id"]: row["truth_noise"] for row in acquired(folder)}
    (shards,) = (folder / "runs/run-yardstick/stages").glob("01-rules-*/shards")
    rows = [
        row
        for path in shards.iterdir()
        for row in pq.read_table(path, columns=["id", "drop_rule"]).to_pylist()
    ]
    refused = [row["id"] for row in rows if row["drop_rule"] == "refusal"]
    line = next(line for line in found.found.rules if line.rule == "refusal")
    assert line.dropped == len(refused) > 0
    assert line.hits == sum("refusal" in noise[id] for id in refused)
    assert (line.seen, line.bad) == (240, noises_of(folder)["refusal"])


def test_evaluation_sees_each_stage_over_what_the_one_before_left(measured: tuple[Path, Evaluation]) -> None:
    folder, found = measured
    lines = found.found.stages
    assert lines[0].rows_in == 240
    assert [line.rows_in for line in lines[1:]] == [line.rows_out for line in lines[:-1]]
    near = next(line for line in found.found.copies if line.rule == "near_duplicate")
    assert near.seen == lines[2].rows_in
    # two stages of one name are told apart by their place
    first, second = (line for line in found.found.copies if line.rule == "exact_duplicate")
    assert (first.seen, second.seen) == (lines[1].rows_in, lines[6].rows_in)
    assert second.seen < first.seen
    resolved, copies = first.copies["exact_copy"]
    assert first.precision == 1.0
    assert 0.8 * noises_of(folder)["exact_copy"] < resolved <= copies == noises_of(folder)["exact_copy"]


def test_evaluation_measures_scores_and_knows_no_vector(measured: tuple[Path, Evaluation]) -> None:
    _, found = measured
    scores = {line.score: line for line in found.found.scores}
    assert list(scores) == [
        "prompt_chars",
        "answer_chars",
        "answer_words",
        "nll",
        "answer_tokens",
        "perplexity",
    ]
    # the fake scorer's perplexity is one more than the answer's length, and rambling is long
    assert scores["perplexity"].by_noise["rambling"] > 0.9
    assert scores["perplexity"].worse == "high"


def test_evaluation_started_again_does_nothing_and_another_seed_another_world(
    measured: tuple[Path, Evaluation],
) -> None:
    folder, found = measured
    seen = texts_seen(folder / "scorer")
    again = evaluate(noisy(folder), build_engine=build_fake)
    assert again == found
    assert texts_seen(folder / "scorer") == seen
    rules = noisy(folder, "curate.rules", run="other")
    assert evaluate(rules, rows=50, seed=6).found.rows == 50


def test_evaluation_as_text_and_json_tell_where_it_was_made(measured: tuple[Path, Evaluation]) -> None:
    folder, found = measured
    text = as_text(found)
    assert text.startswith(f"run-yardstick: a noisy world of seed 5, in {folder}")
    assert "Left out of the recipe: augment.respond." in text
    assert "| curate.perplexity | perplexity" in text
    assert "Exact match" not in text
    value = json.loads(json.dumps(as_json(found)))
    assert value["source"]["noise"]["refusal"] == 0.1
    assert value["left_out"] == ["augment.respond"]


@pytest.mark.parametrize(
    ("training", "line"),
    [
        ({"loss_after": 1.0}, "not measured, since the recipe's train has no exact_match"),
        (
            {"exact_match": {"before": {"right": 20, "asked": 200}, "after": {"right": 75, "asked": 200}}},
            "Exact match on 200 held-out tasks: 10 % before training, 38 % after.",
        ),
    ],
)
def test_evaluation_of_a_trained_model_tells_its_right_answers(
    measured: tuple[Path, Evaluation], training: dict[str, Any], line: str
) -> None:
    _, found = measured
    trained = Evaluation(found.run, found.folder, found.source, (), found.found, training)
    assert line in as_text(trained).splitlines()[-1]


def test_noisy_world_replaces_sources_that_are_not_noisy_even_if_they_are_not_there(tmp_path: Path) -> None:
    source = write_conversations(tmp_path / "rows.jsonl", [("a", "b")])
    train = {"model": "owner/model"}
    recipe = recipe_of(tmp_path, [source], STAGES, train=train)
    source.unlink()
    changed = over_noisy_world(recipe)
    assert changed.sources == (
        WorldSource(kind="world", rows=yardstick.ROWS, seed=yardstick.SEED, noise=RATES),
    )
    assert (changed.train, changed.resolved["train"]) == (None, None)
    assert set(changed.engines) == {"embedder", "scorer"} == set(changed.resolved["engines"])
    assert changed.run_root == recipe.run_root + "-yardstick"
    assert changed.resolved["sources"][0]["noise"]["refusal"] == RATES.refusal
    assert [p.stage for p in make_plan(changed).passes][:2] == ["curate.rules", "curate.exact_dedup"]
    kept = over_noisy_world(recipe, rows=9, seed=4, trains=True)
    assert kept.train == recipe.train
    assert (kept.sources[0].rows, kept.sources[0].seed) == (9, 4)


def test_noisy_world_of_a_recipe_that_has_one_is_its_own(tmp_path: Path) -> None:
    (source,) = over_noisy_world(noisy(tmp_path)).sources
    assert source == WorldSource(**{**NOISY, "noise": Noise(**NOISE)})


def test_noisy_world_of_a_recipe_stays_the_part_that_it_is(tmp_path: Path) -> None:
    part = {"tasks": ["lookup", "classification"], "max_difficulty": 1}
    recipe = recipe_of(tmp_path, [{**NOISY, **part}], STAGES)
    measured = over_noisy_world(recipe, rows=50, seed=8)
    (source,) = measured.sources
    assert (source.rows, source.seed, source.noise) == (50, 8, Noise(**NOISE))
    assert source.part == Part(("lookup", "classification"), 1) == recipe.sources[0].part
    (told,) = measured.resolved["sources"]
    assert WorldSource.model_validate(told) == source


def test_recipe_that_curates_nothing_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="stages: none of them curates"):
        over_noisy_world(noisy(tmp_path, {"augment.respond": {"engine": "llm"}}))


def test_default_rates_have_each_noise_at_two_to_five_per_cent() -> None:
    rates = {name: getattr(RATES, name) for name in NAMES}
    assert all(0.02 <= rate <= 0.05 for rate in rates.values()), rates
    assert sum(rates.values()) < 0.6
    assert set(COPIES) < set(NAMES)
    assert not set(NAMES) & set(SCHEMA.names)
