"""What stages use of an engine: tokens by protocol, and the engine's time among calls that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from raysft.engines.protocol import AnswerScore, ClassScore, Completion, Output, Request
from raysft.runtime.metering import Metered, Tally, Usage


class Clock:
    """Seconds as a test sets them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Engine:
    """An engine of every protocol whose calls take a second each; "stuck" fails after that."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.max_tokens = 77

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        self.clock.now += 1
        if requests[0].messages[0]["content"] == "stuck":
            raise RuntimeError("gone")
        two = (Output("a b", "stop", 2), Output("c d e", "stop", 3))
        return [Completion(two, prompt_tokens=10) for _ in requests]

    def score(self, conversations: Sequence[Any]) -> list[AnswerScore]:
        self.clock.now += 1
        return [AnswerScore(1.0, 4) for _ in conversations]

    score_alone = score

    def classify(self, conversations: Sequence[Any]) -> list[ClassScore]:
        self.clock.now += 1
        return [ClassScore((0.5,), 6) for _ in conversations]

    def classify_tuned(self, conversations: Sequence[Any], weights: Any) -> list[ClassScore]:
        assert weights == {"w": 1}
        return self.classify(conversations)

    def embed(self, texts: Sequence[str]) -> list[float]:
        self.clock.now += 1
        return [0.0 for _ in texts]


def asked(text: str = "hello") -> list[Request]:
    return [Request(({"role": "user", "content": text},))] * 3


def test_metered_engine_counts_the_tokens_of_each_protocol_and_passes_all_else_on() -> None:
    clock = Clock()
    tally = Tally(clock)
    metered = Metered(Engine(clock), tally)
    assert len(metered.generate(asked())) == 3
    assert metered.used == Usage(3, 30, 15, 1.0)
    metered.score([[]] * 2)
    metered.score_alone([[]])
    metered.classify([[]])
    metered.classify_tuned([[]], {"w": 1})
    metered.embed(["one", "two"])
    assert metered.used == tally.used == Usage(10, 30 + 12 + 12, 15, 6.0)
    assert metered.max_tokens == 77


def test_metered_call_that_fails_takes_time_and_no_tokens() -> None:
    clock = Clock()
    metered = Metered(Engine(clock), Tally(clock))
    with pytest.raises(RuntimeError, match="gone"):
        metered.generate(asked("stuck"))
    assert metered.used == Usage(0, 0, 0, 1.0)


def test_tally_divides_each_moment_among_the_calls_under_way() -> None:
    clock = Clock()
    tally = Tally(clock)
    first = tally.begin()
    clock.now += 4
    second = tally.begin()
    clock.now += 2  # both: a second each
    one = tally.end(first, 1, 5, 0)
    clock.now += 3
    two = tally.end(second, 1, 7, 0)
    clock.now += 50  # idle: nobody's
    third = tally.begin()
    clock.now += 1
    tally.end(third, 1, 0, 9)
    assert (one.engine_seconds, two.engine_seconds) == (5.0, 4.0)
    assert tally.used == Usage(3, 12, 9, 10.0)
