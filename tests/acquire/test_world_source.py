"""Sources that `raysft.world` makes up."""

import sys
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from raysft.acquire.source import expand, read
from raysft.acquire.unit import Unit
from raysft.acquire.world import TRUTH, WorldSource
from raysft.sample import SCHEMA
from raysft.world import tasks
from raysft.world.noise import Noise


@pytest.fixture
def counting_world(monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(start: int, stop: int, seed: int) -> list[dict[str, Any]]:
        return [
            {"messages": [{"role": "user", "content": f"{seed}:{i}"}], "task": "count", "lang": "en"}
            for i in range(start, stop)
        ]

    module = ModuleType("raysft.world.tasks")
    module.version = lambda: "7"  # type: ignore[attr-defined]
    module.generate = generate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "raysft.world.tasks", module)


@pytest.mark.usefixtures("counting_world")
def test_world_is_cut_into_row_ranges_and_each_is_generated() -> None:
    source = WorldSource(kind="world", rows=5, seed=3, rows_per_unit=2)
    units = expand(source)
    assert [(u.start, u.stop, u.content) for u in units] == [
        (0, 2, "world:tasks:3:0:2:7"),
        (2, 4, "world:tasks:3:2:4:7"),
        (4, 5, "world:tasks:3:4:5:7"),
    ]
    got = [read(source, u) for u in units]
    rows = [r for a in got for r in a.table.to_pylist()]
    assert [r["messages"][0]["content"] for r in rows] == ["3:0", "3:1", "3:2", "3:3", "3:4"]
    assert [r["source"]["row"] for r in rows] == [0, 1, 2, 3, 4]
    assert len({r["id"] for r in rows}) == 5
    assert {a.format for a in got} == {"world"}


def test_world_row_has_its_truth_in_columns_beyond_a_samples() -> None:
    source = WorldSource(kind="world", rows=40, seed=3)
    (unit,) = expand(source)
    table = read(source, unit).table
    assert table.column_names == [*SCHEMA.names, *TRUTH.names]
    assert pa.schema([table.schema.field(name) for name in TRUTH.names]) == TRUTH
    assert table["truth_group"].to_pylist() == list(range(40))
    assert table["truth_noise"].to_pylist() == [[]] * 40
    answers = [row["messages"][-1]["content"] for row in table.to_pylist()]
    assert table["truth_answer"].to_pylist() == answers


@pytest.mark.usefixtures("counting_world")
def test_world_row_of_a_generator_without_truth_has_null_there() -> None:
    source = WorldSource(kind="world", rows=3, seed=3)
    (unit,) = expand(source)
    table = read(source, unit).table
    assert table.select(TRUTH.names).to_pylist() == [dict.fromkeys(TRUTH.names)] * 3


def test_noisy_world_has_its_rates_in_the_ids_and_its_noise_in_the_truth() -> None:
    def rows(**noise: float) -> pa.Table:
        source = WorldSource(kind="world", rows=60, seed=3, noise=Noise(**noise))
        (unit,) = expand(source)
        return read(source, unit).table

    some, more = rows(refusal=0.3), rows(refusal=0.4)
    assert {tuple(noises) for noises in some["truth_noise"].to_pylist()} == {(), ("refusal",)}
    assert not {*some["id"].to_pylist()} & {*more["id"].to_pylist()}
    assert rows(refusal=0.3).equals(some)
    clean = WorldSource(kind="world", rows=60, seed=3)
    (unit,) = expand(clean)
    table = read(clean, unit).table
    told = zip(some.to_pylist(), table.to_pylist(), strict=True)
    assert all((a["messages"] == b["messages"]) != bool(a["truth_noise"]) for a, b in told)


@pytest.mark.parametrize("fields", [{}, {"set": "held_out"}, {"noise": {"refusal": 0.2, "leaked_test": 0.2}}])
def test_part_of_a_world_is_all_that_is_read_and_is_in_the_ids(fields: dict[str, Any]) -> None:
    def unit_and_rows(**part: Any) -> tuple[Unit, list[dict[str, Any]]]:
        source = WorldSource.model_validate({"kind": "world", "rows": 60, "seed": 3, **fields, **part})
        (unit,) = expand(source)
        return unit, read(source, unit).table.to_pylist()

    parts: list[dict[str, Any]] = [
        {},
        {"tasks": ["lookup", "code"]},
        {"max_difficulty": 1},
        {"tasks": ["lookup", "code"], "max_difficulty": 1},
    ]
    found = [unit_and_rows(**part) for part in parts]
    for part, (_, rows) in zip(parts, found, strict=True):
        levels = range(1, part.get("max_difficulty", 3) + 1)
        assert {row["truth_difficulty"] for row in rows} == set(levels)
        if "tasks" in part:
            assert {row["task"] for row in rows} == set(part["tasks"])
    assert len({unit.content for unit, _ in found}) == len(parts)
    assert len({row["id"] for _, rows in found for row in rows}) == 60 * len(parts)
    other_order, _ = unit_and_rows(tasks=["code", "lookup"])
    assert other_order == found[1][0]


def test_whole_world_is_no_part_in_its_identity() -> None:
    whole = WorldSource(kind="world", rows=3, seed=1, max_difficulty=3)
    assert not {"tasks", "max_difficulty"} & whole.model_dump().keys()
    (unit,) = expand(whole)
    assert unit.content == f"world:tasks:1:0:3:{tasks.version()}"
