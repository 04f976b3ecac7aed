"""status.json and _SUCCESS: what became of a run, for whoever only sees its folder.

`ray job submit` folds every failure into one exit status and gives 0 for a stopped job; these files tell.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from raysft.runtime.storage import Storage
from raysft.stores.addresses import redacted

STATUS = "status.json"
SUCCESS = "_SUCCESS"


class Status:
    """Writes a run's state: "running", "succeeded", "failed", "stopped" or "over_budget"; `_SUCCESS` only at
    the end."""

    def __init__(self, storage: Storage, run: str, epoch: int = 0) -> None:
        """`epoch` is the lease's: which driver of the run this is, from 1."""
        self._storage = storage
        self._now: dict[str, Any] = {"run": run, "pid": os.getpid(), "started": _time(), "epoch": epoch}

    def running(self, stage: str) -> None:
        self._write(state="running", stage=stage)

    def begin(self) -> None:
        """A run starts, or starts again: an earlier success no longer holds."""
        if self._storage.exists(SUCCESS):
            self._storage.remove(SUCCESS)
        self._write(state="running", stage="preflight")

    def failed(self, error: BaseException) -> None:
        self._write(state="failed", error=redacted(f"{type(error).__name__}: {error}"))

    def over_budget(self, error: BaseException) -> None:
        """A limit of the recipe's budget is reached; the run goes on once it is raised."""
        self._write(state="over_budget", error=str(error))

    def stopped(self) -> None:
        self._write(state="stopped")

    def succeeded(self, numbers: dict[str, Any], until: str | None = None) -> None:
        """All that was asked for is there; only the whole of it, not a part up to `until`, is a success."""
        self._write(state="succeeded", stage=until, numbers=numbers)
        if until is None:
            self._storage.write_json(SUCCESS, numbers)

    def _write(self, **changes: Any) -> None:
        self._now.update(changes, updated=_time())
        self._storage.write_json(STATUS, self._now)


def _time() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
