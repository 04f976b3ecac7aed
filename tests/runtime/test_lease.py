"""The lease of a run's folder: of all that want it one gets it; how it is kept, lost and passed on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysft.runtime import lease as leases
from raysft.runtime.lease import LEASE, TIMING, Holder, Lease, LeaseHeld, LeaseLost, Timing, acquire, leased
from raysft.runtime.status import STATUS
from raysft.runtime.storage import Storage
from tests.fixtures.swift import S3

ROOT = Path(__file__).resolve().parents[2]
QUICK = Timing(write_s=0.5, settle_s=1.0, renew_s=0.05, lose_s=2.0, take_s=3.0)
ELSEWHERE = "another machine"
HOLD = """
import sys, time
from raysft.runtime.lease import leased
from raysft.runtime.storage import Storage
with leased(Storage(sys.argv[1])):
    print("has it", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "run"))


def holder(**changes: Any) -> Holder:
    """A holder on another machine."""
    then = "2026-01-01T00:00:00+00:00"
    here = Holder("other", 3, "far", ELSEWHERE, 1, "1", "ada", None, then, then)
    return replace(here, **changes)


def write(storage: Storage, record: Holder) -> None:
    storage.write_json(LEASE, record.__dict__)


def wait_until(holds: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.01)


def race(roots: list[str], timing: Timing) -> tuple[list[Lease], list[str]]:
    """What so many threads that want the lease at once get: leases, and errors."""
    start = threading.Barrier(len(roots))
    won: list[Lease] = []
    lost: list[str] = []

    def want(root: str) -> None:
        storage = Storage(root)
        start.wait()
        try:
            won.append(acquire(storage, lambda line: None, timing))
        except LeaseHeld as error:
            lost.append(str(error))

    threads = [threading.Thread(target=want, args=(root,)) for root in roots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return won, lost


def test_lease_of_a_new_folder_is_had_at_once_and_gone_after_a_clean_end(storage: Storage) -> None:
    began = time.monotonic()
    with leased(storage) as lease:
        assert time.monotonic() - began < TIMING.settle_s, "a folder keeps the condition: nothing to wait for"
        lease.check()
        record = storage.read_json(LEASE)
        assert (record["pid"], record["epoch"]) == (os.getpid(), 1)
    assert not storage.exists(LEASE)


def test_lease_that_is_held_here_is_refused_with_who_and_what_to_do(storage: Storage) -> None:
    with leased(storage), pytest.raises(LeaseHeld) as caught:
        acquire(storage, lambda line: None)
    said = str(caught.value)
    assert f"process {os.getpid()} of " in said
    assert f"kill {os.getpid()} on " in said
    assert "last renewed" in said
    assert "\n" not in said


def test_lease_of_a_ray_job_names_the_job_to_stop(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"runtime_env": {}, "metadata": {"job_submission_id": "raysft-demo-1f2e"}}
    monkeypatch.setenv(leases.RAY_JOB_CONFIG, json.dumps(told))
    with leased(storage), pytest.raises(LeaseHeld, match=r"make stop JOB=raysft-demo-1f2e$"):
        acquire(storage, lambda line: None)


def test_epochs_of_owners_after_each_other_grow_by_one(storage: Storage) -> None:
    storage.write_json(STATUS, {"state": "succeeded", "epoch": 4})
    with leased(storage) as lease:
        assert lease.holder.epoch == 5
    write(storage, holder(epoch=7))
    assert acquire(storage, lambda line: None, QUICK).holder.epoch == 8


def test_race_of_threads_for_a_new_folder_has_one_winner(storage: Storage) -> None:
    for round in range(5):
        won, lost = race([f"{storage.root}-{round}"] * 8, QUICK)
        assert len(won) == 1
        assert len(lost) == 7


@pytest.mark.parametrize("found", ["stale", "none, and no condition is kept"])
def test_race_of_threads_without_conditions_has_one_winner(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    """A store that lets everybody write: what is left is the wait between writing and reading again."""
    monkeypatch.setattr(Storage, "is_local", False)
    monkeypatch.setattr(Storage, "create_bytes", lambda self, path, data: bool(self.write_bytes(path, data)))
    if found == "stale":
        write(storage, holder(machine=leases.machine(), pid=2**22 + 1))
    won, lost = race([storage.root] * 8, QUICK)
    assert len(won) == 1
    assert len(lost) == 7
    won[0].check()


def test_claim_that_took_too_long_to_write_is_given_up(
    storage: Storage,
) -> None:
    slow = replace(QUICK, write_s=0.0, settle_s=0.0)
    with pytest.raises(LeaseHeld, match="in 20 attempts no claim was written within 0 s"):
        acquire(storage, lambda line: None, slow)
    assert not storage.exists(LEASE)


def test_holder_elsewhere_that_renews_is_left_alone(storage: Storage) -> None:
    """Its clock stands still years ago: what counts is that its record changes."""
    write(storage, holder())
    ended = threading.Event()

    def renew() -> None:
        renewals = 0
        while not ended.wait(0.05):
            renewals += 1
            write(storage, holder(renewals=renewals))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(LeaseHeld, match="process 1 of ada on far"):
            acquire(storage, lambda line: None, QUICK)
    finally:
        ended.set()
        thread.join()


def test_holder_elsewhere_that_ends_while_it_is_watched_leaves_the_lease_free(storage: Storage) -> None:
    write(storage, holder())
    said: list[str] = []
    ends = threading.Timer(0.5, storage.remove, [LEASE])
    ends.start()
    acquire(storage, said.append, replace(QUICK, take_s=60)).check()
    assert len(said) == 1, "nobody's lease was taken over"


def test_holder_elsewhere_that_is_silent_is_taken_over_after_the_bound(storage: Storage) -> None:
    write(storage, holder())
    said: list[str] = []
    began = time.monotonic()
    acquire(storage, said.append, QUICK)
    assert time.monotonic() - began > QUICK.take_s
    assert said[0] == "watching for up to 3 s whether process 1 of ada on far renews its lease"
    assert said[1].startswith("process 1 of ada on far ended without giving back the lease of ")


def test_holder_that_was_killed_here_is_taken_over_at_once(storage: Storage) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLD, storage.root]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        with pytest.raises(LeaseHeld, match=f"process {process.pid} of "):
            acquire(storage, lambda line: None)
    finally:
        process.kill()
        process.wait()
    said: list[str] = []
    lease = acquire(storage, said.append, replace(QUICK, take_s=600))
    assert lease.holder.epoch == 2
    assert f"process {process.pid} of " in said[0]


def test_process_id_that_another_process_has_by_now_is_no_holder(storage: Storage) -> None:
    write(storage, holder(machine=leases.machine(), pid=os.getpid(), pid_started="1"))
    acquire(storage, lambda line: None, replace(QUICK, take_s=600)).check()


def test_lease_that_is_renewed_outlives_the_bound(storage: Storage) -> None:
    with leased(storage, timing=QUICK) as lease:
        wait_until(lambda: storage.read_json(LEASE)["renewals"] > 25)
        lease.check()


def is_interrupted() -> bool:
    """Whether SIGTERM comes while the main thread waits for something else."""
    try:
        threading.Event().wait(30)
    except KeyboardInterrupt:
        return True
    return False


@pytest.fixture
def sigterm_interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm_interrupts")
def test_lease_that_is_anothers_by_now_stops_the_main_thread_and_stays_there(storage: Storage) -> None:
    with leased(storage, timing=QUICK) as lease:
        write(storage, holder())
        assert is_interrupted()
    with pytest.raises(LeaseLost, match="now names process 1 of ada on far; nothing was sealed since"):
        lease.check()
    assert storage.read_json(LEASE)["token"] == "other"


def test_lease_that_was_removed_is_lost(storage: Storage) -> None:
    lease = acquire(storage, lambda line: None)
    storage.remove(LEASE)
    with pytest.raises(LeaseLost, match="was removed"):
        lease.check()


@pytest.mark.usefixtures("sigterm_interrupts")
def test_lease_that_cannot_be_renewed_is_lost_before_others_may_take_it(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Storage, path: str, data: bytes) -> None:
        raise OSError("the store is away")

    with leased(storage, timing=QUICK) as lease:
        monkeypatch.setattr(Storage, "write_bytes", fail)
        assert is_interrupted()
    with pytest.raises(LeaseLost, match=r"was not renewed for .* allowed 2 s: OSError: the store is away"):
        lease.check()


def test_condition_of_a_store_that_keeps_it_lets_one_of_many_create(storage: Storage) -> None:
    created = [storage.create_bytes("one", str(i).encode()) for i in range(3)]
    assert created == [True, False, False]
    assert storage.read_bytes("one") == b"0"
    assert storage.names("") == ["one"]


def test_race_on_a_store_that_keeps_the_condition_lets_one_claim_be_written(moto_s3: str) -> None:
    created: list[bool] = []
    start = threading.Barrier(8)

    def create(number: int) -> None:
        storage = Storage(moto_s3)
        start.wait()
        created.append(storage.create_bytes("one", str(number).encode()))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(created) == [False] * 7 + [True]
    won, lost = race([f"{moto_s3}/runs/demo"] * 4, Timing(write_s=8, settle_s=9))
    assert len(won) == 1
    assert len(lost) == 3


def test_race_on_a_real_store_has_one_winner_who_can_go_on(s3: S3) -> None:
    roots = [f"{s3.uri}/runs/demo"] * 4
    won, lost = race(roots, Timing(write_s=8, settle_s=9))
    assert len(won) == 1, lost
    assert len(lost) == 3
    won[0].check()
    won[0].release()
    assert not Storage(roots[0]).exists(LEASE)


def test_status_of_a_killed_driver_is_abandoned(storage: Storage) -> None:
    running = {"state": "running", "epoch": 3}
    write(storage, holder(machine=leases.machine(), pid=2**22 + 1))
    told = leases.with_driver(storage, running, lambda line: None)
    assert told["state"] == "abandoned"
    assert told["driver"]["is_alive"] is False
    storage.remove(LEASE)
    assert leases.with_driver(storage, running, lambda line: None)["state"] == "abandoned"


def test_status_of_a_driver_that_works_names_it(storage: Storage) -> None:
    with leased(storage):
        told = leases.with_driver(storage, {"state": "running"}, lambda line: None)
    assert told["state"] == "running"
    assert told["driver"]["pid"] == os.getpid()
    assert told["driver"]["is_alive"] is True
