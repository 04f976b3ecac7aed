"""Novelty of new tasks: our index of ROUGE-L, and every pair compared by rouge-score and by rapidfuzz.

All sides judge the same candidates one after the other, as `augment.self_instruct` does: F above 0.7 with a
text of the pool or with a candidate that was kept before is not new; and each is told the ten most similar
texts. Pool and candidates are English tasks of the made-up world, ASCII, since rouge-score reads nothing
else. All must take the same decisions and tell the same ten texts with the same F, to the last bit.

    make bench NAME=rouge [ARGS="--pool 20000 --candidates 30"]

Compared is the judging of the candidates, their tokenising included; every side is one thread. What a side
makes of the pool beforehand is not (`prepare_s`): ours its index, rouge-score the tokens, which it then finds
through its own `tokenizer` argument, and rapidfuzz each text's tokens as one character each, the fastest form
it takes. rouge-score is called pair by pair, as there is no other way; rapidfuzz compares all candidates with
all texts in one call, `process.cdist`, which uses SIMD across texts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks import harness
from benchmarks.harness import Benchmark, BenchmarkError, Side, Work

if TYPE_CHECKING:
    import numpy as np

SEED = 3
THRESHOLD = 0.7
TOLD = 10

Told = list[tuple[int, float]]


def with_index(pool: int, candidates: int) -> Work:
    """Ours."""
    from raysft.algorithms.rouge import SimilarityIndex

    texts, asked = pool_and_candidates(pool, candidates)
    warm = SimilarityIndex()
    warm.add("a text")
    warm.most_similar("a text", 1)  # compiles, or loads what was compiled
    started = time.monotonic()
    index = SimilarityIndex()
    for text in texts:
        index.add(text)
    prepare_s = time.monotonic() - started
    told = []
    with harness.measured():
        for text in asked:
            found = index.most_similar(text, TOLD)
            told.append(found)
            if is_new(found):
                index.add(text)
    return work_of(told, prepare_s)


def with_rouge_score(pool: int, candidates: int) -> Work:
    """The peer that Self-Instruct's own code uses."""
    import numpy as np
    from rouge_score import rouge_scorer, tokenizers

    class KnownTokens(tokenizers.Tokenizer):
        """rouge-score's own tokens, each text's found once."""

        def __init__(self) -> None:
            self.plain = tokenizers.DefaultTokenizer(use_stemmer=False)
            self.known: dict[str, list[str]] = {}

        def tokenize(self, text: str) -> list[str]:
            found = self.known.get(text)
            if found is None:
                found = self.known[text] = self.plain.tokenize(text)
            return found

    texts, asked = pool_and_candidates(pool, candidates)
    started = time.monotonic()
    tokenizer = KnownTokens()
    scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=tokenizer)
    for text in texts:
        tokenizer.tokenize(text)
    prepare_s = time.monotonic() - started
    told = []
    with harness.measured():
        for text in asked:
            scores = [scorer.score(text, other)["rougeL"].fmeasure for other in texts]
            told.append(highest(np.array(scores)))
            if is_new(told[-1]):
                texts.append(text)
    return work_of(told, prepare_s)


def with_rapidfuzz(pool: int, candidates: int) -> Work:
    """The bit-parallel LCS that ours uses too, of all pairs."""
    import numpy as np
    from rapidfuzz import process
    from rapidfuzz.distance import LCSseq

    from raysft.algorithms.words import tokens

    texts, asked = pool_and_candidates(pool, candidates)
    started = time.monotonic()
    ids: dict[str, int] = {}

    def coded(text: str) -> str:
        return "".join(chr(ids.setdefault(token, len(ids))) for token in tokens(text))

    known = [coded(text) for text in texts]
    prepare_s = time.monotonic() - started
    told: list[Told] = []
    kept: list[int] = []
    with harness.measured():
        new = [coded(text) for text in asked]
        common = process.cdist(new, known + new, scorer=LCSseq.similarity, workers=1)
        lengths = np.array([len(text) for text in known + new], np.float64)
        for j, text in enumerate(new):
            columns = np.array([pool + i for i in kept], np.int64)
            shared = np.concatenate([common[j, :pool], common[j, columns]])
            told.append(
                highest(f_measures(shared, len(text), np.concatenate([lengths[:pool], lengths[columns]])))
            )
            if is_new(told[-1]):
                kept.append(j)
    return work_of(told, prepare_s)


def f_measures(common: np.ndarray, length: int, lengths: np.ndarray) -> np.ndarray:
    """ROUGE-L F from the lengths of common subsequences; 0 where nothing is common."""
    import numpy as np

    recall, precision = common / length, common / lengths
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


def highest(scores: np.ndarray) -> Told:
    """(position, F) of the highest scores above 0, highest first; of equal ones the first."""
    import numpy as np

    least = np.partition(scores, -TOLD)[-TOLD] if len(scores) > TOLD else 0.0
    places = np.flatnonzero((scores >= least) & (scores > 0))
    order = np.argsort(-scores[places], kind="stable")[:TOLD]
    return [(int(place), float(scores[place])) for place in places[order]]


def is_new(told: Told) -> bool:
    return not told or told[0][1] <= THRESHOLD


def pool_and_candidates(pool: int, candidates: int) -> tuple[list[str], list[str]]:
    """Different English instructions of the world, ASCII and of one line: a pool, and others."""
    from raysft.world.draw import draw

    rng, found = Random(SEED), dict[str, None]()
    while len(found) < pool + candidates:
        text = draw(rng, "en").instruction
        if text.isascii() and "\n" not in text:
            found.setdefault(text)
    texts = list(found)
    return texts[:pool], texts[pool:]


def work_of(told: Sequence[Told], prepare_s: float) -> Work:
    """A digest over all positions and F, to the last bit."""
    exact = [[(place, score.hex()) for place, score in found] for found in told]
    facts = {
        "prepare_s": round(prepare_s, 3),
        "candidates": len(told),
        "new": sum(is_new(found) for found in told),
    }
    return Work(hashlib.sha256(json.dumps(exact).encode()).hexdigest(), facts)


def same_answers(works: Mapping[str, Work]) -> str:
    """All told the same texts with the same F, and took decisions of both kinds."""
    harness.same_digest(works)
    facts: Mapping[str, Any] = next(iter(works.values())).facts
    if not 0 < facts["new"] < facts["candidates"]:
        raise BenchmarkError(
            f"{facts['new']} of {facts['candidates']} candidates are new: nothing to tell apart"
        )
    return (
        f"same decisions ({facts['new']} of {facts['candidates']} candidates are new) and the same "
        f"{TOLD} most similar texts, with the same F"
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pool", type=int, default=20_000)
    parser.add_argument("--candidates", type=int, default=30)


BENCHMARK = Benchmark(
    name="rouge",
    sides=(
        Side(harness.OURS, with_index, packages=("rapidfuzz", "numba", "numpy")),
        Side("rouge_score", with_rouge_score, packages=("rouge_score", "numpy")),
        Side("rapidfuzz_allpairs", with_rapidfuzz, packages=("rapidfuzz", "numpy")),
    ),
    check=same_answers,
    options=options,
)

if __name__ == "__main__":
    sys.exit(harness.main(BENCHMARK))
