"""The negative log-likelihood of what is to be learnt, without logits for anything else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from raysft.train.chat import IGNORED
from raysft.train.pack import Batch


def label_nll(model: Any, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood in nats, float32, of each learnt token given all before it in its sample.

    The model runs as a whole (adapters, soft caps and all), but its output layer sees only the hidden
    states that predict a learnt token: with a vocabulary of 150,000 the logits are most of the memory.
    No `attention_mask` and `use_cache=False`: see raysft/train/pack.py.

    Returns:
        [learnt tokens], in the order of the rows and of the tokens within a row.
    """
    targets = batch.labels[:, 1:]
    is_learnt = targets != IGNORED
    with _only(model.get_output_embeddings(), is_learnt):
        out = model(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False)
    return cross_entropy(out.logits[0].float(), targets[is_learnt], reduction="none")


@contextmanager
def _only(output_layer: torch.nn.Module, is_learnt: torch.Tensor) -> Iterator[None]:
    """Let the output layer see [1, learnt tokens, hidden] instead of [rows, tokens, hidden]."""

    def select(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0][:, :-1][is_learnt].unsqueeze(0), *args[1:])

    handle = output_layer.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
