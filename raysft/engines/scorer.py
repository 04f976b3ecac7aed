"""Answer-token likelihood with transformers: the `Scorer` behind perplexity and its relatives.

A forward pass gives hidden states only; the vocabulary head then sees just the positions whose next token
is scored, a chunk at a time. Conversations are padded on the right, where causal attention makes padding
invisible, so no mask is needed. Scores agree across batch compositions to about 1e-4 relative in float32
and 1e-2 in bfloat16 (a matrix product's order of additions depends on its shape).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from raysft.algorithms.nll import chunked_nll
from raysft.algorithms.token_batches import token_batches
from raysft.engines.adapter import read_adapter
from raysft.engines.build import Encode, model_identity, resolve_model
from raysft.engines.prompts import load_tokenizer
from raysft.engines.protocol import AnswerScore
from raysft.engines.spec import TransformersSpec

UNSCORED = -100
"""Label of a token that is not scored (PyTorch's ignore_index)."""

PROBE_TOLERANCE = 0.05
"""Largest difference between the model's own logits and ours, in float32 or bfloat16, taken as rounding."""


class TransformersScorer:
    """A `Scorer`. `encode(messages, tokenizer)` labels the assistant's tokens, see `Encoded`.

    Raises:
        ValueError: no chat template, a bad adapter, or a model whose logits are not its head over its
            hidden states (final soft-capping, say), for which chunked scoring would be wrong.
    """

    def __init__(self, spec: TransformersSpec, encode: Encode) -> None:
        self.spec = spec
        self.identity = model_identity(spec)
        self.encode = encode
        model = resolve_model(spec.model)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = load_tokenizer(model, spec.revision)
        self.model = load_causal_model(spec, model, self.device)
        limit = getattr(self.model.config, "max_position_embeddings", None) or spec.max_tokens
        self.max_tokens = min(spec.max_tokens, limit)
        self._lock = threading.Lock()
        self._check_head()

    def score(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[AnswerScore]:
        """One score a conversation, in the same order; errors are `too_long: …`, `nothing_to_score`, and
        the reasons of `encode`."""
        scores: list[AnswerScore] = []
        encoded: list[tuple[list[int], list[int]]] = []
        for messages in conversations:
            ids, labels, error = self._encode(messages)
            encoded.append((ids, labels))
            scores.append(AnswerScore(0.0, 0, error))
        good = [index for index, score in enumerate(scores) if score.error is None]
        for batch in token_batches([len(encoded[index][0]) for index in good], self.spec.batch_tokens):
            rows = [good[position] for position in batch]
            for row, score in zip(rows, self._score_batch([encoded[row] for row in rows]), strict=True):
                scores[row] = score
        return scores

    def _encode(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[int], list[int], str | None]:
        encoded = self.encode(messages, self.tokenizer)
        ids, labels = list(encoded.input_ids), list(encoded.labels)
        if encoded.reason is not None:
            return ids, labels, encoded.reason
        if len(ids) > self.max_tokens:
            return ids, labels, f"too_long: {len(ids)} tokens, at most {self.max_tokens}"
        if all(label == UNSCORED for label in labels[1:]):
            return ids, labels, "nothing_to_score"
        return ids, labels, None

    def _score_batch(self, batch: Sequence[tuple[list[int], list[int]]]) -> list[AnswerScore]:
        """Scores of conversations that fit one forward pass."""
        longest = max(len(ids) for ids, _ in batch)
        input_ids = torch.zeros(len(batch), longest, dtype=torch.long)
        labels = torch.full((len(batch), longest), UNSCORED)
        for row, (ids, its_labels) in enumerate(batch):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            labels[row, : len(ids)] = torch.tensor(its_labels)
        rows, positions = (labels[:, 1:] != UNSCORED).nonzero(as_tuple=True)
        targets = labels[rows, positions + 1].to(self.device)
        with self._lock, torch.inference_mode():
            hidden = self._hidden(input_ids.to(self.device))
            scored = hidden[rows.to(self.device), positions.to(self.device)]
            head = self.model.get_output_embeddings()
            nll = chunked_nll(scored, targets, head, self.model.config.get_text_config().vocab_size)
        sums = torch.zeros(len(batch), dtype=torch.float64).index_add_(0, rows, nll.double().cpu())
        counts = torch.bincount(rows, minlength=len(batch))
        return [AnswerScore(float(s), int(n)) for s, n in zip(sums, counts, strict=True)]

    def _hidden(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Last hidden states [batch, length, width], after the final norm."""
        return self.model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state

    def _check_head(self) -> None:
        probe = torch.arange(8, device=self.device)[None] % self.model.config.get_text_config().vocab_size
        with torch.inference_mode():
            own = self.model(input_ids=probe, use_cache=False).logits.float()
            ours = self.model.get_output_embeddings()(self._hidden(probe)).float()
        difference = float((own - ours).abs().max() / own.abs().max().clamp(min=1e-6))
        if not difference <= PROBE_TOLERANCE:
            raise ValueError(
                f"model {self.spec.model} changes its logits after the output head (relative difference "
                f"{difference:.2g}); its answers cannot be scored by engine kind transformers"
            )


def load_causal_model(spec: TransformersSpec, model: str, device: torch.device) -> Any:
    """The causal model in evaluation mode, with the adapter's LoRA layers in place if there is one."""
    from transformers import AutoModelForCausalLM

    if spec.dtype == "auto":
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    else:
        dtype = getattr(torch, spec.dtype)
    causal: Any = AutoModelForCausalLM.from_pretrained(
        model,
        revision=spec.revision or None,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
    )
    if spec.adapter is not None:
        from peft import PeftModel

        folder = str(read_adapter(spec.adapter).folder)
        causal = PeftModel.from_pretrained(causal, folder, is_trainable=False).get_base_model()
    return causal.to(device).eval()
