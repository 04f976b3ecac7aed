"""Whether a question and its answer hold up against the text that they were written about.

A pair is judged by words alone; whether an answer is right is a judge's matter. Rules, in this order:
    empty_question, empty_answer   white space
    refusal              the answer declines, or says that the text does not say
    refers_to_text       question or answer speak of "the text" or 文中, which nobody will see; not looked at
                         where the text is shown with the question
    answer_in_question   the answer's words, two or more, stand in the question as they are, so that it
                         answers itself; not looked at where it offers a choice ("or", 还是)
    ungrounded           fewer of the answer's content tokens than the threshold stand in the text, or a
                         number of two or more digits does not

Content tokens are those of `algorithms/words.tokens` (words, and CJK characters one by one) without stop
words, yes or no, and those numbers; an answer without any is not held to the text. At a threshold of 0.6 the
last rule lets pass 78 % of the 323 answers that people wrote to Dolly's closed questions, and none of them
when they are held to the text of another question; of 4,221 Chinese answers of CMRC 2018 99.7 %, and 4 % of
them when held to another text (10 % at 0.5), since characters meet by chance more often than words do.
tests/augment/test_real_grounding.py measures it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from raysft.algorithms.refusals import refusal_opening
from raysft.algorithms.words import STOP_CHARACTERS, STOP_WORDS, tokens

YES_OR_NO = frozenset(("yes", "no", "true", "false", "是", "否", "对", "错", "能", "会", "可", "以"))
# Signs that only number an answer's lines say nothing about the text.
_LINE_NUMBER = re.compile(r"(?m)^\s*[(（]?\d{1,3}[.)）、]\s*(?=\D)")
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.:]\d+)*")
_TEXT_EN = r"(?:the|this|that) (?:given |above |provided |following )?(?:text|passage|excerpt)"
_SOURCE_EN = r"(?:the|this) (?:given |above |provided )?(?:document|article|paragraph|section|material)"
_TEXT_ZH = r"(?:文字|文本|段落|文章|短文|原文|课文)"
_NOT_SAID = re.compile(
    rf"(?:{_TEXT_EN}|{_SOURCE_EN}) (?:does not|doesn['’]t|did not|gives no|says nothing)"
    rf"|not (?:mentioned|stated|specified|given|provided|said) in (?:{_TEXT_EN}|{_SOURCE_EN})"
    rf"|(?:文[中里]|{_TEXT_ZH}|材料|资料)[中里]?[^。，,]{{0,6}}(?:没有|未)[^。，,]{{0,6}}[提说给写讲]",
    re.IGNORECASE,
)
_SPEAKS_OF_TEXT = re.compile(
    rf"\b{_TEXT_EN}\b|(?:according to|based on|mentioned in|described in|stated in) {_SOURCE_EN}\b"
    rf"|(?:这[段篇]|该|本|上述|以上|上面的|所给的?|给定的?){_TEXT_ZH}|(?:根据|按照|依据|从){_TEXT_ZH}"
    r"|(?:根据|按照|依据)(?:所给|给定的?|上述|以上)?(?:材料|资料)|(?<![\u4e00-\u9fff])文[中里]|[，：]文[中里]",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"\bor\b|还是|或")


@dataclass(frozen=True)
class Text:
    """A text as answers are held to it: its tokens, and the numbers in it."""

    tokens: Collection[str]
    numbers: Collection[str]


def text_of(text: str) -> Text:
    """The tokens and numbers of a text, read once for all its questions."""
    return Text(frozenset(tokens(text)), frozenset(_numbers(text)))


def broken_rule(
    question: str, answer: str, text: Text, *, threshold: float, is_shown: bool
) -> tuple[str, str] | None:
    """(rule, detail) of the first rule that a pair breaks, or None; `is_shown` tells whether the question is
    asked with the text before it."""
    for name, value in (("question", question), ("answer", answer)):
        if not value.strip():
            return f"empty_{name}", "white space"
    not_said = _NOT_SAID.search(answer)
    declined = not_said.group() if not_said else refusal_opening(answer)
    if declined:
        return "refusal", declined.strip()
    for value in () if is_shown else (question, answer):
        spoken = _SPEAKS_OF_TEXT.search(value)
        if spoken:
            return "refers_to_text", spoken.group().strip()
    if _stands_in(answer, question) and _CHOICE.search(question) is None:
        return "answer_in_question", answer.strip()
    return _ungrounded(answer, text, threshold)


def same_question(question: str) -> str:
    """What two questions share that ask the same in the same words."""
    return " ".join(tokens(question))


def grounded_share(answer: str, text: Text) -> float:
    """Share of the answer's content tokens that stand in the text; 1 for an answer without any."""
    content = _content(answer)
    return sum(token in text.tokens for token in content) / len(content) if content else 1.0


def _ungrounded(answer: str, text: Text, threshold: float) -> tuple[str, str] | None:
    strange = next((n for n in _numbers(answer) if n not in text.numbers), None)
    if strange is not None:
        return "ungrounded", f"{strange} is no number of the text"
    share = grounded_share(answer, text)
    if share < threshold:
        missing = [token for token in dict.fromkeys(_content(answer)) if token not in text.tokens]
        return "ungrounded", f"{share:.2f} of its words are in the text, not {', '.join(missing[:5])}"
    return None


def _content(answer: str) -> list[str]:
    """The answer's content tokens; numbers of two or more digits are held to the text by themselves."""
    words = _NUMBER.sub(lambda found: " " if _is_long(found[0]) else found[0], _LINE_NUMBER.sub("", answer))
    return [
        token
        for token in tokens(words)
        if token not in STOP_WORDS and token not in STOP_CHARACTERS and token not in YES_OR_NO
    ]


def _numbers(text: str) -> list[str]:
    """Numbers of two or more digits, without signs between thousands; 0.90 is 0.9."""
    plain = unicodedata.normalize("NFKC", _LINE_NUMBER.sub("", text))
    return [_plain(number.replace(",", "")) for number in _NUMBER.findall(plain) if _is_long(number)]


def _is_long(number: str) -> bool:
    return sum(c.isdigit() for c in number) > 1


def _plain(number: str) -> str:
    return number.rstrip("0").rstrip(".") if number.count(".") == 1 else number


def _stands_in(answer: str, question: str) -> bool:
    said, asked = tokens(answer), tokens(question)
    width = len(said)
    return width > 1 and any(asked[i : i + width] == said for i in range(len(asked) - width + 1))
