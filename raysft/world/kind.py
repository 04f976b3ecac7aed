"""One kind of task of the world: how it is asked, what may be asked, and what is right.

A phrasing is text with `{slots}` and `[one|or|another]` wordings. Filled, it is an instruction; read
backwards (`Kind.read`), it gives the slots again. So the truth of an instruction is found from its own
text, whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from random import Random
from string import Formatter

Slots = dict[str, str]
Sample = Callable[[Random, int], Slots]
Solve = Callable[[Slots], str | None]

NUMBER_SLOTS = frozenset("abcn")
TASK_SLOT = "task"
"""Holds a whole task, maybe with forms of its own, so it takes in as much as it can."""
DEFAULT_SENTENCE = {"en": "The answer is {answer}.", "zh": "答案是{answer}。"}
_CHOICE = re.compile(r"\[([^\[\]{}]*)\]")


@dataclass(frozen=True)
class Kind:
    """`sample` draws slots of a level of difficulty, one of `levels`; `solve` gives the answer, or None
    for slots outside the world.

    `sentence` is the answer as a full sentence, over the slots and `answer`. `accepts` is there for
    kinds with many right answers, of which `solve` gives one. `is_exact`: capitals count.
    """

    name: str
    task: str
    domain: str
    lang: str
    phrasings: tuple[str, ...]
    sample: Sample
    solve: Solve
    sentence: str = ""
    accepts: Callable[[str, Slots], bool] | None = None
    is_exact: bool = False
    levels: tuple[int, ...] = (1,)

    @property
    def wordings(self) -> int:
        """In how many ways the same slots can be asked for, frames not counted."""
        return sum(wordings(phrasing) for phrasing in self.phrasings)

    def instruction(self, slots: Slots, rng: Random) -> str:
        """One of the wordings, filled; phrasings with more wordings are drawn as often as others."""
        return fill(rng.choice(self.phrasings), slots, rng)

    def read(self, instruction: str) -> Slots | None:
        """The slots of an instruction of this kind, or None where it is of another."""
        for phrasing in self.phrasings:
            slots = read(phrasing, instruction)
            if slots is not None and self.solve(slots) is not None:
                return slots
        return None

    def full_sentence(self, slots: Slots) -> str:
        """The right answer as a sentence."""
        answer = self.solve(slots)
        return (self.sentence or DEFAULT_SENTENCE[self.lang]).format_map({**slots, "answer": answer})


def wordings(phrasing: str) -> int:
    """How many texts the phrasing stands for, with its slots filled."""
    return prod(choices.count("|") + 1 for choices in _CHOICE.findall(phrasing))


def fill(phrasing: str, slots: Slots, rng: Random) -> str:
    """A text of the phrasing: a wording drawn at each choice, and the slots in their places."""
    return _CHOICE.sub(lambda m: rng.choice(m[1].split("|")), phrasing).format_map(slots)


def read(phrasing: str, text: str) -> Slots | None:
    """The slots with which the phrasing is the text, or None."""
    # Most texts are of another phrasing; this finds out twenty times faster than the pattern.
    if _longest_literal(phrasing) not in text:
        return None
    match = _pattern(phrasing).fullmatch(text)
    return match.groupdict() if match else None


@cache
def _longest_literal(phrasing: str) -> str:
    """The longest piece of text that every wording of the phrasing holds."""
    literals = (literal for literal, _, _, _ in Formatter().parse(phrasing))
    pieces = (piece for literal in literals for piece in _CHOICE.split(literal)[::2])
    return max(pieces, key=len, default="")


@cache
def _pattern(phrasing: str) -> re.Pattern[str]:
    parts, seen = [], set()
    for literal, slot, _, _ in Formatter().parse(phrasing):
        parts.append(_literal(literal))
        if slot is None:
            continue
        if slot in seen:
            parts.append(f"(?P={slot})")
            continue
        seen.add(slot)
        what = r"\d{1,4}" if slot in NUMBER_SLOTS else ".+" if slot == TASK_SLOT else ".+?"
        parts.append(f"(?P<{slot}>{what})")
    return re.compile("".join(parts), re.DOTALL)


def _literal(text: str) -> str:
    """A pattern for the text between two slots, its choices as alternatives."""
    pieces = _CHOICE.split(text)  # literal, choices, literal, choices, …
    for at, piece in enumerate(pieces):
        pieces[at] = (
            f"(?:{'|'.join(re.escape(word) for word in piece.split('|'))})" if at % 2 else re.escape(piece)
        )
    return "".join(pieces)


def lookup(table: Mapping[str, str], slot: str) -> Solve:
    """A `solve` that looks the slot up."""
    return lambda slots: table.get(slots[slot])


def key_of(table: Mapping[str, str], slot: str) -> Sample:
    """A `sample` that draws one of the table's keys."""
    keys = list(table)
    return lambda rng, level: {slot: rng.choice(keys)}
