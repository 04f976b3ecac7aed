"""The lease of a run: of all drivers started on one folder, on any machine, one works; `lease.json` names it.

No store has to offer a lock or to keep a condition on a write. Who wants the lease reads that nobody has it,
writes its claim, waits for longer than such a write may take, and reads again: it has the lease if its own
claim is still there (Fischer's timed mutual exclusion; Lamport, "A fast mutual exclusion algorithm", 1987).
A claim that took too long to write is given up and made again. Where a store keeps "only if there is none",
fewer claims are written; a folder surely does, and there the wait is left out.

The holder writes its record again and again. Clocks of two machines are never compared: others watch whether
the record changes. A holder that was not seen to change it for `take_s` is taken for dead, one on the same
machine as soon as its process has ended. It stops by itself before that, after `lose_s` without a renewal.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from io import UnsupportedOperation
from pathlib import Path

from raysft.engines.watchdog import start_time
from raysft.runtime.status import STATUS
from raysft.runtime.storage import Storage

LEASE = "lease.json"
ATTEMPTS = 20
JOIN_S = 30.0  # how long the end of a run waits for a renewal under way
SHOWN = ("host", "pid", "user", "job", "since", "renewed")
RAY_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # what Ray tells the driver of a submitted job
Note = Callable[[str], None]


class LeaseHeld(RuntimeError):
    """Another driver has the lease."""


class LeaseLost(RuntimeError):
    """This driver has the lease no longer, and must write nothing more."""


@dataclass(frozen=True)
class Timing:
    """Seconds. A claim's reading and writing may take `write_s`, and `settle_s` later it counts; the holder
    renews every `renew_s`, stops when that failed for `lose_s`, and is taken for dead after `take_s`."""

    write_s: float = 3.0
    settle_s: float = 4.0
    renew_s: float = 10.0
    lose_s: float = 45.0
    take_s: float = 60.0


TIMING = Timing()


@dataclass(frozen=True)
class Holder:
    """Who has the lease. `machine` and `pid_started` tell processes with the same id apart; `token` is drawn
    for one owner; `epoch` is 1 more than the owner's before; times are the holder's own clock's."""

    token: str
    epoch: int
    host: str
    machine: str
    pid: int
    pid_started: str
    user: str
    job: str | None
    since: str
    renewed: str
    renewals: int = 0

    def __str__(self) -> str:
        job = f", Ray job {self.job}" if self.job else ""
        return f"process {self.pid} of {self.user} on {self.host}{job}"


def read_holder(storage: Storage) -> Holder | None:
    """Who has the lease of a run's folder, or had it and died; None after a clean end."""
    try:
        return Holder(**storage.read_json(LEASE))
    except FileNotFoundError:
        return None


def is_alive(storage: Storage, holder: Holder, watch_s: float = 25.0, note: Note = lambda line: None) -> bool:
    """Whether a holder works: by its process on this machine, else by whether its record changes."""
    if holder.machine == machine():
        return bool(start_time(holder.pid)) and start_time(holder.pid) == holder.pid_started
    note(f"watching for up to {watch_s:g} s whether {holder} renews its lease")
    deadline = time.monotonic() + watch_s
    while time.monotonic() < deadline:
        time.sleep(min(watch_s / 20, 2.0))
        now = read_holder(storage)
        if now != holder:
            return now is not None
    return False


