"""Measure each row's lengths and drop what is plainly no good answer, by named rules.

Columns in: messages.
Columns out: `prompt_chars`, `answer_chars`, `answer_words` (int32).
Drops, in this order, the first that matches: `RULES`; the detail is the value and the bound it broke.

The prompt is every turn before the last assistant turn, the answer that turn. Words are those of
`raysft.algorithms.words`: two CJK characters count as one word. Rules of this kind are usual for web text
(Rae et al. 2021, "Scaling Language Models", appendix A1) and for instructions (Wang et al. 2023,
"Self-Instruct"); the bounds are our own, loose enough that one-word answers, tables and code pass.

Yardstick (docs/yardstick.md): `refusal` precision 100 %, recall 27 %; `repetition` 92 %, 34 %; `markup`
100 %, 24 %; no clean row dropped by these. The lengths: AUC of bad against clean rows 0.53 to 0.68.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from pydantic import Field

from raysft.algorithms.refusals import refusal_opening
from raysft.algorithms.shingles import repeated_share
from raysft.algorithms.words import CJK_CHARACTER, word_count
from raysft.sample import Message, mark_dropped, set_column
from raysft.stage import Context, Map, TableConfig

VERSION = 1
WRITES = "columns"
ADDS = ("prompt_chars", "answer_chars", "answer_words")
FINDS = {"refusal": ("refusal",), "repetition": ("rambling",), "markup": ("markup",)}
LENGTHS = ("prompt_chars", "answer_chars", "answer_words")
# shingles of the repetition rule: Rae et al. 2021 look at 5- to 10-grams of words
REPEATED_WORDS, REPEATED_CJK = 5, 8


class Config(TableConfig):
    no_answer: bool = Field(True, description="drop rows in which no assistant turn has text")
    punctuation_only: bool = Field(True, description="drop answers of punctuation and white space alone")
    min_answer_words: int | None = Field(
        1, ge=0, description="least words of an answer; one of symbols alone counts as one word"
    )
    max_answer_words: int | None = Field(4096, ge=1, description="most words of an answer")
    min_instruction_words: int | None = Field(
        2, ge=0, description="least words of all user turns together; a CJK character counts half"
    )
    max_chars: int | None = Field(65536, ge=1, description="most characters of a conversation")
    refusal: bool = Field(True, description="drop answers that open by declining, in English or Chinese")
    echo: bool = Field(True, description="drop answers that are the last user turn again, signs aside")
    max_repetition: float | None = Field(
        0.5,
        ge=0,
        le=1,
        description="largest share of an answer's 5-grams (8 CJK characters) that stand in it before",
    )
    min_repetition_shingles: int = Field(
        20, ge=1, description="5-grams an answer needs for its repetition to be judged"
    )
    max_markup: float | None = Field(
        0.3,
        ge=0,
        le=1,
        description="largest share of tags and entities in an answer, code blocks aside, unless asked for",
    )
    blocklist: tuple[str, ...] = Field(
        (), description="words that no turn may contain, any case; whole words where they are not CJK"
    )


@dataclass(frozen=True)
class Row:
    """A conversation cut at its last assistant turn, with what is computed for all rows at once."""

    messages: list[Message]
    user: str
    last_user: str
    answer: str
    answer_words: int
    chars: int
    repetition: float
    shingles: int


def _no_answer(row: Row, config: Config) -> str | None:
    if config.no_answer and not any(m["role"] == "assistant" and m["content"].strip() for m in row.messages):
        return f"0 of {sum(m['role'] == 'assistant' for m in row.messages)} assistant turns have text"
    return None


def _punctuation_only(row: Row, config: Config) -> str | None:
    text = row.answer.strip()
    if config.punctuation_only and text and all(unicodedata.category(c)[0] in "PZC" for c in text):
        return f"{text[:20]!r} has no letter, digit or symbol"
    return None


def _answer_too_short(row: Row, config: Config) -> str | None:
    # an answer of symbols (★★★★, an emoji) has no word but says as much as one
    words = row.answer_words or int(bool(row.answer.strip()))
    return _below("answer words", words, config.min_answer_words)


def _answer_too_long(row: Row, config: Config) -> str | None:
    return _above("answer words", row.answer_words, config.max_answer_words)


def _instruction_too_short(row: Row, config: Config) -> str | None:
    if config.min_instruction_words is None:
        return None
    least = config.min_instruction_words
    if word_count(row.user[: 64 * least]) >= least:
        return None
    return _below("words of user turns", word_count(row.user), least)


def _too_long(row: Row, config: Config) -> str | None:
    return _above("characters", row.chars, config.max_chars)


def _refusal(row: Row, config: Config) -> str | None:
    if not config.refusal:
        return None
    opening = refusal_opening(row.answer)
    return f"opens with {opening!r}" if opening is not None else None


def _echo(row: Row, config: Config) -> str | None:
    letters = NO_LETTER.sub("", row.answer.casefold()) if config.echo else ""
    if letters and letters == NO_LETTER.sub("", row.last_user.casefold()):
        return f"the {len(letters)} letters and digits of the last user turn, in order, and no others"
    return None


def _repetition(row: Row, config: Config) -> str | None:
    if row.shingles < config.min_repetition_shingles:
        return None
    return _above("share of repeated n-grams", row.repetition, config.max_repetition)


def _markup(row: Row, config: Config) -> str | None:
    if config.max_markup is None or ASKS_FOR_MARKUP.search(row.user):
        return None
    return _above("share of markup", markup_share(row.answer), config.max_markup)


def _blocklist(row: Row, config: Config) -> str | None:
    if not config.blocklist:
        return None
    pattern = blocked_words(config.blocklist)
    found = next((f for m in row.messages if (f := pattern.search(m["content"]))), None)
    return f"contains {found.group()!r}" if found else None


RULES: dict[str, Callable[[Row, Config], str | None]] = {
    "no_answer": _no_answer,
    "punctuation_only": _punctuation_only,
    "answer_too_short": _answer_too_short,
    "answer_too_long": _answer_too_long,
    "instruction_too_short": _instruction_too_short,
    "too_long": _too_long,
    "refusal": _refusal,
    "echo": _echo,
    "repetition": _repetition,
    "markup": _markup,
    "blocklist": _blocklist,
}

ASKS_FOR_MARKUP = re.compile(
    r"html|xml|svg|css|markup|web ?(?:page|site)|javascript|\bcod(?:e|ing)\b|\btags?\b|</?\w+>|"
    r"网页|网站|标签|标记|前端|代码",
    re.IGNORECASE,
)
NO_LETTER = re.compile(r"[\W_]+")
CODE_BLOCK = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
MARKUP = re.compile(
    r"</?[A-Za-z][\w-]*(?::[\w-]+)?(?:\s+[\w:-]+(?:=(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s\"'<>]+))?)*\s*/?>"
    r"|<!--.{0,2000}?-->|<!DOCTYPE[^<>]*>|&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|[A-Za-z]{2,8});",
    re.DOTALL,
)


def markup_share(text: str) -> float:
    """Share of the characters outside code blocks that belong to tags and entities."""
    prose = CODE_BLOCK.sub("", text)
    return sum(len(m) for m in MARKUP.findall(prose)) / len(prose) if prose else 0.0


@lru_cache
def blocked_words(words: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern that finds any of the words: CJK anywhere, others between non-word characters."""
    parts = (re.escape(w) if CJK_CHARACTER.search(w) else rf"(?<!\w){re.escape(w)}(?!\w)" for w in words)
    return re.compile("|".join(parts), re.IGNORECASE)


