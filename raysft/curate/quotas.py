"""Quotas: at most so many rows of each value of a column. Groups are the values that have a quota, in their
order, and last one group of all other rows, which has none but the budget.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Quotas = Mapping[str, int | float]


def group_of(table: pa.Table, column: str | None, quotas: Quotas) -> pa.Array:
    """int64 [rows]: the group of each row; all are of the last one without a column.

    Raises:
        ValueError: the column holds lists or the like.
    """
    if column is None:
        return pa.array(np.zeros(len(table), np.int64))
    values = table[column].combine_chunks()
    if pa.types.is_nested(values.type):
        raise ValueError(f"quota_column: {column} is {values.type}; quotas are by texts, numbers or booleans")
    names = pa.array(sorted(quotas), pa.string())
    place = pc.index_in(pc.cast(values, pa.string()), names)
    return pc.fill_null(pc.cast(place, pa.int64()), len(names))


def in_rows(quotas: Quotas, share_of: int, budget: int) -> np.ndarray:
    """int64 [groups]: rows of each group at most; fractions are of `share_of`, the last is the budget."""
    named = [
        round(quota * share_of) if isinstance(quota, float) else quota for _, quota in sorted(quotas.items())
    ]
    return np.array([*named, budget], np.int64)


def drawn_by_group(placed: np.ndarray, unplaced: np.ndarray, quotas: np.ndarray, budget: int) -> np.ndarray:
    """int64 [groups]: how many of the unplaced rows of each group are drawn, in proportion to their number.

    A group's part of the budget is its quota, less where quotas together exceed the budget; the last group
    gets what the others leave.
    """
    rows = placed + unplaced
    part = np.minimum(quotas, rows).astype(np.float64)
    named = part[:-1].sum()
    part[:-1] *= min(1.0, budget / named) if named else 1.0
    part[-1] = min(rows[-1], budget - part[:-1].sum())
    wanted = np.cumsum(part * unplaced / np.maximum(rows, 1))
    rounded = np.floor(wanted + 0.5).astype(np.int64)  # sums, so that all together are the budget's share
    return np.minimum(np.diff(rounded, prepend=0), np.minimum(unplaced, quotas))
