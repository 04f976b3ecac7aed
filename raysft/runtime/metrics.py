"""What a run counts while it works, as metrics of Ray's, which Prometheus reads from every node.

Ray's agent puts `ray_` before each name and `_total` behind a counter's (`Named.exported`), and adds the node
and the worker. Rows and drops are counted by the driver, from commits, so that a work shard that is done
twice counts once. Requests, tokens and seconds are counted where the engine is, as they happen. What a worker
has not yet told when it is killed is lost: manifests hold a run's exact numbers, these say how it goes.

Ray forgets what is recorded before `ray.init`: make these objects after it.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ray.util import metrics

from raysft.engines.protocol import AnswerScore, Choice, ChoiceScore, ClassScore, Completion, Message, Request
from raysft.stage import Counts

MOST_RULES = 200
"""Pairs of stage and rule that one driver tells by name; later ones are told as rule `other`. Each is a time
series that Prometheus keeps. Our choice."""

TICK_S = 5.0
"""Seconds between two accounts of an engine that nobody calls. Ray reports every 10 s."""

OUTCOMES = ("passed", "consumed", "dropped_in", "quarantined", "made_kept", "made_dropped")
"""Where a stage's rows go: the fields of `raysft.stage.Counts`."""


@dataclass(frozen=True)
class Named:
    """A metric: its name, what it says with its unit, and the tags that tell its series apart."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    tags: tuple[str, ...]
    boundaries: tuple[float, ...] = ()

    @property
    def exported(self) -> tuple[str, ...]:
        """The names that Prometheus reads."""
        endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
        return tuple(f"ray_{self.name}{ending}" for ending in endings[self.kind])

    def make(self, run: str, **tags: str) -> Any:
        """The metric of this process for a run; `tags` are those that stay the same."""
        keys = ("run", *self.tags)
        if self.kind == "histogram":
            made: Any = metrics.Histogram(
                self.name, description=self.description, boundaries=list(self.boundaries), tag_keys=keys
            )
        else:
            kind = metrics.Counter if self.kind == "counter" else metrics.Gauge
            made = kind(self.name, description=self.description, tag_keys=keys)
        made.set_default_tags({"run": run, **tags})
        return made


ROWS = Named(
    "raysft_rows", "counter", "rows of committed work shards, by where they went", ("stage", "outcome")
)
DROPS = Named("raysft_dropped_rows", "counter", "rows dropped, by stage and rule", ("stage", "rule"))
TOKENS = Named("raysft_tokens", "counter", "tokens read (prompt), generated or scored", ("engine", "kind"))
IN_FLIGHT = Named(
    "raysft_requests_in_flight",
    "gauge",
    "requests that an engine's replica has taken and not answered",
    ("engine",),
)
ENGINE_SECONDS = Named(
    "raysft_engine_seconds",
    "counter",
    "seconds of an engine's replica, busy (a request in flight) or idle (none), after its start",
    ("engine", "device", "state"),
)
ENGINE_START = Named(
    "raysft_engine_start_seconds",
    "histogram",
    "seconds that an engine took to start, each start one observation",
    ("engine",),
    (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0),
)
TRAINING_LOSS = Named("raysft_training_loss", "gauge", "loss of the last step, in nats a token", ())
TRAINING_SPEED = Named("raysft_training_tokens_per_second", "gauge", "tokens a second over all workers", ())
TRAINING_STEP = Named("raysft_training_step", "gauge", "the last step that ended, from 1", ())

ALL = (
    ROWS,
    DROPS,
    TOKENS,
    IN_FLIGHT,
    ENGINE_SECONDS,
    ENGINE_START,
    TRAINING_LOSS,
    TRAINING_SPEED,
    TRAINING_STEP,
)


def run_name(root: str) -> str:
    """The run's name, which is the last part of where it is stored."""
    return root.rstrip("/").rsplit("/", 1)[-1]


class RunMetrics:
    """The driver's: rows and drops."""

    def __init__(self, run: str) -> None:
        self._rows, self._drops = ROWS.make(run), DROPS.make(run)
        self._told: set[tuple[str, str]] = set()

    def committed(self, stage: str, counts: Counts) -> None:
        """Count a work shard's rows; `stage` as the progress view names it, "03-evolve"."""
        for outcome in OUTCOMES:
            _add(self._rows, getattr(counts, outcome), stage=stage, outcome=outcome)
        for rule, rows in counts.rules.items():
            _add(self._drops, rows, stage=stage, rule=self._bounded(stage, rule))

    def _bounded(self, stage: str, rule: str) -> str:
        if (stage, rule) not in self._told:
            if len(self._told) >= MOST_RULES:
                return "other"
            self._told.add((stage, rule))
        return rule


