"""A process's share of packed rows as micro-batches, for steps and for measurements.

Rows are dealt out in turn. Where a model is in parts over the processes (raysft/train/shard.py) all run it
equally often: one that has no rows left runs it on padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from raysft.train.chat import IGNORED
from raysft.train.collective import Collective
from raysft.train.config import TrainConfig
from raysft.train.pack import Batch, collate
from raysft.train.shard import is_sharded

PADDING_SAMPLE = 16
"""Tokens of a sample of pure padding: what attention costs grows with the length of samples."""

NO_ROWS = Batch(
    input_ids=torch.zeros(1, PADDING_SAMPLE, dtype=torch.int64),
    labels=torch.full((1, PADDING_SAMPLE), IGNORED),
    position_ids=torch.arange(PADDING_SAMPLE)[None],
    weights=torch.ones(1, PADDING_SAMPLE),
)
"""For a process that has no rows left and must run the model as often as the others."""


def passes(model: Any, rows: int, config: TrainConfig, collective: Collective) -> int:
    """How often each process runs a model that is in parts over them, for `rows` rows dealt out in turn:
    as often as the one with the most rows. 0 where each has the whole model and runs it as it likes."""
    if not is_sharded(model):
        return 0
    return math.ceil(math.ceil(rows / collective.size) / config.rows_per_micro_batch)


def micro_batches(
    rows: pa.Table,
    taken: np.ndarray,
    config: TrainConfig,
    device: torch.device,
    *,
    prompt_loss_weight: float = 0.0,
    is_one_shape: bool = False,
    at_least: int = 0,
) -> Iterator[Batch]:
    """The taken rows as tensors on the device, `rows_per_micro_batch` at a time.

    With `is_one_shape` each is [rows_per_micro_batch, context_length], for code compiled for that shape.
    Where the rows end before `at_least` batches, batches of padding follow.
    """
    for start in range(
        0, max(len(taken), at_least * config.rows_per_micro_batch), config.rows_per_micro_batch
    ):
        part = taken[start : start + config.rows_per_micro_batch]
        # Slices of a row copy nothing; to take rows of a table in chunks, Arrow would join all of it.
        sliced = [rows.slice(int(row), 1) for row in part]
        batch = collate(pa.concat_tables(sliced), prompt_loss_weight) if sliced else NO_ROWS
        if is_one_shape:
            batch = padded(batch, config.rows_per_micro_batch, config.context_length)
        yield batch.to(device)


def padded(batch: Batch, rows: int, width: int) -> Batch:
    """The batch as [rows, width]; what is added are short samples of their own with nothing to learn."""
    n, tokens = batch.input_ids.shape
    input_ids = torch.zeros(rows, width, dtype=torch.int64)
    labels = torch.full((rows, width), IGNORED)
    position_ids = torch.arange(width).remainder(PADDING_SAMPLE).repeat(rows, 1)
    # Padding begins a sample of its own right after what was there.
    position_ids[:n, tokens:] = torch.arange(width - tokens).remainder(PADDING_SAMPLE)
    input_ids[:n, :tokens] = batch.input_ids
    labels[:n, :tokens] = batch.labels
    position_ids[:n, :tokens] = batch.position_ids
    weights = torch.ones(rows, width)
    weights[:n, :tokens] = batch.weights
    return Batch(input_ids, labels, position_ids, weights)


def measured_batches(
    model: Any, rows: pa.Table, config: TrainConfig, collective: Collective
) -> Iterator[tuple[Batch, np.ndarray]]:
    """This process's rows as micro-batches and, for each, the numbers of its rows: none in a pass of padding.
    Meanwhile the model is in evaluation mode."""
    device = next(model.parameters()).device
    mine = np.arange(len(rows))[collective.rank :: collective.size]
    size = config.rows_per_micro_batch
    at_least = passes(model, len(rows), config, collective)
    was_training = model.training
    model.eval()
    try:
        for at, batch in enumerate(micro_batches(rows, mine, config, device, at_least=at_least)):
            yield batch, mine[at * size : (at + 1) * size]
    finally:
        model.train(was_training)
