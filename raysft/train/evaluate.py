"""Loss on held-out samples: which samples those are, and how well a model predicts their answers.

Loss and perplexity are told over all of them and by task, language and source
(raysft/train/source_labels.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from raysft.sample import uniform
from raysft.train.collective import Alone, Collective
from raysft.train.config import TrainConfig
from raysft.train.loop import autocast
from raysft.train.loss import label_nll
from raysft.train.micro_batches import measured_batches


@dataclass(frozen=True)
class Score:
    """`loss` is nats a learnt token; `perplexity` = exp(loss)."""

    loss: float
    perplexity: float
    tokens: int
    samples: int


@dataclass(frozen=True)
class Evaluation:
    """Over all held-out samples, and by label: `groups["task"]["qa"]`; null labels are left out."""

    total: Score
    groups: dict[str, dict[str, Score]] = field(default_factory=dict)


def held_out(ids: Sequence[str], seed: int, fraction: float, max_rows: int) -> list[bool]:
    """Which samples are held out, by their id alone: those with uniform(seed, "held-out", id) < fraction.

    Where these are more than `max_rows`, the `max_rows` with the smallest numbers; where they are none
    although a fraction is asked for and there are two samples to divide, the one with the smallest.
    """
    chance = np.array([uniform(seed, "held-out", id) for id in ids])
    chosen = int((chance < fraction).sum())
    if chosen == 0 and fraction > 0 and len(ids) >= 2:
        chosen = 1
    smallest = np.argsort(chance, kind="stable")[: min(chosen, max_rows)]
    mask = np.zeros(len(ids), dtype=bool)
    mask[smallest] = True
    return mask.tolist()


def evaluate(
    model: Any, rows: pa.Table, config: TrainConfig, *, collective: Collective | None = None
) -> Evaluation | None:
    """Loss of the model on packed rows, shared out over the processes; None where there are no rows."""
    if not len(rows):
        return None
    collective = collective or Alone()
    nll, tokens = _by_sample(model, rows, config, collective)
    labels = {
        name: [label for row in rows[column].to_pylist() for label in row]
        for name, column in (("task", "tasks"), ("lang", "langs"), ("source", "sources"))
    }
    groups = {
        name: {
            label: _score(nll, tokens, np.array([value == label for value in values]))
            for label in sorted({value for value in values if value is not None})
        }
        for name, values in labels.items()
        if any(value is not None for value in values)
    }
    return Evaluation(_score(nll, tokens, np.ones(len(nll), dtype=bool)), groups)


def _score(nll: np.ndarray, tokens: np.ndarray, mask: np.ndarray) -> Score:
    count = int(tokens[mask].sum())
    loss = float(nll[mask].sum()) / max(1, count)
    return Score(loss, math.exp(min(loss, 700.0)), count, int(mask.sum()))


@torch.no_grad()
def _by_sample(
    model: Any, rows: pa.Table, config: TrainConfig, collective: Collective
) -> tuple[np.ndarray, np.ndarray]:
    """float64 [samples] and int64 [samples]: summed NLL and learnt tokens, in the order of the rows."""
    counts = [np.asarray(c, dtype=np.int64) for c in rows["label_counts"].to_pylist()]
    starts = np.concatenate([[0], np.cumsum([len(c) for c in counts])])
    device = next(model.parameters()).device
    nll = np.zeros(starts[-1])
    for batch, taken in measured_batches(model, rows, config, collective):
        with autocast(config, device):
            tokens = label_nll(model, batch).double().cpu().numpy()
        samples = [np.repeat(np.arange(starts[r], starts[r + 1]), counts[r]) for r in taken]
        sample = np.concatenate([np.empty(0, dtype=np.int64), *samples])
        np.add.at(nll, sample, tokens)
    return np.array(collective.add(nll.tolist())), np.concatenate(counts)
