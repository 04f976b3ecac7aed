"""Semantic deduplication of published instructions, embedded by the packaged MiniLM."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysft.curate.semantic_dedup import Config, fit_centroids, locate, measure_recall
from raysft.engines.embedder import SentenceTransformersEmbedder
from raysft.engines.spec import SentenceTransformersSpec
from raysft.executor import run_local
from raysft.stage import Context
from tests.algorithms.test_similar import reference
from tests.curate.test_semantic_dedup import STAGE, kept, table_with

PUBLISHED = (
    Path(__file__).parents[2].parent / "shared" / "data" / "gpteacher_toolformer_dedup_ladder.jsonl.gz"
)
ROWS = 800


@pytest.fixture(scope="module")
def embedded() -> tuple[list[str], pa.Table]:
    """Different short requests to a tool, each without the tool's description, and their embeddings."""
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED.name} is not beside the checkout")
    with gzip.open(PUBLISHED, "rt", encoding="utf-8") as lines:
        asked = dict.fromkeys(json.loads(line)["instruction"].split("\n")[-1] for line in lines)
    texts = list(asked)[:ROWS]
    embedder = SentenceTransformersEmbedder(SentenceTransformersSpec(model="packaged:minilm"))
    return texts, table_with(embedder.embed(texts))


def test_semantic_dedup_of_published_requests_finds_nearly_all_that_brute_force_finds(
    embedded: tuple[list[str], pa.Table],
) -> None:
    _, table = embedded
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    components = len(set(reference(vectors, 0.9)))
    assert components < 0.9 * ROWS

    def stay(**settings: Any) -> int:
        return len(kept(run_local(STAGE, table, Config(threshold=0.9, chains="drop", **settings))))

    assert stay() == components
    assert stay(clusters=12, margin=1) == components
    found = stay(clusters=12)
    assert (ROWS - found) / (ROWS - components) >= 0.98


def test_measure_recall_of_published_requests_is_098_with_the_default_margin(
    embedded: tuple[list[str], pa.Table],
) -> None:
    _, table = embedded
    config = Config(threshold=0.9, clusters=12)
    fitted = fit_centroids(table, config, Context(STAGE, "local", 0))
    context = Context(STAGE, "local", 0, fitted=fitted)
    told = measure_recall(locate(table, config, context), config, context)
    ((rows, k, mean, pairs, _, recall),) = told.values["findings"][0]["rows"]
    assert (rows, k) == (ROWS, 12)
    assert 1 < mean < 2
    assert pairs > 100
    assert recall >= 0.98


def test_semantic_dedup_of_published_requests_drops_those_that_ask_the_same(
    embedded: tuple[list[str], pa.Table],
) -> None:
    texts, table = embedded
    out = run_local(STAGE, table, Config(threshold=0.9))
    text_of = dict(zip(table["id"].to_pylist(), texts, strict=True))
    pairs = {
        (text_of[i], text_of[detail.split()[0]])
        for i, detail in zip(out["id"].to_pylist(), out["drop_detail"].to_pylist(), strict=True)
        if detail and "others" not in detail
    }
    common = [len(words(a) & words(b)) / min(len(words(a)), len(words(b))) for a, b in pairs]
    assert np.mean(common) > 0.5


def words(text: str) -> set[str]:
    return set(text.lower().strip(".?!").split())
