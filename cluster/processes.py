"""Processes that were started here, known by id and start time, so that just those are ended.

Whoever records a `ProcessId` and its `tree` can end them later, from another process too, without touching a
process that was given the same id since then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

TERM_GRACE_S = 5.0


@dataclass(frozen=True)
class ProcessId:
    """A process id with its start time (s since the epoch), since the system uses ids again."""

    pid: int
    started: float


def process_id(pid: int) -> ProcessId:
    return ProcessId(pid, psutil.Process(pid).create_time())


def alive(processes: Iterable[ProcessId]) -> list[psutil.Process]:
    """Those of `processes` that still run and are the ones recorded, not later owners of the same id."""
    found = []
    for recorded in processes:
        try:
            process = psutil.Process(recorded.pid)
            same = abs(process.create_time() - recorded.started) < 1
            if same and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def tree(processes: Iterable[ProcessId]) -> tuple[ProcessId, ...]:
    """The processes that are alive, followed by all their descendants."""
    found: dict[int, ProcessId] = {}
    for process in alive(processes):
        try:
            family = [process, *process.children(recursive=True)]
            found.update({p.pid: ProcessId(p.pid, p.create_time()) for p in family})
        except psutil.NoSuchProcess:
            continue
    return tuple(found.values())


def terminate(processes: Iterable[ProcessId], grace_s: float = TERM_GRACE_S) -> int:
    """Ask the processes to end and kill those left after `grace_s`, all at once where it is 0; returns how
    many there were."""
    running = left = alive(processes)
    if grace_s:
        _each(running, psutil.Process.terminate)
        _, left = psutil.wait_procs(running, timeout=grace_s)
    _each(left, psutil.Process.kill)
    psutil.wait_procs(left, timeout=TERM_GRACE_S)
    return len(running)


def _each(processes: Iterable[psutil.Process], signal: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            signal(process)
        except psutil.NoSuchProcess:
            continue
