"""Asking a store again: with growing waits, some of them by chance, up to a bound, and never in silence.

Two layers ask again, and no third. botocore repeats one request (of S3 alone) up to `raysft.stores.opening.
REQUEST_ATTEMPTS` times within seconds, so that a part of a large upload need not cost all of it. Around each
operation stands `tried`: until `Patience.seconds` have passed since its first failure, and once at the least.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from raysft.stores.addresses import redacted
from raysft.stores.failures import is_transient, reason, told

logger = logging.getLogger("raysft.stores")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How long an operation is tried: waits double from `first_wait` to `longest_wait` seconds, and of each
    between half and all is waited, by chance, so that many workers do not come back together."""

    seconds: float = 60.0
    first_wait: float = 0.5
    longest_wait: float = 8.0
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def wait(self, failures: int) -> float:
        """Seconds before the next attempt, after so many failures."""
        longest = min(self.longest_wait, self.first_wait * 2.0 ** (failures - 1))
        return random.uniform(longest / 2, longest)


PATIENCE = Patience()


class _Counter(threading.local):
    """Attempts that a thread repeated."""

    repeated = 0


_counter = _Counter()


def take_repeated() -> int:
    """How often this thread has tried an operation again since it was last asked."""
    taken, _counter.repeated = _counter.repeated, 0
    return taken


def tried(call: Callable[[], Result], uri: str, doing: str, patience: Patience = PATIENCE) -> Result:
    """What `call` returns; called again while its errors are transient and patience lasts.

    Args:
        call: may be called several times: reads, and writes of whole objects.
        uri: what it is about; `doing` is "read", "written" or "listed", for messages.

    Raises:
        FileNotFoundError: there is no such object.
        StoreError: any other reason, on one line.
    """
    failures, since = 0, 0.0
    while True:
        try:
            return call()
        except Exception as error:
            if not is_transient(error):
                raise told(error, uri, doing) from error
            failures += 1
            since = since if failures > 1 else patience.now()
            lost = patience.now() - since
            if failures > 1 and lost >= patience.seconds:
                final = told(error, uri, doing)
                raise type(final)(f"{final}; given up after {failures} attempts, {lost:.0f} s") from error
            wait = patience.wait(failures)
            logger.warning(
                "%s could not be %s (%s); attempt %d follows in %.1f s",
                *(redacted(uri), doing, reason(error), failures + 1, wait),
            )
        _counter.repeated += 1
        patience.sleep(wait)
