"""A wrong answer that looks like a right one: the one way in which noise and judges' examples get theirs."""

from __future__ import annotations

from random import Random

from raysft.world.check import is_right
from raysft.world.evolution import Truth
from raysft.world.near_miss import near_miss, number_off
from raysft.world.turns import demanded

TRIES = 20
NEAR_SHARE = 0.5
"""Wrong answers that miss the right one nearly, where that can be, and are not another task's answer."""


def wrong_answer(known: Truth, rng: Random, question: str = "", near_share: float = NEAR_SHARE) -> str:
    """An answer that `check` refuses: a near miss, or what would be right for another task of the kind.

    What the question names may be taken for the answer; where none is given, only whole numbers are
    missed nearly.

    Raises:
        ValueError: all that was tried is right.
    """
    can_miss = bool(question) or known.answer.isdecimal()
    for _ in range(TRIES):
        is_near = can_miss and rng.random() < near_share
        answer = (_near(known, question, rng) if is_near else "") or _of_another(known, question, rng)
        if answer and not is_right(answer, known):
            return answer
    # Kinds with one answer to all tasks: a part of it is wrong as well.
    part = known.answer[: len(known.answer) // 2] or f"{known.answer}?"
    if is_right(part, known):
        raise ValueError(f"found no wrong answer beside {known.answer!r}, of kind {known.kind.name!r}")
    return part


def _near(known: Truth, question: str, rng: Random) -> str:
    if known.answer.isdecimal():
        return number_off(known.answer, rng)
    return near_miss(known.answer, question, known.kind.lang, rng)


def _of_another(known: Truth, question: str, rng: Random) -> str:
    """What would be right if the question, or the one that it is about, were another one of its kind."""
    kind = known.kind
    slots = kind.sample(rng, rng.choice(kind.levels))
    answer = kind.solve(slots) or ""
    if known.is_evolved and answer:
        other = demanded(question, Truth(answer, kind.full_sentence(slots), kind, slots))
        return other.answer if other else answer
    return answer
