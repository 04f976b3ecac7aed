"""Small edits that keep what a question asks and what an answer says: what near-duplicates differ by."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from random import Random

Edit = Callable[[str, list[bool], Random], str]

_WIDTHS = {"？": "?", "，": ",", "。": ".", "：": ":", "！": "!"}
_CONFUSED = dict(zip("的哪在做请几吗个是道帮从答", "得那再作清儿嘛各事到邦丛荅", strict=True))
"""Characters that are mistyped for one another."""
_POLITE = {
    "en": (("Hi! ", "Hello, ", "Please help me. ", "Quick question. "), (" Thanks!", " please", " Cheers.")),
    "zh": (("你好，", "麻烦你，", "打扰一下，", "问一下，"), ("谢谢！", "拜托了。", "谢谢啦。")),
}
_STOPS = "。？！.?!"


def edited(text: str, lang: str, kept: Collection[str], edits: int, rng: Random) -> str:
    """The text after up to `edits` different edits, none of them inside an occurrence of a text in `kept`."""
    for edit in rng.sample(_EDITS[lang], edits):
        text = edit(text, _free(text, kept), rng)
    return text


def edited_answer(answer: str, rng: Random) -> str:
    """The answer with its final stop or its first letter's case changed, or with a blank more."""
    stop = "。" if not answer.isascii() else "."
    return rng.choice(
        (
            answer[:-1] if answer.endswith(tuple(_STOPS)) else answer + stop,
            answer[:1].swapcase() + answer[1:],
            f"{answer} ",
            f" {answer}",
        )
    )


def _free(text: str, kept: Collection[str]) -> list[bool]:
    """Which characters of the text are outside all occurrences of the kept texts."""
    free = [True] * len(text)
    for value in kept:
        for match in re.finditer(re.escape(value), text) if value else ():
            free[match.start() : match.end()] = [False] * len(value)
    return free


def _case(text: str, free: list[bool], rng: Random) -> str:
    """A word's first letter in the other case."""
    at = [m.start() for m in re.finditer(r"\b[A-Za-z](?=[a-z])", text) if free[m.start()]]
    return _put(text, rng.choice((at[0], rng.choice(at))), 1, str.swapcase) if at else text


def _width(text: str, free: list[bool], rng: Random) -> str:
    """One or all Chinese marks as their narrow counterparts."""
    at = [i for i, char in enumerate(text) if char in _WIDTHS and free[i]]
    for i in at if rng.random() < 0.5 else rng.sample(at, min(1, len(at))):
        text = _put(text, i, 1, _WIDTHS.__getitem__)
    return text


def _stop(text: str, free: list[bool], rng: Random) -> str:
    """The last mark left out, doubled, or made an exclamation mark."""
    if not text.endswith(tuple(_STOPS)):
        return text + rng.choice((".", "!", "?")) if text.isascii() else text + "！"
    return text[:-1] + rng.choice(("", text[-1] * 2, " " + text[-1], text[-1] + "!"))


def _blank(text: str, free: list[bool], rng: Random) -> str:
    """A second blank beside one, or one between two Chinese characters; or one at an end."""
    at = [
        i
        for i in range(1, len(text))
        if free[i - 1] and free[i] and (text[i] == " " or min(text[i - 1 : i + 1]) > "\u4e00")
    ]
    i = rng.choice((0, len(text), *at))
    return f"{text[:i]} {text[i:]}"


def _typo(text: str, free: list[bool], rng: Random) -> str:
    """Two letters of a word exchanged, or one left out or doubled."""
    words = [m.span() for m in re.finditer(r"[A-Za-z]{5,}", text) if all(free[m.start() : m.end()])]
    if not words:
        return text
    start, end = rng.choice(words)
    i = rng.randrange(start + 1, end - 1)
    slip = rng.choice((lambda pair: pair[::-1], lambda pair: pair[1:], lambda pair: pair[0] + pair))
    return _put(text, i, 2, slip)


def _slip(text: str, free: list[bool], rng: Random) -> str:
    """One character as another that is typed alike, or twice."""
    likely = [i for i, char in enumerate(text) if char in _CONFUSED and free[i]]
    if likely and rng.random() < 0.7:
        return _put(text, rng.choice(likely), 1, _CONFUSED.__getitem__)
    others = [i for i, char in enumerate(text) if char > "\u4e00" and free[i]]
    return _put(text, rng.choice(others), 1, lambda char: char * 2) if others else text


def _polite(lang: str) -> Edit:
    before, after = _POLITE[lang]

    def edit(text: str, free: list[bool], rng: Random) -> str:
        return rng.choice(before) + text if rng.random() < 0.5 else text + rng.choice(after)

    return edit


def _put(text: str, at: int, length: int, change: Callable[[str], str]) -> str:
    return text[:at] + change(text[at : at + length]) + text[at + length :]


_EDITS: dict[str, tuple[Edit, ...]] = {
    "en": (_case, _stop, _blank, _typo, _polite("en")),
    "zh": (_width, _stop, _blank, _slip, _polite("zh")),
}
