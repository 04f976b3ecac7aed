"""ROUGE-L: the F measure of the longest common subsequence of two token sequences (Lin, 2004).

F = 2·LCS / (len a + len b), the harmonic mean of precision and recall. Tokens are those of
`raysft.algorithms.words`: on ASCII text F equals rouge-score's `rougeL` without stemming up to float
rounding; Chinese counts by character, where rouge-score sees nothing. The LCS is rapidfuzz's
bit-parallel one.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from rapidfuzz.distance import LCSseq

from raysft.algorithms.words import tokens


def rouge_l(a: str, b: str) -> float:
    """ROUGE-L F of two texts, in [0, 1]; 0 where either has no token."""
    return rouge_l_of_tokens(tokens(a), tokens(b))


def rouge_l_of_tokens(a: Sequence[object], b: Sequence[object]) -> float:
    """ROUGE-L F of two token sequences."""
    return 2 * LCSseq.similarity(a, b) / (len(a) + len(b)) if a and b else 0.0


def first_similar(candidate: str, pool: Iterable[str], threshold: float) -> tuple[int, float] | None:
    """The position of the first text of `pool` whose ROUGE-L F with `candidate` is above `threshold`, and
    that F; None where there is none."""
    index = SimilarityIndex(threshold)
    for text in pool:
        index.add(text)
    return index.first_similar(candidate)


UNSEEN = 1 << 62  # the id of tokens that no text of an index holds


class SimilarityIndex:
    """Texts that later ones are compared with: which is the first with F above the threshold?

    The answer is that of comparing with every text. A pair goes to the LCS only if the tokens that both
    texts hold, with their numbers, could carry F above the threshold: the LCS is never longer than their
    multiset intersection, nor than the shorter text. The intersection is summed over an inverted index.
    """

    def __init__(self, threshold: float) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; a ROUGE-L F lies in [0, 1]")
        self.threshold = threshold
        self._vocabulary: dict[str, int] = {}
        self._texts: list[array[int]] = []
        self._lengths = array("q")
        self._postings: list[tuple[array[int], array[int]]] = []

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> int:
        """Put a text at the end; returns its position, from 0."""
        position = len(self._texts)
        ids = array("q", [self._vocabulary.setdefault(t, len(self._vocabulary)) for t in tokens(text)])
        self._texts.append(ids)
        self._lengths.append(len(ids))
        for token, n in Counter(ids).items():
            while token >= len(self._postings):
                self._postings.append((array("q"), array("q")))
            positions, counts = self._postings[token]
            positions.append(position)
            counts.append(n)
        return position

    def first_similar(self, text: str) -> tuple[int, float] | None:
        """Position and F of the first text above the threshold, or None."""
        # A token the index has never seen matches nothing; it still counts towards the length.
        ids = array("q", [self._vocabulary.get(t, UNSEEN) for t in tokens(text)])
        if not ids or not self._texts:
            return None
        for position in self._possible(ids):
            score = rouge_l_of_tokens(ids, self._texts[position])
            if score > self.threshold:
                return position, score
        return None

    def _possible(self, ids: array[int]) -> list[int]:
        """Positions, ascending, whose shared tokens would allow F above the threshold."""
        shared = np.zeros(len(self._texts), np.int64)
        for token, n in Counter(ids).items():
            if token != UNSEEN:
                positions, counts = self._postings[token]
                # A position stands once in a posting list, so plain indexed addition is right.
                shared[np.frombuffer(positions, np.int64)] += np.minimum(np.frombuffer(counts, np.int64), n)
        lengths = np.frombuffer(self._lengths, np.int64) + len(ids)
        return np.flatnonzero(2 * shared / lengths > self.threshold).tolist()
