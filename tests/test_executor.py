"""The reference executor: what each kind of barrier step is given, and what becomes of what it returns."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysft import executor
from raysft.sample import mark_dropped, set_column
from raysft.stage import Components, Context, Fit, Fitted, Gather, Map, Partition, RowsLost, Step, TableConfig
from tests.fixtures.conversations import table_of

STAGE = "curate.made_up"
TALKS = [(f"Question {letter}", "Answer.") for letter in "abcdef"]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    def installed(*steps: Step) -> None:
        module = ModuleType(f"raysft.{STAGE}")
        module.__dict__.update(VERSION=1, WRITES="columns", ADDS=("size",), Config=TableConfig, STEPS=steps)
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return installed


def run(table: pa.Table, **given: Any) -> pa.Table:
    return executor.run_local(STAGE, table, TableConfig(), **given)


def by_place(table: pa.Table, config: Any, context: Context) -> pa.Table:
    """Neighbours share a key: 0 and 1, 2 and 3, …"""
    return table.append_column("key", pa.array(table["row"].to_numpy() // 2, pa.uint64()))


def pairs(rows: pa.Table, config: Any, context: Context) -> pa.Table:
    """An edge from each row with an odd place to the one before it."""
    odd = rows.filter(pa.array(rows["row"].to_numpy() % 2 == 1))["row"].to_numpy()
    return pa.table({"row": odd, "other": odd - 1})


def drop_all(rows: pa.Table, config: Any, context: Context) -> pa.Table:
    detail = [str(c) for c in rows["component"].to_pylist()]
    rules = pa.array(["gone"] * len(rows), pa.string())
    new = pa.table({"row": rows["row"], "drop_rule": rules, "drop_detail": pa.array(detail, pa.string())})
    return new.filter(pa.array(~rows["owned"].to_numpy(zero_copy_only=False)))


def test_step_after_components_gets_their_rows_alone(install: Any) -> None:
    install(Partition(by_place, pairs, ()), Components(), Gather(drop_all, ()))
    table = mark_dropped(table_of(TALKS[:5]), "curate.other", [None, None, None, "early", None])
    after = run(table)
    # row 3 was dropped before, so that 2 has nobody, and 4 is alone
    assert after["drop_rule"].to_pylist() == ["gone", "gone", None, "early", None]
    assert after["drop_detail"].to_pylist()[:2] == ["0", "0"]


def test_components_of_no_edges_leave_no_rows(install: Any) -> None:
    install(Partition(by_place, pairs, ()), Components(), Gather(drop_all, ()))
    assert run(table_of(TALKS[:1]))["drop_rule"].to_pylist() == [None]
    assert len(run(table_of([]))) == 0


def test_components_are_named_by_their_smallest_row() -> None:
    edges = pa.table({"row": [9, 40, 7], "other": [40, 3, 8]})
    found = executor.components_of(edges)
    assert found.to_pydict() == {"row": [3, 7, 8, 9, 40], "component": [3, 7, 7, 3, 3]}


def test_owned_rows_go_through_maps_and_barriers_and_are_told_apart(install: Any) -> None:
    seen = []

    def size(table: pa.Table, config: Any, context: Context) -> pa.Table:
        return set_column(table, "size", pa.array(np.full(len(table), len(table))))

    def note(rows: pa.Table, config: Any, context: Context) -> pa.Table:
        seen.append(rows.select(["row", "owned", "size"]).to_pydict())
        return pa.table({"row": [0], "drop_rule": ["first"]})

    install(Map(size), Gather(note, ("size",)))
    after = run(table_of(TALKS[:2]), owned=table_of(TALKS[2:5]))
    assert len(after) == 2
    (rows,) = seen
    assert sorted(zip(rows["row"], rows["owned"], rows["size"], strict=True)) == [
        (0, False, 2),
        (1, False, 2),
        (2, True, 3),
        (3, True, 3),
        (4, True, 3),
    ]


def test_decision_on_an_owned_row_is_refused(install: Any) -> None:
    install(Gather(lambda rows, *_: pa.table({"row": rows["row"], "drop_rule": ["x"] * len(rows)}), ()))
    with pytest.raises(RowsLost, match="none of these 1"):
        run(table_of(TALKS[:1]), owned=table_of(TALKS[1:2]))


def test_fit_sees_owned_rows_where_it_asks_and_a_partitions_rows_after_one(install: Any) -> None:
    seen: dict[str, int] = {}

    def fit(name: str) -> Any:
        def note(rows: pa.Table, config: Any, context: Context) -> Fitted:
            seen[name] = len(rows)
            return Fitted(values={name: len(rows)})

        return note

    install(
        Fit(fit("new")),
        Fit(fit("all"), owned=True),
        Partition(by_place, pairs, ()),
        Fit(fit("edges")),
        Map(lambda table, config, context: set_column(table, "size", pa.array([3] * len(table)))),
    )
    after = run(table_of(TALKS[:4]), owned=table_of(TALKS[4:]))
    assert seen == {"new": 4, "all": 6, "edges": 3}
    assert after["size"].to_pylist() == [3] * 4


def test_fit_of_the_history_sees_rows_that_are_no_longer_live(install: Any) -> None:
    columns = []

    def note(rows: pa.Table, config: Any, context: Context) -> Fitted:
        columns.append(rows.column_names)
        return Fitted(values={"rows": len(rows)})

    install(Fit(note, ("lang",), history=True))
    run(mark_dropped(table_of(TALKS[:3]), "curate.other", ["early", None, None]))
    assert columns == [["id", "parents", "op", "source", "lang"]]
