"""Texts of conversations as Arrow columns: what the deduplicating and embedding stages look at."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

On = Literal["instruction", "conversation"]


def texts_of(table: pa.Table, on: On | Literal["answers"]) -> pa.Array:
    """One string a row of `messages`, "" where there is nothing to read, never null.

    "instruction" is the first user turn, "conversation" all turns' contents joined by newlines, "answers"
    those of the assistant.
    """
    row, roles, contents = turns_of(table)
    if on == "answers":
        is_answer = pc.equal(roles, "assistant")
        row, contents = row[is_answer.to_numpy(zero_copy_only=False)], contents.filter(is_answer)
    if on == "instruction":
        is_user = pc.equal(roles, "user").to_numpy(zero_copy_only=False)
        rows, first = np.unique(row[is_user], return_index=True)
        index = np.full(len(table), -1)
        index[rows] = np.flatnonzero(is_user)[first]
        return pc.fill_null(contents.take(pa.array(index, mask=index < 0)), "")
    offsets = np.searchsorted(row, np.arange(len(table) + 1))
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), contents)
    return pc.binary_join(lists, "\n")


def answer_lengths(table: pa.Table) -> np.ndarray:
    """int64 [rows]: characters of all assistant turns, by which duplicates are ranked."""
    row, roles, contents = turns_of(table)
    is_answer = pc.equal(roles, "assistant").to_numpy(zero_copy_only=False)
    lengths = pc.utf8_length(contents).to_numpy(zero_copy_only=False).astype(np.int64)
    total = np.zeros(len(table), np.int64)
    np.add.at(total, row[is_answer], lengths[is_answer])
    return total


def turns_of(table: pa.Table) -> tuple[np.ndarray, pa.Array, pa.Array]:
    """All turns of all rows: the row each stands in (int64, ascending), roles and contents, "" for null."""
    messages = table["messages"].combine_chunks()
    turns = pc.list_flatten(messages)
    row = pc.list_parent_indices(messages).to_numpy(zero_copy_only=False).astype(np.int64)
    roles = pc.fill_null(pc.struct_field(turns, "role"), "")
    return row, roles, pc.fill_null(pc.struct_field(turns, "content"), "")
