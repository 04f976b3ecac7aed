"""Kinds about single words and facts: spelling, look-ups, opposites, translation, groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from raysft.world import vocabulary as v
from raysft.world.kind import Kind, key_of, lookup

WORDS = {"en": tuple(v.TO_CHINESE), "zh": tuple(v.TO_ENGLISH)}
SHORT_WORDS = tuple(word for word in WORDS["en"] if len(word) <= 5)
LONG_WORDS_ZH = tuple(word for word in WORDS["zh"] if len(word) > 1)


def _spelling(
    name: str,
    lang: str,
    phrasings: tuple[str, ...],
    change: Callable[[str], str],
    sentence: str = "",
    is_exact: bool = False,
) -> Kind:
    words = SHORT_WORDS if lang == "en" else WORDS["zh"] if name == "length" else LONG_WORDS_ZH
    known = set(WORDS[lang])
    return Kind(
        name,
        "string_operation",
        "language",
        lang,
        phrasings,
        lambda rng, level: {"word": rng.choice(words)},
        lambda slots: change(slots["word"]) if slots["word"] in known else None,
        sentence,
        is_exact=is_exact,
    )


SPELLING = (
    _spelling(
        "reverse",
        "en",
        ("Write the word {word} backwards.", "Spell {word} from back to front."),
        lambda w: w[::-1],
    ),
    _spelling("reverse", "zh", ("请把“{word}”倒过来写。", "“{word}”反着写是什么？"), lambda w: w[::-1]),
    _spelling(
        "upper",
        "en",
        ("Write the word {word} in capital letters.", "Put {word} in upper case."),
        str.upper,
        is_exact=True,
    ),
    _spelling("twice", "zh", ("请把“{word}”连着写两遍。", "请重复写两次“{word}”。"), lambda w: w * 2),
    _spelling(
        "first_letter",
        "en",
        ("What is the first letter of {word}?", "Which letter does {word} start with?"),
        lambda w: w[0],
        "The first letter of {word} is {answer}.",
    ),
    _spelling(
        "first_letter",
        "zh",
        ("“{word}”的第一个字是什么？", "写出“{word}”开头的字。"),
        lambda w: w[0],
        "“{word}”的第一个字是{answer}。",
    ),
    _spelling(
        "last_letter",
        "en",
        ("What is the last letter of {word}?", "Which letter does {word} end with?"),
        lambda w: w[-1],
        "The last letter of {word} is {answer}.",
    ),
    _spelling(
        "last_letter",
        "zh",
        ("“{word}”的最后一个字是什么？", "写出“{word}”末尾的字。"),
        lambda w: w[-1],
        "“{word}”的最后一个字是{answer}。",
    ),
    _spelling(
        "length",
        "en",
        ("How many letters does the word {word} have?", "Count the letters of {word}."),
        lambda w: str(len(w)),
        "The word {word} has {answer} letters.",
    ),
    _spelling(
        "length",
        "zh",
        ("请问“{word}”一共有几个字？", "数一数“{word}”的字数。"),
        lambda w: str(len(w)),
        "“{word}”有{answer}个字。",
    ),
)


def _fact(
    name: str, domain: str, lang: str, slot: str, table: Mapping[str, str], asked: tuple[str, ...], told: str
) -> Kind:
    return Kind(name, "lookup", domain, lang, asked, key_of(table, slot), lookup(table, slot), told)


FACTS = (
    _fact(
        "capital",
        "geography",
        "en",
        "country",
        v.CAPITAL_EN,
        ("What is the capital of {country}?", "Name the capital city of {country}."),
        "The capital of {country} is {answer}.",
    ),
    _fact(
        "capital",
        "geography",
        "zh",
        "country",
        v.CAPITAL_ZH,
        ("{country}的首都是哪里？", "请说出{country}的首都。"),
        "{country}的首都是{answer}。",
    ),
    _fact(
        "opposite",
        "language",
        "en",
        "word",
        v.OPPOSITE_EN,
        ("What is the opposite of {word}?", "Give the opposite of the word {word}."),
        "The opposite of {word} is {answer}.",
    ),
    _fact(
        "opposite",
        "language",
        "zh",
        "word",
        v.OPPOSITE_ZH,
        ("“{word}”的反义词是什么？", "写出“{word}”的反义词。"),
        "“{word}”的反义词是“{answer}”。",
    ),
    _fact(
        "colour",
        "nature",
        "en",
        "thing",
        v.COLOUR_EN,
        ("What colour is {thing}?", "Name the colour of {thing}."),
        "The colour of {thing} is {answer}.",
    ),
    _fact(
        "colour",
        "nature",
        "zh",
        "thing",
        v.COLOUR_ZH,
        ("{thing}是什么颜色的？", "请说出{thing}的颜色。"),
        "{thing}是{answer}的。",
    ),
    _fact(
        "plural",
        "language",
        "en",
        "word",
        v.PLURALS,
        ("What is the plural of {word}?", "Write the plural of the noun {word}."),
        "The plural of {word} is {answer}.",
    ),
    _fact(
        "measure_word",
        "language",
        "zh",
        "word",
        v.MEASURES,
        ("“{word}”常用什么量词？", "一（）“{word}”，括号里填什么量词？"),
        "“{word}”的量词是“{answer}”。",
    ),
    Kind(
        "translate",
        "translation",
        "language",
        "en",
        ("What is the Chinese word for {word}?", "Translate the word {word} into Chinese."),
        key_of(v.TO_CHINESE, "word"),
        lookup(v.TO_CHINESE, "word"),
        "The Chinese word for {word} is {answer}.",
    ),
    Kind(
        "translate",
        "translation",
        "language",
        "zh",
        ("“{word}”用英语怎么说？", "把“{word}”翻译成英语。"),
        key_of(v.TO_ENGLISH, "word"),
        lookup(v.TO_ENGLISH, "word"),
        "“{word}”的英语是{answer}。",
    ),
    Kind(
        "group",
        "classification",
        "nature",
        "en",
        (
            "Is the word {word} an animal, a fruit, a tool or a garment?",
            "Put the word {word} into a group: animal, fruit, tool or garment.",
        ),
        key_of(v.GROUP_EN, "word"),
        lookup(v.GROUP_EN, "word"),
        "The word {word} names a kind of {answer}.",
    ),
    Kind(
        "group",
        "classification",
        "nature",
        "zh",
        ("“{word}”是动物、水果、工具还是衣物？", "给“{word}”分类：动物、水果、工具、衣物。"),
        key_of(v.GROUP_ZH, "word"),
        lookup(v.GROUP_ZH, "word"),
        "“{word}”是一种{answer}。",
    ),
)

KINDS = SPELLING + FACTS
