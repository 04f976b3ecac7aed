"""Ends an engine's processes when the process that owns them is gone, however it went.

vLLM 0.32's children outlive an owner that is killed (seen: EngineCore and worker stayed, with 2.5 GB, also
when it was killed while they started). So the owner starts this file as a small process of its own, in a
session of its own, and tells it on its standard input which children to end. Linux ≥ 5.3.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

KILL_SECONDS = 10
"""How long a killed process may take to end (it may sit in a system call)."""


class Watchdog:
    """The owner's side: one watchdog process."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid())]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def guard(self, pid: int) -> None:
        """Have this process and its descendants killed when the owner ends or `close` is called."""
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(f"{pid} {start_time(pid)}\n".encode())
        pipe.flush()

    def close(self) -> None:
        """Kill what is guarded and still there, and end the watchdog. Closing twice is harmless."""
        self._process.communicate()


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot: with its id, its identity. "" if it has ended."""
    return _stat(pid).get("start", "")


def _stat(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return {}
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in "ZX":
        return {}
    return {"parent": fields[1], "start": fields[19]}


def descendants(pid: int) -> list[int]:
    """A process's children, their children and so on, without multiprocessing's resource trackers: these
    end by themselves, after they have removed the shared memory that a killed process left."""
    children: dict[str, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            children.setdefault(_stat(int(entry)).get("parent", ""), []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        for child in children.get(str(queue.pop()), []):
            if "resource_tracker" not in _command_line(child):
                found.append(child)
                queue.append(child)
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def kill_trees(guarded: dict[int, str]) -> None:
    """SIGKILL (it ends stopped processes too) to each process that is still the one it was, and to its
    descendants; returns when they have ended."""
    dying = []
    for pid, started in guarded.items():
        if started and start_time(pid) == started:
            for victim in [*descendants(pid), pid]:
                with contextlib.suppress(ProcessLookupError):
                    dying.append(os.pidfd_open(victim))
                    os.kill(victim, signal.SIGKILL)
    for handle in dying:
        select.select([handle], [], [], KILL_SECONDS)
        os.close(handle)


def main(owner: int) -> None:
    """Read `pid start-time` lines until the pipe or the owner ends, then kill what they name."""
    guarded: dict[int, str] = {}
    watched = [sys.stdin.fileno()]
    with contextlib.suppress(ProcessLookupError):  # an owner that has ended leaves what it wrote in the pipe
        watched.append(os.pidfd_open(owner))
    buffer = b""
    while True:
        ready, _, _ = select.select(watched, [], [])
        # What the owner wrote before it ended is read first: its pipe is ready as long as it holds some.
        chunk = os.read(watched[0], 4096) if watched[0] in ready else b""
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            pid, _, started = line.decode().partition(" ")
            guarded[int(pid)] = started
        if not chunk:
            kill_trees(guarded)
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
