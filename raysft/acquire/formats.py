"""Raw record → conversations: the six layouts that raw material comes in, and how to tell them apart.

    messages           [{role, content}, …] (OpenAI), bare or under one of `CONVERSATION_KEYS`; `tool_calls`
                       and `function_call` become JSON text
    sharegpt           [{from, value}, …] under one of `CONVERSATION_KEYS`, `system` beside it
    alpaca             `instruction`, `input`, `output` (also `context`, `response`), `history`, `system`
    prompt_completion  a pair of `PAIRS`, each side a text or a list of messages, `context` and `system`
                       beside it
    seed_tasks         Self-Instruct: `instruction`, `instances` [{input, output}, …], `is_classification`
    text               `text` or `content`, a plain text: one assistant turn that no instruction precedes yet
                       (augment.backtranslate writes one)

Everywhere: a blank system turn is left out; `tools` (or `functions`) beside a conversation join its system
turn as they are (JSON), for an assistant that calls tools nobody described would teach inventing them; turns
are never merged, reordered or cut (raysft/acquire/turns.py does that, for `kind: dialogues`). A content that
is a list of parts becomes one text: reasoning stands between `<think>` and `</think>`, as chat templates of
reasoning models have it (Qwen3's, for one), and each tool call on a line of its own. What cannot be read
raises `Unreadable` with one of the reasons missing_field, wrong_type, empty_conversation, unknown_role,
no_user_turn, blank_content, lone_surrogate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Format = Literal["messages", "sharegpt", "alpaca", "prompt_completion", "seed_tasks", "text"]
FORMATS: tuple[Format, ...] = get_args(Format)
Turns = list[dict[str, str]]

ROLE_NAMES = {
    "system": ("system", "developer", "系统"),
    "user": ("user", "human", "prompter", "用户"),
    "assistant": (
        *("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "chatbot", "model", "ai", "助手"),
        *("function_call", "tool_call"),
    ),
    "tool": ("tool", "function", "observation", "tool_response"),
}
ROLE_OF = {name: role for role, names in ROLE_NAMES.items() for name in names}
"""Roles by the names that files have for them, in lower case."""
CONVERSATION_KEYS = ("messages", "conversation", "conversations", "items")
PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("query", "response"),
)
ANSWER_KEYS = ("output", "response")
TEXT_KEYS = ("text", "content")
# Parts of a content by type: what becomes of their text.
PART_FORMS = {"text": "{}", "reasoning": "<think>\n{}\n</think>\n", "tool_call": "{}"}
INPUT_KEYS = ("input", "context")
# How Self-Instruct's and Alpaca's files write "no input".
NO_INPUT = ("<noinput>", "noinput")
# Columns of a row that are taken over, under the name of the sample's column.
LABEL_KEYS = {
    "task": ("task", "category"),
    "domain": ("domain",),
    "lang": ("lang", "language"),
    "licence": ("licence", "license"),
}


class Unreadable(ValueError):
    """A row that no conversation can be made of; the text is the reason to write down."""


@dataclass(frozen=True)
class Example:
    """One conversation of a row, and what its layout implies: labels, and the options and gold answer of
    a task that has them (see raysft/sample.py)."""

    messages: Turns
    task: str | None = None
    lang: str | None = None
    options: list[str] | None = None
    gold: str | None = None


def detect(values: Iterable[Any]) -> Format | None:
    """The format of the first row that has one; None if there is no row that is an object.

    Raises:
        ValueError: there are objects, and none fits; names the keys seen and the formats known.
    """
    found, keys = first_known(values, format_of)
    if found is not None or not keys:
        return found
    known = "; ".join(f"{name}: {expected}" for name, expected in EXPECTED.items())
    raise ValueError(f"no known format has the keys {keys}; known formats: {known}")


def first_known(values: Iterable[Any], known_as: Callable[[Any], str | None]) -> tuple[Any, list[str]]:
    """What the first row that is known is known as, or None and up to 20 keys of the objects that are not."""
    seen: dict[str, None] = {}
    for value in values:
        found = known_as(value)
        if found is not None:
            return found, []
        if isinstance(value, Mapping):
            seen.update(dict.fromkeys(map(str, value)))
    return None, list(seen)[:20]


EXPECTED: dict[Format, str] = {
    "messages": "messages or conversation [{role, content}]",
    "sharegpt": "conversations [{from, value}]",
    "alpaca": "instruction, output",
    "prompt_completion": " or ".join(", ".join(pair) for pair in PAIRS),
    "seed_tasks": "instruction, instances",
    "text": " or ".join(TEXT_KEYS),
}


def format_of(value: Any) -> Format | None:
    """The format of one row, or None."""
    if isinstance(value, list):
        return "messages" if value and all(isinstance(m, Mapping) and "role" in m for m in value) else None
    if not isinstance(value, Mapping):
        return None
    for key in CONVERSATION_KEYS:
        turns = unpacked(value.get(key))
        if isinstance(turns, list) and turns and isinstance(turns[0], Mapping):
            if "from" in turns[0]:
                return "sharegpt"
            if "role" in turns[0]:
                return "messages"
    if "instruction" in value and "instances" in value:
        return "seed_tasks"
    if "instruction" in value and any(key in value for key in ANSWER_KEYS):
        return "alpaca"
    # With choices beside it, the question alone is not what the answer answers.
    if "choices" not in value and any(
        prompt in value and completion in value for prompt, completion in PAIRS
    ):
        return "prompt_completion"
    return "text" if any(isinstance(value.get(key), str) for key in TEXT_KEYS) else None


def convert(value: Any, format: Format) -> list[Example]:
    """The conversations of one row: one, but for a seed task with several instances.

    Raises:
        Unreadable: nothing can be made of the row.
    """
    examples = examples_of(value, format)
    for example in examples:
        check_turns(example.messages, needs_user=format != "text")
    return examples


def examples_of(value: Any, format: Format) -> list[Example]:
    """The conversations of one row as they stand there, blank turns too.

    Raises:
        Unreadable: the row is not of this format.
    """
    if format == "messages" and isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, Mapping):
        raise Unreadable(f"wrong_type: the row is {_named(value)}, not an object")
    return CONVERTERS[format](value)


def conversation_of(value: Any, format: Format, system: str | None = None) -> Turns:
    """The turns of a row of the formats messages and sharegpt as they stand there, blank ones too; `system`
    is put first where the row has no system text of its own.

    Raises:
        Unreadable: the row cannot be read.
    """
    row = {"messages": value} if isinstance(value, list) else value
    if not isinstance(row, Mapping):
        raise Unreadable(f"wrong_type: the row is {_named(row)}, not an object")
    turns, where = _conversation(row)
    keys = ("from", "value") if format == "sharegpt" else ("role", "content")
    return with_system(row, read_turns(turns, where, *keys), system)


def labels(value: Any) -> dict[str, str]:
    """`task`, `domain`, `lang` and `licence`, as far as the row itself names them in non-blank text."""
    found: dict[str, str] = {}
    if isinstance(value, Mapping):
        for name, keys in LABEL_KEYS.items():
            texts = [value[key].strip() for key in keys if isinstance(value.get(key), str)]
            label = next((text for text in texts if text and is_utf8(text)), None)
            if label is not None and name == "lang":
                label = _language_code(label)
            if label is not None:
                found[name] = label
    return found


def _language_code(text: str) -> str | None:
    """ "zh" of "zh", "zh-CN" or "ZH_hans"; None for anything that is no such tag ("Chinese")."""
    found = re.fullmatch(r"([A-Za-z]{2})([-_][A-Za-z0-9-_]+)?", text)
    return found[1].lower() if found else None


def _messages(row: Mapping[str, Any]) -> list[Example]:
    return [Example(conversation_of(row, "messages"))]


def _sharegpt(row: Mapping[str, Any]) -> list[Example]:
    return [Example(conversation_of(row, "sharegpt"))]


def _alpaca(row: Mapping[str, Any]) -> list[Example]:
    if "instruction" not in row:
        raise Unreadable("missing_field: instruction")
    answer = next((key for key in ANSWER_KEYS if key in row), None)
    if answer is None:
        raise Unreadable(f"missing_field: {' or '.join(ANSWER_KEYS)}")
    turns = _history(row.get("history"))
    turns += [
        {"role": "user", "content": asked_of(row, "instruction")},
        {"role": "assistant", "content": _text(row[answer], answer)},
    ]
    return [Example(with_system(row, turns))]


def _history(value: Any) -> Turns:
    pairs = unpacked(value)
    if pairs is None or pairs == "":
        return []
    if not isinstance(pairs, list) or not all(isinstance(p, Sequence) and len(p) == 2 for p in pairs):
        raise Unreadable("wrong_type: history is not a list of [question, answer] pairs")
    turns: Turns = []
    for i, (question, answer) in enumerate(pairs):
        turns.append({"role": "user", "content": _text(question, f"history[{i}][0]")})
        turns.append({"role": "assistant", "content": _text(answer, f"history[{i}][1]")})
    return turns


def _prompt_completion(row: Mapping[str, Any]) -> list[Example]:
    pair = next((p for p in PAIRS if p[0] in row and p[1] in row), None)
    if pair is None:
        begun = [p for p in PAIRS if p[0] in row or p[1] in row] or list(PAIRS)
        lacking = dict.fromkeys(key for p in begun for key in p if key not in row)
        raise Unreadable(f"missing_field: {' or '.join(lacking)}")
    turns = _side(row[pair[0]], pair[0], "user")
    if isinstance(row[pair[0]], str) and row.get("context") is not None:
        turns = [{"role": "user", "content": _asked(turns[0]["content"], _text(row["context"], "context"))}]
    turns += _side(row[pair[1]], pair[1], "assistant")
    return [Example(with_system(row, turns))]


def _side(value: Any, name: str, role: str) -> Turns:
    if isinstance(value, list):
        return read_turns(value, name)
    return [{"role": role, "content": _text(value, name)}]


def _seed_tasks(row: Mapping[str, Any]) -> list[Example]:
    for key in ("instruction", "instances"):
        if key not in row:
            raise Unreadable(f"missing_field: {key}")
    instances = unpacked(row["instances"])
    if not isinstance(instances, list):
        raise Unreadable(f"wrong_type: instances is {_named(instances)}, not a list")
    if not instances:
        raise Unreadable("empty_conversation: the task has no instance")
    instruction = _text(row["instruction"], "instruction")
    task = "classification" if row.get("is_classification") is True else "generation"
    examples = []
    for i, instance in enumerate(instances):
        where = f"instances[{i}]"
        if not isinstance(instance, Mapping):
            raise Unreadable(f"wrong_type: {where} is {_named(instance)}, not an object")
        if "output" not in instance:
            raise Unreadable(f"missing_field: {where}.output")
        user = _asked(instruction, _text(instance.get("input") or "", f"{where}.input"))
        answer = _text(instance["output"], f"{where}.output")
        turns = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
        examples.append(Example(turns, task))
    return examples


def _plain_text(row: Mapping[str, Any]) -> list[Example]:
    key = next((key for key in TEXT_KEYS if key in row), None)
    if key is None:
        raise Unreadable(f"missing_field: {' or '.join(TEXT_KEYS)}")
    return [Example([{"role": "assistant", "content": _text(row[key], key)}])]


CONVERTERS: dict[Format, Callable[[Mapping[str, Any]], list[Example]]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
    "seed_tasks": _seed_tasks,
    "text": _plain_text,
}


def asked_of(row: Mapping[str, Any], key: str) -> str:
    """The text under `key` and what the row gives as its input, as one user turn."""
    given = next((name for name in INPUT_KEYS if row.get(name) is not None), None)
    return _asked(_text(row[key], key), _text(row[given], given) if given else "")


def _asked(instruction: str, given: str) -> str:
    """An instruction and its input as one user turn."""
    if not given.strip() or given.strip().lower() in NO_INPUT:
        return instruction
    return f"{instruction}\n\n{given}" if instruction.strip() else given


def _conversation(row: Mapping[str, Any]) -> tuple[list[Any], str]:
    named = [key for key in CONVERSATION_KEYS if key in row]
    if not named:
        raise Unreadable(f"missing_field: {' or '.join(CONVERSATION_KEYS)}")
    # A table that was joined from several sources may have a null under the names of the others.
    key = next((key for key in named if row[key] is not None), named[0])
    turns = unpacked(row[key])
    if not isinstance(turns, list):
        raise Unreadable(f"wrong_type: {key} is {_named(turns)}, not a list")
    if not turns:
        raise Unreadable(f"empty_conversation: {key} has no turn")
    return turns, key


def read_turns(turns: Sequence[Any], where: str, role_key: str = "role", text_key: str = "content") -> Turns:
    """Turns with our roles and one text each; `where` is what errors call the list.

    Raises:
        Unreadable: a turn cannot be read.
    """
    converted: Turns = []
    for i, turn in enumerate(turns):
        place = f"{where}[{i}]"
        if not isinstance(turn, Mapping):
            raise Unreadable(f"wrong_type: {place} is {_named(turn)}, not an object")
        if role_key not in turn:
            raise Unreadable(f"missing_field: {place}.{role_key}")
        role = _role(turn[role_key], f"{place}.{role_key}")
        calls = unpacked(turn.get("tool_calls")) or unpacked(turn.get("function_call"))
        if text_key not in turn and not calls:
            raise Unreadable(f"missing_field: {place}.{text_key}")
        content = _content(turn.get(text_key), f"{place}.{text_key}", has_calls=bool(calls))
        if calls:
            content = "\n".join(filter(None, [content, json.dumps(calls, ensure_ascii=False)]))
        converted.append({"role": role, "content": content})
    return converted


def _role(name: Any, where: str) -> str:
    role = ROLE_OF.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise Unreadable(f"unknown_role: {where} is {name!r}; known: {', '.join(ROLE_OF)}")
    return role


def _content(value: Any, where: str, has_calls: bool) -> str:
    """The text of a turn: a string, or a list of parts, or nothing beside tool calls."""
    if value is None and has_calls:
        return ""
    if not isinstance(value, list):
        return _text(value, where)
    blocks: list[tuple[str, str]] = []
    for i, part in enumerate(value):
        kind = part.get("type") if isinstance(part, Mapping) else part
        if not isinstance(part, Mapping) or not isinstance(kind, str) or kind not in PART_FORMS:
            allowed = ", ".join(repr(name) for name in PART_FORMS)
            raise Unreadable(f"wrong_type: {where}[{i}] is {kind!r}, not a part of type {allowed}")
        key = "text" if "text" in part else "value"
        text = PART_FORMS[kind].format(_text(part.get(key), f"{where}[{i}].{key}"))
        if kind == "text" and blocks and blocks[-1][0] == "text":
            text = blocks.pop()[1] + text
        blocks.append((kind, text))
    return "\n".join(text for _, text in blocks)


def with_system(row: Mapping[str, Any], turns: Turns, default: str | None = None) -> Turns:
    """The turns with the row's `system`, or else the default, and its tools in the first, system, turn."""
    parts = []
    is_first = bool(turns) and turns[0]["role"] == "system"
    if is_first:
        parts, turns = [turns[0]["content"]], turns[1:]
    elif row.get("system") is not None:
        parts = [_text(row["system"], "system")]
    said = [*parts, *(turn["content"] for turn in turns if turn["role"] == "system")]
    if default is not None and not any(text.strip() for text in said):
        parts = [default]
    tools = unpacked(row.get("tools")) or unpacked(row.get("functions"))
    if tools:
        parts.append(tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False))
    system = "\n\n".join(part for part in parts if part.strip())
    return [{"role": "system", "content": system}, *turns] if system else turns


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"wrong_type: {where} is {_named(value)}, not text")
    return value


def unpacked(value: Any) -> Any:
    """A list or object that a CSV cell or Parquet column holds as JSON text; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _named(value: Any) -> str:
    """The JSON name of a value's type, for people."""
    for types, name in (
        (type(None), "null"),
        (bool, "true or false"),
        ((int, float), "a number"),
        (str, "text"),
        (Mapping, "an object"),
        ((list, tuple), "a list"),
    ):
        if isinstance(value, types):
            return name
    return f"a {type(value).__name__}"


def check_turns(messages: Turns, needs_user: bool = True) -> None:
    """Raise `Unreadable` for a conversation that no sample can be made of."""
    for i, message in enumerate(messages):
        if not message["content"].strip():
            raise Unreadable(f"blank_content: turn {i} ({message['role']}) has no text")
    if needs_user and not any(message["role"] == "user" for message in messages):
        roles = ", ".join(message["role"] for message in messages)
        raise Unreadable(f"no_user_turn: the roles are {roles or 'none'}")
    if not all(is_utf8(message["content"]) for message in messages):
        raise Unreadable("lone_surrogate: a turn holds half of a surrogate pair")


def is_utf8(text: str) -> bool:
    """Whether the text can be written: it holds no half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
