"""ROUGE-L: the F measure of the longest common subsequence of two token sequences (Lin, 2004).

F is the harmonic mean of LCS / len a and LCS / len b. Tokens are those of `raysft.algorithms.words`: on
ASCII text F is rouge-score's `rougeL` without stemming to the last bit, so that a threshold decides as it
does there; Chinese counts by character, where rouge-score sees nothing. The LCS is rapidfuzz's
bit-parallel one.
"""

from __future__ import annotations

import sys
from array import array
from bisect import insort
from collections.abc import Sequence

import numpy as np
from rapidfuzz.distance import LCSseq

from raysft.algorithms.words import tokens

UNSEEN = 1 << 62  # the id of tokens that no text of an index holds
FREQUENT = 32  # a token that more than one text in this many holds is kept as a row of bytes
LIKELY = 0.4  # bounds from here on are looked at first; which number it is changes no answer
HALF = 0.5 - 1e-9  # a little less than that, which widens bounds by far more than F is rounded up


def rouge_l(a: str, b: str) -> float:
    """ROUGE-L F of two texts, in [0, 1]; 0 where either has no token."""
    return rouge_l_of_tokens(tokens(a), tokens(b))


def rouge_l_of_tokens(a: Sequence[object], b: Sequence[object]) -> float:
    """ROUGE-L F of two token sequences."""
    common = LCSseq.similarity(a, b) if a and b else 0
    if not common:
        return 0.0
    # rouge-score's own formula: 2·LCS / (len a + len b) is the same number, but rounded otherwise.
    precision, recall = common / len(a), common / len(b)
    return 2 * precision * recall / (precision + recall)


class SimilarityIndex:
    """Texts that later ones are compared with: which of them are the most similar?

    The answer is that of comparing with every text. An LCS is never longer than the tokens that both texts
    hold, counted with their repetitions; that gives each text an upper bound of its F, and the LCS is taken
    in the order of the bounds until no bound is left that could change the answer.

    Shared tokens come from an inverted index. Its items are (token, how many of it came before in the
    text), so that a text holds an item once. Items of few texts have a list of positions; frequent ones a
    byte for each text, which adds up faster.
    """

    def __init__(self) -> None:
        self._items: dict[object, int] = {}
        self._texts: list[array[int]] = []
        self._half_lengths = np.zeros(64)
        self._postings: list[array[int]] = []
        self._rows: dict[int, int] = {}  # of frequent items: their row of `_present`
        self._present = np.zeros((8, 64), np.uint8)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> int:
        """Put a text at the end; returns its position, from 0."""
        position = len(self._texts)
        if position == len(self._half_lengths):
            self._half_lengths = np.concatenate([self._half_lengths, np.zeros_like(self._half_lengths)])
            self._present = np.concatenate([self._present, np.zeros_like(self._present)], axis=1)
        words = tokens(text)
        for key in _keys(words):
            item = self._items.setdefault(key, len(self._items))
            if item == len(self._postings):
                self._postings.append(array("q"))
            if item in self._rows:
                self._present[self._rows[item], position] = 1
            else:
                self._postings[item].append(position)
                if len(self._postings[item]) > max(64, position // FREQUENT):
                    self._make_frequent(item)
        self._texts.append(array("q", [self._items[word] for word in words]))
        self._half_lengths[position] = len(words) * HALF
        return position

    def most_similar(self, text: str, n: int) -> list[tuple[int, float]]:
        """(position, F) of the n texts of highest F, highest first; of equal ones the first. Texts that
        have no token in common with `text` are left out."""
        words = tokens(text)
        known = [self._items[key] for key in _keys(words) if key in self._items]
        if not known:
            return []
        own = array("q", [self._items.get(word, UNSEEN) for word in words])
        bounds = self._bounds(known, len(own))
        best: list[tuple[float, int]] = []  # (-F, position), ascending
        places = np.flatnonzero(bounds >= LIKELY)
        if len(places) < n:
            places = np.flatnonzero(bounds)
        first = places[np.argpartition(bounds[places], -n)[-n:]] if len(places) > n else places
        for position in first.tolist():
            _keep(best, n, self._scored(own, position))
        least = -best[-1][0] if len(best) == n else sys.float_info.min
        if least < LIKELY:
            places = np.flatnonzero(bounds >= least)
        places = places[np.argsort(-bounds[places], kind="stable")]
        done = set(first.tolist())
        for position, bound in zip(places.tolist(), bounds[places].tolist(), strict=True):
            if len(best) == n and bound < -best[-1][0]:
                break
            if position not in done:
                _keep(best, n, self._scored(own, position))
        return [(position, -score) for score, position in best]

    def _scored(self, own: array[int], position: int) -> tuple[float, int]:
        return -rouge_l_of_tokens(own, self._texts[position]), position

    def _bounds(self, known: Sequence[int], length: int) -> np.ndarray:
        """float64 [texts]: what F with each text cannot exceed."""
        n = len(self._texts)
        positions: array[int] = array("q")
        for item in known:
            positions += self._postings[item]
        shared = np.bincount(_array(positions), minlength=n)
        rows = [self._rows[item] for item in known if item in self._rows]
        for at in range(0, len(rows), 255):  # so many bytes of 1 add up to a byte
            total = self._present[rows[at], :n].copy()
            for row in rows[at + 1 : at + 255]:
                total += self._present[row, :n]
            shared += total
        return shared / (self._half_lengths[:n] + length * HALF)

    def _make_frequent(self, item: int) -> None:
        row = len(self._rows)
        if row == len(self._present):
            self._present = np.concatenate([self._present, np.zeros_like(self._present)])
        self._present[row, _array(self._postings[item])] = 1
        self._postings[item] = array("q")
        self._rows[item] = row


def _keys(words: Sequence[str]) -> list[object]:
    """The items of a text: a word, or (word, k) for its k-th repetition."""
    seen: dict[str, int] = {}
    keys: list[object] = []
    for word in words:
        k = seen.get(word, 0)
        seen[word] = k + 1
        keys.append((word, k) if k else word)
    return keys


def _keep(best: list[tuple[float, int]], n: int, scored: tuple[float, int]) -> None:
    """Put a text among the n best, if it is one of them and shares anything."""
    if scored[0] < 0 and (len(best) < n or scored < best[-1]):
        insort(best, scored)
        del best[n:]


def _array(values: array[int]) -> np.ndarray:
    return np.frombuffer(values, np.int64) if values else np.zeros(0, np.int64)
