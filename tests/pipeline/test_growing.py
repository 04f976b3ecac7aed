"""Sets that grow: new rows beside sealed ones, in every stage that drops duplicates; and rows taken out."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raysft.executor import run_local
from raysft.recipe import Recipe
from raysft.runtime import manifest
from raysft.runtime.capacity import Capacity
from raysft.runtime.curated import export_curated, read_curated
from raysft.runtime.manifest import Manifest
from raysft.runtime.plan import Plan, make_plan
from raysft.runtime.storage import Storage
from raysft.sample import live
from raysft.stage import load
from tests.fixtures.conversations import marks
from tests.fixtures.engines import texts_seen
from tests.fixtures.runs import by_id, execute, fake_engines, recipe_of, rows_of, write_conversations

Talk = tuple[str, str]

OLD: list[Talk] = [
    ("Name three seas of the north and say which of them is the coldest.", "The White Sea is the coldest."),
    ("Explain how a pendulum clock keeps time, in four short sentences.", "A weight drives it. It swings."),
    ("写一首关于秋天的短诗，要提到河流、落叶和远处的山。", "秋水流，黄叶落，远山静。"),
    ("请列出三种常见的中国茶，并说明各自的产地和味道。", "龙井产于杭州，清香；普洱产于云南，醇厚。"),
    ("What is the boiling point of water at sea level?", "100 degrees Celsius."),
    ("如何煮一碗好吃的面条？请分步骤说明。", "先烧水，再下面，最后放调料。"),
]
FRESH: list[Talk] = [
    (
        "Describe the inside of an old lighthouse for a reader who was never in one.",
        "Stairs wind up to the lamp.",
    ),
    ("介绍一下长城的历史，不超过五句话。", "长城始建于春秋战国，明代大规模重修。"),
    ("Give two reasons why bread rises in the oven.", "Yeast makes gas, and heat expands it."),
]
EXACT: list[Talk] = [(OLD[0][0].upper(), OLD[0][1]), (OLD[2][0], f"{OLD[2][1]} ")]
NEAR: list[Talk] = [(f"{OLD[1][0]} Please.", OLD[1][1]), (f"{OLD[3][0]}谢谢。", OLD[3][1])]
TWICE: list[Talk] = [(FRESH[0][0].lower(), FRESH[0][1]), (f"{FRESH[1][0]}谢谢。", FRESH[1][1])]
NEW = [*EXACT, *NEAR, *FRESH, *TWICE]

EMBED = {"curate.embed": {"engine": "embedder"}}
# stage → (its config, the stages before it, new rows that it knows for copies of old ones)
CASES: dict[str, tuple[dict[str, Any], list[Any], list[Talk]]] = {
    "curate.exact_dedup": ({"on": "both"}, [], EXACT),
    "curate.minhash_dedup": ({"threshold": 0.6}, [], [*EXACT, *NEAR]),
    # by default centroids decide who stays of new rows that are alike, and those depend on the other rows
    "curate.semantic_dedup": (
        {"threshold": 0.8, "keep": "best", "prefer": "answer_words"},
        ["curate.rules", EMBED],
        [EXACT[1], *NEAR],
    ),
}


@dataclass(frozen=True)
class Sealed:
    """A run, and what it sealed."""

    recipe: Recipe
    plan: Plan
    manifests: list[Manifest]

    @property
    def rows(self) -> pa.Table:
        return rows_of(self.recipe, self.manifests)

    @property
    def passes_of_last(self) -> int:
        return sum(m.stage == self.manifests[-1].stage for m in self.manifests)

    @property
    def before(self) -> pa.Table:
        """The rows before the last stage."""
        return rows_of(self.recipe, self.manifests[: -self.passes_of_last])


class Runs:
    """Runs of one stage in one folder, with the same engines."""

    def __init__(self, folder: Path, has: Capacity, stage: str) -> None:
        self.folder, self.has, self.stage = folder, has, stage
        self.config, self.first_stages, self.known = CASES[stage]
        self.engines = fake_engines(folder)

    def recipe(self, name: str, sources: Sequence[Path], rows_per_shard: int = 4, **more: Any) -> Recipe:
        entry = {self.stage: {**self.config, "rows_per_shard": rows_per_shard, **more}}
        return recipe_of(self.folder, sources, [*self.first_stages, entry], name, engines=self.engines)

    def run(self, name: str, sources: Sequence[Path], **more: Any) -> Sealed:
        recipe = self.recipe(name, sources, **more)
        plan = make_plan(recipe)
        manifests, _ = execute(recipe, self.has, plan)
        export_curated(Storage(recipe.run_root), manifests)
        return Sealed(recipe, plan, manifests)

    def file(self, name: str, talks: Iterable[Talk]) -> Path:
        return write_conversations(self.folder / name, talks)


@pytest.fixture(scope="module", params=CASES)
def runs(
    request: pytest.FixtureRequest, local_ray: Capacity, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    return Runs(tmp_path_factory.mktemp("growing"), local_ray, request.param)


@pytest.fixture(scope="module")
def first(runs: Runs) -> Sealed:
    return runs.run("first", [runs.file("old.jsonl", OLD)])


@pytest.fixture(scope="module")
def second(runs: Runs, first: Sealed) -> Sealed:
    return runs.run("second", [runs.file("new.jsonl", NEW)], against=[first.recipe.run_root])


def texts(rows: pa.Table) -> list[str]:
    return sorted("\n".join(m["content"] for m in messages) for messages in rows["messages"].to_pylist())


def from_file(rows: pa.Table, name: str) -> pa.Table:
    return rows.filter([source["uri"].endswith(name) for source in rows["source"].to_pylist()])


def test_run_against_a_set_keeps_the_new_rows_that_one_run_over_all_would_keep(
    runs: Runs, first: Sealed, second: Sealed
) -> None:
    together = runs.run(
        "together",
        [runs.folder / "old.jsonl", runs.folder / "new.jsonl"],
        prefer_sources=["*old.jsonl", "acquired"],
    )
    kept = texts(live(second.rows))
    assert kept == texts(from_file(live(together.rows), "new.jsonl"))
    assert len(FRESH) <= len(kept) < len(NEW)
    assert texts(live(first.rows)) == texts(from_file(live(together.rows), "old.jsonl"))


def test_run_against_a_set_gives_the_reference_executors_rows(first: Sealed, second: Sealed) -> None:
    last = second.plan.passes[-1]
    expected = run_local(
        last.stage,
        second.before,
        last.config,
        seed=second.recipe.settings.seed,
        fingerprint=last.stage_fingerprint,
        owned=live(first.before),
    )
    assert marks(second.rows) == marks(expected)


def test_run_against_a_set_names_owned_winners_and_drops_none_of_them(
    runs: Runs, first: Sealed, second: Sealed
) -> None:
    owned, found = by_id(live(first.rows)), by_id(second.rows)
    assert not set(owned) & set(found)
    winners = {
        row["messages"][0]["content"]: row["drop_detail"].split()[0]
        for row in found.values()
        if row["drop_detail"] is not None
    }
    originals = dict(zip((q for q, _ in (*EXACT, *NEAR)), (OLD[i] for i in (0, 2, 1, 3)), strict=True))
    told = {q: owned[winners[q]]["messages"][0]["content"] for q in originals if q in winners}
    assert told == {q: original[0] for q, original in originals.items() if q in winners}
    assert set(told) >= {q for q, _ in runs.known}
    assert all(winner in owned or winner in found for winner in winners.values())


def test_run_against_a_set_reads_what_an_equal_stage_wrote_and_else_makes_it_anew_with_the_same_rows(
    runs: Runs, first: Sealed, second: Sealed
) -> None:
    """Cut otherwise, too; and a set is named by its run's folder or by that of a stage."""
    (owned,) = second.plan.passes[-1].owned
    assert owned.folder == first.manifests[-1].folder
    assert set(owned.sketches) == {m.folder for m in first.manifests if m.stage == runs.stage}
    unmarked = Storage(first.recipe.run_root).uri(first.manifests[-first.passes_of_last - 1].folder)
    anew = runs.run("anew", [runs.folder / "new.jsonl"], rows_per_shard=1, against=[unmarked])
    assert anew.plan.passes[-1].owned[0].sketches == ()
    assert marks(anew.rows) == marks(second.rows)


