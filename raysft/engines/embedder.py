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
        """float32 [len(texts), dimension], each row of unit length; texts are cut to `max_tokens`.

        A text of which the tokenizer does not know more than `max_unknown` of the tokens is a row of
        zeros: an English model sees all Chinese texts as one, and would call them duplicates.
        """
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        # One lock: tokenizers keep truncation as state, and a second forward pass would not be faster.
        with self._lock:
            lengths, unknown = self._measure(texts)
            readable = [i for i, share in enumerate(unknown) if share <= self.spec.max_unknown]
            for places in token_batches([lengths[i] for i in readable], self.spec.batch_tokens):
                batch = [readable[place] for place in places]
                vectors[batch] = self.model.encode(
                    [texts[index] for index in batch],
                    batch_size=len(batch),
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
        return vectors

    def _measure(self, texts: Sequence[str]) -> tuple[list[int], list[float]]:
        """Tokens of each text after the cut, special ones included, and the unknown share of them."""
        if not texts:
            return [], []
        tokenizer = self.model.tokenizer
        encoded = tokenizer(list(texts), truncation=True, max_length=self.model.max_seq_length)["input_ids"]
        unknown = tokenizer.unk_token_id
        shares = [ids.count(unknown) / len(ids) if unknown is not None and ids else 0.0 for ids in encoded]
        return [len(ids) for ids in encoded], shares
