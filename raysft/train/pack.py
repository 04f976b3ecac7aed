"""Samples of different lengths into rows of one length, without cutting any and with little padding.

A packed row (`PACKED`) is several samples one after another. Positions restart at 0 with each sample:
from that alone transformers builds an attention mask in which a sample sees itself only, provided the
model is called without `attention_mask` and with `use_cache=False` (raysft/train/loss.py does).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from raysft.sample import digest64
from raysft.train.chat import IGNORED, Encoded

PACKED = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("lengths", pa.list_(pa.int32())),
        ("label_counts", pa.list_(pa.int32())),
        ("ids", pa.list_(pa.string())),
        ("tasks", pa.list_(pa.string())),
        ("langs", pa.list_(pa.string())),
    ]
)
"""`input_ids` and `labels`: one token each, all samples of the row joined; `lengths` to `langs`: one
value a sample, `label_counts` being how many of its labels are not `IGNORED`."""


@dataclass(frozen=True)
class PackedIndex:
    """What all ranks know about the packed rows without reading them.

    `tokens` and `label_counts` are int64 [rows]: a row's tokens, and how many of them are learnt.
    """

    tokens: np.ndarray
    label_counts: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    @staticmethod
    def of(rows: pa.Table) -> PackedIndex:
        return PackedIndex(_row_sums(rows["lengths"]), _row_sums(rows["label_counts"]))


def _row_sums(lists: pa.ChunkedArray) -> np.ndarray:
    array = lists.combine_chunks()
    totals = np.concatenate([[0], np.cumsum(array.flatten().to_numpy())])
    offsets = np.asarray(array.offsets) - array.offsets[0].as_py() if len(array) else np.zeros(1, np.int64)
    return np.diff(totals[offsets]).astype(np.int64)


def best_fit_decreasing(lengths: Sequence[int], capacity: int, seed: int = 0) -> list[list[int]]:
    """Which samples share a row: each, longest first, goes where the least space would be left.

    Uses at most 11/9 of the fewest possible rows, plus 4 (Johnson et al. 1974, SIAM J. Comput. 3(4)).
    Among equal lengths the order is shuffled, by the seed alone.

    Args:
        lengths: tokens of each sample, 1 to `capacity`.
        capacity: tokens of a row.

    Returns:
        One list of sample numbers a row.

    Raises:
        ValueError: a sample is empty or longer than a row.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) and (sizes.min() < 1 or sizes.max() > capacity):
        raise ValueError(f"lengths must be within 1..{capacity}, found {sizes.min()}..{sizes.max()}")
    chance = np.random.PCG64(digest64(seed, "pack")).random_raw(len(sizes))
    rows: list[list[int]] = []
    by_space: list[list[int]] = [[] for _ in range(capacity + 1)]
    spaces = 0  # bit s is set while some row has s tokens of space
    for sample in np.lexsort((chance, -sizes)).tolist():
        size = int(sizes[sample])
        fitting = spaces >> size
        if fitting:
            space = size + (fitting & -fitting).bit_length() - 1
            row = by_space[space].pop()
            if not by_space[space]:
                spaces ^= 1 << space
            rows[row].append(sample)
        else:
            space, row = capacity, len(rows)
            rows.append([sample])
        by_space[space - size].append(row)
        spaces |= 1 << (space - size)
    return rows


def pack(
    encoded: Sequence[Encoded],
    ids: Sequence[str],
    tasks: Sequence[str | None],
    langs: Sequence[str | None],
    context_length: int,
    *,
    packed: bool = True,
    seed: int = 0,
) -> pa.Table:
    """Rows of `PACKED` that hold every sample once; one sample a row where `packed` is False."""
    if packed:
        rows = best_fit_decreasing([len(e.input_ids) for e in encoded], context_length, seed)
    else:
        rows = [[i] for i in range(len(encoded))]
    return pa.Table.from_pydict(
        {
            "input_ids": [[t for i in row for t in encoded[i].input_ids] for row in rows],
            "labels": [[t for i in row for t in [IGNORED, *encoded[i].labels[1:]]] for row in rows],
            "lengths": [[len(encoded[i].input_ids) for i in row] for row in rows],
            "label_counts": [[sum(t != IGNORED for t in encoded[i].labels[1:]) for i in row] for row in rows],
            "ids": [[ids[i] for i in row] for row in rows],
            "tasks": [[tasks[i] for i in row] for row in rows],
            "langs": [[langs[i] for i in row] for row in rows],
        },
        schema=PACKED,
    )


def order(n_rows: int, epoch: int, seed: int) -> np.ndarray:
    """int64 [n_rows]: the order of rows in an epoch. A rank finds its rows from (epoch, step) alone."""
    chance = np.random.PCG64(digest64(seed, "order", epoch)).random_raw(n_rows)
    return np.argsort(chance, kind="stable")


@dataclass(frozen=True)
class Batch:
    """int64 tensors [rows, longest row]; padding is a sample of its own with nothing to learn."""

    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor


def collate(rows: pa.Table) -> Batch:
    """Packed rows as tensors, padded to the longest of them."""
    width = max(PackedIndex.of(rows).tokens, default=0)
    input_ids = torch.zeros(len(rows), width, dtype=torch.int64)
    labels = torch.full((len(rows), width), IGNORED, dtype=torch.int64)
    position_ids = torch.empty(len(rows), width, dtype=torch.int64)
    for r in range(len(rows)):
        tokens = rows["input_ids"][r].values.to_numpy()
        input_ids[r, : len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
        labels[r, : len(tokens)] = torch.from_numpy(rows["labels"][r].values.to_numpy().astype(np.int64))
        lengths = [*rows["lengths"][r].as_py(), width - len(tokens)]
        position_ids[r] = torch.cat([torch.arange(length) for length in lengths])
    return Batch(input_ids, labels, position_ids)
