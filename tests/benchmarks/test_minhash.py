"""The MinHash benchmark's own parts: its texts, its clusters, and sides that agree or are refused."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import harness, minhash
from benchmarks.harness import BenchmarkError, Work

ROWS = 4000


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    """What our side did with a few texts, which stay for the module's tests."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minhash, "HERE", tmp_path_factory.mktemp("minhash"))
        patch.setattr(minhash, "LEAST_PAIRS", 50)
        minhash.prepare(ROWS)
        harness._marks.clear()
        yield minhash.with_kernels(ROWS)
        harness._marks.clear()
    gc.enable()
    if cores:
        os.sched_setaffinity(0, cores)


def test_clusters_of_our_side_are_those_of_theory(ours: Work) -> None:
    assert minhash.same_clusters({harness.OURS: ours}).startswith("planted pairs found by similarity")
    assert 0.8 * ROWS < ours.facts["clusters"] < 0.95 * ROWS


def test_side_that_finds_half_of_the_pairs_is_refused(ours: Work) -> None:
    half = [label if i % 2 else i for i, label in enumerate(ours.evidence)]
    with pytest.raises(BenchmarkError, match=r"peer found .* bands should find"):
        minhash.same_clusters({harness.OURS: ours, "peer": replace(ours, evidence=half)})


def test_side_that_decides_otherwise_than_chance_explains_is_refused(ours: Work) -> None:
    copies, originals, similarity = minhash.planted(ROWS)
    everything = np.arange(ROWS)
    everything[copies] = originals
    with pytest.raises(BenchmarkError, match=r"peer decided .* otherwise; chance explains"):
        minhash.same_clusters({harness.OURS: ours, "peer": replace(ours, evidence=everything.tolist())})
    assert similarity.min() < 0.7


def test_side_that_joins_strangers_is_refused(ours: Work) -> None:
    one = [0 if label < 40 else label for label in ours.evidence]
    with pytest.raises(BenchmarkError, match=r"peer joined \d+ texts to texts that they do not repeat"):
        minhash.same_clusters({harness.OURS: ours, "peer": replace(ours, evidence=one)})


def test_texts_are_plain_words_and_stay(ours: Work) -> None:
    texts = minhash.read_texts(ROWS)
    assert len(texts) == ROWS
    assert all(set(text) <= set("abcdefghijklmnopqrstuvwxyz ") for text in texts)
    assert {20 <= len(text.split()) <= 200 for text in texts} == {True}
    written = minhash.texts_file(ROWS).stat().st_mtime_ns
    minhash.prepare(ROWS)
    assert minhash.texts_file(ROWS).stat().st_mtime_ns == written


def test_clusters_of_texts_without_words_are_their_own() -> None:
    texts = pa.array(["one two three four", "", "one two three four", "...", "!"])
    assert minhash.clusters_of(texts).tolist() == [0, 1, 0, 3, 4]


def test_join_of_groups_tells_the_first_member() -> None:
    assert minhash.join(6, [[4, 2], [5], {1, 4}, [3, 3]]) == [0, 1, 1, 3, 1, 5]


def test_joined_ngrams_of_a_short_text_are_the_text() -> None:
    assert minhash.joined_ngrams("a b c d") == ["a b c", "b c d"]
    assert (minhash.joined_ngrams("a b"), minhash.joined_bytes("a b")) == (["a b"], [b"a b"])
