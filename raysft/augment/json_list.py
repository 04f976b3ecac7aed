"""Read the JSON list of objects that a model was asked for, whatever it wrote around it.

`objects` finds the list behind a preamble, in a code fence, as one object alone, as objects one a line, as
several lists, or as the only value of an object around it; trailing commas are no obstacle. Objects that
are complete stay when what follows them was cut off or is broken: that comes back as text, so that it can
be told from nothing. `text_at` reads a value of such an object as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysft.augment.generation import Unparsable

MAX_CHARS = 100_000  # of a text, the rest is not read; some 25,000 tokens
MAX_NESTING = 50  # lists and objects in one another; deeper ones could not be written as text again

_START = re.compile(r'\[\s*(?=\{)|\{\s*(?=")')
_EMPTY = re.compile(r"\[\s*\]")
_GAP = re.compile(r"(?:[\s,\[\]]|```(?:json)?)*")
_WRAPPED = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*(?=\[\s*\{)')
_SURROGATE = re.compile("[\ud800-\udfff]")
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)
DECODER = json.JSONDecoder(strict=False)  # line breaks may stand in strings as they are


@dataclass(frozen=True)
class Objects:
    """`found` are the complete objects in order. `rest` is the text from the first element on that is cut
    off or no object, "" where all was read."""

    found: list[dict[str, Any]]
    rest: str = ""


def objects(text: str) -> Objects:
    """The objects of the first JSON list in `text`; text after its end is passed over.

    Raises:
        Unparsable: there is neither an empty list nor the beginning of an object.
    """
    text = without_trailing_commas(text[:MAX_CHARS])
    start = _START.search(text)
    if start is None:
        if _EMPTY.search(text):
            return Objects([])
        raise Unparsable("no list of JSON objects")
    read = _read(text, start.start())
    if len(read.found) == 1 and not read.rest:
        return Objects(_unwrapped(read.found[0]) or read.found)
    wrapped = None if read.found else _WRAPPED.match(read.rest)
    return _read(read.rest, wrapped.end()) if wrapped else read


def without_trailing_commas(text: str) -> str:
    """The text without commas before a closing bracket or brace, but for those within strings."""
    return _TRAILING_COMMA.sub(lambda found: found[1] or "", text)


def text_at(value: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The value under the first of `names` that the object has, in any case, as text; None if it has none."""
    by_name = {name.strip().casefold(): one for name, one in value.items()}
    return next((as_text(by_name[name]) for name in names if name in by_name), None)


def as_text(value: Any) -> str:
    """A JSON value as a turn's text: strings stripped, null empty, all others as JSON."""
    if value is None:
        return ""
    text = value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _SURROGATE.sub("\ufffd", text)


def _read(text: str, at: int) -> Objects:
    """The objects from position `at` on, up to the end of the list or the first other element."""
    found: list[dict[str, Any]] = []
    depth = 0
    while True:
        gap = _GAP.match(text, at)
        if gap is not None:  # it always is: a gap may be empty
            depth += gap.group().count("[") - gap.group().count("]")
            at = gap.end()
        if not text.startswith("{", at):
            return Objects(found, text[at:] if depth > 0 else "")
        try:
            value, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return Objects(found, text[at:])
        if _is_too_deep(value):
            return Objects(found, text[at:])
        found.append(value)
        at = end


def _unwrapped(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The list of objects that is the only value of an object, or None."""
    inner = next(iter(value.values())) if len(value) == 1 else None
    is_list = isinstance(inner, list) and all(isinstance(one, dict) for one in inner)
    return inner if is_list else None


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_NESTING):
        inner = [list(one.values()) if isinstance(one, dict) else one for one in level]
        level = [child for one in inner if isinstance(one, list) for child in one]
    return bool(level)
