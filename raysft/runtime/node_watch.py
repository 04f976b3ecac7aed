"""Ends a run that waits for nodes which do not come, with an error that says for which.

Ray lets tasks and actors that fit on no living node wait without a word, for ever: so that an autoscaler has
time to start a node, and also where nothing ever will. A thread looks every few seconds whether what the run
is at now could be placed at all. If it could not for `wait_s`, and no work shard ended meanwhile, the main
thread is interrupted, wherever it waits, by a signal whose handler raises `NodesMissing`.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from raysft.runtime.capacity import Capacity, Nodes, Want, fit, sizes

LOOK_EVERY_S = 2.0
TELL_AFTER_S = 10.0
SIGNAL = signal.SIGUSR2


class NodesMissing(RuntimeError):
    """The nodes that a run needs did not come in time; running again goes on from what is committed."""


class NodeWatch:
    """What a run needs now, and since when its cluster's living nodes could not hold it."""

    def __init__(
        self,
        wait_s: float = math.inf,
        note: Callable[[str], None] = lambda line: None,
        living: Callable[[], Sequence[Nodes]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.error: NodesMissing | None = None
        self._wait_s = wait_s
        self._note = note
        self._living = living
        self._clock = clock
        self._wants: tuple[Want, ...] = ()
        self._since: float | None = None
        self._is_told = False

    def needs(self, wants: Sequence[Want]) -> None:
        """From now on the run needs places for these together."""
        self._wants, self._since = tuple(wants), None

    def heard(self) -> None:
        """Work was done: whatever is missing, the run goes on without it."""
        self._since = None

    def look(self) -> None:
        """Compare with the living nodes; tell what is missing, and set `error` once that took too long."""
        wants, nodes, now = self._wants, tuple(self._living()), self._clock()
        if fit(wants, Capacity(nodes, ""), kindly=True):
            if self._is_told:
                self._note("  the nodes that were missing are there")
            self._since, self._is_told = None, False
            return
        self._since = now if self._since is None else self._since
        waited = now - self._since
        missing = f"{' and '.join(map(str, wants))}; its nodes are {sizes(nodes) or 'none'}"
        if waited >= self._wait_s:
            self.error = NodesMissing(
                f"waited {waited:.0f} s (wait_for_nodes_s) for nodes that did not come: the cluster must "
                f"hold {missing}. Look at its autoscaler (`ray status`), or ask for less"
            )
        elif waited >= TELL_AFTER_S and not self._is_told:
            self._note(f"  waiting up to {self._wait_s:.0f} s for nodes: the cluster must hold {missing}")
            self._is_told = True


@contextmanager
def watched(
    wait_s: float, note: Callable[[str], None], living: Callable[[], Sequence[Nodes]]
) -> Iterator[NodeWatch]:
    """A watch at work while the block runs. Only a main thread can be interrupted; elsewhere nothing is
    watched.

    Raises:
        NodesMissing: anywhere in the block.
    """
    watch = NodeWatch(wait_s, note, living)
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    done = threading.Event()

    def interrupted(number: int, frame: FrameType | None) -> None:
        if watch.error is not None and not done.is_set():
            raise watch.error

    def run() -> None:
        while not done.wait(LOOK_EVERY_S):
            watch.look()
            if watch.error is not None:
                signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)

    before = signal.signal(SIGNAL, interrupted)
    thread = threading.Thread(target=run, name="node-watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()
        signal.signal(SIGNAL, before)
