"""What raysft adds to vLLM's worker processes: they end when the process that asked for them is gone.

vLLM 0.32's children outlive a parent that is killed (seen: EngineCore and worker stayed, with 2.5 GB). vLLM
mixes this class into its worker (`worker_extension_cls`), which then takes EngineCore along.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import threading
from typing import Any

OWNER_VARIABLE = "RAYSFT_ENGINE_OWNER"
"""Environment variable with the process id of the engine's owner, which vLLM's children inherit."""


class DiesWithOwner:
    """vLLM appends this to the bases of its worker class; `__new__` is the one hook that runs unasked."""

    def __new__(cls, *args: Any, **kwargs: Any) -> DiesWithOwner:
        del args, kwargs
        die_with(int(os.environ[OWNER_VARIABLE]))
        return super().__new__(cls)


def die_with(owner: int) -> None:
    """Kill this process, and the one between it and `owner`, once `owner` has ended (Linux ≥ 5.3).

    The process between is EngineCore where vLLM runs workers as its children; left alone it would stay.
    """

    def watch() -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended before we looked
            select.select([os.pidfd_open(owner)], [], [])
        between = multiprocessing.parent_process()
        if between is not None and between.pid not in (None, owner) and between.is_alive():
            os.kill(between.pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="owner-watch", daemon=True).start()