def test_third_run_against_both_keeps_only_what_neither_has(
    runs: Runs, first: Sealed, second: Sealed
) -> None:
    newest = ("Say in one sentence what a comet is.", "A ball of ice that goes round the sun.")
    third = runs.run(
        "third",
        [runs.file("newest.jsonl", [OLD[4], FRESH[2], newest])],
        against=[first.recipe.run_root, second.recipe.run_root],
    )
    assert texts(live(third.rows)) == ["\n".join(newest)]


def test_changed_set_changes_the_stages_fingerprint_and_none_before_it(
    runs: Runs, first: Sealed, tmp_path: Path
) -> None:
    copy = tmp_path / "first"
    shutil.copytree(first.recipe.run_root, copy)
    recipe = runs.recipe("second", [runs.folder / "new.jsonl"], against=[str(copy)])
    before = make_plan(recipe)
    assert make_plan(recipe) == before
    manifest.seal(Storage(str(copy)), replace(first.manifests[-1], created="another day"))
    assert make_plan(recipe) == before
    manifest.seal(Storage(str(copy)), replace(first.manifests[-1], fingerprint="another"))
    after = make_plan(recipe)
    is_same = [a.fingerprint == b.fingerprint for a, b in zip(before.passes, after.passes, strict=True)]
    assert is_same == [p.stage != runs.stage for p in after.passes]


