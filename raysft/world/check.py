"""Is an answer right? Found from the instruction's own text, whoever wrote it and whoever answered.

    truth(instruction)       what is right for it, or None where it is not of this world
    truth_of(messages)       the same for the last user turn of a conversation
    check(row)               (is right, why not) for a row whose messages end with an answer

A right answer is the bare answer or its full sentence; blanks at the ends, a final stop and capitals do
not matter, save where the task is about them. An evolved instruction asks for a form, so there the
answer must have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysft.algorithms.words import cjk_count
from raysft.sample import answer_of
from raysft.world.draw import KINDS_OF, Task
from raysft.world.evolution import FORMS, Truth
from raysft.world.frames import unframed
from raysft.world.kind import read
from raysft.world.turns import another, demanded

MAX_FORMS = 3
"""Forms around one task that are read; `augment.evolve` asks for few."""
STOPS = ".。"


def truth(instruction: str, depth: int = MAX_FORMS) -> Truth | None:
    """What is right for the instruction, or None where no kind, no frame and no form reads it."""
    instruction = instruction.strip()
    lang = "zh" if cjk_count(instruction) else "en"
    for kind in KINDS_OF[lang]:
        slots = kind.read(instruction)
        if slots is not None:
            return Truth(kind.solve(slots) or "", kind.full_sentence(slots), kind, slots)
    if not depth:
        return None
    inner = unframed(instruction, lang)
    return (truth(inner, depth - 1) if inner else None) or _evolved(instruction, lang, depth)


def _evolved(instruction: str, lang: str, depth: int) -> Truth | None:
    for form in FORMS:
        slots = read(form.form, instruction) if form.lang == lang else None
        inner = truth(slots["task"], depth - 1) if slots else None
        if slots is None or inner is None or inner.shape not in form.suits:
            continue
        answer = form.solve(inner, slots)
        if answer is not None:
            return Truth(answer, answer, inner.kind, inner.slots, is_evolved=True)
    return None


def known_truth(task: Task) -> Truth:
    """The truth of a task that was drawn, without reading it."""
    return Truth(task.answer, task.sentence, task.kind, task.slots)


def truth_of(messages: Sequence[Mapping[str, str]]) -> Truth | None:
    """What is right for the last user turn, which may ask about the answer before it."""
    known: Truth | None = None
    for message in messages:
        if message["role"] == "user":
            known = _turn(message["content"].strip(), known)
    return known


def _turn(text: str, previous: Truth | None) -> Truth | None:
    known = truth(text)
    if known is not None or previous is None:
        return known
    inner = another(text, previous.kind.lang)
    return truth(inner) if inner is not None else demanded(text, previous)


def check(row: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the row's last answer is right; if not, the reason."""
    messages = row["messages"]
    answer = answer_of(messages).strip()
    if not answer:
        return False, "no answer"
    known = truth_of(messages)
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
