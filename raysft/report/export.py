"""Samples as JSON lines in the formats that trainers read.

    messages           {"messages": [{"role", "content"}, …]}
    sharegpt           {"conversations": [{"from": "system|human|gpt|tool", "value"}, …]}
    alpaca             {"instruction", "input", "output"}
    prompt_completion  {"prompt", "completion"}

The first two hold any conversation. The last two hold one user turn and one assistant turn; a row with
more (or with a system or tool turn) does not fit them and is never flattened silently.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from raysft.sample import live

SHAREGPT_NAMES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"}

Messages = Sequence[Mapping[str, str]]


class UnfitRows(ValueError):
    """Rows that a format cannot hold. `reasons` counts them by what they have that it has no place for."""

    def __init__(self, format: str, reasons: Mapping[str, int], rows: int) -> None:
        self.reasons = dict(reasons)
        listed = ", ".join(f"{reason}: {n:,}" for reason, n in self.reasons.items())
        super().__init__(
            f"{sum(self.reasons.values()):,} of {rows:,} rows do not fit the format {format!r} ({listed}); "
            "export as 'messages' or 'sharegpt', which hold any conversation, or skip these rows"
        )


def lines(table: pa.Table, format: str, *, skip_unfit: bool = False) -> Iterator[str]:
    """One line of JSON, without its newline, for each row of `messages` in `table`, in order.

    Dropped and quarantined rows are left out. With `skip_unfit`, rows that do not fit the format are
    left out too; `unfit` says how many and why.

    Raises:
        UnfitRows: rows do not fit, and they are not to be skipped; raised before the first line.
        LookupError: there is no such format.
    """
    convert = _converter(format)
    reasons = {} if skip_unfit else unfit(table, format)
    if reasons:
        raise UnfitRows(format, reasons, len(_kept(table)))
    return (
        json.dumps(convert(messages), ensure_ascii=False)
        for messages in _conversations(table)
        if misfit(messages, format) is None
    )


def unfit(table: pa.Table, format: str) -> dict[str, int]:
    """Rows that `format` cannot hold, counted by reason, most frequent first; empty when all fit."""
    _converter(format)
    found = Counter(reason for m in _conversations(table) if (reason := misfit(m, format)))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def misfit(messages: Messages, format: str) -> str | None:
    """Why `format` cannot hold this conversation, or None when it can."""
    if not messages:
        return "no turns"
    if format not in SINGLE_TURN:
        return None
    roles = [m["role"] for m in messages]
    for role in ("system", "tool"):
        if role in roles:
            return f"{role} turn"
    if roles == ["user", "assistant"]:
        return None
    return "more than one exchange" if len(roles) > 2 else "not a user turn and its answer"


def _kept(table: pa.Table) -> pa.Table:
    """The live rows; a curated set has left the marks out and holds no others."""
    return live(table) if {"drop_rule", "quarantine"} <= set(table.column_names) else table


def _conversations(table: pa.Table) -> Iterator[Messages]:
    for batch in _kept(table).select(["messages"]).to_batches(max_chunksize=1024):
        for messages in batch.column(0).to_pylist():
            yield messages or []


def _converter(format: str) -> Callable[[Messages], dict[str, Any]]:
    if format not in FORMATS:
        raise LookupError(f"no format {format!r}; there are: {', '.join(FORMATS)}")
    return FORMATS[format]


def _messages(messages: Messages) -> dict[str, Any]:
    return {"messages": [{"role": m["role"], "content": m["content"]} for m in messages]}


def _sharegpt(messages: Messages) -> dict[str, Any]:
    turns = [{"from": SHAREGPT_NAMES[m["role"]], "value": m["content"]} for m in messages]
    return {"conversations": turns}


def _alpaca(messages: Messages) -> dict[str, Any]:
    return {"instruction": messages[0]["content"], "input": "", "output": messages[1]["content"]}


def _prompt_completion(messages: Messages) -> dict[str, Any]:
    return {"prompt": messages[0]["content"], "completion": messages[1]["content"]}


SINGLE_TURN = ("alpaca", "prompt_completion")
FORMATS: dict[str, Callable[[Messages], dict[str, Any]]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
}
