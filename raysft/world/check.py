"""Is an answer right? Found from the instruction's own text, whoever wrote it and whoever answered.

    truth(instruction)   what is right for it, or None where it is not of this world
    check(row)           (is right, why not) for a row of messages (user …, assistant)

A right answer is the bare answer or its full sentence; blanks at the ends, a final stop and capitals do
not matter, save where the task is about them. An evolved instruction asks for a form, so there the
answer must have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysft.sample import answer_of, prompt_of
from raysft.world.evolution import FORMS, Truth
from raysft.world.kind import read
from raysft.world.tasks import KINDS

MAX_FORMS = 3
"""Forms around one task that are read; `augment.evolve` asks for few."""
STOPS = ".。"


def truth(instruction: str, depth: int = MAX_FORMS) -> Truth | None:
    """What is right for the instruction, or None where no kind and no form reads it."""
    instruction = instruction.strip()
    for kind in KINDS:
        slots = kind.read(instruction)
        if slots is not None:
            return Truth(kind.solve(slots) or "", kind.full_sentence(slots), kind, slots)
    return _evolved(instruction, depth) if depth else None


def _evolved(instruction: str, depth: int) -> Truth | None:
    for form in FORMS:
        slots = read(form.form, instruction)
        inner = truth(slots["task"], depth - 1) if slots else None
        if slots is None or inner is None or inner.shape not in form.suits:
            continue
        answer = form.solve(inner, slots)
        if answer is not None:
            return Truth(answer, answer, inner.kind, inner.slots, is_evolved=True)
    return None


def check(row: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the row's last answer is right; if not, the reason."""
    messages = row["messages"]
    answer = answer_of(messages).strip()
    if not answer:
        return False, "no answer"
    known = truth(prompt_of(messages))
    if known is None:
        return False, "not an instruction of this world"
    if is_right(answer, known):
        return True, ""
    return False, f"expected {known.answer!r}, got {answer!r}"


def is_right(answer: str, known: Truth) -> bool:
    """Whether the answer says what is true, in the form that was asked for."""
    if known.kind.accepts is not None and not known.is_evolved:
        return known.kind.accepts(answer, known.slots)
    exact = known.kind.is_exact or known.is_evolved
    return _plain(answer, exact) in (_plain(known.answer, exact), _plain(known.sentence, exact))


def _plain(text: str, is_exact: bool) -> str:
    text = text.strip()
    text = text[:-1] if text.endswith(tuple(STOPS)) else text
    return text if is_exact else text.casefold()
