"""The JSON list of tasks with answers that a model is asked for: its schema, and what it wrote, read
tolerantly.

Read as pairs are objects with a task and an answer under their usual names, English or Chinese: in a list,
one after another without one, within another object, and within any text around them, such as a Markdown
fence. Trailing commas and line breaks within a string are no obstacle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from raysft.augment.json_list import DECODER, MAX_CHARS, text_at, without_trailing_commas

TASK_KEYS = ("instruction", "task", "prompt", "question", "指令", "任务", "问题", "题目")
INPUT_KEYS = ("input", "输入")
ANSWER_KEYS = ("output", "answer", "response", "输出", "答案", "回答", "回复")


@dataclass(frozen=True)
class Pair:
    """A task with its answer; either may be empty."""

    instruction: str
    output: str


def schema(most: int) -> dict[str, Any]:
    """The JSON schema of a list of one to `most` pairs."""
    text = {"type": "string", "minLength": 1}
    pair = {
        "type": "object",
        "properties": {"instruction": text, "output": text},
        "required": ["instruction", "output"],
        "additionalProperties": False,
    }
    return {"type": "array", "items": pair, "minItems": 1, "maxItems": most}


def pairs(text: str) -> list[Pair | str]:
    """What stands in a text, in order: a `Pair`, or the piece from a brace on that is none."""
    text = without_trailing_commas(text[:MAX_CHARS])
    found: list[Pair | str] = []
    unread, at = -1, text.find("{")
    while at >= 0:
        read, end = _decoded(text, at)
        here = list(_pairs_in(read))
        if here:
            found += [text[unread:at].strip(), *here] if unread >= 0 else here
            unread = -1
        elif unread < 0:
            unread = at
        at = text.find("{", end)
    return [*found, text[unread:].strip()] if unread >= 0 else found


def _decoded(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins here, or None, and where to read on."""
    try:
        return DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):  # RecursionError: thousands of opening braces
        return None, at + 1


def _pairs_in(value: Any) -> Iterator[Pair]:
    """The pairs of a JSON value, in order."""
    if isinstance(value, list):
        for item in value:
            yield from _pairs_in(item)
    elif isinstance(value, Mapping):
        task, answer = text_at(value, TASK_KEYS), text_at(value, ANSWER_KEYS)
        if task or answer:
            given = text_at(value, INPUT_KEYS)
            yield Pair("\n".join(part for part in (task, given) if part), answer or "")
        else:
            for item in value.values():
                yield from _pairs_in(item)
