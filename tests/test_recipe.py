"""Recipes: what is wrong with one is told at once and in its author's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from raysft import recipe
from raysft.recipe import RecipeError
from tests.fixtures.recipe_trees import loaded, problems_of, tree

FIVE_MISTAKES = """
run: five
sed: 7
engines:
  teacher: {kind: vllm, model: owner/model, cpus: many}
  judge: {kind: transformers, model: owner/model}
  remote: {kind: openai, model: m, base_url: "${NOT_SET_ANYWHERE}"}
sources:
  - {path: nowhere/*.jsonl}
stages:
  - augment.evolve: {engine: judge, dept: 2}
  - augment.respond: {engine: nobody}
  - curate.exact_dedupe
"""


def test_load_many_different_mistakes_tells_all_with_path_value_and_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "set-for-this-test")
    problems = problems_of(FIVE_MISTAKES, tmp_path, looks=True)
    starts = [
        "engines.remote.base_url: environment variable NOT_SET_ANYWHERE is not set",
        "sed: unknown key; did you mean 'seed'?; known: run, root, seed,",
        "engines.teacher.cpus: got 'many'; allowed: a number",
        "stages[0].augment.evolve.dept: unknown key; did you mean 'depth'?; known: rows_per_shard, engine,",
        "stages[0].augment.evolve.engine: got 'judge', which is of kind 'transformers'; "
        "allowed: an engine of kind 'vllm', 'openai'",
        "stages[1].augment.respond.engine: got 'nobody'; allowed: an engine of this recipe, which has",
        "stages[2]: no stage 'curate.exact_dedupe'; did you mean 'curate.exact_dedup'?; allowed: augment.",
        "sources[0]: no file matches 'nowhere/*.jsonl'",
    ]
    assert len(problems) == len(starts)
    for problem, start in zip(problems, starts, strict=True):
        assert problem.startswith(start)


def test_recipe_error_text_counts_and_lists_its_mistakes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.parse({"run": "a b", "seed": -1, "sources": []})
    first, *lines = str(caught.value).splitlines()
    assert first == "3 mistakes in the recipe:"
    assert [line.split(":")[0] for line in lines] == ["  - run", "  - seed", "  - sources"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"run": "a b"}, "run: got 'a b'; allowed: the run's name: letters, digits and any of _ . -"),
        ({"run": 3}, "run: got 3; allowed: a text"),
        ({"seed": "many"}, "seed: got 'many'; allowed: a whole number"),
        ({"max_bad_fraction": 2}, "max_bad_fraction: got 2; allowed: 1 or less"),
        ({"sources": None}, "sources: got nothing; allowed: a list with at least one source"),
        (
            {"sources": [{"kind": "wrld"}]},
            "sources[0].kind: got 'wrld'; did you mean 'world'?; allowed: 'files', ",
        ),
        (
            {"sources": ["a.jsonl"]},
            "sources[0]: got 'a.jsonl'; allowed: a mapping with a kind, one of",
        ),
        ({"sources": [{"kind": "world", "rows": 5}]}, "sources[0].seed: is missing (which world)"),
        ({"sources": [{}]}, "sources[0].path: is missing (a file, a folder or a glob"),
        ({"sources": [{"path": ""}]}, "sources[0].path: got ''; allowed: a text of 1 or more characters"),
        (
            {"sources": [{"path": "x", "limt": 3}]},
            "sources[0].limt: unknown key; did you mean 'limit'?; known: ",
        ),
        (
            {"sources": [{"path": "x", "format": "alpacca"}]},
            "sources[0].format: got 'alpacca'; did you mean 'alpaca'?; allowed: 'messages', 'sharegpt',",
        ),
        ({"engines": ["x"]}, "engines: got ['x']; allowed: a mapping of names to engines"),
        (
            {"engines": {"e": "vllm"}},
            "engines.e: got 'vllm'; allowed: a mapping with a kind, one of 'vllm', 'openai'",
        ),
        ({"engines": {"e": {"model": "m"}}}, "engines.e.kind: is missing; allowed: 'vllm', 'openai',"),
        (
            {"engines": {"e": {"kind": "vlm", "model": "m"}}},
            "engines.e.kind: got 'vlm'; did you mean 'vllm'?; allowed: 'vllm', 'openai',",
        ),
        ({"engines": {"e": {"kind": "vllm"}}}, "engines.e.model: is missing (a folder, a hub name, or"),
        (
            {"engines": {"e": {"kind": "vllm", "model": "m", "replicas": {"mx": 2}}}},
            "engines.e.replicas.mx: unknown key; did you mean 'max'?; known: min, max",
        ),
        ({"stages": "curate.rules"}, "stages: got 'curate.rules'; allowed: a list of stages"),
        ({"stages": [3]}, "stages[0]: got 3; allowed: a stage's name, or one name and its settings"),
        (
            {"stages": [{"curate.rules": 5}]},
            "stages[0].curate.rules: got 5; allowed: a mapping of rows_per_shard,",
        ),
        (
            {"stages": [{"curate.select": {"where": "perplexity <"}}]},
            "stages[0].curate.select.where: got 'perplexity <'; condition 'perplexity <' cannot be read",
        ),
        ({"train": {"model": "m", "epochs": 0}}, "train.epochs: got 0; allowed: more than 0"),
        (
            {"train": {"init": "scratch"}},
            "train: init is scratch, but scratch is not set; {} takes its defaults",
        ),
        (
            {"train": {"model": "m", "method": {"kind": "lra"}}},
            "train.method.kind: got 'lra'; did you mean 'lora'?; allowed: "
            "'full', 'partial', 'freeze', 'lora', 'qlora', 'p_tuning_v2'",
        ),
        (
            {"train": {"model": "m", "method": {"kind": "lora", "target_modules": 3}}},
            "train.method.target_modules: got 3; allowed: 'all-linear', or a list",
        ),
        ({"train": 3}, "train: got 3; allowed: a mapping of model, init, scratch, method,"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_parse_one_mistake_is_told_in_the_authors_words(changes: dict[str, Any], expected: str) -> None:
    problems = problems_of(tree(**changes))
    assert len(problems) == 1, problems
    assert problems[0].startswith(expected)


def test_parse_operation_unknown_to_evolve_lists_the_known_ones() -> None:
    engines = {"e": {"kind": "vllm", "model": "m"}}
    stage = {"augment.evolve": {"engine": "e", "operations": {"deepn": 1}}}
    (problem,) = problems_of(tree(engines=engines, stages=[stage]))
    assert problem.startswith(
        "stages[0].augment.evolve.operations.deepn: unknown key; did you mean 'deepen'?; known: constraints,"
    )


def test_parse_folder_of_prompts_gives_their_texts(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "evolve_deepen.zh.jinja").write_text("更深：{{ instruction }}", encoding="utf-8")
    parsed = recipe.parse(tree(prompts=str(tmp_path)))
    assert parsed.prompts == {"evolve_deepen.zh": "更深：{{ instruction }}"}
    assert recipe.parse(tree()).prompts == {}


def test_parse_folder_of_prompts_with_mistakes_tells_each(tmp_path: Path) -> None:
    (tmp_path / "evolve_depen.en.jinja").write_text("{{ instruction }}")
    (tmp_path / "evolve_deepen.en.txt").write_text("{{ instruction }}")
    (tmp_path / "evolve_deepen.en.jinja").write_text("{{ task }}")
    (tmp_path / "evolve_deepen.zh.jinja").write_bytes(b"\xff")
    problems = problems_of(tree(prompts=str(tmp_path)))
    assert [p.split(": ")[1] for p in problems] == [
        "evolve_deepen.en.jinja",
        "evolve_deepen.en.txt",
        "evolve_deepen.zh.jinja",
        "evolve_depen.en.jinja",
    ]
    assert "no value task for this prompt; it is given: instruction, least, most" in problems[0]
    assert "cannot be read" in problems[2]
    assert "did you mean 'evolve_deepen.en'?" in problems[3]
    (problem,) = problems_of(tree(prompts=str(tmp_path / "nowhere")))
    assert problem.startswith("prompts: got ")
    assert "a folder of files <name>.<en|zh>.jinja" in problem


def test_parse_engine_that_cannot_do_what_a_stage_asks_names_the_kinds_that_can() -> None:
    engines = {"e": {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}}

    def asking(form: str) -> dict[str, Any]:
        stage = {"engine": "e", "target": 3, "form": form, "personas": {"en": ["A baker."]}}
        return tree(engines=engines, stages=[{"augment.persona": stage}])

    assert problems_of(asking("chat_prefix")) == [
        "stages[0].augment.persona.engine: got 'e', which is of kind 'openai' and cannot do what these "
        "settings ask; allowed: an engine of kind 'vllm'"
    ]
    assert recipe.parse(asking("prompt")).stages[0].config.form == "prompt"


def test_parse_file_of_personas_that_is_no_such_file_is_told_with_its_language() -> None:
    engines = {"e": {"kind": "vllm", "model": "m"}}
    stage = {"augment.persona": {"engine": "e", "target": 3, "personas": {"zh": "nowhere.txt"}}}
    (problem,) = problems_of(tree(engines=engines, stages=[stage]))
    assert problem == (
        "stages[0].augment.persona.personas.zh: got 'nowhere.txt'; allowed: a list, or a text or JSONL file "
        "of personas (No such file or directory)"
    )


def test_load_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    text = "run: a\nsources: [{kind: world, rows: 5, seed: 1}]\nrun: b\ntrain:\n  model: m\n  model: n\n"
    assert problems_of(text, tmp_path) == [
        "run: stands twice, in lines 1 and 3",
        "train.model: stands twice, in lines 5 and 6",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run: [a\nroot: b", "not YAML: "),
        ("run: a\n\tseed: 1", "not YAML: "),
        ("- a\n- b", "a recipe is a mapping of keys, got ['a', 'b']"),
        ("", "a recipe is a mapping of keys, got nothing"),
    ],
)
def test_load_file_that_is_no_recipe_says_why(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems_of(text, tmp_path)
    assert problem.startswith(f"{tmp_path / 'recipe.yaml'}: {expected}")


def test_load_file_that_is_not_there_or_is_not_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: no such file"):
        recipe.load(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="is a directory"):
        recipe.load(tmp_path)
    (tmp_path / "gbk.yaml").write_bytes("run: 运行".encode("gbk"))
    with pytest.raises(RecipeError, match="not YAML"):
        recipe.load(tmp_path / "gbk.yaml")


def test_load_looks_for_sources_and_model_folders_only_when_asked(tmp_path: Path) -> None:
    value = tree(
        engines={"e": {"kind": "vllm", "model": str(tmp_path / "model")}},
        sources=[{"path": str(tmp_path / "a.jsonl")}, {"path": str(tmp_path / "notes.txt")}],
        train={"model": str(tmp_path / "model")},
    )
    (tmp_path / "notes.txt").write_text("no rows")
    assert len(loaded(tmp_path, value).sources) == 2
    problems = problems_of(yaml.safe_dump(value), tmp_path, looks=True)
    assert [p.split(": ")[0] for p in problems] == ["engines.e", "sources[0]", "sources[1]", "train.model"]
    assert "does not exist" in problems[0]
    assert "no file matches" in problems[1]
    assert "this ending is not read" in problems[2]


def test_parse_train_with_several_mistakes_tells_each(tmp_path: Path) -> None:
    problems = problems_of(tree(train={"model": "m", "epoch": 1, "workers": 0, "precision": "fp8"}))
    assert sorted(p.split(";")[0] for p in problems) == [
        "train.epoch: unknown key",
        "train.precision: got 'fp8'",
        "train.workers: got 0",
    ]


def test_load_key_on_is_a_key_and_true_is_true(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    (tmp_path / "a.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    path.write_text(
        f"run: r\nsources: [{{path: {tmp_path}/a.jsonl}}]\n"
        "stages: [{curate.exact_dedup: {on: instruction}}, {curate.rules: {refusal: false}}]\n"
    )
    loaded = recipe.load(path)
    assert loaded.stages[0].config.on == "instruction"
    assert loaded.stages[1].config.refusal is False


def test_load_stage_that_needs_a_column_no_stage_before_it_adds_is_told(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    (tmp_path / "a.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    path.write_text(
        f"run: r\nsources: [{{path: {tmp_path}/a.jsonl}}]\n"
        "stages: [curate.rules, curate.semantic_dedup, {curate.select: {where: perplexity < 3}}]\n"
    )
    with pytest.raises(RecipeError) as caught:
        recipe.load(path)
    assert len(caught.value.problems) == 2
    assert "needs a column 'embedding'; columns that stages before it add: prompt_chars" in str(caught.value)
    assert "stages[2].curate.select: needs a column 'perplexity'" in str(caught.value)


def test_parse_samples_by_engines_that_do_not_fit_names_those_that_do() -> None:
    engines = {
        "scores": {"kind": "transformers", "model": "owner/model"},
        "remote": {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"},
    }
    train = {"model": "owner/model", "samples": {"engine": "remote", "judge": "scores"}}
    assert problems_of(tree(engines=engines, train=train)) == [
        "train.samples.engine: got 'remote'; allowed: an engine of this recipe of kind 'vllm'",
        "train.samples.judge: got 'scores'; allowed: an engine of this recipe of kind 'vllm', 'openai'",
    ]
    train["samples"] = {"judge": "remote"}
    assert recipe.parse(tree(engines=engines, train=train)).train is not None


def test_parse_exact_match_of_a_kind_that_there_is_not_names_the_kinds() -> None:
    (line,) = problems_of(tree(train={"model": "m", "exact_match": {"kind": "page"}}))
    assert line == "train.exact_match.kind: got 'page'; allowed: 'world', 'file'"
    (line,) = problems_of(tree(train={"model": "m", "exact_match": {"kind": "file"}}))
    assert line.startswith("train.exact_match.path: is missing")


def test_load_looks_for_files_of_questions_and_packages_of_trackers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysft.train.evaluation_config.PACKAGES", {"wandb": "no_such_package"})
    train = {
        "model": "owner/model",
        "exact_match": {"kind": "file", "path": str(tmp_path / "none.jsonl")},
        "multiple_choice": {"path": str(tmp_path / "*.csv")},
        "trackers": ["wandb"],
    }
    value = yaml.safe_dump(tree(train=train))
    exact, choice, trackers = sorted(problems_of(value, tmp_path, looks=True))
    assert exact.startswith("train.exact_match.path: no file matches")
    assert choice.startswith("train.multiple_choice.path: no file matches")
    assert trackers.startswith("train.trackers: tracker 'wandb' needs the package no_such_package")
    assert loaded(tmp_path, tree(train=train)).train is not None
