"""What a recipe is given from outside: `--set`, the environment and its secrets, `--limit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysft import recipe
from tests.fixtures.recipe_trees import SOURCE, loaded, problems_of, tree

STAGED = tree(
    engines={"e": {"kind": "vllm", "model": "m"}},
    stages=[{"augment.evolve": {"engine": "e"}}, "curate.rules", {"curate.select": None}],
)


@pytest.mark.parametrize(
    ("override", "place", "name", "value"),
    [
        ("stages.0.depth=3", 0, "depth", 3),
        ("stages.evolve.depth=3", 0, "depth", 3),
        ("stages.augment.evolve.share=0.25", 0, "share", 0.25),
        ("stages.rules.min_answer_words=7", 1, "min_answer_words", 7),
        ("stages.1.blocklist=[a, b]", 1, "blocklist", ("a", "b")),
        ("stages.curate.select.where=answer_words >= 5", 2, "where", "answer_words >= 5"),
    ],
)
def test_override_reaches_a_stage_by_place_short_name_and_full_name(
    tmp_path: Path, override: str, place: int, name: str, value: Any
) -> None:
    assert getattr(loaded(tmp_path, STAGED, override).stages[place].config, name) == value


def test_override_reaches_scalars_engines_sources_and_new_sections(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        STAGED,
        "root=s3://bucket/a=b",
        "engines.e.replicas.max=4",
        "sources.0.rows=9",
        "train.model=owner/model",
    )
    assert found.settings.root == "s3://bucket/a=b"
    assert found.engines["e"].replicas.max == 4
    assert found.sources[0].rows == 9
    assert found.train is not None
    assert found.train.model == "owner/model"


def test_override_last_of_two_wins(tmp_path: Path) -> None:
    assert loaded(tmp_path, STAGED, "seed=3", "seed=4").settings.seed == 4


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stages.9.depth=1", "--set stages.9.depth=1: there is no '9' to set 'depth' in"),
        ("stages.evolv.depth=1", "--set stages.evolv.depth=1: there is no 'evolv' to set 'depth' in"),
        ("sources.4=x", "--set sources.4=x: '4' is not a place in a list of 1"),
        ("seed", "--set seed: allowed: a.b=value"),
        ("a..b=1", "--set a..b=1: allowed: a.b=value"),
        ("root=[", "--set root=[: the value is not YAML"),
        ("run.x=1", "--set run.x=1: 'x' would be set in 'r'"),
        (
            "stages.evolve.dept=1",
            "stages[0].augment.evolve.dept: unknown key; did you mean 'depth'?; known: ",
        ),
        ("sed=1", "sed: unknown key; did you mean 'seed'?; known: "),
    ],
)
def test_override_that_reaches_nothing_is_a_mistake(tmp_path: Path, override: str, expected: str) -> None:
    (problem,) = problems_of(yaml.safe_dump(STAGED), tmp_path, overrides=[override])
    assert problem.startswith(expected)


def test_override_by_a_name_that_two_stages_have_asks_for_the_place(tmp_path: Path) -> None:
    twice = tree(stages=["curate.rules", "curate.exact_dedup", "curate.rules"])
    (problem,) = problems_of(yaml.safe_dump(twice), tmp_path, overrides=["stages.rules.echo=false"])
    assert problem == "--set stages.rules.echo=false: 'rules' stands at 0 and 2; name the place"
    assert loaded(tmp_path, twice, "stages.2.echo=false").stages[2].config.echo is False


def test_overrides_and_recipe_wrong_together_are_told_together(tmp_path: Path) -> None:
    problems = problems_of(yaml.safe_dump({**STAGED, "seed": "x"}), tmp_path, overrides=["stages.a.b=1"])
    assert [p.split(":")[0] for p in problems] == ["--set stages.a.b=1", "seed"]


SECRET = "sk-0123456789"


def test_environment_is_filled_in_and_resolved_keeps_the_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPE_SECRET", SECRET)
    monkeypatch.setenv("RECIPE_SEED", "41")
    monkeypatch.setenv("RECIPE_EMPTY", "")
    found = recipe.parse(
        tree(
            root="s3://${RECIPE_SECRET}/runs",
            seed="${RECIPE_SEED}",
            engines={"e": {"kind": "openai", "model": "m", "base_url": "http://u:${RECIPE_SECRET}@host/v1"}},
            sources=[{"path": "${RECIPE_SECRET}/*.jsonl", "licence": "${RECIPE_EMPTY}", "domain": ""}],
            stages=["curate.exact_dedup", {"curate.rules": {"blocklist": ["word", "${RECIPE_SECRET}"]}}],
        )
    )
    assert found.settings.root == f"s3://{SECRET}/runs"
    assert found.settings.seed == 41
    assert found.engines["e"].base_url == f"http://u:{SECRET}@host/v1"
    assert found.stages[1].config.blocklist == ("word", SECRET)
    assert SECRET not in json.dumps(found.resolved)
    assert found.resolved["root"] == "s3://${RECIPE_SECRET}/runs"
    assert found.resolved["seed"] == "${RECIPE_SEED}"
    assert found.resolved["sources"][0]["licence"] == "${RECIPE_EMPTY}"
    assert found.resolved["sources"][0]["domain"] == ""
    assert found.resolved["engines"]["e"]["revision"] == ""
    assert found.resolved["stages"][1]["curate.rules"]["blocklist"] == ["word", "${RECIPE_SECRET}"]


def test_environment_value_that_is_a_mistake_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RECIPE_SECRET", SECRET)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    wrong = tree(
        seed="${RECIPE_SECRET}",
        engines={"e": {"kind": "openai", "model": "m", "base_url": "http://${RECIPE_SECRET}@host"}},
        sources=[{"path": "${RECIPE_SECRET}.jsonl"}],
        stages=[{"curate.select": {"where": "${RECIPE_SECRET} << 2"}}],
        train={"model": "${RECIPE_SECRET}", "init": "scratch"},
    )
    problems = problems_of(yaml.safe_dump(wrong), tmp_path, looks=True)
    assert [p.split(":")[0] for p in problems] == [
        "seed",
        "stages[0].curate.select.where",
        "train",
        "engines.e",
        "sources[0]",
    ]
    assert problems[0] == "seed: got '${RECIPE_SECRET}'; allowed: a whole number"
    assert not [p for p in problems if SECRET in p]


def test_resolved_recipe_parses_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPE_LICENCE", "MIT")
    found = recipe.parse({**STAGED, "sources": [{"path": "a.jsonl", "licence": "${RECIPE_LICENCE}"}]})
    again = recipe.parse(yaml.safe_load(yaml.safe_dump(dict(found.resolved))))
    assert again.resolved == found.resolved
    assert again.sources == found.sources
    assert again.stages == found.stages


def test_limit_cuts_sources_and_targets_and_renames_the_run(tmp_path: Path) -> None:
    value = tree(
        engines={"e": {"kind": "vllm", "model": "m"}},
        sources=[{"path": "a.jsonl"}, {"path": "b.jsonl", "limit": 3}, dict(SOURCE), {**SOURCE, "rows": 500}],
        stages=[{"augment.self_instruct": {"engine": "e", "target": 400}}, "curate.rules"],
    )
    found = loaded(tmp_path, value, limit=10)
    assert found.settings.run == "r-limit10"
    assert [getattr(s, "limit", None) or s.rows for s in found.sources] == [10, 3, 5, 10]
    assert found.stages[0].config.target == 10


def test_limit_leaves_mistakes_as_they_are(tmp_path: Path) -> None:
    problems = problems_of("sources: [3]\nstages: [4, {curate.rules: 5}]\n", tmp_path, limit=2)
    assert [p.split(":")[0] for p in problems] == ["run", "sources[0]", "stages[0]", "stages[1].curate.rules"]
