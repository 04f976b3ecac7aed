"""What is wrong with a user's words that a model wrote: rules that several stages share.

Words are counted as in `raysft.algorithms.words`: two CJK characters are one word, an odd one too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from raysft.algorithms.refusals import refusal_opening
from raysft.algorithms.words import CJK_CHARACTER, tokens
from raysft.augment.prompts import NONE, language_for, source

LEAKED_WORDS = 5
"""Words in a row that a text shares with its prompt by no accident; our choice."""

_TEMPLATE_SYNTAX = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_LABEL = re.compile(
    r"^[\s*#]*(?:(?:the |new )?(?:task|instruction|question|user|prompt)|任务|指令|问题|用户|提示)"
    r"[\s*]*[:：][\s*]*",
    re.IGNORECASE,
)
_NOT_A_USERS = re.compile(
    r"sorry|apolog|unfortunately|\bai\b|artificial|model|help|assist|comply|fulfil|"
    r"抱歉|对不起|遗憾|不好意思|人工智能|ai|模型|助手|机器人|帮|协助|满足|回答",
    re.IGNORECASE,
)
_CONTROL_TOKEN = re.compile(
    r"<[|｜][^|｜<>\n]{1,60}[|｜]>|</s>|<(?:bos|eos)>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>"
)


def without_label(text: str) -> str:
    """The text without white space around it and without a label such as "Task:" or 指令： before it."""
    return _LABEL.sub("", text.strip()).strip()


def refusal(text: str, role: Literal["user", "assistant"] = "user") -> str | None:
    """How the text opens by declining, or None. A user's words decline only if
    they say sorry, name an AI or will not help: people do say that they cannot access their mail."""
    opening = refusal_opening(text)
    if opening is None or (role == "user" and not _NOT_A_USERS.search(opening)):
        return None
    return f"opens with {opening!r}"


def control_token(text: str) -> str | None:
    """The first mark in the text that belongs to a chat template, such as <|im_start|>, or None."""
    found = _CONTROL_TOKEN.search(text)
    return found.group() if found else None


def leaked(text: str, given: str, name: str, lang: str, replaced: Mapping[str, str] = NONE) -> str | None:
    """The first run of the words of the prompt `name` that the text repeats, or None; runs that stand in
    `given`, the values of the prompt, too are no leak."""
    own = _TEMPLATE_SYNTAX.sub("\n", source(name, language_for(lang), replaced))
    excused = set(_runs(tokens(given), LEAKED_WORDS))
    return _first_shared(text, set(_runs(tokens(own), LEAKED_WORDS)) - excused, LEAKED_WORDS)


def shared_run(text: str, other: str, words: int) -> str | None:
    """The first run of `words` words of the text that stands in the other text too, or None."""
    return _first_shared(text, set(_runs(tokens(other), words)), words)


def _first_shared(text: str, runs: set[tuple[str, ...]], words: int) -> str | None:
    found = next((run for run in _runs(tokens(text), words) if run in runs), None)
    if found is None:
        return None
    return ("" if CJK_CHARACTER.match(found[0]) else " ").join(found)


def _runs(found: Sequence[str], words: int) -> Iterator[tuple[str, ...]]:
    """All runs of `words` tokens, or, where one begins with a CJK character, of as few as count as many."""
    for start, token in enumerate(found):
        stop = start + (2 * words - 1 if CJK_CHARACTER.match(token) else words)
        if stop <= len(found):
            yield tuple(found[start:stop])
