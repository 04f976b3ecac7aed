"""Answers that are wrong but near: another thing that the question names, a number a little off.

Nothing here knows what is right; whoever calls asks `raysft.world.check`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from raysft.world import vocabulary as v

SEPARATORS = (", ", "、", "，")
"""What stands between the items of an answer that is a list."""
_STEPS = (-3, -2, -1, 1, 2, 3)
_OPTION = re.compile(r"(?<![A-Za-z])([A-F])\. ?(.+?)(?=,? [A-F]\.|[.:](?!\d)|[。：?？,，;；]|$)")
_SETS: dict[str, tuple[frozenset[str], ...]] = {
    lang: tuple(
        frozenset(words)
        for words in (
            [group[at] for group in v.GROUPS],
            [noun[at] for noun in v.NOUNS],
            names,
            days,
            months,
            capitals,
            capitals.values(),
            colours.values(),
        )
    )
    for lang, at, names, days, months, capitals, colours in (
        ("en", 0, v.NAMES_EN, v.DAYS_EN, v.MONTHS_EN, v.CAPITAL_EN, v.COLOUR_EN),
        ("zh", 1, v.NAMES_ZH, v.DAYS_ZH, v.MONTHS_ZH, v.CAPITAL_ZH, v.COLOUR_ZH),
    )
}
"""Words that may be taken for one another, by language: labels, things, people, days, …"""


def near_miss(answer: str, question: str, lang: str, rng: Random) -> str:
    """One of the ways in which the answer could go wrong; "" where none is known."""
    if others := rivals(answer, question, lang):
        return rng.choice(others)
    separator = separator_of(answer)
    ways: list[Callable[[], str]] = []
    if re.search(r"\d", answer):
        ways.append(lambda: number_off(answer, rng))
    if separator:
        ways.append(lambda: _exchanged(answer.split(separator), separator, rng))
        ways.append(lambda: _replaced(answer.split(separator), separator, question, lang, rng))
    return rng.choice(ways)() if ways else ""


def separator_of(answer: str) -> str:
    """What stands between the items of the answer, or "" where it is no list."""
    return next((one for one in SEPARATORS if one in answer), "")


def rivals(answer: str, question: str, lang: str) -> list[str]:
    """What else the question names of the answer's sort: other options, words of the same set."""
    if _OPTION.match(answer) and answer in question:
        options = [f"{letter}. {text}" for letter, text in _OPTION.findall(question)]
        others = [option for option in options if option[0] != answer[0]]
        # In Chinese nothing may stand between the last option and what follows it.
        return others[:-1] if len(others) > 1 and others[-1] == options[-1] else others
    alike = {word for words in _SETS[lang] if answer in words for word in words}
    named = {word for word in alike if _names(question, word, lang)}
    longest = {word for word in named if not any(word in other for other in named - {word})}
    return sorted(longest - {answer})


def _names(question: str, word: str, lang: str) -> bool:
    edge = r"\b" if lang == "en" else ""
    if word not in question:
        return False
    return re.search(rf"(?<!\d){edge}{re.escape(word)}{edge}", question) is not None


def number_off(answer: str, rng: Random) -> str:
    """The answer with one of its numbers a little off."""
    numbers = list(re.finditer(r"\d+", answer))
    at = rng.choice(numbers) if len(numbers) > 1 else numbers[0]
    changed = str(abs(int(at[0]) + rng.choice(_STEPS))).zfill(len(at[0]) if at[0][0] == "0" else 1)
    return answer[: at.start()] + changed + answer[at.end() :]


def _exchanged(items: list[str], separator: str, rng: Random) -> str:
    """The list with two of its items in each other's place."""
    first, second = rng.sample(range(len(items)), 2)
    items[first], items[second] = items[second], items[first]
    return separator.join(items)


def _replaced(items: list[str], separator: str, question: str, lang: str, rng: Random) -> str:
    """The list with another thing of the same sort in one place; "" where none is known."""
    at = rng.randrange(len(items))
    alike = {word for words in _SETS[lang] if items[at] in words for word in words}
    others = rivals(items[at], question, lang) or sorted(alike - {items[at]})
    return separator.join([*items[:at], rng.choice(others), *items[at + 1 :]]) if others else ""
