"""A task of the world drawn by chance: its kind, its slots, and how it is asked.

About one instruction in sixteen is held out: its text decides, so what draws the others never meets one.
A `Part` narrows what is drawn to some tasks and to the easier levels of difficulty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Annotated

from pydantic import AfterValidator, Field

from raysft.sample import digest, digest64
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
"""Part of every seed; another one gives other rows of the same kinds."""
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
HARDEST = max(LEVELS)
TASKS = tuple(dict.fromkeys(kind.task for kind in KINDS))
"""Labels of all tasks; both languages have a kind of the easiest level for each."""
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


@dataclass(frozen=True)
class Part:
    """A part of the world: these tasks, or all of them, up to a level of difficulty.

    Raises:
        ValueError: a task or a level that does not exist, or no task at all.
    """

    tasks: tuple[str, ...] | None = None
    max_difficulty: int = HARDEST

    def __post_init__(self) -> None:
        if self.tasks == () or self.max_difficulty not in LEVELS:
            raise ValueError(f"{self} is no part of the world: it has no task")
        for label in self.tasks or ():
            known_task(label)

    @property
    def digest(self) -> str:
        """Identity of the part; the order of its tasks makes no difference."""
        return digest("part", self.max_difficulty, *sorted(set(self.tasks or TASKS)))

    def kinds(self, lang: str) -> tuple[Kind, ...]:
        """The language's kinds that are drawn, at least one."""
        return _kinds(self, lang)

    def levels(self, kind: Kind) -> list[int]:
        """The levels of difficulty that are drawn of a kind."""
        return [level for level in kind.levels if level <= self.max_difficulty]


@cache
def _kinds(part: Part, lang: str) -> tuple[Kind, ...]:
    labels = TASKS if part.tasks is None else part.tasks
    return tuple(kind for kind in KINDS_OF[lang] if kind.task in labels and part.levels(kind))


def known_task(label: str) -> str:
    """The label, if it is one of a task.

    Raises:
        ValueError: it is not; names those that are.
    """
    if label not in TASKS:
        raise ValueError(f"the world has no task {label!r}; it has {', '.join(sorted(TASKS))}")
    return label


WHOLE = Part()

# Two fields of a config that narrow the world. Where they narrow nothing they are left out of its JSON, so
# that the whole world has the same identity whether or not a config could have narrowed it.
Tasks = Annotated[
    tuple[Annotated[str, AfterValidator(known_task)], ...] | None,
    Field(
        min_length=1,
        description="only these tasks, by label (lookup, classification, …); all if unset",
        exclude_if=lambda labels: labels is None,
    ),
]
MaxDifficulty = Annotated[
    int,
    Field(
        ge=min(LEVELS),
        le=HARDEST,
        description="only tasks of this difficulty or easier, 1 to 3",
        exclude_if=lambda level: level == HARDEST,
    ),
]

Pick = Callable[[Random, str], Task]
"""Draws a task of a language."""


def row_rng(name: str, seed: int, i: int) -> Random:
    """The source of all chance of row i of the list `name`."""
    return Random(digest64("world", VERSION, name, seed, i))


def draw(
    rng: Random,
    lang: str,
    kind: Kind | None = None,
    level: int | None = None,
    *,
    held_out: bool = False,
    part: Part = WHOLE,
) -> Task:
    """A task of the given kind and level, or of any that the part has in the language; `held_out` ones, or
    the others."""
    while True:
        chosen = kind or rng.choice(part.kinds(lang))
        levels = [level] if level in chosen.levels else part.levels(chosen)
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
