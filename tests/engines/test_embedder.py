from __future__ import annotations

import numpy as np
import pytest

from raysft.engines.embedder import SentenceTransformersEmbedder
from raysft.engines.protocol import Embedder
from raysft.engines.spec import SentenceTransformersSpec

TEXTS = [
    "A cat sleeps on the sofa.",
    "",
    "A kitten is napping on a couch.",
    "The central bank raised interest rates.",
    "word " * 400,
    "Spring has come, and the café in Zürich is open.",
    "a",
]


@pytest.fixture(scope="module")
def embedder() -> SentenceTransformersEmbedder:
    return SentenceTransformersEmbedder(SentenceTransformersSpec(model="packaged:minilm"))


def test_embed_gives_unit_float32_rows(embedder: SentenceTransformersEmbedder) -> None:
    assert isinstance(embedder, Embedder)
    vectors = embedder.embed(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_embed_of_a_script_the_model_cannot_read_is_a_row_of_zeros(
    embedder: SentenceTransformersEmbedder,
) -> None:
    vectors = embedder.embed(["什么是像素？", "A pixel is a dot.", "请解释什么是递归，并举一个例子。"])
    assert [bool(row.any()) for row in vectors] == [False, True, False]


def test_embed_of_nothing_has_the_dimension(embedder: SentenceTransformersEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 384)


def test_embed_puts_like_texts_closer_than_unlike(embedder: SentenceTransformersEmbedder) -> None:
    cat, _, kitten, bank, *_ = embedder.embed(TEXTS)
    assert cat @ kitten > cat @ bank + 0.3


def test_embed_of_the_same_call_twice_gives_the_same_bits(embedder: SentenceTransformersEmbedder) -> None:
    assert embedder.embed(TEXTS).tobytes() == embedder.embed(TEXTS).tobytes()


@pytest.mark.parametrize("batch_tokens", [1, 64, 100_000])
def test_embed_in_other_batches_agrees(embedder: SentenceTransformersEmbedder, batch_tokens: int) -> None:
    spec = SentenceTransformersSpec(model="packaged:minilm", batch_tokens=batch_tokens)
    other = SentenceTransformersEmbedder(spec)
    np.testing.assert_allclose(other.embed(TEXTS), embedder.embed(TEXTS), atol=1e-6)


def test_embed_of_a_text_beyond_max_tokens_sees_its_beginning() -> None:
    embedder = SentenceTransformersEmbedder(SentenceTransformersSpec(model="packaged:minilm", max_tokens=8))
    long, cut = embedder.embed(
        ["one two three four five six seven eight nine", "one two three four five six"]
    )
    np.testing.assert_allclose(long, cut, atol=1e-6)