def test_curated_set_has_no_columns_that_rows_are_only_compared_by(runs: Runs, second: Sealed) -> None:
    curated = read_curated(Storage(second.recipe.run_root))
    assert texts(curated) == texts(live(second.rows))
    added = set(load(runs.stage).ADDS)
    assert all(pa.types.is_primitive(curated[name].type) for name in added & set(curated.column_names))


REMOVED = {"source": "*talks.jsonl", "row": 2, "reason": "第十七号请求"}
GENERATIONS: list[Any] = [
    {"augment.evolve": {"engine": "llm", "depth": 2, "answers": False}},
    {"augment.respond": {"engine": "llm", "n": 2, "max_tokens": 40}},
]


def test_removal_reaches_two_generations_of_made_rows_and_no_others(
    local_ray: Capacity, tmp_path: Path
) -> None:
    talks = write_conversations(tmp_path / "talks.jsonl", [(q,) for q, _ in OLD])
    made_recipe = recipe_of(tmp_path, [talks], GENERATIONS)
    made, _ = execute(made_recipe, local_ray)
    before = by_id(rows_of(made_recipe, made))
    asked = texts_seen(tmp_path / "llm")
    removal = {
        "curate.removals": {
            "list": [REMOVED, {"licence": "none-of-ours", "reason": "x"}],
            "rows_per_shard": 5,
        }
    }
    recipe = recipe_of(tmp_path, [talks], [*GENERATIONS, removal])
    manifests, said = execute(recipe, local_ray)
    after = by_id(rows_of(recipe, manifests))
    assert texts_seen(tmp_path / "llm") == asked, "what was made stays made"

    history = {r["id"]: r for n in range(len(made)) for r in rows_of(recipe, made[: n + 1]).to_pylist()}
    (gone,) = (id for id, r in history.items() if r["source"] and r["source"]["row"] == 2)

    def generations(id: str) -> int | None:
        if id == gone:
            return 0
        found = [g for g in map(generations, history[id]["parents"] or ()) if g is not None]
        return 1 + min(found) if found else None

    far = {id: generations(id) for id in after}
    assert {2, 3} <= set(far.values()), "rows that were made of made rows"
    assert None in far.values()
    for id, row in after.items():
        if before[id]["drop_rule"] is not None or far[id] is None:
            assert (row["drop_rule"], row["drop_detail"]) == (
                before[id]["drop_rule"],
                before[id]["drop_detail"],
            )
        else:
            detail = REMOVED["reason"] if far[id] == 0 else f"descends from {gone}: {REMOVED['reason']}"
            assert (row["drop_rule"], row["drop_detail"]) == ("removed", detail)
    named, unknown = manifests[-1].findings
    others = sum(g is not None and g > 0 for g in map(generations, history))
    assert named["rows"] == [["source *talks.jsonl, row 2", REMOVED["reason"], 1, others]]
    assert unknown["rows"] == [["licence none-of-ours", "x"]]
    assert "1 of 2 entries name none" in said
