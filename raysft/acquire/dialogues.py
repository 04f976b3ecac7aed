"""Sources of `kind: dialogues`: conversations of several turns, and requests that nobody answered yet.

Layouts, told from the first rows if the recipe does not say:
    sharegpt   {from, value} turns, under one of `raysft.acquire.formats.CONVERSATION_KEYS`
    openai     {role, content} turns, there or as a bare list; `tool_calls`, `function_call`, `tools`
    oasst      OpenAssistant's trees, nested or as single messages (raysft/acquire/trees.py)
    queries    one request a row, under one of `QUERY_KEYS` with its `input` or `context`; or a
               conversation, of which the first request is taken: the system and user turns before the
               first answer. Answers are not read. InstructGPT began with such requests (Ouyang et al.
               2022, section 3.2)

A conversation is brought in order by the rule of raysft/acquire/turns.py and cut to a budget of tokens as
raysft/acquire/windows.py says. One that ends with a user turn is kept as it is, for `augment.respond` to
answer, or loses that turn (`unanswered: trim`). A sample without any answer has the task "query".

A row may give several samples (paths of a tree, pieces of a conversation); `k` numbers them, and of equal
ones the row gives the first. It may give samples and bad rows, one for each reason why a part of it could
not be used.

`Acquired.told` counts the repairs of turns.py, and: cut_conversations, and the too_long_exchanges in them;
trimmed_turns (`unanswered: trim`); left_out_messages of trees; repeated_samples of one row.
Reasons of bad rows are those of raysft/acquire/formats.py, turns.py, trees.py and windows.py, and no_answer:
nothing is left once an unanswered turn is gone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from raysft.acquire import formats, trees
from raysft.acquire.files import Files, records_of, units_of
from raysft.acquire.formats import Example, Turns, Unreadable
from raysft.acquire.instructions import DETECTION_ROWS, UNKNOWN_FORMAT
from raysft.acquire.readers import BadRow, Record
from raysft.acquire.turns import in_order, repair
from raysft.acquire.unit import Acquired, Unit, collect
from raysft.acquire.windows import Count, Overlong, cut, in_words, token_count, tokenizer_identity
from raysft.sample import content_hash, digest

Layout = Literal["sharegpt", "openai", "oasst", "queries"]
EXPECTED: dict[Layout, str] = {
    "sharegpt": "conversations [{from, value}]",
    "openai": "messages [{role, content}]",
    "oasst": "prompt {text, role, replies}; or message_id, parent_id, text, role",
    "queries": "query, prompt, instruction, question or text, without an answer",
}
QUERY_KEYS = ("query", "prompt", "instruction", "question", "text")
TURN_FORMATS: dict[str, Layout] = {"messages": "openai", "sharegpt": "sharegpt"}
ANSWERED_FORMATS = ("alpaca", "prompt_completion", "seed_tasks")
DECIDES = ("layout", "paths", "system", "alternation", "unanswered", "max_tokens", "overlong")
"""Fields that decide what is made of a row, beside the tokenizer; so ids depend on them."""


class DialoguesSource(Files):
    """Files of conversations, of conversation trees, or of requests."""

    kind: Literal["dialogues"] = "dialogues"
    layout: Layout | None = Field(None, description="layout of the rows; detected if unset")
    paths: trees.Paths = Field(
        "best", description="of a tree (layout: oasst), the path of the best ranked replies, or all paths"
    )
    system: str | None = Field(
        None, min_length=1, description="text of a system turn for conversations that have none"
    )
    alternation: Literal["repair", "quarantine"] = Field(
        "repair", description="what becomes of conversations whose turns are not in order"
    )
    unanswered: Literal["keep", "trim"] = Field(
        "keep", description="what becomes of a user turn at the end: kept for augment.respond, or left out"
    )
    max_tokens: int | None = Field(None, ge=1, description="tokens of a sample at most; needs tokenizer")
    tokenizer: str | None = Field(
        None, description="folder or hub name of the model whose tokenizer and chat template count tokens"
    )
    overlong: Overlong = Field("split", description="what becomes of conversations above max_tokens")

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        problems = []
        if (self.max_tokens is None) != (self.tokenizer is None):
            has, lacks = (
                ("tokenizer", "max_tokens") if self.max_tokens is None else ("max_tokens", "tokenizer")
            )
            problems.append(f"{has} is set but {lacks} is not; set both or leave out both")
        if self.paths == "all" and self.layout not in (None, "oasst"):
            problems.append(
                f"paths: all is for layout: oasst, not for layout: {self.layout}; leave out one of them"
            )
        if self.system is not None and not self.system.strip():
            problems.append("system is blank; give it a text or leave it out")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def expand(source: DialoguesSource) -> list[Unit]:
    """One unit a file, whose content is that of the file and of the settings that decide the samples.

    Raises:
        FileNotFoundError: nothing matches the path, or there is no such tokenizer.
        ValueError: a file named directly has an ending that is not read.
    """
    fields = source.model_dump(mode="json", include=set(DECIDES))
    tokenizer = None if source.tokenizer is None else tokenizer_identity(source.tokenizer)
    settings = digest(json.dumps(fields, sort_keys=True), tokenizer)
    return [replace(unit, content=f"{unit.content}:dialogues:{settings}") for unit in units_of(source)]


def read(source: DialoguesSource, unit: Unit) -> Acquired:
    """The conversations of one file, its bad rows, and what was repaired.

    Raises:
        ValueError: the layout is neither given nor to be told from the first rows.
        OSError: the file cannot be opened or fetched, or the tokenizer is not there.
    """
    layout, rows = _rows(source, unit)
    count = token_count(source.tokenizer) if source.tokenizer is not None else None
    told: Counter[str] = Counter()

    def convert(record: Record) -> list[Example | Unreadable]:
        return _convert(record.value, layout, source, count, told)

    table, bad = collect(rows, unit, source.labels, convert)
    return Acquired(table, bad, layout or UNKNOWN_FORMAT, told)


def _rows(source: DialoguesSource, unit: Unit) -> tuple[Layout | None, Iterable[Record | BadRow]]:
    """The layout of a file, None where no row tells it, and its rows; of trees, one a tree."""
    rows = records_of(unit)
    head = list(islice(rows, DETECTION_ROWS))
    values = [row.value for row in head if isinstance(row, Record)]
    layout = source.layout
    if layout is None:
        try:
            layout = detect(values)
        except ValueError as error:
            raise ValueError(f"{unit.uri}: {error}") from error
    whole: Iterable[Record | BadRow] = chain(head, rows)
    if layout != "oasst":
        return layout, whole
    if any(map(trees.is_message, values)):
        # A limit is one of trees: messages of one tree may stand anywhere in the file.
        all_rows = records_of(replace(unit, start=None, stop=None))
        whole = _first_trees(trees.grow(all_rows, unit.uri), unit.stop)
    return layout, (trees.with_language(row) if isinstance(row, Record) else row for row in whole)


def _first_trees(rows: Iterable[Record | BadRow], stop: int | None) -> Iterator[Record | BadRow]:
    seen = 0
    for row in rows:
        seen += isinstance(row, Record)
        if stop is None or seen <= stop or isinstance(row, BadRow):
            yield row


def detect(values: Iterable[Any]) -> Layout | None:
    """The layout of the first row that has one; None if there is no row that is an object.

    Raises:
        ValueError: there are objects, and none fits; names the keys seen and the layouts known.
    """
    found, keys = formats.first_known(values, _layout_of)
    if found is not None or not keys:
        return found
    known = "; ".join(f"{name}: {expected}" for name, expected in EXPECTED.items())
    raise ValueError(
        f"no known layout has the keys {keys}; known layouts: {known}; name it with `layout:`, "
        "or read instructions with their answers as `kind: files`"
    )


def _layout_of(value: Any) -> Layout | None:
    if trees.is_tree(value) or trees.is_message(value):
        return "oasst"
    format = formats.format_of(value)
    if format in TURN_FORMATS:
        return TURN_FORMATS[format]
    if format in ANSWERED_FORMATS or not isinstance(value, Mapping):
        return None
    return "queries" if any(isinstance(value.get(key), str | list) for key in QUERY_KEYS) else None


def _convert(
    value: Any, layout: Layout | None, source: DialoguesSource, count: Count | None, told: Counter[str]
) -> list[Example | Unreadable]:
    """What a row gives: samples, and what of it could not be used; adds to `told`."""
    conversations, left_out = _conversations(value, layout, source)
    told.update(+Counter(left_out_messages=left_out))
    found: dict[str, Example | Unreadable] = {}
    for turns in conversations:
        try:
            items = _pieces(turns, source, count, told)
        except Unreadable as error:
            items = [error]
        for item in items:
            if isinstance(item, Unreadable):
                found.setdefault(str(item), item)
                continue
            key = content_hash(item.messages)
            told.update(+Counter(repeated_samples=int(key in found)))
            found.setdefault(key, item)
    return list(found.values())


def _conversations(value: Any, layout: Layout | None, source: DialoguesSource) -> tuple[list[Turns], int]:
    """The conversations of a row as they stand there, and how many messages of a tree were left out."""
    if layout is None:
        raise Unreadable(f"wrong_type: the row is no object: {value!r:.80}")
    if layout == "oasst":
        found, left_out = trees.conversations(value, source.paths)
        return [formats.with_system({}, turns, source.system) for turns in found], left_out
    if layout == "queries":
        return [_query(value, source.system)], 0
    format: formats.Format = "sharegpt" if layout == "sharegpt" else "messages"
    return [formats.conversation_of(value, format, source.system)], 0


def _query(value: Any, system: str | None) -> Turns:
    """The request of a row: its text, or the turns of its conversation before the first answer."""
    format = formats.format_of(value)
    if format in TURN_FORMATS:
        return _before_answer(formats.conversation_of(value, format, system))
    if not isinstance(value, Mapping):
        raise Unreadable(f"wrong_type: the row is no object: {value!r:.80}")
    key = next((key for key in QUERY_KEYS if value.get(key) is not None), None)
    if key is None:
        raise Unreadable(f"missing_field: {' or '.join(QUERY_KEYS)}")
    if isinstance(value[key], list):
        return _before_answer(formats.with_system(value, formats.read_turns(value[key], key), system))
    turn = {"role": "user", "content": formats.asked_of(value, key)}
    return formats.with_system(value, [turn], system)


def _before_answer(turns: Turns) -> Turns:
    """The turns up to the first answer to a user turn."""
    has_text = [bool(turn["content"].strip()) for turn in turns]
    roles = [turn["role"] if text else None for turn, text in zip(turns, has_text, strict=True)]
    asked = roles.index("user") if "user" in roles else len(turns)
    answered = (i for i in range(asked, len(turns)) if roles[i] in ("assistant", "tool"))
    return turns[: next(answered, len(turns))]


def _pieces(
    turns: Turns, source: DialoguesSource, count: Count | None, told: Counter[str]
) -> list[Example | Unreadable]:
    """A conversation in order, in pieces that fit the budget."""
    done: Counter[str] = Counter()
    if source.alternation == "repair":
        turns, done = repair(turns)
    else:
        turns = in_order(turns)
    if source.unanswered == "trim" and turns[-1]["role"] == "user":
        turns = turns[:-1]
        done["trimmed_turns"] += 1
        if not any(turn["role"] == "user" for turn in turns):
            raise Unreadable("no_answer: without its last turn, which nobody answered, nothing is left")
    formats.check_turns(turns)
    pieces, problems = [turns], []
    if count is not None and source.max_tokens is not None:
        made = cut(turns, count, source.max_tokens, source.overlong)
        pieces = made.pieces
        done += Counter(cut_conversations=int(pieces != [turns]), too_long_exchanges=len(made.too_long))
        problems = [Unreadable(in_words(made.too_long, source.max_tokens))] if made.too_long else []
    told.update(done)
    return [*(Example(piece, _task(piece)) for piece in pieces), *problems]


def _task(turns: Turns) -> str | None:
    return None if any(turn["role"] == "assistant" for turn in turns) else "query"
