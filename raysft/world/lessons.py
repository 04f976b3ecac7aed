"""Rows that teach the smaller prompts of the augmenting stages: who asks, with what, and a right answer.

Each maker takes (language, chance) and gives one row. JSON is written without white space, as engines that
hold a model to a schema let it be written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from raysft.augment.prompts import render
from raysft.world.comprehension import YES_NO
from raysft.world.draw import reworded
from raysft.world.evolution import KIND_OF, OPERATIONS, evolve
from raysft.world.kind import Kind, Slots
from raysft.world.passages import SCENES, passage
from raysft.world.taught import (
    LEVELS,
    TAUGHT,
    conversation,
    example,
    foreign,
    known_task,
    pick,
    prompted,
    spoken,
    task_of,
)
from raysft.world.turns import follow_up

PAIR_SIZES = ((8, 7), (8, 7), (2, 3), (4, 2), (5, 5), (3, 1))
"""(examples of a prompt for pairs, pairs that it asks for)."""
INSTANCES = 5
SAME_TEXT_SHARE = 0.2
"""Of equal tasks: those that are equal to the letter."""
DECIDED_BY_LABEL = ("classification",)
NEITHER = ("multiple_choice", "open_at", "text_yes_no", "bigger", "smaller")
"""Tasks and kinds of which one may doubt whether their answers are labels."""
BARE = {
    "en": {
        "translate": ("Translate the word into Chinese.", "word"),
        "opposite": ("Give the opposite of the word.", "word"),
        "capital": ("Name the capital of the country.", "word"),
        "negate": ("Write the sentence with not.", "sentence"),
        "polite": ("Make the request polite with please.", "request"),
        "sentiment": ("Say whether the review is positive or negative.", "review"),
        "sentence_sort": ("Say whether it is a question, a statement or a request.", "text"),
    },
    "zh": {
        "translate": ("把这个词翻译成英文。", "word"),
        "opposite": ("写出这个词的反义词。", "word"),
        "capital": ("说出这个国家的首都。", "word"),
        "negate": ("用“不”改写句子。", "sentence"),
        "polite": ("用“请您”改写要求。", "request"),
        "sentiment": ("判断评论是好评还是差评。", "review"),
        "sentence_sort": ("判断句子是疑问句、陈述句还是祈使句。", "text"),
    },
}
"""Instructions that stand without their input: by kind, the text and the slot that is the input."""
LABELLED = frozenset({"sentiment", "sentence_sort"})
"""Those of them whose answers are labels."""
PEOPLE = {
    "en": "{name}, a {job} who lives in {city} and likes {food}",
    "zh": "{name}，住在{city}的{job}，爱吃{food}",
}
QUESTIONS: dict[str, dict[str, dict[str, tuple[str, str]]]] = {
    "en": {
        "people": {
            "city": ("Where does {name} live?", "{city}"),
            "job": ("What is the job of {name}?", "{job}"),
            "pet": ("Which animal does {name} have?", "a {pet}"),
            "food": ("What does {name} like?", "{food}"),
            "n": ("How old is {name}?", "{n} years old"),
        },
        "shop": {
            "goods": ("What does the {shop} sell?", "{goods}"),
            "c": ("How much are the {goods} at the {shop}?", "{c} dollars"),
            "b": ("When does the {shop} open?", "at {b} o'clock"),
        },
        "event": {
            "day": ("On which day is the {event}?", "on {day}"),
            "place": ("Where is the {event}?", "at {place}"),
            "b": ("When does the {event} begin?", "at {b} o'clock"),
        },
    },
    "zh": {
        "people": {
            "city": ("{name}住在哪里？", "{city}"),
            "job": ("{name}做什么工作？", "{job}"),
            "pet": ("{name}养了什么？", "一只{pet}"),
            "food": ("{name}爱吃什么？", "{food}"),
            "n": ("{name}多大了？", "{n}岁"),
        },
        "shop": {
            "goods": ("{shop}卖什么？", "{goods}"),
            "c": ("{shop}的{goods}多少钱？", "{c}元"),
            "b": ("{shop}几点开门？", "{b}点"),
        },
        "event": {
            "day": ("{event}在哪一天？", "{day}"),
            "place": ("{event}在哪里举行？", "{place}"),
            "b": ("{event}几点开始？", "{b}点"),
        },
    },
}
"""By scene, and by the slot that is asked for: the question and its answer."""
KEYS = {"people": "name", "shop": "shop", "event": "event"}
MOST_QUESTIONS = 3
TERMS_SHARE = 0.3


def equal(lang: str, rng: Random) -> dict[str, Any]:
    """`evolve_equal`: two wordings of one task, or a task and what it was evolved to."""
    verdict = rng.randrange(2)
    if verdict:
        known, parent = known_task(lang, rng)
        other = evolve(rng.choice(OPERATIONS), lang, parent, known, rng)
    elif rng.random() < SAME_TEXT_SHARE:
        other = parent = known_task(lang, rng)[1]
    else:
        task = pick(rng, lang)
        parent, other = task.instruction, reworded(task.kind, task.slots, rng)
    prompt = render("evolve_equal", lang, parent=parent, instruction=other)
    return prompted("evolve_equal", lang, prompt, YES_NO[lang][verdict])


def pairs(lang: str, rng: Random) -> dict[str, Any]:
    """`self_instruct_pairs`: examples, and new tasks with their answers."""
    shown, asked = rng.choice(PAIR_SIZES)
    kinds = rng.sample(TAUGHT[lang], shown + asked)
    examples = [example(kind, lang, rng) for kind in kinds[:shown]]
    new = [task_of(kind, rng) for kind in kinds[shown:]]
    answer = _json([{"instruction": task.instruction, "output": spoken(task)} for task in new])
    prompt = render("self_instruct_pairs", lang, examples=examples, count=asked)
    return prompted("self_instruct_pairs", lang, prompt, answer)


def classification(lang: str, rng: Random) -> dict[str, Any]:
    """`instances_classification`: is the answer one of a few labels?"""
    is_one = rng.random() < 0.5
    kinds = [kind for kind in TAUGHT[lang] if _is_classification(kind) is is_one]
    if rng.random() < 0.3:
        bare = [text for name, (text, _) in BARE[lang].items() if (name in LABELLED) is is_one]
        instruction = rng.choice(bare)
    elif not is_one and rng.random() < 0.3:
        instruction = foreign(lang, rng)
    else:
        instruction = task_of(rng.choice(kinds), rng).instruction
    prompt = render("instances_classification", lang, instruction=instruction)
    return prompted("instances_classification", lang, prompt, YES_NO[lang][0 if is_one else 1])


def instances(lang: str, rng: Random) -> dict[str, Any]:
    """`instances_input_first` and `instances_output_first`: inputs with their outputs, or the other way; an
    instruction that brings its own data has one instance, without input."""
    if rng.random() < 0.5:
        task = pick(rng, lang)
        while _is_classification(task.kind) is None:
            task = pick(rng, lang)
        is_labelled, instruction = bool(_is_classification(task.kind)), task.instruction
        found = [{"input": "", "output": spoken(task)}]
    else:
        name = rng.choice(list(BARE[lang]))
        is_labelled = name in LABELLED
        instruction, slot = BARE[lang][name]
        found = _bare_instances(lang, name, slot, rng)
    stage = "instances_output_first" if is_labelled else "instances_input_first"
    keys = ("output", "input") if is_labelled else ("input", "output")
    prompt = render(stage, lang, instruction=instruction, count=INSTANCES)
    return prompted(stage, lang, prompt, _json([{key: one[key] for key in keys} for one in found]))


def next_question(lang: str, rng: Random) -> dict[str, Any]:
    """`dialogue_user`: what the user says after the last answer."""
    task = pick(rng, lang)
    turns = [("user", task.instruction), ("assistant", spoken(task))]
    if rng.random() < 0.5:
        other = pick(rng, lang)
        turns = [("user", other.instruction), ("assistant", spoken(other)), *turns]
    shown = [{"role": role, "content": text} for role, text in turns]
    return prompted(
        "dialogue_user", lang, render("dialogue_user", lang, turns=shown), follow_up(task, rng, pick)[0]
    )


def backtranslated(lang: str, rng: Random) -> dict[str, Any]:
    """`backtranslate`: the task that a full sentence answers."""
    kinds = [kind for kind in TAUGHT[lang] if kind.sentence]
    task = task_of(rng.choice(kinds), rng)
    return prompted(
        "backtranslate", lang, render("backtranslate", lang, text=task.sentence), task.instruction
    )


def persona(lang: str, rng: Random) -> dict[str, Any]:
    """`persona`: a task from a person."""
    person = PEOPLE[lang].format_map(SCENES[lang]["people"].draw(rng))
    return prompted("persona", lang, render("persona", lang, persona=person), pick(rng, lang).instruction)


def grounded(lang: str, rng: Random) -> dict[str, Any]:
    """`grounded_questions` and `grounded_dialogue`: questions about a text, and their answers."""
    scene = rng.choice(list(KEYS))
    text, facts = passage(lang, scene, rng, rng.choice((2, 3)), frozenset({KEYS[scene]}))
    asked = [about for told in facts for about in _asked(lang, scene, told)]
    count = min(MOST_QUESTIONS, len(asked))
    chosen = sorted(rng.sample(range(len(asked)), count))
    found = [{"question": asked[i][0], "answer": asked[i][1]} for i in chosen]
    terms = [rng.choice(facts)[KEYS[scene]]] if rng.random() < TERMS_SHARE else []
    name = rng.choice(("grounded_questions", "grounded_questions", "grounded_dialogue"))
    prompt = render(name, lang, text=text, count=count, terms=terms)
    return prompted(name, lang, prompt, _json(found))


def bare(lang: str, rng: Random) -> dict[str, Any]:
    """An instruction and its input as `augment.instances` joins them, and the answer."""
    name = rng.choice(list(BARE[lang]))
    instruction, slot = BARE[lang][name]
    (one,) = _bare_instances(lang, name, slot, rng, most=1)
    kind = KIND_OF[name, lang]
    return conversation(kind.task, "instances", lang, f"{instruction}\n\n{one['input']}", one["output"])


def _asked(lang: str, scene: str, told: Mapping[str, str]) -> list[tuple[str, str]]:
    """The questions that a sentence's facts answer, with their answers."""
    found = []
    for slot, (question, answer) in QUESTIONS[lang][scene].items():
        needs = {slot, KEYS[scene], *(["goods"] if slot == "c" else [])}
        if needs <= told.keys():
            found.append((question.format_map(told), answer.format_map(told)))
    return found


def _bare_instances(
    lang: str, name: str, slot: str, rng: Random, most: int = INSTANCES
) -> list[dict[str, str]]:
    """Up to `most` different inputs of a kind with their right outputs."""
    kind = KIND_OF[name, lang]
    found: dict[str, str] = {}
    for _ in range(rng.randint(1, most)):
        slots: Slots = kind.sample(rng, rng.choice([level for level in LEVELS if level in kind.levels]))
        found.setdefault(slots[slot], str(kind.solve(slots)))
    return [{"input": given, "output": answer} for given, answer in found.items()]


def _is_classification(kind: Kind) -> bool | None:
    """Whether the kind's answers are labels; None where one may doubt it."""
    if kind.name in NEITHER or kind.task in NEITHER:
        return None
    return kind.task in DECIDED_BY_LABEL


def _json(found: Sequence[Mapping[str, str]]) -> str:
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


MAKERS = {
    "equal": equal,
    "pairs": pairs,
    "classification": classification,
    "instances": instances,
    "next_question": next_question,
    "backtranslated": backtranslated,
    "persona": persona,
    "grounded": grounded,
    "bare": bare,
}
