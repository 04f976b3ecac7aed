"""Conversations that teach a small model to follow this project's own prompts inside the world.

    generate(start, stop, seed)   rows as `raysft.world.tasks.generate` gives them, without truth columns

Row i is one of, by `MIX`
    plain           a task of the world and its answer; some in two turns
    evolved         an evolved task (`raysft.world.evolution`) and its answer
    self_instruct   the prompt of `augment.self_instruct` and the numbered list of new tasks it asks for
    evolve          the prompt of `augment.evolve` for one operation and the rewritten task
    judge           the prompt `judge_answer` about a right or a wrong answer; the right one, and yes or no
    copy            a text to be written again as it is; looking back into the prompt is what a new model
                    learns last, and nothing teaches it sooner
    and the others, `raysft.world.lessons`: the prompts of the other augmenting stages

The prompts are those of `raysft.augment.prompts`, word for word, so an edited prompt is taught as edited.
This is the one place where two families of stages meet: world imports augment.prompts, and augment
imports nothing of world.
"""

from __future__ import annotations

from random import Random
from typing import Any

from raysft.augment.evolve import ADDED_WORDS
from raysft.augment.prompts import names, prompt_hash, render
from raysft.sample import digest
from raysft.world import lessons, tasks
from raysft.world import vocabulary as v
from raysft.world.check import STOPS, known_truth
from raysft.world.check import is_right as is_right_answer
from raysft.world.draw import LANGUAGES, Task, row_rng
from raysft.world.evolution import OPERATIONS, Truth, evolve
from raysft.world.kind import fill
from raysft.world.taught import (
    FOREIGN_SHARE,
    TAUGHT,
    conversation,
    example,
    foreign,
    known_task,
    pick,
    prompted,
    spoken,
    task_of,
    truth_of,
)
from raysft.world.turns import TWO_TURNS_SHARE
from raysft.world.wrong import wrong_answer

VERSION = 4
MIX = {
    "plain": 0.44,
    "evolved": 0.09,
    "self_instruct": 0.05,
    "evolve": 0.11,
    "judge": 0.06,
    "copy": 0.13,
    "equal": 0.03,
    "pairs": 0.02,
    "classification": 0.01,
    "instances": 0.015,
    "next_question": 0.01,
    "backtranslated": 0.01,
    "persona": 0.005,
    "grounded": 0.015,
    "bare": 0.005,
}
LIST_SIZES = ((8, 7), (8, 7), (8, 7), (2, 4), (3, 5), (4, 3), (5, 7), (6, 2), (7, 6))
"""(examples of a self-instruct prompt, new tasks that it asks for); the stage's defaults are 8 and 7, and
it shows fewer of a small pool."""
COPY = {
    "en": ("[Copy|Repeat] this text: {text}", "Write [these words|this] again, word for word: {text}"),
    "zh": ("[抄写|重复]这段文字：{text}", "请[照原样|一字不差地]再写一遍：{text}"),
}
COPY_GAP = {"en": " ", "zh": ""}
VERDICTS = {"en": ("yes", "no"), "zh": ("对", "不对")}
"""What a judge says behind the right answer where that is the one to be judged, and where it is another.

The prompt lists both, so that who can look up a word and copy what follows it can judge. Asked plainly, this
model said yes to nearly everything, or no (docs/results.md)."""

_WORDS = {
    "en": (*v.TO_CHINESE, *v.NAMES_EN, *v.CAPITAL_EN, *v.DAYS_EN, *v.FOODS_EN, *map(str, range(10, 100))),
    "zh": (*v.TO_ENGLISH, *v.NAMES_ZH, *v.CAPITAL_ZH, *v.DAYS_ZH, *v.FOODS_ZH, *map(str, range(10, 100))),
}


def version() -> str:
    """What decides `generate` beside its arguments: the text of the world and of all prompts."""
    prompts = [prompt_hash(name, lang) for name, lang in (full.rsplit(".", 1) for full in names())]
    return f"{tasks.version()}-{digest(*prompts)[:12]}"


def generate(start: int, stop: int, seed: int) -> list[dict[str, Any]]:
    """Rows start … stop-1 of the endless list that `seed` names; row i depends on (`version()`, seed, i)."""
    return [_teacher_row(seed, i) for i in range(start, stop)]


