"""Kinds that ask about a little text as a whole: who does something, is it so, list all, which sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from raysft.world.extraction import asked_about
from raysft.world.kind import Kind, Sample, Slots, Solve
from raysft.world.passages import SCENES, facts, form_pattern, passage, sentences, slots_of

CLAIMS = {
    "en": {
        "city": "lives in {city}",
        "job": "works as a {job}",
        "pet": "has a {pet}",
        "food": "likes {food}",
        "n": "is {n} years old",
    },
    "zh": {
        "city": "住在{city}",
        "job": "的工作是{job}",
        "pet": "养了一只{pet}",
        "food": "爱吃{food}",
        "n": "今年{n}岁",
    },
}
"""What can be said of a person, by the slot that it is about."""
GAP = {"en": " ", "zh": ""}
YES_NO = {"en": ("yes", "no"), "zh": ("是", "不是")}


def claimed(lang: str, what: str) -> tuple[str, str] | None:
    """The slot that a claim is about and the value that it gives, or None."""
    for slot, form in CLAIMS[lang].items():
        match = form_pattern(form, lang).fullmatch(what)
        if match:
            return slot, match[slot]
    return None


def _claim(lang: str, wanted: Slots, rng: Random) -> tuple[str, str]:
    slot = rng.choice([slot for slot in wanted if slot in CLAIMS[lang]])
    return slot, CLAIMS[lang][slot].format_map(wanted)


def _who_does(lang: str) -> tuple[Sample, Solve]:
    def solve(slots: Slots) -> str | None:
        claim = claimed(lang, slots["what"])
        found = facts(lang, slots["text"])
        if claim is None or found is None:
            return None
        names = [one["name"] for one in found if one.get(claim[0]) == claim[1]]
        return names[0] if len(names) == 1 else None

    def sample(rng: Random, level: int) -> Slots:
        while True:
            text, found = passage(lang, "people", rng, level, frozenset({"name"}))
            slots = {"text": text, "what": _claim(lang, rng.choice(found), rng)[1]}
            if solve(slots) is not None:
                return slots

    return sample, solve


def _text_yes_no(lang: str) -> tuple[Sample, Solve]:
    def solve(slots: Slots) -> str | None:
        claim = _claim_of_person(lang, slots["claim"])
        found = facts(lang, slots["text"])
        if claim is None or found is None:
            return None
        name, slot, value = claim
        values = [one[slot] for one in found if one.get("name") == name and slot in one]
        return YES_NO[lang][values[0] != value] if len(values) == 1 else None

    def sample(rng: Random, level: int) -> Slots:
        while True:
            text, found = passage(lang, "people", rng, level, frozenset({"name"}))
            wanted = rng.choice(found)
            slot, true = _claim(lang, wanted, rng)
            others = [one for one in found if slot in one] + [SCENES[lang]["people"].draw(rng)]
            other = CLAIMS[lang][slot].format_map(rng.choice(others))
            what = true if rng.random() < 0.5 else other
            slots = {"text": text, "claim": wanted["name"] + GAP[lang] + what}
            if solve(slots) is not None:
                return slots

    return sample, solve


def _claim_of_person(lang: str, text: str) -> tuple[str, str, str] | None:
    """Of whom something is said, the slot that it is about, and its value."""
    for slot, form in CLAIMS[lang].items():
        match = form_pattern("{name}" + GAP[lang] + form, lang).fullmatch(text)
        if match:
            return match["name"], slot, match[slot]
    return None


def _older(lang: str) -> tuple[Sample, Solve]:
    def sample(rng: Random, level: int) -> Slots:
        text, found = passage(lang, "people", rng, level, frozenset({"name", "n"}))
        one, two = rng.sample(found, 2)
        return {"text": text, "name": one["name"], "other": two["name"]}

    def solve(slots: Slots) -> str | None:
        found = facts(lang, slots["text"]) or ()
        ages = {one["name"]: int(one["n"]) for one in found if one.keys() >= {"name", "n"}}
        pair = (slots["name"], slots["other"])
        if any(name not in ages for name in pair) or ages[pair[0]] == ages[pair[1]]:
            return None
        return max(pair, key=ages.__getitem__)

    return sample, solve


BETWEEN = {"en": ", ", "zh": "、"}


def _listed(lang: str, scenes: tuple[str, ...], slots_wanted: frozenset[str]) -> tuple[Sample, Solve]:
    """All values of some slots of a text, in the text's order."""

    def sample(rng: Random, level: int) -> Slots:
        scene = rng.choice(scenes)
        forms = SCENES[lang][scene].forms
        needs = slots_wanted & frozenset.union(*map(slots_of, forms))
        while True:
            slots = {"text": passage(lang, scene, rng, level, needs)[0]}
            if solve(slots) is not None:
                return slots

    def solve(slots: Slots) -> str | None:
        found = facts(lang, slots["text"]) or ()
        told = zip(sentences(lang, slots["text"]), found, strict=False)
        listed: list[str] = []
        for sentence, one in told:
            values = [one[slot] for slot in slots_wanted if slot in one]
            listed += sorted(values, key=sentence.index)
        return BETWEEN[lang].join(listed) if listed and len(set(listed)) == len(listed) else None

    return sample, solve


