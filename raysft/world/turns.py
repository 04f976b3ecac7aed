"""A second turn: a new task, or a demand about the answer just given."""

from __future__ import annotations

from random import Random

from raysft.world.draw import Pick, Task, draw
from raysft.world.evolution import Truth
from raysft.world.kind import TASK_SLOT, fill, read

TWO_TURNS_SHARE = 0.1
ANOTHER = {
    "en": (
        "[Thanks|Good|Thank you|Right]. [Next|Now|The next one|Another one]: {task}",
        "[And now|Now please|Then] this: {task}",
    ),
    "zh": ("[谢谢|好的|对]。[下一题|再来一题|还有一题]：{task}", "[接着|然后|再]做这道：{task}"),
}
TWICE = {
    "en": ("[Now write|Write|Please repeat] that answer twice.",),
    "zh": ("把[这个|刚才的]答案写两遍。",),
}
QUOTED = {
    "en": ("[Now put|Put|Please put] that answer in quotation marks.",),
    "zh": ("把[这个|刚才的]答案放在引号里。",),
}
SENTENCE = {
    "en": ("[Now say|Say|Please say] that in a full sentence.",),
    "zh": ("[请|再]用一句完整的话[说一遍|回答]。",),
}


def follow_up(task: Task, rng: Random, pick: Pick = draw) -> list[str]:
    """A second user turn after the task's own answer, and the answer to it."""
    lang = task.kind.lang
    if rng.random() < 0.5:
        other = pick(rng, lang)
        return [fill(rng.choice(ANOTHER[lang]), {TASK_SLOT: other.instruction}, rng), other.answer]
    known = Truth(task.answer, task.sentence, task.kind, task.slots)
    demands = (TWICE, QUOTED, SENTENCE)
    texts = [fill(rng.choice(demand[lang]), {}, rng) for demand in demands]
    text = rng.choice(texts)
    answered = demanded(text, known)
    assert answered is not None
    return [text, answered.answer]


def another(text: str, lang: str) -> str | None:
    """The new task in a second turn that brings one, or None."""
    found = (read(phrasing, text) for phrasing in ANOTHER[lang])
    return next((slots[TASK_SLOT] for slots in found if slots is not None), None)


def demanded(text: str, previous: Truth) -> Truth | None:
    """What is right for a demand about the previous answer, or None where it is none."""
    lang, answer = previous.kind.lang, previous.answer
    opening, closing = {"en": ('"', '"'), "zh": ("“", "”")}[lang]
    answers = {
        TWICE[lang]: f"{answer} {answer}",
        QUOTED[lang]: f"{opening}{answer}{closing}",
        SENTENCE[lang]: previous.sentence,
    }
    for phrasings, right in answers.items():
        if any(read(phrasing, text) is not None for phrasing in phrasings):
            return Truth(right, right, previous.kind, previous.slots, is_evolved=True)
    return None
