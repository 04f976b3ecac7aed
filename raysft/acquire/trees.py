"""Conversation trees as OpenAssistant exports them, and the conversations in them.

Two layouts (https://github.com/LAION-AI/Open-Assistant, oasst-data/README.md):
    trees      one tree a row: {message_tree_id, prompt: {text, role, lang, rank, replies: [...]}}
    messages   one message a row: {message_id, parent_id, text, role, lang, rank}; a message without a
               `parent_id` is the prompt of a tree, whose row is that of its prompt

A message with `deleted: true`, or with `review_result: false` (reviewers took it for spam), is left out with
everything below it. Among replies the best has the lowest `rank`, 0 for the one that people preferred; those
without a rank come last, and the first in the file wins among equals. Tables of text (CSV) write the same
values as texts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from raysft.acquire.formats import Turns, Unreadable, read_turns
from raysft.acquire.readers import BadRow, Record, bad_row

Paths = Literal["best", "all"]
Node = Mapping[str, Any]


def is_tree(value: Any) -> bool:
    """Whether a row is a tree of messages."""
    return (
        isinstance(value, Mapping) and isinstance(value.get("prompt"), Mapping) and "text" in value["prompt"]
    )


def is_message(value: Any) -> bool:
    """Whether a row is one message of a tree."""
    return isinstance(value, Mapping) and {"message_id", "text", "role"} <= value.keys()


def conversations(tree: Any, paths: Paths) -> tuple[list[Turns], int]:
    """The conversations of a tree, in the order of its replies, and how many messages were left out.

    Raises:
        Unreadable: the row is no tree, a message on the way is broken, or the prompt itself is left out.
    """
    if not is_tree(tree):
        raise Unreadable("missing_field: prompt.text")
    prompt = tree["prompt"]
    if _is_left_out(prompt):
        raise Unreadable("deleted_prompt: the tree's prompt is deleted or was rejected by its reviewers")
    left_out = sum(_size(node) for node in _nodes(prompt) if _is_left_out(node))
    found = [_best_path(prompt)] if paths == "best" else list(_all_paths(prompt))
    return [read_turns(path, "path", text_key="text") for path in found], left_out


def with_language(record: Record) -> Record:
    """The row with its prompt's language, as a label of the row."""
    if not is_tree(record.value):
        return record
    value = {**record.value, "lang": record.value["prompt"].get("lang")}
    return Record(record.row, record.line, value, record.raw)


def grow(rows: Iterable[Record | BadRow], uri: str) -> Iterator[Record | BadRow]:
    """Trees out of rows of single messages, each in the place of its prompt; then the messages that cannot be
    used, as bad rows: missing_field, wrong_type, repeated_message, missing_parent.

    All messages of the file are held in memory: a reply may stand anywhere.
    """
    messages: dict[str, Record] = {}
    replies: dict[str, list[str]] = {}
    prompts: list[str] = []
    bad: list[BadRow] = []
    for row in rows:
        problem = row if isinstance(row, BadRow) else _problem(row, messages, uri)
        if problem is not None:
            bad.append(problem)
            continue
        assert isinstance(row, Record)
        own, parent = row.value["message_id"], row.value.get("parent_id") or None
        messages[own] = row
        if parent is None:
            prompts.append(own)
        else:
            replies.setdefault(parent, []).append(own)
    reached: set[str] = set()
    for own in prompts:
        prompt, below = _branch(own, messages, replies)
        reached |= below
        row = messages[own]
        raw = json.dumps(row.value, ensure_ascii=False, default=str) if row.raw is None else row.raw
        yield Record(row.row, row.line, {"message_tree_id": own, "prompt": prompt}, raw)
    bad += [_orphan(row, messages, uri) for own, row in messages.items() if own not in reached]
    yield from bad


def _problem(row: Record, messages: Mapping[str, Record], uri: str) -> BadRow | None:
    """The bad row of a message that has no place in any tree."""
    if not is_message(row.value):
        reason = "missing_field: message_id, text or role"
    elif not isinstance(row.value["message_id"], str):
        reason = "wrong_type: message_id is not text"
    elif not isinstance(row.value.get("parent_id"), str | None):
        reason = "wrong_type: parent_id is not text"
    elif row.value["message_id"] in messages:
        reason = f"repeated_message: message_id {row.value['message_id']} is that of an earlier row"
    else:
        return None
    return _bad(row, uri, reason)


def _orphan(row: Record, messages: Mapping[str, Record], uri: str) -> BadRow:
    parent = row.value["parent_id"]
    what = "has no place in a tree itself" if parent in messages else "is not in the file"
    return _bad(row, uri, f"missing_parent: parent_id {parent} {what}")


def _bad(row: Record, uri: str, reason: str) -> BadRow:
    raw = json.dumps(row.value, ensure_ascii=False, default=str) if row.raw is None else row.raw
    return bad_row(uri, row.row, row.line, reason, raw)


def _branch(
    root: str, messages: Mapping[str, Record], replies: Mapping[str, list[str]]
) -> tuple[Node, set[str]]:
    """The nested message of an id, and the ids in it."""
    nodes: dict[str, dict[str, Any]] = {}
    waiting = [root]
    while waiting:
        own = waiting.pop()
        nodes[own] = {**messages[own].value, "replies": []}
        waiting += replies.get(own, [])
    for own, node in nodes.items():
        node["replies"] = [nodes[reply] for reply in replies.get(own, [])]
    return nodes[root], set(nodes)


def _replies(node: Node) -> list[Node]:
    found = node.get("replies") or []
    if not isinstance(found, list) or not all(isinstance(reply, Mapping) for reply in found):
        raise Unreadable("wrong_type: replies is not a list of messages")
    return found


def _is_left_out(node: Node) -> bool:
    return _says(node.get("deleted"), True) or _says(node.get("review_result"), False)


def _says(value: Any, expected: bool) -> bool:
    return value is expected or (isinstance(value, str) and value.strip().lower() == str(expected).lower())


def _kept_replies(node: Node) -> list[Node]:
    return [reply for reply in _replies(node) if not _is_left_out(reply)]


def _nodes(prompt: Node) -> Iterator[Node]:
    """The messages of a tree, none of those below one that is left out."""
    waiting = [prompt]
    while waiting:
        node = waiting.pop()
        yield node
        if not _is_left_out(node):
            waiting += _replies(node)


def _size(node: Node) -> int:
    """How many messages a branch holds."""
    waiting, size = [node], 0
    while waiting:
        size += 1
        waiting += _replies(waiting.pop())
    return size


def _best_path(prompt: Node) -> list[Node]:
    path = [prompt]
    while replies := _kept_replies(path[-1]):
        path.append(min(replies, key=_rank))
    return path


def _rank(node: Node) -> float:
    try:
        rank = float(node.get("rank"))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.inf
    return math.inf if math.isnan(rank) else rank


def _all_paths(prompt: Node) -> Iterator[list[Node]]:
    """Every path from the prompt to a message without replies, depth first."""
    waiting = [[prompt]]
    while waiting:
        path = waiting.pop()
        replies = _kept_replies(path[-1])
        if not replies:
            yield path
        waiting += [[*path, reply] for reply in reversed(replies)]
