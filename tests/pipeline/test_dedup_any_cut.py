"""Who is kept does not depend on workers, partitions, sizes of work shards or the order of rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysft.runtime.capacity import Capacity, Nodes
from tests.fixtures.conversations import marks
from tests.fixtures.runs import execute, fake_engines, recipe_of, rows_of, write_conversations

WORDS = "river stone lamp bread winter glass paper orange window garden silver music".split()  # noqa: SIM905
SIGNS = "春夏秋冬山水花鸟风雪月云"
STAGES: list[Any] = [
    {"curate.exact_dedup": {"on": "both"}},
    {"curate.minhash_dedup": {"threshold": 0.5, "bands": 32, "rows": 4}},
    {"curate.embed": {"engine": "embedder"}},
    {"curate.semantic_dedup": {"threshold": 0.8, "clusters": 4}},
    {"curate.k_center": {"budget": 30}},
]
RULES = {"exact_duplicate", "exact_instruction", "near_duplicate", "semantic_duplicate", "not_a_center"}


def talks() -> list[tuple[str, str]]:
    """Texts of both languages, with copies in other letters, edited copies, and the same question twice."""
    draw = random.Random(3)
    english = [" ".join(draw.choices(WORDS, k=24)) for _ in range(40)]
    chinese = ["".join(draw.choices(SIGNS, k=40)) for _ in range(30)]
    found = [(text, text[:30]) for text in (*english, *chinese)]
    found += [(text.upper(), answer) for text, answer in found[:6]]
    found += [(text, f"{answer} and so on") for text, answer in found[6:12]]
    found += [(f"please {text}", answer) for text, answer in found[12:24]]
    found += [(f"{text}吗", answer) for text, answer in found[45:57]]
    draw.shuffle(found)
    return found


def files(folder: Path, order: Sequence[int]) -> list[dict[str, Any]]:
    """The rows in five files, which are read in this order; ids come from what is in a file."""
    folder.mkdir()
    rows = talks()
    for place, part in enumerate(order):
        write_conversations(folder / f"{place}.jsonl", rows[part::5])
    return [{"path": str(folder / "*.jsonl")}]


@pytest.fixture(scope="module")
def expected(local_ray: Capacity, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return decided(tmp_path_factory.mktemp("whole"), local_ray, range(5), rows_per_shard=1000, workers=1)


def decided(
    folder: Path, local_ray: Capacity, order: Sequence[int], rows_per_shard: int, workers: int
) -> dict[str, Any]:
    """Rule and detail of every row by its id."""
    entries = [
        {name: {**config, "rows_per_shard": rows_per_shard} for name, config in e.items()} for e in STAGES
    ]
    engines = fake_engines(folder, workers)
    recipe = recipe_of(folder, files(folder / "rows", order), entries, engines=engines)
    manifests, _ = execute(recipe, replace(local_ray, nodes=(Nodes(workers + 1, 0),)))
    return marks(rows_of(recipe, manifests))


def test_each_rule_decides_on_some_of_these_rows(expected: dict[str, Any]) -> None:
    assert {rule for rule, _ in expected.values() if rule} == RULES
    assert sum(rule is None for rule, _ in expected.values()) == 30


@pytest.mark.parametrize(
    ("order", "rows_per_shard", "workers"),
    [((4, 2, 0, 3, 1), 1000, 2), ((3, 4, 1, 0, 2), 17, 4), ((0, 1, 2, 3, 4), 7, 1)],
    ids=["2 workers, other order", "4 workers, shards of 17", "shards of 7"],
)
def test_kept_rows_are_the_same_for_any_workers_shards_and_order(
    local_ray: Capacity,
    tmp_path: Path,
    expected: dict[str, Any],
    order: Sequence[int],
    rows_per_shard: int,
    workers: int,
) -> None:
    assert decided(tmp_path, local_ray, order, rows_per_shard, workers) == expected
