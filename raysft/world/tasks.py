"""Instruction tasks of a small world, in English and Chinese, whose answers a program can check.

    generate(start, stop, seed)   rows of messages (user, assistant), task, domain, lang

Row i is decided by (VERSION, seed, i) alone, so any slice of the rows can be made anywhere. See
`raysft.world.check` for the truth of an instruction and of an answer.
"""

from __future__ import annotations

from random import Random
from typing import Any

from raysft.sample import digest64
from raysft.world import choices, dates, numbers, sentences, words
from raysft.world.kind import Kind, Slots

VERSION = 1
LANGUAGES = ("en", "zh")
KINDS: tuple[Kind, ...] = numbers.KINDS + dates.KINDS + words.KINDS + choices.KINDS + sentences.KINDS
KINDS_OF = {lang: tuple(kind for kind in KINDS if kind.lang == lang) for lang in LANGUAGES}


def version() -> str:
    """What decides `generate` beside its arguments; part of the rows' identity."""
    return str(VERSION)


def generate(start: int, stop: int, seed: int) -> list[dict[str, Any]]:
    """Rows start … stop-1 of the endless list that `seed` names."""
    return [_row(seed, i) for i in range(start, stop)]


def _row(seed: int, i: int) -> dict[str, Any]:
    rng = row_rng("tasks", seed, i)
    kind, _, instruction, answer = draw(rng, rng.choice(LANGUAGES))
    return row(kind, instruction, answer)


def row_rng(name: str, seed: int, i: int) -> Random:
    """The source of all chance of row i of the list `name`."""
    return Random(digest64("world", VERSION, name, seed, i))


def draw(rng: Random, lang: str, kind: Kind | None = None) -> tuple[Kind, Slots, str, str]:
    """A kind (the given one, or any of the language), its slots, an instruction and the answer."""
    kind = kind or rng.choice(KINDS_OF[lang])
    slots = kind.sample(rng)
    answer = kind.solve(slots)
    if answer is None:
        raise ValueError(f"kind {kind.name}.{kind.lang} drew slots that it cannot solve: {slots}")
    return kind, slots, kind.instruction(slots, rng.randrange(len(kind.phrasings))), answer


def row(kind: Kind, instruction: str, answer: str) -> dict[str, Any]:
    """A row of the columns that `generate` gives."""
    messages = [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "task": kind.task, "domain": kind.domain, "lang": kind.lang}
