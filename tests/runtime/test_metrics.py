"""Counters of a run: what each says, that names stay few, and that a real Ray tells them to Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from raysft.engines.protocol import AnswerScore, ClassScore, Completion, Identity, Output, Request
from raysft.runtime import metrics
from raysft.runtime.metrics import EngineMetrics, MeasuredEngine, RunMetrics, TrainingMetrics
from raysft.stage import Counts

Series = dict[tuple[str, ...], float]


class Kept:
    """Stands for Ray's Counter, Gauge and Histogram: keeps what it was told by name and tags."""

    told: dict[str, Series]

    def __init__(
        self, name: str, description: str, tag_keys: tuple[str, ...], boundaries: Any = None
    ) -> None:
        assert description
        self.name, self.keys, self.tags = name, tag_keys, {}
        self.told.setdefault(name, {})

    def set_default_tags(self, tags: dict[str, str]) -> None:
        self.tags = tags

    def _at(self, tags: dict[str, str] | None) -> tuple[str, ...]:
        given = {**self.tags, **(tags or {})}
        assert set(given) == set(self.keys), "Ray refuses a record without all tags"
        assert all(isinstance(value, str) for value in given.values())
        return tuple(given[key] for key in self.keys)

    def inc(self, value: float, tags: dict[str, str] | None = None) -> None:
        assert value > 0, "Ray refuses to count nothing"
        series, at = self.told[self.name], self._at(tags)
        series[at] = series.get(at, 0) + value

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        self.told[self.name][self._at(tags)] = value

    def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
        self.inc(1, tags)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Series]:
    """What was told to metrics that stand for Ray's."""
    kept: dict[str, Series] = {}
    fake = type("Fake", (Kept,), {"told": kept})
    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(metrics.metrics, kind, fake)
    return kept


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Speaker:
    """An engine of all protocols, whose answers are one token."""

    identity = Identity("speaker")
    start_seconds = 12.0

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.during = during
        self.is_closed = False

    def generate(self, requests: Any) -> list[Completion]:
        self.during()
        return [Completion((Output("a", "stop", 1),) * r.sampling.n, prompt_tokens=5) for r in requests]

    def score(self, conversations: Any) -> list[AnswerScore]:
        return [AnswerScore(1.0, 3) for _ in conversations]

    def classify_tuned(self, conversations: Any, weights: Any) -> list[ClassScore]:
        assert weights is not None
        return [ClassScore((0.5,), 7) for _ in conversations]

    def embed(self, texts: Any) -> np.ndarray:
        self.during()
        return np.zeros((len(texts), 2), np.float32)

    def close(self) -> None:
        self.is_closed = True


def measured(engine: Any, clock: Clock | None = None, on_gpu: bool = True) -> MeasuredEngine:
    return MeasuredEngine(engine, EngineMetrics("run", "teacher", on_gpu, clock or Clock()))


def test_exported_names_are_those_of_prometheus() -> None:
    assert metrics.ROWS.exported == ("ray_raysft_rows_total",)
    assert metrics.IN_FLIGHT.exported == ("ray_raysft_requests_in_flight",)
    assert metrics.ENGINE_START.exported[0] == "ray_raysft_engine_start_seconds_bucket"


def test_run_name_of_a_folder_or_bucket_is_its_last_part() -> None:
    assert metrics.run_name("/data/runs/demo") == "demo"
    assert metrics.run_name("s3://bucket/prefix/demo/") == "demo"


def test_committed_rows_are_counted_by_where_they_went(told: dict[str, Series]) -> None:
    run = RunMetrics("demo")
    counts = Counts(rows_in=10, passed=7, dropped_in=3, made_kept=2, rules={"refusal": 3})
    run.committed("03-rules", counts)
    run.committed("03-rules", counts)
    assert told["raysft_rows"] == {
        ("demo", "03-rules", "passed"): 14,
        ("demo", "03-rules", "dropped_in"): 6,
        ("demo", "03-rules", "made_kept"): 4,
    }
    assert told["raysft_dropped_rows"] == {("demo", "03-rules", "refusal"): 6}


def test_rules_beyond_the_bound_are_told_as_other(
    told: dict[str, Series], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MOST_RULES", 2)
    run = RunMetrics("demo")
    for rule in ("a", "b", "c", "d", "a"):
        run.committed("s", Counts(rules={rule: 1}))
    rules = {rule: n for (_, _, rule), n in told["raysft_dropped_rows"].items()}
    assert rules == {"a": 2, "b": 1, "other": 2}


def test_engine_seconds_are_busy_while_a_request_is_in_flight_and_idle_else(told: dict[str, Series]) -> None:
    clock = Clock()
    engine = EngineMetrics("run", "teacher", True, clock)

    def passes(seconds: float) -> None:
        clock.now += seconds

    passes(4)
    with engine.taking(2):
        passes(1)
        with engine.taking(3):
            assert told["raysft_requests_in_flight"] == {("run", "teacher"): 5}
            passes(2)
        passes(3)
    passes(10)
    engine.tick()
    seconds = {state: n for (*_, state), n in told["raysft_engine_seconds"].items()}
    assert seconds == {"idle": 14, "busy": 6}
    assert told["raysft_requests_in_flight"] == {("run", "teacher"): 0}


def test_requests_of_a_call_that_fails_are_in_flight_no_more(told: dict[str, Series]) -> None:
    def fail() -> None:
        raise RuntimeError("out of memory")

    engine = measured(Speaker(fail))
    with pytest.raises(RuntimeError, match="out of memory"):
        engine.embed(["one", "two"])
    engine.close()
    assert told["raysft_requests_in_flight"] == {("run", "teacher"): 0}


def test_tokens_are_counted_as_prompt_generated_and_scored(told: dict[str, Series]) -> None:
    engine = measured(Speaker())
    request = Request(({"role": "user", "content": "hi"},))
    assert len(engine.generate([request, request])) == 2
    engine.score([[{"role": "user", "content": "hi"}]])
    engine.classify_tuned([[{"role": "user", "content": "hi"}]], {})
    engine.close()
    kinds = {kind: n for (_, _, kind), n in told["raysft_tokens"].items()}
    assert kinds == {"prompt": 10, "generated": 2, "scored": 10}


def test_starts_of_an_engine_that_is_replaced_are_each_observed(told: dict[str, Series]) -> None:
    speaker = Speaker()
    engine = measured(speaker)
    engine.generate([])
    assert told["raysft_engine_start_seconds"] == {("run", "teacher"): 1}
    speaker.start_seconds = 14.0  # it died and came back in this call
    engine.generate([])
    engine.close()
    assert told["raysft_engine_start_seconds"] == {("run", "teacher"): 2}


def test_measured_engine_hands_on_what_is_not_a_call(told: dict[str, Series]) -> None:
    speaker = Speaker()
    engine = measured(speaker)
    assert engine.identity == Identity("speaker")
    engine.close()
    assert speaker.is_closed


def test_training_tells_its_last_step(told: dict[str, Series]) -> None:
    training = TrainingMetrics("demo")
    training.after_step(1, 3.0, 100.0)
    training.after_step(2, 2.5, 120.0)
    assert told["raysft_training_loss"] == {("demo",): 2.5}
    assert told["raysft_training_tokens_per_second"] == {("demo",): 120.0}
    assert told["raysft_training_step"] == {("demo",): 2}