class Lease:
    """A lease that is had: `start` renews it in a thread, `check` asks for it, `release` gives it back."""

    def __init__(self, storage: Storage, holder: Holder, timing: Timing, renewed_at: float) -> None:
        self.holder = holder
        self._storage = storage
        self._timing = timing
        self._renewed_at = renewed_at
        self._lost: str | None = None
        self._failure = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_the_end, name="lease", daemon=True)
        self._owner = threading.current_thread()

    def start(self) -> None:
        self._thread.start()

    def check(self) -> None:
        """Return if this driver has the lease; to be called right before anything is sealed.

        Raises:
            LeaseLost: it has not; says who has, or why.
        """
        if self._lost is None:
            self._look()
        if self._lost is not None:
            raise LeaseLost(self._lost)

    def release(self) -> None:
        """Give the lease back. A record that is another driver's by now stays."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        if not self._thread.is_alive():  # else its late write would bring the record back
            _give_back(self._storage, self.holder)

    def _look(self) -> None:
        where = self._storage.uri(LEASE)
        found = read_holder(self._storage)
        if found is None:
            self._lost = f"{where} was removed, so that others may start; nothing was sealed since"
        elif found.token != self.holder.token:
            self._lost = f"{where} now names {found}; nothing was sealed since"
        else:
            self._notice_silence()

    def _notice_silence(self) -> None:
        silent = time.monotonic() - self._renewed_at
        if silent > self._timing.lose_s:
            where, why = self._storage.uri(LEASE), f": {self._failure}" if self._failure else ""
            self._lost = (
                f"{where} was not renewed for {silent:.0f} s, allowed {self._timing.lose_s:g} s{why}; "
                "nothing was sealed since"
            )

    def _renew_until_the_end(self) -> None:
        while not self._ended.wait(self._timing.renew_s):
            try:
                self._renew()
            except Exception as error:  # of any store: tried again until `lose_s` have passed
                self._failure = f"{type(error).__name__}: {error}"
                self._notice_silence()
            if self._lost is not None and not self._ended.is_set():
                self._stop_the_owner()
                return

    def _renew(self) -> None:
        began = time.monotonic()
        self._look()
        if self._lost is None:
            self.holder = replace(self.holder, renewed=_time(), renewals=self.holder.renewals + 1)
            self._storage.write_bytes(LEASE, _packed(self.holder))
            self._renewed_at = began

    def _stop_the_owner(self) -> None:
        """Wake the run out of whatever it waits for, as SIGTERM would; other threads find out by `check`."""
        if self._owner is threading.main_thread() and self._owner.ident is not None:
            signal.pthread_kill(self._owner.ident, signal.SIGTERM)


@contextlib.contextmanager
def leased(storage: Storage, note: Note | None = None, timing: Timing = TIMING) -> Iterator[Lease]:
    """Have the lease of a run's folder while the block lasts. A lease that is lost meanwhile interrupts the
    main thread, if the block is in it, by SIGTERM.

    Raises:
        LeaseHeld: another driver has it; names that one, and what to do.
    """
    lease = acquire(storage, note or to_terminal, timing)
    lease.start()
    try:
        yield lease
    finally:
        lease.release()


def acquire(storage: Storage, note: Note, timing: Timing = TIMING) -> Lease:
    """Take the lease, after up to `timing.take_s` of watching whether one who has it on another machine is
    alive. Raises as `leased` does."""
    me = _myself()
    dead: Holder | None = None
    try:
        for _ in range(ATTEMPTS):
            began = time.monotonic()
            found = read_holder(storage)
            if found is not None and found != dead and found.token != me.token:
                _see_it_dead(storage, found, timing, note)
                dead = found
                continue
            now, epoch = _time(), found.epoch if found else _last_epoch(storage)
            claim = replace(me, epoch=epoch + 1, since=now, renewed=now)
            if _is_mine(storage, claim, found, timing, began):
                return Lease(storage, claim, timing, began)
        raise LeaseHeld(
            f"{storage.uri(LEASE)}: in {ATTEMPTS} attempts no claim was written within {timing.write_s:g} s "
            "and still there afterwards: the store is slow, or many drivers start at once; try again"
        )
    except BaseException:
        _give_back(storage, me)
        raise


def _is_mine(storage: Storage, claim: Holder, found: Holder | None, timing: Timing, began: float) -> bool:
    """Write a claim over what was found at `began`, and see after a while whether it is still there."""
    is_alone = False
    if found is None:
        try:
            if not storage.create_bytes(LEASE, _packed(claim)):
                return False
            is_alone = storage.is_local  # a folder keeps the condition, so that nobody else wrote one
        except UnsupportedOperation:
            storage.write_bytes(LEASE, _packed(claim))
    else:
        storage.write_bytes(LEASE, _packed(claim))
    if time.monotonic() - began > timing.write_s:
        return False
    if not is_alone:
        time.sleep(timing.settle_s)
    return read_holder(storage) == claim


def _see_it_dead(storage: Storage, found: Holder, timing: Timing, note: Note) -> None:
    """Return once a holder is known to be dead.

    Raises:
        LeaseHeld: it is alive.
    """
    if is_alive(storage, found, timing.take_s, note):
        end = f"make stop JOB={found.job}" if found.job else f"kill {found.pid} on {found.host}"
        raise LeaseHeld(
            f"{storage.uri()} is being run by {found}, since {found.since}, last renewed {found.renewed}: "
            f"wait for its end, or stop it: {end}"
        )
    if read_holder(storage) == found:
        note(f"{found} ended without giving back the lease of {storage.uri()}; this run takes it")


def with_driver(storage: Storage, status: Mapping[str, object], note: Note) -> dict[str, object]:
    """What status.json says, with `driver`, who has the lease; what is "running" and has no driver that is
    alive is "abandoned"."""
    holder = read_holder(storage)
    lives = holder is not None and is_alive(storage, holder, note=note)
    told = dict(status)
    if holder is not None:
        told["driver"] = {name: getattr(holder, name) for name in SHOWN} | {"is_alive": lives}
    if status.get("state") == "running" and not lives:
        told["state"] = "abandoned"
    return told


def machine() -> str:
    """What processes have in common that see each other's process ids; where that is unknown, nothing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"unknown {uuid.uuid4()}"


def _myself() -> Holder:
    pid = os.getpid()
    return Holder(
        token=uuid.uuid4().hex,
        epoch=0,
        host=socket.gethostname(),
        machine=machine(),
        pid=pid,
        pid_started=start_time(pid),
        user=_user(),
        job=_job(),
        since="",
        renewed="",
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"user {os.getuid()}"


def _job() -> str | None:
    """The submission id, where this process is the driver of a submitted Ray job."""
    told = json.loads(os.environ.get(RAY_JOB_CONFIG) or "{}")
    return (told.get("metadata") or {}).get("job_submission_id")


def _last_epoch(storage: Storage) -> int:
    """The epoch of the last driver, which stands in status.json when it has given the lease back."""
    try:
        return int(storage.read_json(STATUS).get("epoch", 0))
    except FileNotFoundError:
        return 0


def _give_back(storage: Storage, me: Holder) -> None:
    """Remove the record if it is mine. That it could not be done is told, and hides no earlier error."""
    try:
        found = read_holder(storage)
        if found is not None and found.token == me.token:
            storage.remove(LEASE)
    except Exception as error:
        to_terminal(f"the lease {storage.uri(LEASE)} was not given back: {type(error).__name__}: {error}")


def _packed(holder: Holder) -> bytes:
    return json.dumps(asdict(holder), ensure_ascii=False, sort_keys=True).encode()


def _time() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def to_terminal(line: str) -> None:
    print(f"raysft: {line}", file=sys.stderr, flush=True)
