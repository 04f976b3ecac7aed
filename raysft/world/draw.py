"""A task of the world drawn by chance: its kind, its slots, and how it is asked.

About one instruction in sixteen is held out: its text decides, so what draws the others never meets one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from raysft.sample import digest64
from raysft.world import (
    choices,
    classification,
    clock,
    comprehension,
    counting,
    dates,
    extraction,
    facts,
    groups,
    knowledge,
    letters,
    number_lists,
    number_picks,
    numbers,
    rewriting,
    sentences,
    units,
    words,
)
from raysft.world.frames import framed
from raysft.world.kind import Kind, Slots

VERSION = 2
LANGUAGES = ("en", "zh")
KINDS: tuple[Kind, ...] = (
    numbers.KINDS
    + number_lists.KINDS
    + number_picks.KINDS
    + units.KINDS
    + dates.KINDS
    + clock.KINDS
    + words.KINDS
    + letters.KINDS
    + facts.KINDS
    + groups.KINDS
    + choices.KINDS
    + counting.KINDS
    + extraction.KINDS
    + comprehension.KINDS
    + classification.KINDS
    + knowledge.KINDS
    + rewriting.KINDS
    + sentences.KINDS
)
KINDS_OF = {lang: tuple(kind for kind in KINDS if kind.lang == lang) for lang in LANGUAGES}
LEVELS = {1: 0.5, 2: 0.3, 3: 0.2}
"""Levels of difficulty and how often each is drawn, of those that a kind has."""
HELD_OUT_OF = 16


@dataclass(frozen=True)
class Task:
    """One task: `instruction` is how it is asked here."""

    kind: Kind
    slots: Slots
    level: int
    instruction: str

    @property
    def answer(self) -> str:
        return self.kind.solve(self.slots) or ""

    @property
    def sentence(self) -> str:
        """The answer as a full sentence."""
        return self.kind.full_sentence(self.slots)


Pick = Callable[[Random, str], Task]
"""Draws a task of a language."""


def row_rng(name: str, seed: int, i: int) -> Random:
    """The source of all chance of row i of the list `name`."""
    return Random(digest64("world", VERSION, name, seed, i))


def draw(
    rng: Random, lang: str, kind: Kind | None = None, level: int | None = None, *, held_out: bool = False
) -> Task:
    """A task of the given kind and level, or of any of the language's; `held_out` ones, or the others."""
    while True:
        chosen = kind or rng.choice(KINDS_OF[lang])
        levels = [level] if level in chosen.levels else list(chosen.levels)
        (drawn,) = rng.choices(levels, [LEVELS[one] for one in levels])
        slots = chosen.sample(rng, drawn)
        if chosen.solve(slots) is None:
            raise ValueError(f"kind {chosen.name}.{lang} drew slots that it cannot solve: {slots}")
        instruction = reworded(chosen, slots, rng)
        if is_held_out(instruction) == held_out:
            return Task(chosen, slots, drawn, instruction)


def reworded(kind: Kind, slots: Slots, rng: Random) -> str:
    """The same question in any of its wordings and frames."""
    return framed(kind.instruction(slots, rng), kind.lang, rng)


def is_held_out(instruction: str) -> bool:
    """Whether the instruction is one of those kept for measuring."""
    return digest64("held out", instruction) % HELD_OUT_OF == 0
