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
from raysft.world import tasks
from raysft.world import vocabulary as v
from raysft.world.check import STOPS, known_truth, truth
from raysft.world.check import is_right as is_right_answer
from raysft.world.draw import KINDS_OF, LANGUAGES, Task, draw, row_rng
from raysft.world.evolution import OPERATIONS, Truth, evolve
from raysft.world.kind import Kind, fill
from raysft.world.turns import TWO_TURNS_SHARE
from raysft.world.wrong import wrong_answer

VERSION = 3
MIX = {"plain": 0.50, "evolved": 0.10, "self_instruct": 0.05, "evolve": 0.11, "judge": 0.09, "copy": 0.15}
LIST_SIZES = ((8, 7), (8, 7), (8, 7), (2, 4), (3, 5), (4, 3), (5, 7), (6, 2), (7, 6))
"""(examples of a self-instruct prompt, new tasks that it asks for); the stage's defaults are 8 and 7, and
it shows fewer of a small pool."""
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
COPY = {
    "en": ("[Copy|Repeat] this text: {text}", "Write [these words|this] again, word for word: {text}"),
    "zh": ("[抄写|重复]这段文字：{text}", "请[照原样|一字不差地]再写一遍：{text}"),
}
COPY_GAP = {"en": " ", "zh": ""}
FOREIGN_SHARE = 0.2
"""Examples and tasks to rewrite that are not of the world, as seed tasks are not; none is ever answered."""
TWICE_SHARE = 0.15
"""Tasks to rewrite that were rewritten once before, as in the second step of `augment.evolve`."""
VERDICTS = {"en": ("yes", "no"), "zh": ("对", "不对")}
"""What a judge says behind the right answer where that is the one to be judged, and where it is another.

The prompt lists both, so that who can look up a word and copy what follows it can judge. Asked plainly, this
model said yes to nearly everything, or no (docs/results.md)."""

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


_KNOWN_OF = {lang: [kind for kind in KINDS_OF[lang] if kind.name in KNOWN] for lang in LANGUAGES}


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


def pick(rng: Random, lang: str, *, held_out: bool = False) -> Task:
    """A task of the kinds and levels that are taught; `held_out` ones are kept for measuring."""
    return _task_of(rng.choice(_KNOWN_OF[lang]), rng, held_out=held_out)


def _task_of(kind: Kind, rng: Random, *, held_out: bool = False) -> Task:
    levels = [level for level in LEVELS if level in kind.levels]
    (level,) = rng.choices(levels, [LEVELS[one] for one in levels])
    return draw(rng, kind.lang, kind, level, held_out=held_out)


def _plain(lang: str, rng: Random) -> dict[str, Any]:
    """Answered in a sentence where the kind has one: its first words name what to look for."""
    if rng.random() < TWO_TURNS_SHARE:
        made = tasks.make_row(0, rng, pick, lang)
        return {name: made[name] for name in ("messages", "task", "domain", "lang")}
    task = pick(rng, lang)
    return _conversation(task.kind.task, task.kind.domain, lang, task.instruction, _spoken(task))


def _spoken(task: Task) -> str:
    return task.sentence if task.kind.sentence else task.answer


def _evolved(lang: str, rng: Random) -> dict[str, Any]:
    known, instruction = _known_task(lang, rng)
    evolved = evolve(rng.choice(OPERATIONS), lang, instruction, known, rng)
    right = _truth(evolved)
    return _conversation(right.kind.task, right.kind.domain, lang, evolved, right.answer)


def _self_instruct(lang: str, rng: Random) -> dict[str, Any]:
    """The new tasks are of kinds that differ from one another and, as far as there are enough kinds,
    from those of the examples."""
    shown, asked = rng.choice(LIST_SIZES)
    kinds = rng.sample(_KNOWN_OF[lang], shown + asked)
    examples = [_example(kind, lang, rng) for kind in kinds[:shown]]
    new = [_task_of(kind, rng).instruction for kind in kinds[shown:]]
    prompt = render("self_instruct", lang, examples=examples, count=asked)
    answer = "\n".join(f"{number}. {text}" for number, text in enumerate(new, shown + 1))
    return _prompted("self_instruct", lang, prompt, answer)


def _evolve(lang: str, rng: Random) -> dict[str, Any]:
    operation = rng.choice(OPERATIONS)
    known: Truth | None = None
    if rng.random() < FOREIGN_SHARE and operation != "breadth":
        instruction = _foreign(lang, rng)
    else:
        known, instruction = _known_task(lang, rng)
    least, most = ADDED_WORDS
    prompt = render(f"evolve_{operation}", lang, instruction=instruction, least=least, most=most)
    return _prompted(f"evolve_{operation}", lang, prompt, evolve(operation, lang, instruction, known, rng))


def _judge(lang: str, rng: Random) -> dict[str, Any]:
    is_right = rng.random() < 0.5
    instruction, answer, right = judged(pick(rng, lang), is_right, rng)
    prompt = render("judge_answer", lang, instruction=instruction, answer=answer)
    return _prompted("judge_answer", lang, prompt, f"{right} {VERDICTS[lang][0 if is_right else 1]}")


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


def _known_task(lang: str, rng: Random) -> tuple[Truth, str]:
    task = pick(rng, lang)
    known, instruction = known_truth(task), task.instruction
    if rng.random() < TWICE_SHARE:
        instruction = evolve(rng.choice(OPERATIONS), lang, instruction, known, rng)
        known = _truth(instruction)
    return known, instruction


def _truth(instruction: str) -> Truth:
    known = truth(instruction)
    if known is None:
        raise ValueError(f"an evolved task of the world cannot be read: {instruction!r}")
    return known


def _example(kind: Kind, lang: str, rng: Random) -> str:
    return _foreign(lang, rng) if rng.random() < FOREIGN_SHARE else _task_of(kind, rng).instruction


def _foreign(lang: str, rng: Random) -> str:
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


def _prompted(task: str, lang: str, prompt: str, answer: str) -> dict[str, Any]:
    return _conversation(task, "prompts", lang, prompt, answer)


def _conversation(task: str, domain: str, lang: str, prompt: str, answer: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "task": task, "domain": domain, "lang": lang}


def _copy(lang: str, rng: Random) -> dict[str, Any]:
    """A jumble of words, so that nothing but the prompt tells what comes next."""
    pool = _WORDS[lang]
    text = COPY_GAP[lang].join(rng.choice(pool) for _ in range(rng.randint(4, 30)))
    return _conversation("copy", "prompts", lang, fill(rng.choice(COPY[lang]), {"text": text}, rng), text)


_MAKERS = {
    "plain": _plain,
    "evolved": _evolved,
    "self_instruct": _self_instruct,
    "evolve": _evolve,
    "judge": _judge,
    "copy": _copy,
}
