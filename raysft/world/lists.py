"""Lists of words as they are written.

In English "lamp, frog, key" or "France, Peru and Kenya"; in Chinese “灯、青蛙” or “法国、秘鲁和肯尼亚”.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

SEPARATOR = {"en": ", ", "zh": "、"}
AND = {"en": " and ", "zh": "和"}
MAX_LISTED = 10

_WORD = {"en": re.compile(r"[a-z]{1,14}"), "zh": re.compile(r"[\u4e00-\u9fff]{1,6}")}


def join(words: Sequence[str], lang: str) -> str:
    """The words one after another, only separated."""
    return SEPARATOR[lang].join(words)


def join_and(words: Sequence[str], lang: str) -> str:
    """The words as they stand in a sentence: "and" before the last."""
    *most, last = words
    return f"{join(most, lang)}{AND[lang]}{last}" if most else last


def split(text: str, lang: str) -> list[str] | None:
    """The words of a separated list, or None where one is no plain word or there are too many."""
    words = text.split(SEPARATOR[lang])
    is_list = len(words) <= MAX_LISTED and all(_WORD[lang].fullmatch(word) for word in words)
    return words if is_list else None


def split_and(text: str, lang: str) -> list[str]:
    """The words of a list as it stands in a sentence, or of one that is only separated."""
    most, found, last = text.rpartition(AND[lang])
    return [*most.split(SEPARATOR[lang]), last] if found else text.split(SEPARATOR[lang])


def is_word(text: str, lang: str) -> bool:
    """Whether the text is one plain word, English ones in small letters."""
    return _WORD[lang].fullmatch(text) is not None


def looked_up(table: Mapping[str, str], words: Iterable[str]) -> list[str] | None:
    """What the table has for each of the words, or None where it lacks one."""
    found = [table.get(word) for word in words]
    return [one for one in found if one is not None] if None not in found else None
