"""Plans: what a fingerprint stands for, how stages are cut into passes, and passes into segments."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raysft import stage as stages
from raysft.recipe import Recipe
from raysft.runtime.capacity import Capacity, Nodes
from raysft.runtime.plan import Plan, cut_steps, make_plan, operators, segments
from raysft.stage import Context, Fit, Gather, Map, Partition, Step
from tests.fixtures.engines import model_folder
from tests.fixtures.runs import fake_engines, recipe_of, write_conversations

Tree = dict[str, Any]


def tree(folder: Path) -> Tree:
    """A recipe's variable parts: engines, stages and seed."""
    return {
        "seed": 7,
        "engines": fake_engines(folder),
        "stages": [
            {"augment.self_instruct": {"engine": "llm", "target": 14, "rounds": 2}},
            {"augment.evolve": {"engine": "llm"}},
            {"curate.rules": {}},
            {"curate.embed": {"engine": "embedder"}},
            {"curate.exact_dedup": {}},
            {"curate.perplexity": {"engine": "scorer"}},
            {"curate.select": {"budget": 5}},
        ],
    }


def recipe(folder: Path, change: Callable[[Tree], object] = lambda tree: None) -> Recipe:
    source = folder / "talks.jsonl"
    if not source.exists():
        write_conversations(source, [("Name a sea.", "The Baltic Sea."), ("Name a lake.",)])
    parts = tree(folder)
    change(parts)
    return recipe_of(folder, [source], parts.pop("stages"), **parts)


def prints(recipe: Recipe) -> dict[str, str]:
    """Fingerprints by stage; of stages with more passes the last."""
    return {p.stage: p.fingerprint for p in make_plan(recipe).all_passes}


def set_in(stage: str, **values: Any) -> Callable[[Tree], None]:
    def change(parts: Tree) -> None:
        next(e[stage] for e in parts["stages"] if stage in e).update(values)

    return change


def set_engine(name: str, **values: Any) -> Callable[[Tree], None]:
    return lambda parts: parts["engines"][name].update(values)


@pytest.mark.parametrize(
    "change",
    [
        set_engine("llm", replicas={"min": 2, "max": 5}),
        set_engine("llm", cpus=3, gpus=0.5, max_num_seqs=7, kv_cache_gib=2, deadline_s=9),
        set_engine("scorer", batch_tokens=99),
        set_engine("embedder", batch_tokens=99),
        set_in("augment.evolve", rows_per_shard=3),
        set_in("curate.select", rows_per_shard=3),
        lambda parts: parts.update(run="other", max_bad_fraction=0.5),
    ],
    ids=["replicas", "engine", "scorer", "embedder", "rows_per_shard", "shards_of_last", "settings"],
)
def test_fingerprints_do_not_tell_how_the_work_is_done(
    tmp_path: Path, change: Callable[[Tree], object]
) -> None:
    assert prints(recipe(tmp_path, change)) == prints(recipe(tmp_path))


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (lambda parts: parts.update(seed=8), "augment.self_instruct"),
        (set_in("augment.self_instruct", temperature=0.1), "augment.self_instruct"),
        (set_in("augment.evolve", depth=2), "augment.evolve"),
        (set_in("curate.rules", blocklist=["x"]), "curate.rules"),
        (set_engine("embedder", max_tokens=16), "curate.embed"),
        (set_engine("scorer", dtype="float32"), "curate.perplexity"),
        (set_in("curate.select", budget=6), "curate.select"),
        (lambda parts: parts["stages"].pop(2), "curate.embed"),
    ],
    ids=["seed", "temperature", "depth", "blocklist", "embedder", "scorer", "budget", "no_rules"],
)
def test_fingerprints_change_from_the_first_stage_that_something_changes_for(
    tmp_path: Path, change: Callable[[Tree], object], first: str
) -> None:
    before, after = prints(recipe(tmp_path)), prints(recipe(tmp_path, change))
    names = list(before)
    changed = [name for name in names if name in after and after[name] != before[name]]
    assert changed == [name for name in names[names.index(first) :] if name in after]


