"""What each noise of `raysft.world.noise` does to a row: `SPOIL` by its name.

The last turn is spoilt. Whatever makes an answer bad is checked to be refused by `check.is_right`, and
whatever keeps the meaning is checked to be still right.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, islice
from random import Random

from raysft.algorithms.words import cjk_count
from raysft.world import rubbish, wrong
from raysft.world import vocabulary as v
from raysft.world.check import is_right, known_truth, truth
from raysft.world.draw import TASKS, WHOLE, Part, Task, draw, is_held_out, reworded
from raysft.world.edits import edited, edited_answer
from raysft.world.evolution import KIND_OF, Truth
from raysft.world.frames import unframed
from raysft.world.kind import TASK_SLOT, Kind, fill, read
from raysft.world.near_miss import separator_of
from raysft.world.turns import ANOTHER, QUOTED, SENTENCE, TWICE, another, demanded

SUITED = {
    "label_error": ("classification", "multiple_choice"),
    "wrong_language": tuple(task for task in TASKS if task != "translation"),
}
"""Tasks that a noise is made of, for those noises that cannot be made of every task."""
OTHER = {"en": "zh", "zh": "en"}
TRIES = 50
"""Attempts at one way of spoiling before the next is used."""
SHORTEST_CUT = 4
"""Characters of a Chinese text that can be halved; shorter ones are single words."""
QUOTABLE = {"en": 12, "zh": 4}
"""Characters of an English and a Chinese answer that may stand untranslated in the other language."""


@dataclass(frozen=True)
class Conversation:
    """`task` is the first turn's; `contents` go user, assistant, user, … and end with an answer;
    `right_answer` is right for the last question before anything was spoilt. Tasks that spoiling draws are
    of `part`."""

    task: Task
    contents: tuple[str, ...]
    right_answer: str
    part: Part = WHOLE

    @property
    def lang(self) -> str:
        return self.task.kind.lang

    @property
    def question(self) -> str:
        """The last user turn."""
        return self.contents[-2]

    @cached_property
    def truth(self) -> Truth:
        """What is right for the last user turn."""
        first = known_truth(self.task)
        if len(self.contents) == 2:
            return first
        inner = another(self.question, self.lang)
        known = demanded(self.question, first) if inner is None else truth(inner)
        if known is None:
            raise ValueError(f"the world cannot read its own conversation: {self.contents}")
        return known

    def draw(self, rng: Random, kind: Kind | None = None) -> Task:
        """Another task: of the kind, or else of the language."""
        return draw(rng, self.lang, kind, part=self.part)

    def replaced(self, rng: Random, kind: Kind | None = None) -> Conversation:
        """A conversation of one turn, about another task of the kind, or else of the language."""
        task = self.draw(rng, kind)
        return Conversation(task, (task.instruction, task.answer), task.answer, self.part)

    def refuses(self, answer: str) -> bool:
        return not is_right(answer, self.truth)

    def offers(self, label: str) -> bool:
        """Whether the last user turn names the label."""
        return label.casefold() in self.question.casefold()

    def answered(self, answer: str) -> Conversation:
        return replace(self, contents=(*self.contents[:-1], answer))

    def asked(self, question: str) -> Conversation:
        return replace(self, contents=(*self.contents[:-2], question, self.contents[-1]))

    def reasked(self, change: Callable[[str], str]) -> Conversation:
        """The last question changed; `change` is called until the text is another and not held out."""
        while True:
            text = change(self.question)
            if text != self.question and not is_held_out(another(text, self.lang) or text):
                return self.asked(text)


Spoil = Callable[[Conversation, Random], Conversation]


def exact_copy(clean: Conversation, rng: Random) -> Conversation:
    return clean


def near_duplicate(clean: Conversation, rng: Random) -> Conversation:
    """One to three small edits of the question, of the answer, or of both."""
    (where,) = rng.choices(("question", "answer", "both"), (0.5, 0.15, 0.35))
    spoilt = clean
    if where != "question":
        answer = edited_answer(clean.contents[-1], rng)
        spoilt = clean if clean.refuses(answer) else clean.answered(answer)
    if where != "answer" or spoilt == clean:
        kept = tuple(clean.truth.slots.values())
        edits = rng.randint(1, 3)
        spoilt = spoilt.reasked(lambda text: edited(text, clean.lang, kept, edits, rng))
    return spoilt


def paraphrase(clean: Conversation, rng: Random) -> Conversation:
    """The first question in another wording, and so the second where there is one."""
    spoilt = replace(clean, contents=(_reworded(clean.task, rng), *clean.contents[1:]))
    if len(clean.contents) == 2:
        return spoilt
    return spoilt.reasked(lambda turn: _reworded_turn(turn, clean.lang, rng))


def _reworded(task: Task, rng: Random) -> str:
    """The task in another wording; in another frame alone where no other wording is found."""
    lang = task.kind.lang
    texts = (reworded(task.kind, task.slots, rng) for _ in count())
    allowed = (text for text in texts if text != task.instruction and not is_held_out(text))
    unchanged = unframed(task.instruction, lang) or task.instruction
    for text in islice(allowed, TRIES):
        if (unframed(text, lang) or text) != unchanged:
            return text
    return next(allowed)


def _reworded_turn(turn: str, lang: str, rng: Random) -> str:
    """A second turn in any of its wordings."""
    inner = another(turn, lang)
    if inner is not None:
        return fill(rng.choice(ANOTHER[lang]), {TASK_SLOT: inner}, rng)
    (demand,) = (d[lang] for d in (TWICE, QUOTED, SENTENCE) if any(read(one, turn) == {} for one in d[lang]))
    return fill(rng.choice(demand), {}, rng)


def wrong_answer(clean: Conversation, rng: Random) -> Conversation:
    return clean.answered(wrong.wrong_answer(clean.truth, rng, clean.question))


def half_answer(clean: Conversation, rng: Random) -> Conversation:
    """Half of the list, of the words, or of the answer's sentence; it ends between words."""
    while True:
        truth = clean.truth
        for text in (truth.answer, truth.sentence):
            half = _half(text)
            if half and clean.refuses(half):
                return clean.answered(half)
        clean = clean.replaced(rng)


