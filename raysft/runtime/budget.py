"""Hard limits: a run whose budget is used up stops so that it can go on from there.

While a run is at work, a thread sums its ledgers every `LOOK_S` seconds. At a limit it leaves `stop.json`,
and no worker begins another work shard; what is under way ends and is committed. What has not ended after
`GRACE_S` seconds (a barrier, or a training, which goes on from its last checkpoint) is interrupted as by
Ctrl-C.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from raysft.costs import Budget, Prices
from raysft.runtime.ledger import DRIVER, Ledger, Ledgers, Spent, new_session, stop_path
from raysft.runtime.storage import Storage

LOOK_S = 10.0
GRACE_S = 900.0  # longer than the deadline of an engine's call
INTERRUPT = signal.SIGUSR1  # while it trains, Ray answers SIGINT with SystemExit; SIGUSR2 is NodeWatch's


class OverBudget(RuntimeError):
    """A limit of the recipe's `budget` is reached; with a higher one the run goes on."""


def cost_of(spent: Spent, prices: Prices) -> float:
    """What a run has cost, by the recipe's prices."""
    tokens = sum(
        prices.cost(engine=name, tokens_in=used.usage.tokens_in, tokens_out=used.usage.tokens_out)
        for name, used in spent.engines.items()
    )
    return tokens + prices.cost(spent.gpu_hours, spent.cpu_hours)


def reached(budget: Budget, spent: Spent, prices: Prices) -> list[str]:
    """A line for each limit that is reached: what was used, and the limit."""
    lines = []
    if budget.tokens is not None and spent.tokens >= budget.tokens:
        lines.append(f"{spent.tokens:,} tokens of budget.tokens {budget.tokens:,}")
    if budget.gpu_hours is not None and spent.gpu_hours >= budget.gpu_hours:
        lines.append(f"{spent.gpu_hours:.3f} GPU-hours of budget.gpu_hours {budget.gpu_hours:g}")
    if budget.cost is not None and (cost := cost_of(spent, prices)) >= budget.cost:
        lines.append(f"{cost:,.4g} {prices.currency} of budget.cost {budget.cost:g}")
    if budget.hours is not None and spent.hours >= budget.hours:
        lines.append(f"{spent.hours:.3f} hours of budget.hours {budget.hours:g}")
    return lines


class Watch:
    """The driver's side: its own ledger, and an eye on all of them while the `with` block runs.

    Leaving the block turns an interruption of the watch's own making into OverBudget. With `look_s` 0 it
    looks whenever it is asked, instead of by the clock.
    """

    def __init__(
        self,
        storage: Storage,
        budget: Budget,
        prices: Prices,
        note: Callable[[str], None] = lambda line: None,
        look_s: float = LOOK_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self.session = new_session()
        self._storage, self._budget, self._prices, self._note = storage, budget, prices, note
        self._look_s, self._grace_s = look_s, grace_s
        self._ledgers = Ledgers(storage, self.session)
        self._ledger: Ledger | None = None
        self._over: list[str] = []
        self._over_at = 0.0
        self._looking = threading.Lock()
        self._left = threading.Event()
        self._is_silent = False
        self._can_wait = True
        self._is_main = threading.current_thread() is threading.main_thread()
        self._handler: Any = signal.SIG_DFL

    @property
    def stop(self) -> str:
        """The object that workers look for before each work shard; "" where nothing can stop them."""
        return stop_path(self.session) if self._budget.is_set else ""

    def __enter__(self) -> Watch:
        self._ledger = Ledger(self._storage, self.session, DRIVER, DRIVER)
        if self._is_main:
            self._handler = signal.signal(INTERRUPT, signal.default_int_handler)
        if self._budget.is_set:
            threading.Thread(target=self._keep_looking, name="budget", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._looking:
            self._left.set()
        if self._is_main:
            signal.signal(INTERRUPT, self._handler)
        if self._ledger is not None:
            self._ledger.close()
        if isinstance(error, KeyboardInterrupt) and self._over:
            raise self._error() from None

    def task(self, stage: str, seconds: float) -> None:
        """Tasks of a stage kept a CPU for so many seconds; outside of the `with` block nobody asks."""
        if self._ledger is not None:
            self._ledger.task(stage, seconds)

    def check(self) -> None:
        """Look now, whenever the last look was.

        Raises:
            OverBudget: a limit is reached.
        """
        if self._look():
            raise self._error()

    def look(self) -> bool:
        """Whether a limit is reached, as of the last look, at most `look_s` ago."""
        return bool(self._over) or (self._look_s == 0 and self._look())

    def not_resting(self) -> None:
        """What comes now (training) does not look for `stop.json`: at a limit there is nothing to wait
        for."""
        self._can_wait = False

    def spent(self) -> Spent:
        """What the run used so far, over all its starts."""
        if self._ledger is not None:
            self._ledger.write()
        return self._ledgers.spent()

    def _error(self) -> OverBudget:
        return OverBudget(
            f"the budget is used up: {'; '.join(self._over)}. What is committed is kept: raise the limit and "
            "start the same command again"
        )

    def _look(self) -> bool:
        if not self._budget.is_set or self._over:
            return bool(self._over)
        found = reached(self._budget, self.spent(), self._prices)
        if found:
            self._over, self._over_at = found, time.monotonic()
        if found and self._ledger is not None:
            self._storage.write_json(stop_path(self.session), found)
        return bool(found)

    def _keep_looking(self) -> None:
        while not self._left.wait(self._look_s or LOOK_S):
            try:
                self._look()
                self._is_silent = False
            except Exception as error:  # any store's own: told once, and asked again at the next look
                if not self._is_silent:
                    self._note(f"  budget: usage cannot be read: {type(error).__name__}: {error}")
                self._is_silent = True
            patience = self._grace_s if self._can_wait else 0.0
            if self._over and time.monotonic() - self._over_at >= patience:
                self._interrupt()

    def _interrupt(self) -> None:
        """Interrupt the main thread as Ctrl-C does, where it is the one that waits for Ray; it is given the
        time to end before it is interrupted again."""
        with self._looking:
            if self._is_main and not self._left.is_set():
                signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)
        self._over_at, self._can_wait = time.monotonic(), True