def test_fingerprint_of_a_stage_tells_its_models_content(tmp_path: Path) -> None:
    before = prints(recipe(tmp_path))
    parts = tree(tmp_path)
    model_folder(tmp_path / "scorer", "two")
    talks = tmp_path / "talks.jsonl"
    after = prints(recipe_of(tmp_path, [talks], parts["stages"], engines=parts["engines"]))
    changed = [name for name in before if before[name] != after[name]]
    assert changed == ["curate.perplexity", "curate.select"]


def test_fingerprint_of_a_stage_tells_its_prompts(tmp_path: Path) -> None:
    before = plan_of_prompts(tmp_path, None)
    (tmp_path / "own").mkdir()
    own = tmp_path / "own" / "evolve_deepen.zh.jinja"
    own.write_text("更深：{{ instruction }}", encoding="utf-8")
    after = plan_of_prompts(tmp_path, str(tmp_path / "own"))
    names = [p.stage for p in before.all_passes]
    changed = [
        a.stage
        for a, b in zip(after.all_passes, before.all_passes, strict=True)
        if a.fingerprint != b.fingerprint
    ]
    assert changed == names[names.index("augment.evolve") :]
    texts = {p.stage: p.prompts for p in after.passes if p.prompts}
    assert texts == {"augment.evolve": {"evolve_deepen.zh": "更深：{{ instruction }}"}}


def plan_of_prompts(folder: Path, prompts: str | None) -> Plan:
    return make_plan(recipe(folder, lambda tree: tree.update(prompts=prompts)))


def test_rounds_of_a_stage_know_the_fingerprints_of_the_rounds_before(tmp_path: Path) -> None:
    stages = [{"augment.self_instruct": {"engine": "llm", "target": 3, "rounds": 3}}, "curate.rules"]
    talks = write_conversations(tmp_path / "talks.jsonl", [("Name a sea.", "The Baltic Sea.")])
    passes = make_plan(recipe_of(tmp_path, [talks], stages)).passes
    prints = {p.round: p.stage_fingerprint for p in passes if p.stage == "augment.self_instruct"}
    assert len(set(prints.values())) == 3
    assert {p.earlier_rounds for p in passes if p.round == 3} == {(prints[1], prints[2])}
    assert {p.earlier_rounds for p in passes if p.round == 1} == {()}


def test_fingerprints_stay_when_a_source_moves_and_change_with_its_content(tmp_path: Path) -> None:
    before = prints(recipe(tmp_path))
    moved = shutil.move(tmp_path / "talks.jsonl", tmp_path / "elsewhere.jsonl")
    parts = tree(tmp_path)
    elsewhere = recipe_of(tmp_path, [Path(moved)], parts["stages"], engines=parts["engines"])
    assert prints(elsewhere) == before
    write_conversations(tmp_path / "talks.jsonl", [("Name a sea.", "The Black Sea.")])
    after = prints(recipe(tmp_path))
    assert not {*after.values()} & {*before.values()}


def test_fingerprints_stay_when_a_model_folder_is_copied(tmp_path: Path) -> None:
    before = prints(recipe(tmp_path))
    copy = shutil.copytree(tmp_path / "llm", tmp_path / "copies" / "llm")
    assert prints(recipe(tmp_path, set_engine("llm", model=str(copy)))) == before


def two_sources(folder: Path, *paths: Path, **limits: int) -> Plan:
    sources = [{"path": str(p), **({"limit": limits[p.stem]} if p.stem in limits else {})} for p in paths]
    return make_plan(recipe_of(folder, sources, ["curate.rules"]))


