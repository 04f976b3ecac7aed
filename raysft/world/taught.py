"""What the teacher's rows are about: the kinds and levels that are taught, tasks from outside the world, and
the shape of a row."""

from __future__ import annotations

from random import Random
from typing import Any

from raysft.world import vocabulary as v
from raysft.world.check import known_truth, truth
from raysft.world.draw import KINDS_OF, LANGUAGES, Task, draw
from raysft.world.evolution import OPERATIONS, Truth, evolve
from raysft.world.kind import Kind

KNOWN = frozenset(
    " ".join(
        (
            "add subtract multiply story_add story_subtract story_multiply code_add code_subtract",
            "code_multiply largest smallest first_number last_number how_many convert_length convert_weight",
            "convert_money day_after day_before month_after month_before days_on hours_on open_at reverse",
            "nth_word drop_word add_to_list replace_in_list hyphen repeat capital opposite translate colour",
            "sound group member bigger smaller choice choice_capital choice_opposite count_words who_age",
            "who_city who_food who_job who_pet who_bought bought_colour meet_place shop_price shop_goods",
            "event_day event_place text_yes_no sentiment topic past negate polite exchange join put_name",
            "sentence_with",
        )
    ).split()
)
"""The kinds that are taught, those that a few million weights learn in a few million tokens: copying out of
a text, small tables, small sums. The world has twice as many."""
LEVELS = {1: 0.75, 2: 0.25}
"""Levels of difficulty that are taught, and how often each is drawn of those that a kind has."""
FOREIGN_SHARE = 0.2
"""Examples and tasks to rewrite that are not of the world, as seed tasks are not; none is ever answered."""
TWICE_SHARE = 0.15
"""Tasks to rewrite that were rewritten once before, as in the second step of `augment.evolve`."""
FOREIGN = {
    "en": (
        "Explain in your own words why people like {food}.",
        "Write a short story about a {animal} and a {garment}.",
        "Give three pieces of advice to somebody who moves to {city}.",
        "Plan a day in {city} for a family with two children.",
        "Describe a {tool} to a person who has never seen one.",
        "Make a list of five things that one can cook with {food}.",
        "Why would somebody keep a {animal} at home? Give two reasons.",
        "Write a friendly message to {name}, who lost a {garment} at {place}.",
    ),
    "zh": (
        "请说说为什么大家喜欢吃{food}。",
        "写一个关于{animal}和{garment}的小故事。",
        "给刚搬到{city}的人提三条建议。",
        "帮一家四口安排在{city}玩一天的行程。",
        "向没见过{tool}的人介绍一下它。",
        "列出五道可以用{food}做的菜。",
        "为什么有人在家里养{animal}？说两个理由。",
        "{name}在{place}丢了{garment}，写几句话安慰一下。",
    ),
}


TAUGHT = {lang: [kind for kind in KINDS_OF[lang] if kind.name in KNOWN] for lang in LANGUAGES}


def pick(rng: Random, lang: str, *, held_out: bool = False) -> Task:
    """A task of the kinds and levels that are taught; `held_out` ones are kept for measuring."""
    return task_of(rng.choice(TAUGHT[lang]), rng, held_out=held_out)


def task_of(kind: Kind, rng: Random, *, held_out: bool = False) -> Task:
    levels = [level for level in LEVELS if level in kind.levels]
    (level,) = rng.choices(levels, [LEVELS[one] for one in levels])
    return draw(rng, kind.lang, kind, level, held_out=held_out)


def spoken(task: Task) -> str:
    return task.sentence if task.kind.sentence else task.answer


def known_task(lang: str, rng: Random) -> tuple[Truth, str]:
    task = pick(rng, lang)
    known, instruction = known_truth(task), task.instruction
    if rng.random() < TWICE_SHARE:
        instruction = evolve(rng.choice(OPERATIONS), lang, instruction, known, rng)
        known = truth_of(instruction)
    return known, instruction


def truth_of(instruction: str) -> Truth:
    known = truth(instruction)
    if known is None:
        raise ValueError(f"an evolved task of the world cannot be read: {instruction!r}")
    return known


def example(kind: Kind, lang: str, rng: Random) -> str:
    return foreign(lang, rng) if rng.random() < FOREIGN_SHARE else task_of(kind, rng).instruction


def foreign(lang: str, rng: Random) -> str:
    at = int(lang == "zh")
    groups = {"animal": v.ANIMALS, "garment": v.CLOTHES, "tool": v.TOOLS}
    words = {group: rng.choice(pairs)[at] for group, pairs in groups.items()}
    names, foods, places = (
        (v.NAMES_EN, v.NAMES_ZH)[at],
        (v.FOODS_EN, v.FOODS_ZH)[at],
        (v.PLACES_EN, v.PLACES_ZH)[at],
    )
    city = rng.choice(v.CAPITALS)[1 + 2 * at]
    chosen = {"name": rng.choice(names), "food": rng.choice(foods), "place": rng.choice(places), "city": city}
    return rng.choice(FOREIGN[lang]).format_map({**words, **chosen})


def prompted(task: str, lang: str, prompt: str, answer: str) -> dict[str, Any]:
    return conversation(task, "prompts", lang, prompt, answer)


def conversation(task: str, domain: str, lang: str, prompt: str, answer: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "task": task, "domain": domain, "lang": lang}