class EngineMetrics:
    """A replica's: requests in flight, seconds busy and idle, tokens, starts. Safe for many threads."""

    def __init__(
        self, run: str, engine: str, on_gpu: bool, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._in_flight = IN_FLIGHT.make(run, engine=engine)
        self._seconds = ENGINE_SECONDS.make(run, engine=engine, device="gpu" if on_gpu else "cpu")
        self._tokens = TOKENS.make(run, engine=engine)
        self._starts = ENGINE_START.make(run, engine=engine)
        self._now = now
        self._lock = threading.Lock()
        self._requests = 0
        self._accounted = now()

    @contextmanager
    def taking(self, requests: int) -> Iterator[None]:
        """While the block runs, so many requests more are in flight."""
        self._change(requests)
        try:
            yield
        finally:
            self._change(-requests)

    def tick(self) -> None:
        """Account for the time since the last change or tick, so that an engine that nobody calls is seen."""
        self._change(0)

    def count(self, kind: str, tokens: int) -> None:
        """Count tokens: "prompt", "generated" or "scored"."""
        _add(self._tokens, tokens, kind=kind)

    def started(self, seconds: float) -> None:
        """Tell a start of the engine; one that is loaded at its first call has none to tell."""
        if seconds > 0:
            self._starts.observe(seconds)

    def _change(self, requests: int) -> None:
        with self._lock:
            now = self._now()
            _add(self._seconds, now - self._accounted, state="busy" if self._requests else "idle")
            self._accounted = now
            self._requests += requests
            self._in_flight.set(self._requests)


class MeasuredEngine:
    """An engine whose calls are counted; all else is the engine's own."""

    def __init__(self, engine: Any, measured: EngineMetrics) -> None:
        self._engine = engine
        self._measured = measured
        self._start_seconds = 0.0
        self._closed = threading.Event()
        self._tell_start()
        threading.Thread(target=self._keep_ticking, name="engine-metrics", daemon=True).start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        with self._measured.taking(len(requests)):
            completions: list[Completion] = self._engine.generate(requests)
        self._measured.count("prompt", sum(c.prompt_tokens for c in completions))
        self._measured.count("generated", sum(o.tokens for c in completions for o in c.outputs))
        self._tell_start()
        return completions

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[AnswerScore]:
        return self._scored(self._engine.score, conversations)

    def score_alone(self, conversations: Sequence[Sequence[Message]]) -> list[AnswerScore]:
        return self._scored(self._engine.score_alone, conversations)

    def score_choices(self, choices: Sequence[Choice]) -> list[ChoiceScore]:
        with self._measured.taking(len(choices)):
            return list(self._engine.score_choices(choices))

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        with self._measured.taking(len(texts)):
            found: np.ndarray = self._engine.embed(texts)
            return found

    def classify(self, conversations: Sequence[Sequence[Message]]) -> list[ClassScore]:
        return self._scored(self._engine.classify, conversations)

    def classify_tuned(
        self, conversations: Sequence[Sequence[Message]], weights: Mapping[str, np.ndarray]
    ) -> list[ClassScore]:
        return self._scored(functools.partial(self._engine.classify_tuned, weights=weights), conversations)

    def close(self) -> None:
        """Close the engine, where it can be closed, and tell no more of it."""
        self._closed.set()
        close = getattr(self._engine, "close", None)
        if close:
            close()

    def _scored(self, call: Callable[[Any], Any], conversations: Sequence[Sequence[Message]]) -> Any:
        with self._measured.taking(len(conversations)):
            scores = call(conversations)
        self._measured.count("scored", sum(s.tokens for s in scores))
        return scores

    def _tell_start(self) -> None:
        """An engine that died was started again inside its own call: `start_seconds` is then another."""
        seconds = float(getattr(self._engine, "start_seconds", 0.0))
        if seconds != self._start_seconds:
            self._start_seconds = seconds
            self._measured.started(seconds)

    def _keep_ticking(self) -> None:
        while not self._closed.wait(TICK_S):
            self._measured.tick()


class TrainingMetrics:
    """Worker 0's, of a training."""

    def __init__(self, run: str) -> None:
        self._loss, self._speed = TRAINING_LOSS.make(run), TRAINING_SPEED.make(run)
        self._step = TRAINING_STEP.make(run)

    def after_step(self, step: int, loss: float, tokens_per_second: float) -> None:
        self._step.set(step)
        self._loss.set(loss)
        self._speed.set(tokens_per_second)


def _add(counter: Any, amount: float, **tags: str) -> None:
    """Ray refuses to count nothing."""
    if amount > 0:
        counter.inc(amount, tags=tags)