def test_content_that_is_there_twice_is_read_once_and_said(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    first = write_conversations(tmp_path / "many" / "a.jsonl", [("Name a sea.",)])
    copy = shutil.copy(first, tmp_path / "many" / "b.jsonl")
    other = write_conversations(tmp_path / "other.jsonl", [("Name a lake.",)])
    found = two_sources(tmp_path, tmp_path / "many", other, first)
    assert [(i, Path(unit.uri)) for i, unit in found.units] == [(0, first), (1, other)]
    assert len({unit.content for _, unit in found.units}) == 2
    assert found.notes == (
        f"{copy} is not read: its content is that of {first}",
        f"{first} is not read: its content is that of {first}",
    )
    assert two_sources(tmp_path, first, other).notes == ()


def test_content_that_is_there_with_two_limits_is_read_to_the_farther(tmp_path: Path) -> None:
    rows = [(f"Name {i} seas.",) for i in range(9)]
    short = write_conversations(tmp_path / "short.jsonl", rows)
    whole = write_conversations(tmp_path / "whole.jsonl", rows)
    found = two_sources(tmp_path, short, whole, short=4)
    assert [Path(unit.uri) for _, unit in found.units] == [whole]
    found = two_sources(tmp_path, whole, short, short=4, whole=3)
    assert [(Path(unit.uri), unit.stop) for _, unit in found.units] == [(short, 4)]


def test_plan_says_what_a_way_to_tune_cannot_have(tmp_path: Path) -> None:
    def train(kind: str, **values: Any) -> tuple[str, ...]:
        fields = {"model": "m", "method": {"kind": kind, **values}}
        return make_plan(recipe(tmp_path, lambda tree: tree.update(train=fields))).notes

    assert train("lora") == ()
    assert [note for note in train("lora", dora=True) if "vLLM cannot load DoRA adapters" in note]
    assert [note for note in train("p_tuning_v2") if "vLLM serves no prefixes" in note]


def unused(table: pa.Table, config: Any, context: Context) -> Any:
    raise AssertionError("a plan runs no step")


STEP: dict[str, Step] = {
    "m": Map(unused),
    "a": Map(unused, engine="one", protocol="llm"),
    "b": Map(unused, engine="two", protocol="scorer"),
    "f": Fit(unused, ()),
    "p": Partition(unused, unused, ()),
    "g": Gather(unused, ()),
}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("m", [("", "m")]),
        ("mam", [("", "mam")]),
        ("pg", [("pg", "")]),
        ("fpgm", [("fpg", "m")]),
        ("fag", [("f", "a"), ("g", "")]),
        ("mfmp", [("", "m"), ("f", "m"), ("p", "")]),
        ("ab", [("", "a"), ("", "b")]),
        ("ambma", [("", "am"), ("", "bm"), ("", "a")]),
        ("aa", [("", "aa")]),
    ],
)
def test_cut_steps_begins_a_pass_at_a_later_barrier_and_at_another_engine(
    steps: str, expected: list[tuple[str, str]]
) -> None:
    cut = cut_steps([STEP[s] for s in steps])
    assert [("".join(steps[i] for i in b), "".join(steps[i] for i in m)) for b, m in cut] == expected


@pytest.mark.parametrize("name", stages.names())
def test_cut_steps_of_every_stage_keeps_all_steps_in_order(name: str) -> None:
    steps = stages.load(name).STEPS
    cut = cut_steps(steps)
    assert [i for barriers, maps in cut for i in (*barriers, *maps)] == list(range(len(steps)))
    for barriers, maps in cut:
        assert all(isinstance(steps[i], Map) for i in maps)
        assert not any(isinstance(steps[i], Map) for i in barriers)
        assert len({steps[i].engine for i in maps} - {None}) <= 1


