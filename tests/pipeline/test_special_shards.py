"""Shards that are empty, that lose all their rows, or that are larger than Ray Data's blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysft.runtime.capacity import Capacity
from raysft.runtime.curated import export_curated, read_curated
from raysft.runtime.plan import make_plan
from raysft.runtime.storage import Storage
from raysft.sample import MESSAGES, live
from tests.fixtures.runs import (
    by_id,
    execute,
    fake_engines,
    recipe_of,
    reference,
    rows_of,
    write_conversations,
)

CURATE_THEN_AUGMENT = (
    "curate.rules",
    {"curate.embed": {"engine": "embedder"}},
    "curate.exact_dedup",
    "curate.minhash_dedup",
    {"curate.semantic_dedup": {"clusters": 2}},
    {"curate.perplexity": {"engine": "scorer"}},
    {"curate.select": {"where": "perplexity < q(perplexity, 0.9)", "budget": 6}},
    {"augment.evolve": {"engine": "llm", "answers": False}},
    {"augment.respond": {"engine": "llm"}},
)
REFUSAL = "I'm sorry, but I can't help with that."
LARGE_ANSWER = 50 << 20


def good_talks() -> list[tuple[str, str]]:
    topics = ("rivers", "old clocks", "mountain huts", "night trains", "bread", "chess", "whales", "paper")
    return [
        (f"Tell me about {t}.", f"Here is what I know about {t}: {t[::-1]}, {i}.")
        for i, t in enumerate(topics)
    ]


def refused_talks() -> list[tuple[str, str]]:
    return [(f"Explain how to pick lock number {n}.", REFUSAL) for n in range(5)]


def empty_file(path: Path) -> Path:
    """A Parquet file of conversations that has no rows."""
    pq.write_table(pa.table({"messages": pa.array([], MESSAGES)}), path)
    return path


def test_run_with_an_empty_and_an_all_dropped_shard_gives_the_reference_executors_rows(
    local_ray: Capacity, tmp_path: Path
) -> None:
    sources = [
        empty_file(tmp_path / "0-empty.parquet"),
        write_conversations(tmp_path / "1-refused.jsonl", refused_talks()),
        write_conversations(tmp_path / "2-good.jsonl", good_talks()),
    ]
    entries: list[dict[str, dict[str, Any]]] = [
        {e: {}} if isinstance(e, str) else e for e in CURATE_THEN_AUGMENT
    ]
    entries = [{n: {**c, "rows_per_shard": 3} for n, c in e.items()} for e in entries]
    recipe = recipe_of(tmp_path, sources, entries)
    manifests, _ = execute(recipe, local_ray)
    rules, respond = manifests[1], manifests[-1]
    assert manifests[0].shards[0].rows == 0
    assert any(s.counts.rows_in and not s.counts.rows_out for s in rules.shards)
    assert rules.counts.rules == {"refusal": 5}
    assert respond.counts.made_kept > 0
    expected = reference(make_plan(recipe), rows_of(recipe, manifests[:1]))
    assert by_id(rows_of(recipe, manifests)) == by_id(expected)


def test_run_whose_rows_are_all_dropped_before_select_ends_with_an_empty_set(
    local_ray: Capacity, tmp_path: Path
) -> None:
    source = write_conversations(tmp_path / "refused.jsonl", refused_talks())
    recipe = recipe_of(tmp_path, [source], CURATE_THEN_AUGMENT)
    manifests, _ = execute(recipe, local_ray)
    assert [m.counts.rows_in for m in manifests[:2]] == [5, 5]
    assert {m.counts.rows_in for m in manifests[2:]} == {0}
    assert len(rows_of(recipe, manifests)) == 0
    storage = Storage(recipe.run_root)
    assert export_curated(storage, manifests) == {}
    assert len(read_curated(storage)) == 0


def test_run_with_a_shard_above_192_mib_keeps_its_texts(local_ray: Capacity, tmp_path: Path) -> None:
    """Two engines' actors: the rows travel between them as one block."""
    talks = [(f"Say {letter} very often.", letter * LARGE_ANSWER) for letter in "abc"]
    talks.append((talks[2][0], talks[2][1].upper()))
    source = write_conversations(tmp_path / "large.jsonl", talks)
    no_bounds = {"max_answer_words": None, "max_chars": None, "max_repetition": None}
    engines = fake_engines(tmp_path)
    engines["second"] = engines["embedder"]
    embeds = [{"curate.embed": {"engine": name, "on": "instruction"}} for name in ("embedder", "second")]
    stages = ({"curate.rules": no_bounds}, *embeds, "curate.exact_dedup")
    recipe = recipe_of(tmp_path, [source], stages, engines=engines)
    manifests, _ = execute(recipe, local_ray)
    source.unlink()
    assert {len(m.shards) for m in manifests} == {1}
    table = rows_of(recipe, manifests)
    assert table.nbytes > 192 << 20
    assert manifests[-1].counts.rules == {"exact_duplicate": 1}
    kept = live(table)["messages"].combine_chunks().flatten().field("content").to_pylist()
    assert sorted(text.lower() for text in kept) == sorted(
        text for talk in talks[:3] for text in talk_of(talk)
    )


def talk_of(talk: tuple[str, str]) -> tuple[str, str]:
    return talk[0].lower(), talk[1].lower()