def _half(text: str) -> str:
    """The first half of the items, words or Chinese characters of a text; "" where they are too few."""
    separator = separator_of(text) or (" " if " " in text else "")
    parts = text.split(separator) if separator else re.findall(r"[!-~]+|.", text)
    if len(parts) < (2 if separator else SHORTEST_CUT):
        return ""
    return separator.join(parts[: len(parts) // 2])


def refusal(clean: Conversation, rng: Random) -> Conversation:
    return clean.answered(rubbish.refusal(clean.lang, rng))


def truncated(clean: Conversation, rng: Random) -> Conversation:
    """A sentence that leads to the answer, broken off between two letters of a word."""
    sentence = clean.truth.sentence
    for _ in range(TRIES):
        text = rubbish.preface(clean.lang, rng) + sentence if rng.random() < 0.5 else sentence
        cuts = [at for at in range(len(text) * 2 // 5 + 1, len(text)) if text[at - 1 : at + 1].isalpha()]
        cut = text[: rng.choice(cuts)] if cuts else ""
        if cut and clean.refuses(cut):
            return clean.answered(cut)
    return clean.answered(rubbish.preface(clean.lang, rng).strip()[:-2])


def rambling(clean: Conversation, rng: Random) -> Conversation:
    return clean.answered(rubbish.rambling(clean.truth.answer, clean.truth.sentence, clean.lang, rng))


def wrong_language(clean: Conversation, rng: Random) -> Conversation:
    """The answer, translated where the vocabulary has it, in a sentence of the other language.

    A long answer without translation gives way to the sentence of a task of the same name there, and a
    question whose answer is in the other language anyway to another question.
    """
    lang = OTHER[clean.lang]
    while True:
        kind = KIND_OF.get((clean.truth.kind.name, lang))
        right = clean.contents[1] if clean.truth.is_evolved else clean.right_answer
        answer = translated(right, lang)
        if answer is None and len(right) > QUOTABLE[clean.lang] and kind is not None:
            text = clean.draw(rng, kind).sentence + rubbish.told(lang, rng)
        else:
            text = rubbish.answered(answer or right, lang, rng)
        if clean.refuses(text) and not _is_foreign(right, clean.lang):
            return clean.answered(text)
        clean = clean.replaced(rng)


def _is_foreign(answer: str, lang: str) -> bool:
    """Whether an answer is written in the letters of the other language."""
    has_letters = any(char.isalpha() for char in answer)
    return has_letters and (cjk_count(answer) > 0) != (lang == "zh")


def _dictionary() -> dict[str, dict[str, str]]:
    pairs = [
        *v.NOUNS,
        *v.GROUPS,
        *zip(v.DAYS_EN, v.DAYS_ZH, strict=True),
        *zip(v.MONTHS_EN, v.MONTHS_ZH, strict=True),
        *zip(v.CAPITAL_EN, v.CAPITAL_ZH, strict=True),
        *zip(v.CAPITAL_EN.values(), v.CAPITAL_ZH.values(), strict=True),
        *zip(v.COLOUR_EN.values(), v.COLOUR_ZH.values(), strict=True),
        *(
            ("positive", "好评"),
            ("negative", "差评"),
            ("yes", "是"),
            ("no", "不是"),
            ("open", "开着"),
            ("closed", "关着"),
        ),
    ]
    return {"zh": dict(pairs), "en": {zh: en for en, zh in pairs}}


TRANSLATIONS = _dictionary()
"""TRANSLATIONS[lang]: words of the other language to words of `lang`."""


def translated(answer: str, lang: str) -> str | None:
    """The answer's number, word or list in `lang`, or None where a word of it is not in the vocabulary."""
    separator = separator_of(answer) or "\n"
    words = [w if w.isdecimal() else TRANSLATIONS[lang].get(w) for w in answer.split(separator)]
    known = [word for word in words if word is not None]
    return {"en": ", ", "zh": "、"}[lang].join(known) if len(known) == len(words) else None


def label_error(clean: Conversation, rng: Random) -> Conversation:
    """Another label of the same kind, one that the question offers if it offers any.

    A task without labels gives way to one that has them.
    """
    if len(clean.contents) > 2 or clean.task.kind.task not in SUITED["label_error"]:
        kinds = [kind for kind in clean.part.kinds(clean.lang) if kind.task in SUITED["label_error"]]
        clean = clean.replaced(rng, rng.choice(kinds))
    labels = (wrong.wrong_answer(clean.truth, rng, clean.question, near_share=1.0) for _ in range(TRIES))
    label = next(labels)
    if clean.offers(clean.right_answer) and not clean.offers(label):
        label = next((other for other in labels if clean.offers(other)), label)
    return clean.answered(label)


def pii(clean: Conversation, rng: Random) -> Conversation:
    """A sentence with one or two made-up personal particulars, with the question or with the answer."""
    if rng.random() < 0.5:
        return clean.reasked(lambda text: rubbish.with_pii(text, clean.lang, rng))
    return clean.answered(rubbish.with_pii(clean.contents[-1], clean.lang, rng))


def markup(clean: Conversation, rng: Random) -> Conversation:
    """Rubbish around and within the question, the answer, or both."""
    where = rng.choice(("question", "answer", "both"))
    if where != "answer":
        clean = clean.reasked(lambda text: rubbish.with_markup(text, rng))
    if where != "question":
        clean = clean.answered(rubbish.with_markup(clean.contents[-1], rng))
    return clean


_SPOILS: tuple[Spoil, ...] = (
    *(exact_copy, near_duplicate, paraphrase, wrong_answer, half_answer, refusal, truncated, rambling),
    *(wrong_language, label_error, pii, markup),
)
SPOIL = {spoil.__name__: spoil for spoil in _SPOILS} | {"contradiction": wrong_answer}
