"""Negative log-likelihood of target tokens without ever holding all logits."""

from __future__ import annotations

from collections.abc import Callable

import torch

CHUNK_ELEMENTS = 1 << 26
"""Logits held at once: 256 MiB in float32."""


def chunked_nll(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    head: Callable[[torch.Tensor], torch.Tensor],
    vocab_size: int,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> torch.Tensor:
    """−log softmax(head(hidden))[target] in nats, a row at a time group.

    Args:
        hidden: [rows, width], the state that predicts each target, in any float type.
        targets: int64 [rows].
        head: maps [n, width] to logits [n, vocab_size].
        vocab_size: width of the logits, to size the chunks.
        chunk_elements: logits (rows × vocabulary) held at once.

    Returns:
        float32 [rows]; softmax and logarithm are computed in float32 whatever the type of `hidden`.
    """
    rows = max(1, chunk_elements // vocab_size)
    parts = []
    for start in range(0, len(targets), rows):
        logits = head(hidden[start : start + rows]).float()
        chosen = logits.gather(1, targets[start : start + rows, None]).squeeze(1)
        parts.append(torch.logsumexp(logits, dim=1) - chosen)
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float32, device=hidden.device)
