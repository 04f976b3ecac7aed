"""Sentence embeddings with sentence-transformers, in batches cut by tokens."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from raysft.algorithms.token_batches import token_batches
from raysft.engines.build import model_identity, resolve_model
from raysft.engines.spec import SentenceTransformersSpec


class SentenceTransformersEmbedder:
    """An `Embedder`. A text's vector agrees across batch compositions to about 1e-6 an element in float32
    (a matrix product's order of additions depends on its shape); the same call gives the same bits.
    """

    def __init__(self, spec: SentenceTransformersSpec) -> None:
        from sentence_transformers import SentenceTransformer

        self.spec = spec
        self.identity = model_identity(spec)
        self.model = SentenceTransformer(
            resolve_model(spec.model), revision=spec.revision or None, trust_remote_code=False
        )
        own_limit = self.model.max_seq_length or spec.max_tokens
        self.model.max_seq_length = min(spec.max_tokens, own_limit)
        dimension = self.model.get_embedding_dimension()
        if dimension is None:
            raise ValueError(f"model {spec.model} does not say how long its embeddings are")
        self.dimension = int(dimension)
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [len(texts), dimension], each row of unit length; texts are cut to `max_tokens`."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        # One lock: tokenizers keep truncation as state, and a second forward pass would not be faster.
        with self._lock:
            for batch in token_batches(self._lengths(texts), self.spec.batch_tokens):
                vectors[batch] = self.model.encode(
                    [texts[index] for index in batch],
                    batch_size=len(batch),
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
        return vectors

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included, after the cut."""
        if not texts:
            return []
        encoded = self.model.tokenizer(list(texts), truncation=True, max_length=self.model.max_seq_length)
        return [len(ids) for ids in encoded["input_ids"]]