def _teacher_row(seed: int, i: int) -> dict[str, Any]:
    rng = row_rng(f"teacher {VERSION}", seed, i)
    (what,) = rng.choices(list(MIX), list(MIX.values()))
    return _MAKERS[what](rng.choice(LANGUAGES), rng)


def _plain(lang: str, rng: Random) -> dict[str, Any]:
    """Answered in a sentence where the kind has one: its first words name what to look for."""
    if rng.random() < TWO_TURNS_SHARE:
        made = tasks.make_row(0, rng, pick, lang)
        return {name: made[name] for name in ("messages", "task", "domain", "lang")}
    task = pick(rng, lang)
    return conversation(task.kind.task, task.kind.domain, lang, task.instruction, spoken(task))


def _evolved(lang: str, rng: Random) -> dict[str, Any]:
    known, instruction = known_task(lang, rng)
    evolved = evolve(rng.choice(OPERATIONS), lang, instruction, known, rng)
    right = truth_of(evolved)
    return conversation(right.kind.task, right.kind.domain, lang, evolved, right.answer)


def _self_instruct(lang: str, rng: Random) -> dict[str, Any]:
    """The new tasks are of kinds that differ from one another and, as far as there are enough kinds,
    from those of the examples."""
    shown, asked = rng.choice(LIST_SIZES)
    kinds = rng.sample(TAUGHT[lang], shown + asked)
    examples = [example(kind, lang, rng) for kind in kinds[:shown]]
    new = [task_of(kind, rng).instruction for kind in kinds[shown:]]
    prompt = render("self_instruct", lang, examples=examples, count=asked)
    answer = "\n".join(f"{number}. {text}" for number, text in enumerate(new, shown + 1))
    return prompted("self_instruct", lang, prompt, answer)


def _evolve(lang: str, rng: Random) -> dict[str, Any]:
    operation = rng.choice(OPERATIONS)
    known: Truth | None = None
    if rng.random() < FOREIGN_SHARE and operation != "breadth":
        instruction = foreign(lang, rng)
    else:
        known, instruction = known_task(lang, rng)
    least, most = ADDED_WORDS
    prompt = render(f"evolve_{operation}", lang, instruction=instruction, least=least, most=most)
    return prompted(f"evolve_{operation}", lang, prompt, evolve(operation, lang, instruction, known, rng))


def _judge(lang: str, rng: Random) -> dict[str, Any]:
    is_right = rng.random() < 0.5
    instruction, answer, right = judged(pick(rng, lang), is_right, rng)
    prompt = render("judge_answer", lang, instruction=instruction, answer=answer)
    return prompted("judge_answer", lang, prompt, f"{right} {VERDICTS[lang][0 if is_right else 1]}")


def judged(task: Task, is_right: bool, rng: Random) -> tuple[str, str, str]:
    """(instruction, an answer to be judged, the right one in the same form): bare or in the full sentence,
    without a final stop where that is not part of the task."""
    known = known_truth(task)
    right = task.answer
    answer = right if is_right else wrong_answer(known, rng, task.instruction)
    if task.sentence.count(right) == 1 and rng.random() < 0.5:
        sentence = task.sentence.replace(right, answer)
        if is_right_answer(sentence, known) == is_right:
            right, answer = task.sentence, sentence
    if is_right_answer(right.rstrip(STOPS), known):
        right, answer = right.rstrip(STOPS), answer.rstrip(STOPS)
    return task.instruction, answer, right


def _copy(lang: str, rng: Random) -> dict[str, Any]:
    """A jumble of words, so that nothing but the prompt tells what comes next."""
    pool = _WORDS[lang]
    text = COPY_GAP[lang].join(rng.choice(pool) for _ in range(rng.randint(4, 30)))
    return conversation("copy", "prompts", lang, fill(rng.choice(COPY[lang]), {"text": text}, rng), text)


_MAKERS = {
    **lessons.MAKERS,
    "plain": _plain,
    "evolved": _evolved,
    "self_instruct": _self_instruct,
    "evolve": _evolve,
    "judge": _judge,
    "copy": _copy,
}
