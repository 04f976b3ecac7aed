"""Ledgers: what processes tell of themselves, and the sums over all starts of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysft.runtime import ledger
from raysft.runtime.ledger import DRIVER, ENGINE, TRAINING, Ledger, Ledgers, new_session, stop_path, told
from raysft.runtime.metering import NOTHING_USED, Usage
from raysft.runtime.storage import Storage

OBJECT = {
    "kind": ENGINE,
    "name": "llm",
    "cpus": 2.0,
    "gpus": 0.5,
    "alive_seconds": 100.0,
    "start_seconds": 20.0,
    "usage": Usage(4, 40, 10, 60.0).to_json(),
    "tasks": {},
}


def test_spent_adds_processes_by_kind_and_by_what_they_reserve() -> None:
    objects = {
        "a": OBJECT,
        "b": {**OBJECT, "alive_seconds": 50.0},
        "c": {**OBJECT, "name": "judge", "gpus": 0.0},
        "d": {**OBJECT, "kind": TRAINING, "name": "train", "gpus": 1.0, "alive_seconds": 3600.0},
        "e": {**OBJECT, "kind": DRIVER, "cpus": 0.0, "gpus": 0.0, "tasks": {"s": 5.0}, "alive_seconds": 9.0},
        "f": {**OBJECT, "kind": DRIVER, "cpus": 0.0, "gpus": 0.0, "tasks": {"s": 7.0}, "alive_seconds": 8.0},
    }
    spent = ledger.total(objects)
    llm = spent.engines["llm"]
    assert (llm.processes, llm.alive_seconds, llm.gpu_seconds, llm.cpu_seconds) == (2, 150.0, 75.0, 300.0)
    assert llm.usage == Usage(8, 80, 20, 120.0)
    assert (spent.starts, spent.driver_seconds, spent.tasks) == (2, 17.0, {"s": 12.0})
    assert spent.tokens == 3 * 50
    assert spent.gpu_hours == pytest.approx((75.0 + 3600.0) / 3600)
    assert spent.cpu_hours == pytest.approx((300.0 + 200.0 + 7200.0 + 12.0) / 3600)


def test_ledgers_of_all_sessions_are_summed_while_one_is_at_work(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write_json("usage/20200101T000000Z-aaaaaa/llm-1.json", OBJECT)
    storage.write_json(stop_path("20200101T000000Z-aaaaaa"), ["limit"])
    now = new_session()
    ledgers = Ledgers(storage, now)
    assert ledgers.spent().engines["llm"].usage.requests == 4
    mine = Ledger(storage, now, ENGINE, "llm", 1.0, 1.0)
    mine.tally.end(mine.tally.begin(), 3, 30, 5)
    assert ledgers.spent().engines["llm"].usage.requests == 4  # not told yet
    mine.write()
    assert ledgers.spent().engines["llm"].usage.requests == 7
    mine.close()
    assert Ledgers(storage).spent().tokens == 50 + 35
    assert sorted(storage.names("usage"))[-1] == now


def test_ledger_of_a_store_that_does_not_answer_is_told_once_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "usage").write_text("a file where a folder should be")
    mine = Ledger(Storage(str(tmp_path)), "s", ENGINE, "llm")
    mine.write()
    mine.close()
    assert capsys.readouterr().err.count("usage is not written") == 1


def test_told_without_a_session_writes_nothing(tmp_path: Path) -> None:
    with told(Storage(str(tmp_path)), "", TRAINING, "train", 1.0, 1.0) as found:
        assert found is None
    assert list(tmp_path.iterdir()) == []


def test_told_closes_its_ledger_where_the_work_fails(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with pytest.raises(ValueError, match="broken"), told(storage, "s", TRAINING, "train", 2.0, 1.0):
        raise ValueError("broken")
    spent = Ledgers(storage).spent()
    assert (spent.training.processes, spent.training.usage) == (1, NOTHING_USED)
