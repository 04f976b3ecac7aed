"""What a run used so far, over all its starts: small objects below `usage/` of its root.

    usage/<session>/driver.json            the driver's hours, and CPU seconds of tasks by stage
    usage/<session>/<engine>-<id>.json     one for each process that holds an engine or trains: how long it
                                           was alive with which CPUs and GPUs, and what its engine was asked
    usage/<session>/stop.json              no new work shard may begin (raysft/runtime/budget.py)

A session is one start of the driver. Each object has one writer, which writes it anew every `BEAT_S` seconds
and after each work shard; so work whose process died is counted too, but for what was under way in its last
seconds. An hour of a process is an hour of all that it reserves, whether or not its engine has work.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from raysft.runtime.metering import NOTHING_USED, Tally, Usage
from raysft.runtime.storage import Storage

FOLDER = "usage"
BEAT_S = 10.0
ENGINE, TRAINING, DRIVER = "engine", "training", "driver"


def new_session() -> str:
    """A name for one start of a driver; later ones sort behind."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + f"-{uuid.uuid4().hex[:6]}"


def stop_path(session: str) -> str:
    """The object whose presence keeps workers of a session from beginning another work shard."""
    return f"{FOLDER}/{session}/stop.json"


class Ledger:
    """One process's object. `tally` is what its engine was asked; `close` writes it a last time."""

    def __init__(
        self, storage: Storage, session: str, kind: str, name: str, cpus: float = 0.0, gpus: float = 0.0
    ) -> None:
        own = DRIVER if kind == DRIVER else f"{name}-{uuid.uuid4().hex[:8]}"
        self.tally = Tally()
        self._path = f"{FOLDER}/{session}/{own}.json"
        self._storage = storage
        self._told: dict[str, Any] = {"kind": kind, "name": name, "cpus": cpus, "gpus": gpus}
        self._tasks: dict[str, float] = {}
        self._start_seconds = 0.0
        self._born = time.monotonic()
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._is_told_of = False
        self.write()
        threading.Thread(target=self._beat, name="usage", daemon=True).start()

    def started(self, seconds: float) -> None:
        """The engine is there, after so many seconds."""
        self._start_seconds = seconds

    def task(self, stage: str, seconds: float) -> None:
        """Tasks of a stage kept a CPU for so many seconds."""
        with self._writing:
            self._tasks[stage] = self._tasks.get(stage, 0.0) + seconds

    def write(self) -> None:
        """Tell what was used so far. A store that does not answer is told of once and asked again at the next
        beat: the counts are kept here, and a store that stays silent ends the work by its commits."""
        with self._writing:
            now = {
                **self._told,
                "alive_seconds": round(time.monotonic() - self._born, 3),
                "start_seconds": round(self._start_seconds, 3),
                "usage": self.tally.used.to_json(),
                "tasks": {stage: round(seconds, 3) for stage, seconds in self._tasks.items()},
            }
            try:
                self._storage.write_json(self._path, now)
            except Exception as error:  # any store's own; see above
                if not self._is_told_of:
                    print(f"raysft: usage is not written: {type(error).__name__}: {error}", file=sys.stderr)
                self._is_told_of = True

    def close(self) -> None:
        """Write a last time and end the beat; closing twice is harmless."""
        if not self._closed.is_set():
            self._closed.set()
            self.write()

    def _beat(self) -> None:
        while not self._closed.wait(BEAT_S):
            self.write()


@contextmanager
def told(
    storage: Storage, session: str, kind: str, name: str, cpus: float, gpus: float
) -> Iterator[Ledger | None]:
    """The ledger of a process that works while the block runs; none without a session."""
    if not session:
        yield None
        return
    ledger = Ledger(storage, session, kind, name, cpus, gpus)
    try:
        yield ledger
    finally:
        ledger.close()


@dataclass(frozen=True)
class Used:
    """What the processes of one engine, or those that trained, used. `alive_seconds` are summed over
    processes."""

    processes: int = 0
    alive_seconds: float = 0.0
    start_seconds: float = 0.0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    usage: Usage = NOTHING_USED

    def __add__(self, other: Used) -> Used:
        return Used(
            self.processes + other.processes,
            self.alive_seconds + other.alive_seconds,
            self.start_seconds + other.start_seconds,
            self.cpu_seconds + other.cpu_seconds,
            self.gpu_seconds + other.gpu_seconds,
            self.usage + other.usage,
        )


@dataclass(frozen=True)
class Spent:
    """What a run used over all its starts. `tasks` has CPU seconds of tasks by stage folder."""

    starts: int = 0
    driver_seconds: float = 0.0
    engines: Mapping[str, Used] = field(default_factory=dict)
    training: Used = Used()
    tasks: Mapping[str, float] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(used.usage.tokens for used in self.engines.values())

    @property
    def gpu_hours(self) -> float:
        return (self.training.gpu_seconds + sum(u.gpu_seconds for u in self.engines.values())) / 3600

    @property
    def cpu_hours(self) -> float:
        engines = sum(u.cpu_seconds for u in self.engines.values())
        return (self.training.cpu_seconds + engines + sum(self.tasks.values())) / 3600

    @property
    def hours(self) -> float:
        return self.driver_seconds / 3600


class Ledgers:
    """Reads what a run used. Objects of sessions other than `session` are final and read once."""

    def __init__(self, storage: Storage, session: str = "") -> None:
        self._storage = storage
        self._session = session
        self._final: dict[str, dict[str, Any]] | None = None

    def spent(self) -> Spent:
        """What was used so far."""
        if self._final is None:
            sessions = [s for s in self._storage.names(FOLDER) if s != self._session]
            self._final = self._read([p for s in sessions for p in self._paths(s)])
        return total({**self._final, **self._read(self._paths(self._session) if self._session else [])})

    def _paths(self, session: str) -> list[str]:
        folder = f"{FOLDER}/{session}"
        names = self._storage.names(folder)
        return [
            f"{folder}/{n}" for n in names if n.endswith(".json") and f"{folder}/{n}" != stop_path(session)
        ]

    def _read(self, paths: list[str]) -> dict[str, dict[str, Any]]:
        with ThreadPoolExecutor(16) as pool:
            return dict(zip(paths, pool.map(self._storage.read_json, paths), strict=True))


def total(objects: Mapping[str, Mapping[str, Any]]) -> Spent:
    """The sum of ledgers' objects."""
    engines: dict[str, Used] = {}
    tasks: dict[str, float] = {}
    training, seconds, starts = Used(), 0.0, 0
    for told in objects.values():
        alive = told["alive_seconds"]
        used = Used(
            1,
            alive,
            told["start_seconds"],
            alive * told["cpus"],
            alive * told["gpus"],
            Usage(**told["usage"]),
        )
        if told["kind"] == ENGINE:
            engines[told["name"]] = engines.get(told["name"], Used()) + used
        elif told["kind"] == TRAINING:
            training += used
        else:
            seconds, starts = seconds + alive, starts + 1
        for stage, spent in told["tasks"].items():
            tasks[stage] = tasks.get(stage, 0.0) + spent
    return Spent(starts, seconds, dict(sorted(engines.items())), training, dict(sorted(tasks.items())))
