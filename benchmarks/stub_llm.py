"""Engines that only take time: what a scheduler is worth shows where nothing else is slow.

An engine serves `SLOTS` requests at once, first come first served, as one with continuous batching does. A
request's service time is decided by the engine's model and the request's text: log-normal with `SIGMA`, so
that the slowest of a hundred takes ten times as long as the median, clipped at `LONGEST` times the mean. It
uses no processor.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from benchmarks.runs import run_of
from raysft.engines.loop_thread import LoopThread
from raysft.engines.protocol import AnswerScore, Completion, Identity, Output, Request, TurnScore
from raysft.engines.spec import Engine
from raysft.runtime.driver import Run
from raysft.runtime.manifest import Manifest
from raysft.runtime.progress import Progress
from raysft.runtime.storage import Storage
from raysft.sample import uniform

SLOTS = 64
MEAN_SECONDS = 1.0
SIGMA = 1.0
LONGEST = 16.0


class Slots:
    """The engine inside an event loop: LLM and Scorer, asynchronously."""

    def __init__(self, model: str = "stub") -> None:
        self._model = model
        self._slots = asyncio.Semaphore(SLOTS)

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        return list(await asyncio.gather(*(self._answer(request) for request in requests)))

    async def score(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[AnswerScore]:
        return list(await asyncio.gather(*(self._score(messages) for messages in conversations)))

    async def _answer(self, request: Request) -> Completion:
        text = request.messages[-1]["content"]
        await self._serve(text)
        return Completion((Output(f"Answer to {text}", "stop", 8),), prompt_tokens=8)

    async def _score(self, messages: Sequence[Mapping[str, str]]) -> AnswerScore:
        await self._serve(messages[-1]["content"])
        return AnswerScore(8.0, 8, turns=(TurnScore(8.0, 8),))

    async def _serve(self, text: str) -> None:
        async with self._slots:
            await asyncio.sleep(service_seconds(self._model, text))


class StubEngine:
    """LLM and Scorer for callers on any thread."""

    start_seconds = 0.0

    def __init__(self, model: str = "stub") -> None:
        self.identity = Identity(model, "1")
        self._loop = LoopThread("stub-engine")
        self._slots = Slots(model)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        return self._loop.run(self._slots.generate(requests))

    def score(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[AnswerScore]:
        return self._loop.run(self._slots.score(conversations))

    def close(self) -> None:
        self._loop.stop()


def service_seconds(model: str, text: str) -> float:
    """Seconds that a request takes: log-normal of mean `MEAN_SECONDS` before it is clipped."""
    z = NormalDist().inv_cdf(min(max(uniform("service", model, text), 1e-9), 1 - 1e-9))
    return min(MEAN_SECONDS * math.exp(SIGMA * z - SIGMA**2 / 2), LONGEST * MEAN_SECONDS)


def texts(n: int) -> list[str]:
    return [f"request {i}" for i in range(n)]


def requests(n: int) -> list[Request]:
    return [Request(({"role": "user", "content": text},)) for text in texts(n)]


def least_seconds(n: int, engines: int) -> float:
    """What n requests take at least: all slots of all engines busy from the first moment to the last."""
    return sum(service_seconds("model", text) for text in texts(n)) / (SLOTS * engines)


def feed_run(folder: Path, n: int, engines: int, rows_per_shard: int, capacity: Any) -> Run:
    """A run that answers n requests with so many stub engines."""

    source = folder / "requests.jsonl"
    rows = ({"messages": [{"role": "user", "content": text}]} for text in texts(n))
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    spec = {
        "kind": "vllm",
        "model": str(folder / "model"),
        "replicas": {"min": engines, "max": engines},
        "cpus": 0.5,
    }
    tree = {
        "run": "feed",
        "root": str(folder),
        "engines": {"stub": spec},
        "sources": [{"path": str(source)}],
        "stages": [{"augment.respond": {"engine": "stub", "rows_per_shard": rows_per_shard}}],
    }
    return run_of(tree, capacity, Builder(str(folder)))


@dataclass(frozen=True)
class Builder:
    """Builds an engine of a spec and writes down below `folder` when, and in which process."""

    folder: str

    def __call__(self, spec: Engine) -> StubEngine:
        engine = StubEngine(Path(spec.model).name)
        name = f"ready-{os.getpid()}.json"
        partial = Path(self.folder) / f".{name}"
        partial.write_text(json.dumps({"at": time.monotonic(), "pid": os.getpid()}))
        partial.rename(Path(self.folder) / name)
        return engine


def _told(folder: Path) -> list[dict[str, Any]]:
    return sorted((json.loads(f.read_text()) for f in folder.glob("ready-*.json")), key=lambda t: t["at"])


def ready_of(folder: Path) -> list[float]:
    """When engines were ready (`time.monotonic()`), the first first."""
    return [told["at"] for told in _told(folder)]


def processes_of(folder: Path) -> list[int]:
    """Their processes, in the same order."""
    return [told["pid"] for told in _told(folder)]


class Clock(Progress):
    """A progress view that keeps the moment of the last commit that it was told of."""

    last = 0.0

    def advance(self, *args: Any, **kwargs: Any) -> None:
        self.last = time.monotonic()
        super().advance(*args, **kwargs)


def answers_of(storage: Storage, sealed: Manifest) -> list[str]:
    """The answers of a sealed stage."""
    return [
        messages[-1]["content"]
        for record in sealed.shards
        for messages in storage.read_table(f"{sealed.folder}/shards/{record.name}", ["messages"])[
            "messages"
        ].to_pylist()
    ]
