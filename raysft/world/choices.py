"""Kinds that look at several words at once: comparison, multiple choice, counting, alphabetical order."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from raysft.world import vocabulary as v
from raysft.world.kind import DEFAULT_SENTENCE, Kind, Sample, Slots, Solve

WORDS = {"en": tuple(v.TO_CHINESE), "zh": tuple(v.TO_ENGLISH)}
GROUP_OF = {"en": v.GROUP_EN, "zh": v.GROUP_ZH}
SIZE_OF = {"en": v.SIZE_EN, "zh": v.SIZE_ZH}
SEPARATOR = {"en": ", ", "zh": "、"}


def _two_sizes(lang: str) -> Sample:
    sizes = SIZE_OF[lang]

    def sample(rng: Random, level: int) -> Slots:
        first = rng.choice(list(sizes))
        second = rng.choice([word for word in sizes if sizes[word] != sizes[first]])
        return {"first": first, "second": second}

    return sample


def _by_size(lang: str, pick: Callable[..., str]) -> Solve:
    sizes = SIZE_OF[lang]

    def solve(slots: Slots) -> str | None:
        pair = (slots["first"], slots["second"])
        if any(word not in sizes for word in pair) or sizes[pair[0]] == sizes[pair[1]]:
            return None
        return pick(pair, key=sizes.__getitem__)

    return solve


def _size(name: str, lang: str, asked: tuple[str, ...], pick: Callable[..., str], told: str) -> Kind:
    return Kind(name, "comparison", "nature", lang, asked, _two_sizes(lang), _by_size(lang, pick), told)


SIZES = (
    _size(
        "bigger",
        "en",
        (
            "Which animal is bigger, the {first} or the {second}?",
            "Compare {first} and {second}: which is bigger?",
        ),
        max,
        "The {answer} is bigger.",
    ),
    _size(
        "bigger",
        "zh",
        ("{first}和{second}，哪个更大？", "比一比：{first}大还是{second}大？"),
        max,
        "{answer}更大。",
    ),
    _size(
        "smaller",
        "en",
        (
            "Which animal is smaller, the {first} or the {second}?",
            "Compare {first} and {second}: which is smaller?",
        ),
        min,
        "The {answer} is smaller.",
    ),
    _size(
        "smaller",
        "zh",
        ("{first}和{second}，哪个更小？", "比一比：{first}小还是{second}小？"),
        min,
        "{answer}更小。",
    ),
)

_LETTERS = ("A", "B", "C")


def _options(lang: str) -> Sample:
    groups = [(key[lang == "zh"], [pair[lang == "zh"] for pair in pairs]) for key, pairs in v.GROUPS.items()]

    def sample(rng: Random, level: int) -> Slots:
        (group, right), *others = rng.sample(groups, 3)
        words = [rng.choice(right), *(rng.choice(wrong) for _, wrong in others)]
        rng.shuffle(words)
        return {"group": group, **dict(zip(("first", "second", "third"), words, strict=True))}

    return sample


def _right_option(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        words = [slots[name] for name in ("first", "second", "third")]
        right = [GROUP_OF[lang].get(word) == slots["group"] for word in words]
        if right.count(True) != 1:
            return None
        at = right.index(True)
        return f"{_LETTERS[at]}. {words[at]}"

    return solve


def _is_option(lang: str, answer: str, option: str) -> bool:
    """The letter, the word or both, alone or in a sentence; `option` is "B. apple"."""
    sentence = DEFAULT_SENTENCE[lang].format(answer=option)
    allowed = (option, option[:1], option[3:], sentence)
    return _bare(answer) in {_bare(text) for text in allowed}


def _bare(text: str) -> str:
    return text.strip().removesuffix(".").removesuffix("。").casefold()


def _choice(lang: str, asked: tuple[str, ...]) -> Kind:
    solve = _right_option(lang)
    return Kind(
        "choice",
        "multiple_choice",
        "nature",
        lang,
        asked,
        _options(lang),
        solve,
        accepts=lambda answer, slots: _is_option(lang, answer, solve(slots) or ""),
    )


CHOICES = (
    _choice(
        "en",
        (
            "Which of these words is a kind of {group}? A. {first} B. {second} C. {third}.",
            "Choose the {group}: A. {first} B. {second} C. {third}.",
        ),
    ),
    _choice(
        "zh",
        (
            "下面哪个是{group}？A. {first} B. {second} C. {third}。",
            "选出属于{group}的词：A. {first} B. {second} C. {third}。",
        ),
    ),
)


def _listed(lang: str) -> Sample:
    separator = SEPARATOR[lang]
    return lambda rng, level: {"list": separator.join(rng.sample(WORDS[lang], rng.randint(2, 5)))}


def _how_many(lang: str) -> Solve:
    separator, known = SEPARATOR[lang], set(WORDS[lang])

    def solve(slots: Slots) -> str | None:
        words = slots["list"].split(separator)
        return str(len(words)) if known.issuperset(words) else None

    return solve


def _alphabetical(slots: Slots) -> str | None:
    words = slots["list"].split(", ")
    return ", ".join(sorted(words)) if len(words) > 1 and set(WORDS["en"]).issuperset(words) else None


COUNTS = (
    Kind(
        "count_words",
        "counting",
        "language",
        "en",
        ("How many words are in this list: {list}?", "Count the words: {list}."),
        _listed("en"),
        _how_many("en"),
        "There are {answer} words.",
    ),
    Kind(
        "count_words",
        "counting",
        "language",
        "zh",
        ("这里有几个词：{list}？", "数一数有多少个词：{list}。"),
        _listed("zh"),
        _how_many("zh"),
        "一共有{answer}个词。",
    ),
    Kind(
        "alphabetical",
        "sorting",
        "language",
        "en",
        ("Put these words in alphabetical order: {list}.", "Sort from A to Z: {list}."),
        lambda rng, level: {"list": ", ".join(rng.sample(WORDS["en"], 3))},
        _alphabetical,
    ),
)

KINDS = SIZES + CHOICES + COUNTS
