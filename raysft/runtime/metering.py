"""What stages use of an engine: requests, tokens, and its time, shared out among the calls that are under
way.

An engine with continuous batching works on many calls at once, so the calls' own times add up to more than
the engine ran. A `Tally` divides each moment evenly among the calls then under way: what calls are given adds
up to the time in which the engine had any work, whatever runs beside them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from raysft.engines.protocol import AnswerScore, Choice, ChoiceScore, ClassScore, Completion, Request

T = TypeVar("T")


@dataclass(frozen=True)
class Usage:
    """What was used of an engine. `tokens_in` were prompts', or of texts scored or classified; `tokens_out`
    were generated; `engine_seconds` are a share of one engine's time. An embedder tells no tokens."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    engine_seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(mine + theirs for mine, theirs in zip(self._all(), other._all(), strict=True)))

    def _all(self) -> tuple[Any, ...]:
        return self.requests, self.tokens_in, self.tokens_out, self.engine_seconds

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out

    @property
    def produced(self) -> int:
        """The tokens by which an engine's speed is told: those generated, else those scored."""
        return self.tokens_out or self.tokens_in

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "engine_seconds": round(self.engine_seconds, 3)}


NOTHING_USED = Usage()


class Tally:
    """What all threads of a process used of its engine so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._calls = 0
        self._share = 0.0  # seconds that a call has been given which was under way all the time
        self._at = 0.0
        self._used = Usage()

    @property
    def used(self) -> Usage:
        with self._lock:
            return self._used

    def begin(self) -> float:
        """A call begins; hand what this returns to `end`."""
        with self._lock:
            self._pass_time()
            self._calls += 1
            return self._share

    def end(self, begun: float, requests: int, tokens_in: int, tokens_out: int) -> Usage:
        """The call has ended; returns what it used."""
        with self._lock:
            self._pass_time()
            self._calls -= 1
            one = Usage(requests, tokens_in, tokens_out, self._share - begun)
            self._used += one
            return one

    def _pass_time(self) -> None:
        now = self._clock()
        if self._calls:
            self._share += (now - self._at) / self._calls
        self._at = now


class Metered:
    """An engine that counts what a work shard uses of it, in `used` and in its process's tally; all else is
    the engine's own."""

    def __init__(self, engine: Any, tally: Tally) -> None:
        self._engine = engine
        self._tally = tally
        self.used = Usage()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        return self._counted(self._engine.generate, requests, _of_completions)

    def score(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[AnswerScore]:
        return self._counted(self._engine.score, conversations, _of_scores)

    def score_alone(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[AnswerScore]:
        return self._counted(self._engine.score_alone, conversations, _of_scores)

    def score_choices(self, choices: Sequence[Choice]) -> list[ChoiceScore]:
        return self._counted(self._engine.score_choices, choices, _not_told)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return self._counted(self._engine.embed, texts, _not_told)

    def classify(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[ClassScore]:
        return self._counted(self._engine.classify, conversations, _of_scores)

    def classify_tuned(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], weights: Mapping[str, np.ndarray]
    ) -> list[ClassScore]:
        return self._counted(lambda c: self._engine.classify_tuned(c, weights), conversations, _of_scores)

    def _counted(
        self, call: Callable[[Any], T], asked: Sequence[Any], tokens_of: Callable[[T], tuple[int, int]]
    ) -> T:
        begun, requests, tokens = self._tally.begin(), 0, (0, 0)
        try:
            found = call(asked)
            requests, tokens = len(asked), tokens_of(found)
        finally:
            self.used += self._tally.end(begun, requests, *tokens)
        return found


def _of_completions(completions: Sequence[Completion]) -> tuple[int, int]:
    written = sum(output.tokens for c in completions for output in c.outputs)
    return sum(c.prompt_tokens for c in completions), written


def _of_scores(scores: Sequence[AnswerScore | ClassScore]) -> tuple[int, int]:
    return sum(s.tokens for s in scores), 0


def _not_told(_: Any) -> tuple[int, int]:
    return 0, 0
