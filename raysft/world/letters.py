"""Kinds about the letters of words: a byte-level model sees them badly, so the words are short."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from raysft.world.context import is_clean, surroundings
from raysft.world.kind import Kind, Sample, Slots
from raysft.world.lists import is_word, join, join_and, split_and
from raysft.world.words import WORDS

TIMES = {"en": ("two", "three", "four"), "zh": ("两", "三", "四")}
_POOL = {
    "en": {level: tuple(word for word in WORDS["en"] if len(word) <= level + 3) for level in (1, 2)},
    "zh": {level: tuple(word for word in WORDS["zh"] if len(word) > 1) for level in (1, 2)},
}


def _sample(lang: str) -> Sample:
    """Two words of up to four letters, or three of up to five; in Chinese, of two characters or more."""

    def sample(rng: Random, level: int) -> Slots:
        words = rng.sample(_POOL[lang][level], level + 1)
        return {
            "list": join_and(words, lang),
            "word": words[0],
            "times": rng.choice(TIMES[lang][: level + 1]),
            **surroundings(rng, lang),
        }

    return sample


def _kind(
    name: str,
    lang: str,
    phrasings: tuple[str, ...],
    change: Callable[[str], str],
    *,
    shortest: int = 1,
    is_exact: bool = False,
) -> Kind:
    """A kind that makes something of each word of a list."""

    def solve(slots: Slots) -> str | None:
        words = split_and(slots["list"], lang)
        if not 2 <= len(words) <= 4 or not is_clean(slots, lang):
            return None
        if not all(is_word(word, lang) and len(word) >= shortest for word in words):
            return None
        return join([change(word) for word in words], lang)

    return Kind(
        name,
        "string_operation",
        "language",
        lang,
        phrasings,
        _sample(lang),
        solve,
        is_exact=is_exact,
        levels=(1, 2),
    )


def _repeat(lang: str, phrasings: tuple[str, ...]) -> Kind:
    def solve(slots: Slots) -> str | None:
        if not is_word(slots["word"], lang) or slots["times"] not in TIMES[lang]:
            return None
        times = TIMES[lang].index(slots["times"]) + 2
        return " ".join([slots["word"]] * times) if is_clean(slots, lang) else None

    return Kind(
        "repeat", "string_operation", "language", lang, phrasings, _sample(lang), solve, levels=(1, 2)
    )


KINDS = (
    _kind(
        "upper",
        "en",
        (
            "[Write|Put] the words {list} in [capital|big] letters.",
            "{scene}. Type {list} in [upper case|capitals].",
            "How does {name} write {list} in [capitals|upper case]?",
            "{scene} and [read|noted] {list}, but all in capitals. Copy that.",
            "{name} paints {list} for {other} near {place}, all [in capitals|with big letters]. Show it.",
            "{scene}. [Capitalise|Shout] every letter: {list}.",
        ),
        str.upper,
        is_exact=True,
    ),
    _kind(
        "first_letter",
        "en",
        (
            "[Give|Name|Write] the first letters of {list} for {name}.",
            "{scene}. With which letters do {list} [begin|start]?",
            "{scene} and wrote {list}. Keep each initial [only|alone].",
            "[Shorten|Cut] {list} to their [opening letters|initials].",
            "{name} says {list} to {other} at {place}. Which letter [starts|opens] each word?",
            "{scene}. [What|Which] are the initials of {list}?",
        ),
        lambda word: word[0],
    ),
    _kind(
        "first_letter",
        "zh",
        (
            "[写出|说出|给出]{list}的第一个字。",
            "{scene}。{list}[分别|各自]以哪个字开头？",
            "{name}只记下了{list}[开头|打头]的字，{name}记了什么？",
            "[在|到了]{place}，{name}念{list}，{other}[只学|只重复]每个词的首字，{other}念了什么？",
            "{scene}，[截取|取出]下面各词的首字：{list}。",
        ),
        lambda word: word[0],
        shortest=2,
    ),
    _kind(
        "last_letter",
        "en",
        (
            "[Give|Name|Write] the last letters of {list} for {name}.",
            "{scene}. With which letters do {list} [end|finish]?",
            "{scene} and wrote {list}. Keep each final letter [only|alone].",
            "{scene}. [Copy|Say] nothing but the closing letters of {list}.",
            "{name} says {list} to {other} at {place}. Which letter [ends|closes] each word?",
            "{scene}. [What|Which] are the endings of {list}, one letter each?",
        ),
        lambda word: word[-1],
    ),
    _kind(
        "last_letter",
        "zh",
        (
            "[写出|说出|给出]{list}的最后一个字。",
            "{scene}。{list}[分别|各自]以哪个字结尾？",
            "{name}只听清了{list}[末尾|后面]的那个字，{name}听清了什么？",
            "[在|到了]{place}，{name}念{list}，{other}[只学|只重复]每个词的尾字，{other}念了什么？",
            "{scene}，[截取|取出]下面各词的尾字：{list}。",
        ),
        lambda word: word[-1],
        shortest=2,
    ),
    _kind(
        "length",
        "en",
        (
            "{scene}. How many letters do {list} have [each|one by one]?",
            "{scene}. Count letters: {list}, [word by word|each on its own].",
            "{name} tells {other} the lengths of {list}. [Write|Repeat|Show] them.",
            "{scene} and spelled {list}. [Which|What] lengths are these?",
            "{name} [teaches|shows] {other} the words {list} at {place}. How long is each?",
            "{scene}. [Measure|Say] how long {list} are, in letters.",
        ),
        lambda word: str(len(word)),
    ),
    _kind(
        "length",
        "zh",
        (
            "{list}[各有|分别有]几个字？",
            "{scene}。数一数{list}的字数，[一个一个说|分别回答]。",
            "[请写出|请给出]下列词语的字数：{list}。",
            "{name}在{place}写招牌，一字一元，{list}[各要|分别要]几元？",
            "{name}比较{list}的长短，[每个|各]词是几个字？",
            "{scene}，写了{list}，[每个|各]词几个字？",
        ),
        lambda word: str(len(word)),
    ),
    _repeat(
        "en",
        (
            "[Write|Say|Repeat] {word} {times} times for {name} and {other}.",
            "{scene} and [said|wrote] {word} {times} times. [Copy|Show] that.",
            "{name} calls {word} {times} times at {place}. What [sounds|words] does {other} hear?",
            "{scene}. Make {times} [copies|repetitions] of {word}.",
            "{scene} and heard a bird [sing|cry] {word}, {times} times over. Write its song.",
            "{name} told {other} about {word}. [Repeat|Type] this last word {times} times.",
        ),
    ),
    _repeat(
        "zh",
        (
            "请{name}把“{word}”[连着|连续]写{times}遍。",
            "{scene}。鸟儿[叫了|唱了]{times}次“{word}”，写下来。",
            "{name}在{place}喊了{times}声“{word}”，{other}[听到|听见]了什么？",
            "{name}请{other}把“{word}”[抄写|重复]{times}次。",
            "{scene}，手机里出现“{word}”，[念|读]{times}遍。",
            "{name}给{other}发了“{word}”，[发了|一共]{times}回，{place}的手机上是什么？",
        ),
    ),
)