def _numbers_listed(lang: str) -> tuple[Sample, Solve]:
    scenes = {"people": frozenset({"n"}), "meeting": frozenset({"b"}), "shop": frozenset({"c"})}

    def sample(rng: Random, level: int) -> Slots:
        scene = rng.choice(list(scenes))
        return {"text": passage(lang, scene, rng, level, scenes[scene])[0]}

    def solve(slots: Slots) -> str | None:
        if facts(lang, slots["text"]) is None:
            return None
        return BETWEEN[lang].join(re.findall(r"\d+", slots["text"])) or None

    return sample, solve


def _which_sentence(lang: str) -> tuple[Sample, Solve]:
    def solve(slots: Slots) -> str | None:
        word = slots["word"]
        if not word or facts(lang, slots["text"]) is None:
            return None
        pattern = re.compile(rf"\b{re.escape(word)}\b" if lang == "en" else re.escape(word))
        holding = [at for at, one in enumerate(sentences(lang, slots["text"]), 1) if pattern.search(one)]
        return str(holding[0]) if len(holding) == 1 else None

    def sample(rng: Random, level: int) -> Slots:
        while True:
            text, found = passage(lang, rng.choice(list(SCENES[lang])), rng, level, frozenset())
            values = [value for value in rng.choice(found).values() if not value.startswith("the ")]
            slots = {"text": text, "word": rng.choice(values)}
            if solve(slots) is not None:
                return slots

    return sample, solve


Made = Callable[[str], tuple[Sample, Solve]]
_WHOLE_TEXT: tuple[tuple[str, Made, tuple[int, ...], dict[str, tuple[str, ...]], dict[str, str]], ...] = (
    (
        "who_does",
        _who_does,
        (1, 2, 3),
        {
            "en": (
                "Who {what}?",
                "[Name|Write the name of] the person who {what}.",
                "Which person in the text {what}?",
            ),
            "zh": ("谁{what}？", "写出{what}的人的名字。", "文中哪个人{what}？"),
        },
        {"en": "It is {answer}.", "zh": "这个人是{answer}。"},
    ),
    (
        "text_yes_no",
        _text_yes_no,
        (1, 2, 3),
        {
            "en": (
                "Is it [true|right|correct] that {claim}?",
                "Yes or no: {claim}?",
                "Does the text say that {claim}?",
            ),
            "zh": ("有人说“{claim}”，是不是这样？", "回答是或不是：{claim}吗？", "文中说{claim}，是不是？"),
        },
        {"en": "The right answer is {answer}.", "zh": "正确的回答：{answer}。"},
    ),
    (
        "older",
        _older,
        (2, 3),
        {
            "en": (
                "Who is older, {name} or {other}?",
                "Compare {name} and {other}: which of them is the older one?",
                "Of {name} and {other}, who was born first?",
            ),
            "zh": (
                "{name}和{other}谁的年纪大？",
                "比一比{name}与{other}的年龄，谁更大？",
                "{name}、{other}两人中谁先出生？",
            ),
        },
        {"en": "{answer} is older.", "zh": "{answer}年纪大。"},
    ),
    (
        "list_names",
        lambda lang: _listed(lang, ("people", "purchase", "meeting"), frozenset({"name", "other"})),
        (1, 2, 3),
        {
            "en": (
                "List all names of people.",
                "[Which|What] people are named here?",
                "Write down every person in the text.",
            ),
            "zh": ("列出所有人名。", "文中提到了哪些人？", "按顺序写出每个人的名字。"),
        },
        {"en": "The names are {answer}.", "zh": "人名有{answer}。"},
    ),
    (
        "list_numbers",
        _numbers_listed,
        (1, 2, 3),
        {
            "en": (
                "List all numbers in order.",
                "[Which|What] numbers stand in the text?",
                "Write down every number that you see.",
            ),
            "zh": ("列出所有数字。", "文中有哪些数字？", "按顺序写出每个数。"),
        },
        {"en": "The numbers are {answer}.", "zh": "数字有{answer}。"},
    ),
    (
        "list_colours",
        lambda lang: _listed(lang, ("purchase",), frozenset({"colour"})),
        (1, 2, 3),
        {
            "en": (
                "List all colours.",
                "[Which|What] colours are named here?",
                "Write down every colour in the text.",
            ),
            "zh": ("列出所有颜色。", "文中提到了哪些颜色？", "按顺序写出每种颜色。"),
        },
        {"en": "The colours are {answer}.", "zh": "颜色有{answer}。"},
    ),
    (
        "which_sentence",
        _which_sentence,
        (2, 3),
        {
            "en": (
                "Which sentence [mentions|names|speaks of] {word}?",
                "Give the number of the sentence with {word} in it.",
                "In sentence number what do you find {word}?",
            ),
            "zh": (
                "第几句提到了{word}？",
                "词语“{word}”出现在第几句话里？",
                "哪一句有“{word}”？写出它的序号。",
            ),
        },
        {"en": "It is sentence {answer}.", "zh": "是第{answer}句。"},
    ),
)


def _whole(lang: str) -> tuple[Kind, ...]:
    kinds = []
    for name, made, levels, questions, told in _WHOLE_TEXT:
        sample, solve = made(lang)
        phrasings = asked_about(lang, questions[lang])
        kinds.append(
            Kind(name, "extraction", "texts", lang, phrasings, sample, solve, told[lang], levels=levels)
        )
    return tuple(kinds)


KINDS = _whole("en") + _whole("zh")
