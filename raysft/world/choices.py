"""Multiple choice: three options with letters, of which one is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from raysft.world import vocabulary as v
from raysft.world.context import is_clean, surroundings
from raysft.world.groups import GROUP_OF, MEMBERS
from raysft.world.kind import DEFAULT_SENTENCE, Kind, Slots

_LETTERS = ("A", "B", "C")
_OPTIONS = ("first", "second", "third")
_A_B_C = "A. {first} B. {second} C. {third}"
_CAPITAL = {"en": v.CAPITAL_EN, "zh": v.CAPITAL_ZH}
_OPPOSITE = {"en": v.OPPOSITE_EN, "zh": v.OPPOSITE_ZH}
_BIG = {1: 9, 2: 20, 3: 50}
"""The largest number that is added, by level."""

Draw = Callable[[Random, int], tuple[Slots, Sequence[str]]]
"""What is asked about, and three options with the right one first."""


def _is_option(lang: str, answer: str, option: str) -> bool:
    """The letter, the word or both, alone or in a sentence; `option` is "B. apple"."""
    sentence = DEFAULT_SENTENCE[lang].format(answer=option)
    allowed = (option, option[:1], option[3:], sentence)
    return _bare(answer) in {_bare(text) for text in allowed}


def _bare(text: str) -> str:
    return text.strip().removesuffix(".").removesuffix("。").casefold()


def _choice(
    name: str,
    domain: str,
    lang: str,
    asked: tuple[str, ...],
    draw: Draw,
    is_true: Callable[[Slots, str], bool],
    known: Callable[[str], bool],
    levels: tuple[int, ...] = (1,),
) -> Kind:
    """`is_true` tells whether an option is right; `known` whether it is one at all."""

    def sample(rng: Random, level: int) -> Slots:
        asked_about, options = draw(rng, level)
        shuffled = rng.sample(options, 3)
        return {**asked_about, **dict(zip(_OPTIONS, shuffled, strict=True)), **surroundings(rng, lang)}

    def solve(slots: Slots) -> str | None:
        options = [slots[at] for at in _OPTIONS]
        if len(set(options)) < 3 or not all(map(known, options)) or not is_clean(slots, lang):
            return None
        right = [is_true(slots, option) for option in options]
        at = right.index(True) if right.count(True) == 1 else None
        return None if at is None else f"{_LETTERS[at]}. {options[at]}"

    return Kind(
        name,
        "multiple_choice",
        domain,
        lang,
        tuple(text.replace("@", _A_B_C) for text in asked),
        sample,
        solve,
        accepts=lambda answer, slots: _is_option(lang, answer, solve(slots) or ""),
        levels=levels,
    )


def _group(lang: str, asked: tuple[str, ...]) -> Kind:
    def draw(rng: Random, level: int) -> tuple[Slots, list[str]]:
        groups = rng.sample(list(MEMBERS[lang]), 3)
        return {"group": groups[0]}, [rng.choice(MEMBERS[lang][group]) for group in groups]

    groups = GROUP_OF[lang]
    return _choice(
        "choice",
        "nature",
        lang,
        asked,
        draw,
        lambda slots, option: groups[option] == slots["group"],
        groups.__contains__,
    )


def _capital(lang: str, asked: tuple[str, ...]) -> Kind:
    table = _CAPITAL[lang]
    cities = set(table.values())

    def draw(rng: Random, level: int) -> tuple[Slots, list[str]]:
        countries = rng.sample(list(table), 3)
        return {"country": countries[0]}, [table[country] for country in countries]

    return _choice(
        "choice_capital",
        "geography",
        lang,
        asked,
        draw,
        lambda slots, option: table.get(slots["country"]) == option,
        cities.__contains__,
    )


def _opposite(lang: str, asked: tuple[str, ...]) -> Kind:
    table = _OPPOSITE[lang]

    def draw(rng: Random, level: int) -> tuple[Slots, list[str]]:
        word = rng.choice(list(table))
        others = rng.sample([one for one in table if one not in (word, table[word])], 2)
        return {"word": word}, [table[word], *others]

    return _choice(
        "choice_opposite",
        "language",
        lang,
        asked,
        draw,
        lambda slots, option: table.get(slots["word"]) == option,
        table.__contains__,
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 3


def _sum(lang: str, asked: tuple[str, ...]) -> Kind:
    def draw(rng: Random, level: int) -> tuple[Slots, list[str]]:
        a, b = rng.randint(2, _BIG[level]), rng.randint(2, _BIG[level])
        wrong = rng.sample([n for n in range(max(0, a + b - 6), a + b + 7) if n != a + b], 2)
        return {"a": str(a), "b": str(b)}, [str(a + b), *map(str, wrong)]

    return _choice(
        "choice_sum",
        "arithmetic",
        lang,
        asked,
        draw,
        lambda slots, option: int(slots["a"]) + int(slots["b"]) == int(option),
        _is_number,
        levels=(1, 2, 3),
    )


KINDS = (
    _group(
        "en",
        (
            "Which [word|noun] is a kind of {group}? @.",
            "[Choose|Tick] the {group}: @.",
            "{scene}. Which [option|letter] names one {group}? @.",
            "{name} needs the {group} at {place}. [Select|Take] it: @.",
            "{scene} and [saw|found] these: @. Pick the {group}.",
            "@: which would {name} [call|count as] the {group}?",
            "{name} asks {other}: @, which is the {group}?",
        ),
    ),
    _group(
        "zh",
        (
            "下面哪个是{group}？@。",
            "[选出|圈出]属于{group}的词：@。",
            "{scene}。[哪个选项|哪一项]是{group}？@。",
            "{name}在{place}[需要|要找]{group}，选哪个？@。",
            "@，{name}会把[哪个|哪一项]算作{group}？",
            "{scene}，看见@，其中{group}是[哪个|哪一项]？",
            "{name}考{other}：@，哪个是{group}？",
        ),
    ),
    _capital(
        "en",
        (
            "Which city is the capital of {country}? @.",
            "[Choose|Tick] the capital of {country}: @.",
            "{scene}. The government of {country} [sits|works] in which city? @.",
            "{name} travels from {place} to the capital of {country}. [Select|Pick] it: @.",
            "@: which is {country}'s [capital|capital city|seat of government]?",
            "{scene} and [guessed|had to guess]: @. Only one is the capital of {country}. Which?",
        ),
    ),
    _capital(
        "zh",
        (
            "{country}的首都是哪一个？@。",
            "[选出|圈出]{country}的首都：@。",
            "{scene}。{country}的政府在[哪座城市|哪里]？@。",
            "{name}从{place}去{country}首都，[选|该选]哪个？@。",
            "@，哪一座是{country}的[首都|都城]？",
            "{scene}，猜{country}的首都：@，[哪个对|选哪个]？",
            "{name}考{other}：@，{country}的首都是哪个？",
        ),
    ),
    _opposite(
        "en",
        (
            "Which word is the opposite of {word}? @.",
            "[Choose|Tick] the contrary of {word}: @.",
            "{scene}. What is the reverse of {word}? @.",
            "{name} said {word} at {place}, {other} said the opposite. [Select|Pick] it: @.",
            "@: [which|what] means the opposite of {word}?",
            "{name} asks {other} for the [opposite|contrary] of {word}: @.",
            "{scene} and [read|heard] these: @. Which one opposes {word}?",
        ),
    ),
    _opposite(
        "zh",
        (
            "{name}在@里找“{word}”的反义词，[选哪个|是哪个]？",
            "{name}请{other}[选出|圈出]与“{word}”相反的词：@。",
            "{scene}。“{word}”反过来[是什么|怎么说]？@。",
            "{name}在{place}说“{word}”，{other}说了反义词，[选哪个|是哪个]？@。",
            "{scene}。@，哪个[和|跟|与]“{word}”意思相反？",
            "{scene}，读到@，“{word}”的反义词是[哪个|哪一项]？",
        ),
    ),
    _sum(
        "en",
        (
            "Which number is {a} + {b}? @.",
            "[Choose|Tick] the sum of {a} and {b}: @.",
            "{scene} with {a} coins and got {b} more. [Select|Pick] the total: @.",
            "{name} has {a} cards, {other} has {b}. How many [together|in all]? @.",
            "@: which one [equals|makes|is] {a} + {b}?",
            "{scene}. Add {a} to {b} and [take|mark] the right letter: @.",
        ),
    ),
    _sum(
        "zh",
        (
            "{a}+{b}等于多少？@。",
            "[选出|圈出]{a}与{b}的和：@。",
            "{scene}，先有{a}元，又得{b}元，[共几元|一共多少]？@。",
            "{name}有{a}张卡，{other}有{b}张，合起来[几张|多少张]？@。",
            "@，哪个[等于|是|刚好是]{a}+{b}？",
            "{scene}。{a}加{b}，[选哪一项|选哪个]？@。",
        ),
    ),
)
