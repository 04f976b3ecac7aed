"""Kinds that count the words of a list, or put them in alphabetical order."""

from __future__ import annotations

from random import Random

from raysft.world.context import is_clean, surroundings
from raysft.world.groups import GROUP_OF, MEMBERS
from raysft.world.kind import Kind, Sample, Slots, Solve
from raysft.world.lists import join, looked_up, split
from raysft.world.words import WORDS

LENGTHS = {1: (2, 4), 2: (3, 6), 3: (5, 8)}
"""Fewest and most words of a list, by level."""


def _count(name: str, lang: str, asked: tuple[str, ...], sample: Sample, solve: Solve, told: str) -> Kind:
    return Kind(name, "counting", "language", lang, asked, sample, solve, told, levels=(1, 2, 3))


def _words_sample(lang: str) -> Sample:
    def sample(rng: Random, level: int) -> Slots:
        words = rng.sample(WORDS[lang], rng.randint(*LENGTHS[level]))
        return {"list": join(words, lang), **surroundings(rng, lang)}

    return sample


def _words_solve(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        words = split(slots["list"], lang) or []
        return str(len(words)) if len(words) > 1 and is_clean(slots, lang) else None

    return solve


def _repeats_sample(lang: str) -> Sample:
    """One word one to three times among others, at higher levels up to four."""

    def sample(rng: Random, level: int) -> Slots:
        word, *others = rng.sample(WORDS[lang], level + 2)
        words = [word] * rng.randint(1, 3 if level == 1 else 4) + others
        rng.shuffle(words)
        return {"word": word, "list": join(words, lang), **surroundings(rng, lang)}

    return sample


def _repeats_solve(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        words = split(slots["list"], lang) or []
        times = words.count(slots["word"])
        return str(times) if times and len(words) > 1 and is_clean(slots, lang) else None

    return solve


def _members_sample(lang: str) -> Sample:
    """A list of three, four or five words, of which one or more are of the group."""

    def sample(rng: Random, level: int) -> Slots:
        group = rng.choice(list(MEMBERS[lang]))
        others = [word for word, of in GROUP_OF[lang].items() if of != group]
        inside = rng.randint(1, level + 1)
        words = rng.sample(MEMBERS[lang][group], inside) + rng.sample(others, level + 2 - inside)
        rng.shuffle(words)
        return {"group": group, "list": join(words, lang), **surroundings(rng, lang)}

    return sample


def _members_solve(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        words = split(slots["list"], lang) or []
        groups = looked_up(GROUP_OF[lang], words)
        if groups is None or len(words) < 2 or slots["group"] not in MEMBERS[lang]:
            return None
        return str(groups.count(slots["group"])) if is_clean(slots, lang) else None

    return solve


def _alphabetical_sample(rng: Random, level: int) -> Slots:
    """Words with different first letters, save at the highest level."""
    while True:
        words = rng.sample(WORDS["en"], level + 2)
        if level == 3 or len({word[0] for word in words}) == len(words):
            return {"list": join(words, "en"), **surroundings(rng, "en")}


def _alphabetical(slots: Slots) -> str | None:
    words = split(slots["list"], "en") or []
    if not 2 <= len(words) <= 6 or len(set(words)) < len(words) or not is_clean(slots, "en"):
        return None
    return join(sorted(words), "en")


KINDS = (
    _count(
        "count_words",
        "en",
        (
            "How many words [are in|stand in] this list: {list}?",
            "{scene}. Count the words: {list}.",
            "{name} [learns|writes] {list}, each word once. How many words is that?",
            "{name} reads out {list} at {place}. [What number of|How many] words does {other} hear?",
            "Give the [number|count|total] of words in {list}.",
            "{scene}. The list is {list}. How [long is it|many entries has it]?",
        ),
        _words_sample("en"),
        _words_solve("en"),
        "There are {answer} words.",
    ),
    _count(
        "count_words",
        "zh",
        (
            "这里[一共|总共]有几个词：{list}？",
            "{scene}。[数一数|算算]有多少个词：{list}。",
            "{name}[学了|写了]{list}，每词一遍，一共几个词？",
            "{name}在{place}念了{list}，{other}[听到|听见]几个词？",
            "{list}，[词的个数|词数]是多少？",
            "{scene}。单子上有{list}，[共几项|一共几项]？",
        ),
        _words_sample("zh"),
        _words_solve("zh"),
        "一共有{answer}个词。",
    ),
    _count(
        "count_word",
        "en",
        (
            "How often does {word} [occur|appear] in this list: {list}?",
            "{scene}. [Count|Mark and count] only {word}: {list}.",
            "{name} hears {list} at {place}. How [many times|often] was it {word}?",
            "[Look at|Read] {list}. How many times is {word} there?",
            "In {list}, the word {word} [comes|stands] how often?",
            "{scene} and wrote {list}. [Tell|Say] how often {word} was written.",
        ),
        _repeats_sample("en"),
        _repeats_solve("en"),
        "The number of times that {word} occurs is {answer}.",
    ),
    _count(
        "count_word",
        "zh",
        (
            "“{word}”在下面[出现|写了]几次：{list}？",
            "{scene}。只数“{word}”，[有几个|共几个]：{list}？",
            "{name}在{place}听到{list}，[其中|里面]“{word}”有几遍？",
            "[请看|请读]{list}，里面有几个“{word}”？",
            "{list}这串词里，“{word}”[占几个|有多少个]？",
            "{scene}，写了{list}，“{word}”写了[几遍|几次]？",
        ),
        _repeats_sample("zh"),
        _repeats_solve("zh"),
        "“{word}”出现了{answer}次。",
    ),
    _count(
        "count_group",
        "en",
        (
            "How many [words of|nouns in] this list name a kind of {group}: {list}?",
            "{scene}. Count [everything|all words] of the group {group}: {list}.",
            "{name} and {other} see {list} at {place}. How many [belong to|are in] the group {group}?",
            "Of {list}, how many [fit|suit] the word {group}?",
            "[Look for|Mark] each {group} in {list}. What number do you get?",
            "{scene} and bought {list}. How often is it [some|a] kind of {group}?",
        ),
        _members_sample("en"),
        _members_solve("en"),
        "The number is {answer}.",
    ),
    _count(
        "count_group",
        "zh",
        (
            "下面[有几个|有多少个]词属于{group}：{list}？",
            "{scene}。只数{group}，[有几个|共几个]：{list}？",
            "{name}和{other}在{place}看到{list}，[其中|里面]{group}有几样？",
            "{list}里[一共|总共]有几样{group}？",
            "[圈出|标出]{list}中的{group}，圈了几个？",
            "{scene}，说到{list}，{group}[占几样|有几样]？",
        ),
        _members_sample("zh"),
        _members_solve("zh"),
        "一共有{answer}个。",
    ),
    Kind(
        "alphabetical",
        "sorting",
        "language",
        "en",
        (
            "[Put|Bring] these words in alphabetical order: {list}.",
            "{scene}. Sort from A to Z: {list}.",
            "{name} wants {list} in the order of a dictionary. [Write|Show] them so.",
            "[Arrange|Order] {list} by the alphabet.",
            "How [does|would] {name} sort {list} alphabetically?",
            "{scene}. [Which|What] is the alphabetical order of {list}?",
            "At {place}, {name} and {other} sort {list} from A to Z. [Write|Say] the order.",
        ),
        _alphabetical_sample,
        _alphabetical,
        levels=(1, 2, 3),
    ),
)
