"""Novelty beside a set that an earlier run sealed: the rows of the reference executor, however it is cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysft.executor import run_local
from raysft.recipe import RecipeError
from raysft.runtime.capacity import Capacity
from raysft.runtime.curated import export_curated
from raysft.runtime.plan import make_plan
from raysft.runtime.storage import Storage
from tests.fixtures.runs import execute, fake_engines, recipe_of, rows_of, write_conversations

EMBED = {"curate.embed": {"engine": "embedder"}}


def talks(start: int, about: str, ask: str) -> list[tuple[str, str]]:
    return [(f"{ask} {about} {i}?", f"{about} {i}。") for i in range(start, start + 12)]


OLD = [*talks(0, "harbour", "Which boats lie in the"), *talks(50, "河流", "请介绍第几条")]
NEW = [*talks(20, "harbour", "Which boats lie in the"), *talks(70, "multiplication", "Please explain to me")]


def test_novelty_against_a_sealed_run_gives_the_reference_executors_rows(
    local_ray: Capacity, tmp_path: Path
) -> None:
    engines = fake_engines(tmp_path)
    first = recipe_of(
        tmp_path, [write_conversations(tmp_path / "old.jsonl", OLD)], [EMBED], "first", engines=engines
    )
    sealed, _ = execute(first, local_ray)
    export_curated(Storage(first.run_root), sealed)
    source = write_conversations(tmp_path / "new.jsonl", NEW)
    for rows_per_shard in (1000, 5):
        config = {"against": [first.run_root], "folds": 3, "rows_per_shard": rows_per_shard}
        stages = [EMBED, {"curate.novelty": config}]
        second = recipe_of(tmp_path, [source], stages, f"second-{rows_per_shard}", engines=engines)
        plan = make_plan(second)
        manifests, said = execute(second, local_ray, plan)
        before = [m for m in manifests if m.stage != "curate.novelty"]
        expected = run_local(
            "curate.novelty",
            rows_of(second, before),
            plan.passes[-1].config,
            owned=rows_of(first, sealed),
            seed=7,
        )
        got = rows_of(second, manifests)
        assert (
            got.select(["id", "novelty"])
            .sort_by("id")
            .equals(expected.select(["id", "novelty"]).sort_by("id"))
        )
        novelty = {
            m[0]["content"]: n
            for m, n in zip(*(got[c].to_pylist() for c in ("messages", "novelty")), strict=True)
        }
        assert max(novelty[t[0]] for t in NEW[:12]) < min(novelty[t[0]] for t in NEW[12:])
        (table,) = manifests[-1].findings
        assert dict(table["rows"])["owned rows"] == 24
        assert "candidates differ from owned rows" in said


def test_novelty_against_a_run_without_the_embedding_is_refused(local_ray: Capacity, tmp_path: Path) -> None:
    first = recipe_of(tmp_path, [write_conversations(tmp_path / "old.jsonl", OLD)], [], "first")
    sealed, _ = execute(first, local_ray)
    export_curated(Storage(first.run_root), sealed)
    source = write_conversations(tmp_path / "new.jsonl", NEW)
    second = recipe_of(
        tmp_path, [source], [EMBED, {"curate.novelty": {"against": [first.run_root]}}], "second"
    )
    with pytest.raises(RecipeError, match="has no column 'embedding', which this stage compares"):
        make_plan(second)