def test_passes_of_rounds_are_numbered_and_share_the_rounds_stage_fingerprint(tmp_path: Path) -> None:
    passes = make_plan(recipe(tmp_path)).passes
    labels = [p.folder.removeprefix("stages/").rsplit("-", 1)[0] for p in passes]
    assert labels[:5] == [
        *("01-self_instruct.r1.p1", "02-self_instruct.r1.p2"),
        *("03-self_instruct.r2.p1", "04-self_instruct.r2.p2", "05-evolve"),
    ]
    one, two, three, four, evolve = passes[:5]
    assert one.stage_fingerprint == two.stage_fingerprint != three.stage_fingerprint
    assert len({p.fingerprint for p in passes}) == len(passes)
    assert ([p.round for p in passes[:5]], two.earlier, three.earlier) == ([1, 1, 2, 2, 1], (one.folder,), ())
    assert (one.writes, two.writes, four.writes, evolve.writes) == ("rows", "columns", "columns", "rows")
    decides, tells = (p.writes for p in passes if p.stage == "curate.select")
    assert (decides, tells) == ("rows", "columns")


def one_node(cpus: float, gpus: float) -> Capacity:
    return Capacity((Nodes(cpus, gpus),), "one node")


def stage_names(found: list[list[Any]]) -> list[list[str]]:
    return [[p.stage.split(".")[1] for p in segment] for segment in found]


def test_segments_are_cut_before_barriers(tmp_path: Path) -> None:
    found = segments(make_plan(recipe(tmp_path)), one_node(8, 0))
    assert stage_names(found) == [
        ["self_instruct"],
        ["self_instruct"],
        ["self_instruct"],
        ["self_instruct", "evolve", "rules", "embed", "exact_dedup"],
        ["exact_dedup", "perplexity"],
        ["select"],
        ["select"],
    ]


@pytest.mark.parametrize(
    ("cpus", "gpus", "expected"),
    [
        (9, 2, [["evolve", "rules", "embed", "perplexity"]]),
        (8, 2, [["evolve", "rules", "embed"], ["perplexity"]]),
        (9, 1, [["evolve", "rules"], ["embed", "perplexity"]]),
    ],
)
def test_segments_are_cut_where_engines_do_not_fit_together(
    tmp_path: Path, cpus: float, gpus: float, expected: list[list[str]]
) -> None:
    def change(parts: Tree) -> None:
        parts["stages"] = [
            s for s in parts["stages"] if not {*s} & {"augment.self_instruct", "curate.exact_dedup"}
        ]
        parts["stages"].pop()
        parts["engines"]["llm"].update(cpus=2, gpus=0.5, replicas={"min": 2, "max": 9})
        parts["engines"]["embedder"].update(cpus=1, gpus=0.5)
        parts["engines"]["scorer"].update(cpus=3, gpus=0.5)

    assert stage_names(segments(make_plan(recipe(tmp_path, change)), one_node(cpus, gpus))) == expected


def test_operators_keep_one_engines_passes_in_its_workers(tmp_path: Path) -> None:
    def change(parts: Tree) -> None:
        parts["stages"] = [
            "curate.rules",
            {"augment.evolve": {"engine": "llm"}},
            {"augment.respond": {"engine": "llm"}},
            "curate.rules",
            {"curate.embed": {"engine": "embedder"}},
        ]

    found = operators(make_plan(recipe(tmp_path, change)).passes)
    assert [(o.engine, [p.stage.split(".")[1] for p in o.passes]) for o in found] == [
        (None, ["rules"]),
        ("llm", ["evolve", "respond", "rules"]),
        ("embedder", ["embed"]),
    ]


def test_plan_until_a_stage_ends_with_its_last_pass(tmp_path: Path) -> None:
    found = make_plan(recipe(tmp_path))
    assert [p.folder for p in found.until("self_instruct").passes] == [p.folder for p in found.passes[:4]]
    assert found.until("augment.evolve").passes == found.passes[:5]
    assert found.until("acquire").passes == ()
    with pytest.raises(LookupError, match=r"no stage 'evolv'.*acquire, augment.self_instruct"):
        found.until("evolv")
