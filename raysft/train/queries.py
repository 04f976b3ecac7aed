"""Likelihoods of tokens at places of texts, by the model that is being trained: packed like its rows, and
shared out over its processes.

It answers the queries of raysft/engines/forwards.py, which a scorer answers with a model of its own. A model
that trains is called as a whole instead (adapters, prefixes and shards of weights are all in place then).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from raysft.engines.forwards import Query
from raysft.train.chat import IGNORED
from raysft.train.collective import Alone, Collective
from raysft.train.config import TrainConfig
from raysft.train.loop import autocast
from raysft.train.loss import label_logits
from raysft.train.micro_batches import measured_batches
from raysft.train.pack import ENCODED, pack


@torch.no_grad()
def nll_of_queries(
    model: Any, queries: Sequence[Query], config: TrainConfig, *, collective: Collective | None = None
) -> list[np.ndarray]:
    """float64 [places] of each query, in nats; the model's mode is kept.

    Args:
        queries: the same in every process, each with at least one place, of at most `context_length` tokens
            with the one that follows.
    """
    collective = collective or Alone()
    starts = np.cumsum([0, *(len(query.places) for query in queries)])
    found = np.zeros(starts[-1])
    rows = _packed(queries, config)
    device = next(model.parameters()).device
    for batch, taken in measured_batches(model, rows, config, collective):
        with autocast(config, device):
            logits = label_logits(model, batch)[0].float()
        members = [int(id) for ids in rows["ids"].take(pa.array(taken)).to_pylist() for id in ids]
        if not members:  # a pass of padding, for the other processes' sake
            continue
        places, targets = _lookups([queries[i] for i in members])
        nll = logits.logsumexp(-1)[places] - logits[places, targets.to(device)]
        into = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in members])
        found[into] = nll.double().cpu().numpy()
    return np.split(np.array(collective.add(found.tolist())), starts[1:-1]) if queries else []


def _packed(queries: Sequence[Query], config: TrainConfig) -> pa.Table:
    """The texts as packed rows, with a label after each place that is asked for."""
    input_ids = [[*query.ids, query.targets[0]] for query in queries]
    labels = [[IGNORED] * len(ids) for ids in input_ids]
    for query, own, ids in zip(queries, labels, input_ids, strict=True):
        for place in query.places:
            own[place + 1] = ids[place + 1]
    nothing = [None] * len(queries)
    columns = {"id": list(map(str, range(len(queries)))), "input_ids": input_ids, "labels": labels}
    arrays = [pa.array(columns.get(field.name, nothing), field.type) for field in ENCODED]
    table = pa.table(arrays, schema=ENCODED)
    return pack(table, config.context_length, packed=config.packed, seed=config.seed)


def _lookups(queries: Sequence[Query]) -> tuple[torch.Tensor, torch.Tensor]:
    """For each place of each query, the logits' row that is there and the token to look up in it: a place
    that is asked for several tokens has one row."""
    places: list[int] = []
    targets: list[int] = []
    first = 0
    for query in queries:
        different = sorted(set(query.places))
        row_of = {place: first + row for row, place in enumerate(different)}
        places += [row_of[place] for place in query.places]
        targets += query.targets
        first += len(different)
    return torch.tensor(places), torch.tensor(targets)