def first_match(row: Row, config: Config) -> tuple[str | None, str | None]:
    """(rule, detail) of the first of `RULES` that the row breaks, or (None, None)."""
    for name, rule in RULES.items():
        detail = rule(row, config)
        if detail is not None:
            return name, detail
    return None, None


def apply_rules(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The table with its length columns and marks."""
    conversations = [_without_nulls(messages) for messages in table["messages"].to_pylist()]
    cut = [_cut(messages) for messages in conversations]
    repetition, shingles = repeated_share(
        pa.array([answer for _, answer in cut], pa.string()), REPEATED_WORDS, REPEATED_CJK
    )
    lengths = [(len(prompt), len(answer), word_count(answer)) for prompt, answer in cut]
    verdicts = []
    for i, messages in enumerate(conversations):
        user = [m["content"] for m in messages if m["role"] == "user"]
        row = Row(
            messages=messages,
            user="\n".join(user),
            last_user=user[-1] if user else "",
            answer=cut[i][1],
            answer_words=lengths[i][2],
            chars=sum(len(m["content"]) for m in messages),
            repetition=float(repetition[i]),
            shingles=int(shingles[i]),
        )
        verdicts.append(first_match(row, config))
    for column, name in enumerate(LENGTHS):
        values = np.array([row[column] for row in lengths], np.int32)
        table = set_column(table, name, pa.array(values))
    return mark_dropped(table, context.stage, [rule for rule, _ in verdicts], [d for _, d in verdicts])


def _cut(messages: list[Message]) -> tuple[str, str]:
    """(prompt, answer): the turns before the last assistant turn joined by newlines, and that turn."""
    spoken = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
    end = spoken[-1] if spoken else len(messages)
    answer = messages[end]["content"] if spoken else ""
    return "\n".join(m["content"] for m in messages[:end]), answer


def _without_nulls(messages: list[Message] | None) -> list[Message]:
    return [{"role": m["role"] or "", "content": m["content"] or ""} for m in messages or []]


def _below(what: str, value: float, least: float | None) -> str | None:
    return None if least is None or value >= least else f"{value:.4g} {what}, at least {least:.4g}"


def _above(what: str, value: float, most: float | None) -> str | None:
    return None if most is None or value <= most else f"{value:.6g} {what}, at most {most:.6g}"


STEPS = (Map(fn=apply_rules),)
