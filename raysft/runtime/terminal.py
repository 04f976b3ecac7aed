"""Ray, vLLM and their C++ parts write to this process's standard streams; a run's view is drawn there too.
While a run lasts, those streams go to a log file, and the view keeps the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


def log_path(run: str) -> Path:
    """Where the output of Ray and of libraries goes during a run."""
    return Path(tempfile.gettempdir()) / f"raysft-{run}-{os.getpid()}.log"


@contextlib.contextmanager
def terminal_kept(log: Path) -> Iterator[TextIO]:
    """Send file descriptors 1 and 2 to `log`; yields a stream to where standard error was."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    terminal = os.fdopen(os.dup(saved[1]), "w", encoding="utf-8", errors="replace")
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    try:
        yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        terminal.close()
        for number, before in zip((1, 2), saved, strict=True):
            os.dup2(before, number)
            os.close(before)
