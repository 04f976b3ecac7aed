"""Kinds that ask for a sentence with one or two given words; any sentence that holds them is right."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from raysft.world import vocabulary as v
from raysft.world.clauses import is_clean_word
from raysft.world.kind import Kind, Sample, Slots, Solve

_ABOUT_EN = {
    "animal": "I drew the {word} in my book.",
    "fruit": "I bought a ripe {word} at the market.",
    "tool": "The {word} is in the shed.",
    "garment": "She put the {word} in the bag.",
    "vehicle": "The {word} is new and fast.",
    "vegetable": "We cut a {word} for the soup.",
    "instrument": "My brother plays the {word}.",
}
_ABOUT_ZH = {
    "动物": "我在画里看见了{word}。",
    "水果": "妈妈买了新鲜的{word}。",
    "工具": "爸爸在屋里找{word}。",
    "衣物": "她把{word}放进了包里。",
    "交通工具": "他看见了{word}。",
    "蔬菜": "我们用{word}做汤。",
    "乐器": "哥哥喜欢{word}的声音。",
}
_ABOUT = {"en": (v.GROUP_EN, _ABOUT_EN), "zh": (v.GROUP_ZH, _ABOUT_ZH)}
SENTENCE_LENGTHS = {"en": range(10, 121), "zh": range(4, 61)}
"""Characters of a written sentence that passes."""
ANY_WORD = {"en": "The word {word} is on my list.", "zh": "我会写{word}这个词。"}
"""What can be written with a word of which nothing is known."""
TWO_WORDS = {"en": "The {first} is next to the {second}.", "zh": "{first}在{second}旁边。"}
_NAMES = {"en": v.NAMES_EN, "zh": v.NAMES_ZH}
_ECHOES = {"en": ("sentence",), "zh": ("句", "“")}
"""What an answer that only repeats the task holds."""


def _written(lang: str) -> Solve:
    groups, told = _ABOUT[lang]

    def solve(slots: Slots) -> str | None:
        if not all(is_clean_word(lang, slots[slot]) for slot in ("word", "name") if slot in slots):
            return None
        group = groups.get(slots["word"])
        return (told[group] if group else ANY_WORD[lang]).format_map(slots)

    return solve


def _written_with_two(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        is_known = all(is_clean_word(lang, word) for word in slots.values())
        return TWO_WORDS[lang].format_map(slots) if is_known and slots["first"] != slots["second"] else None

    return solve


def _words(lang: str, count: int) -> Sample:
    groups, names = _ABOUT[lang][0], _NAMES[lang]
    slots = ("word",) if count == 1 else ("first", "second")

    def sample(rng: Random, level: int) -> Slots:
        words = rng.sample(list(groups), count)
        return {"name": rng.choice(names), **dict(zip(slots, words, strict=True))}

    return sample


def _is_sentence(lang: str) -> Callable[[str, Slots], bool]:
    def accepts(answer: str, slots: Slots) -> bool:
        words = [slots[slot] for slot in ("word", "first", "second") if slot in slots]
        held = {word.strip(",.;!?") for word in answer.split()} if lang == "en" else answer
        is_echo = any(echo in answer for echo in _ECHOES[lang])
        has_words = all(word in held for word in words) and not is_echo
        return has_words and answer.endswith((".", "。")) and len(answer) in SENTENCE_LENGTHS[lang]

    return accepts


def _kind(name: str, lang: str, sample: Sample, solve: Solve, level: int, *phrasings: str) -> Kind:
    return Kind(
        name,
        "writing",
        "language",
        lang,
        phrasings,
        sample,
        solve,
        "{answer}",
        _is_sentence(lang),
        levels=(level,),
    )


KINDS = (
    _kind(
        "sentence_with",
        "en",
        _words("en", 1),
        _written("en"),
        1,
        "Write a [short|simple|new|nice] sentence with the word {word}.",
        "Use the word {word} in a sentence[| of your own| about your family| about a normal day].",
        "{name} is learning English and [needs a sentence with|wants to hear a line with] {word}. Write one.",
        "[Invent|Make up|Think of] a sentence in which {word} [appears|has a place|is named].",
        "How can {name} use {word} in a sentence? [Show it|Give one example].",
        "For the [wall|letter|book|card] of {name}, write one line that contains {word}.",
        "[Tell|Write to] {name} something in which the word {word} stands.",
        "[The teacher|Grandmother] says {word} to {name}. Put it into a whole sentence.",
        "What could {name} say about {word} to [a friend|a guest|the class]? One sentence will do.",
        "Let {word} be part of something that {name} [might tell us|writes home].",
        "[My homework|Today's exercise] asks for {word} inside a sentence; [please help|show me how].",
    ),
    _kind(
        "sentence_with",
        "zh",
        _words("zh", 1),
        _written("zh"),
        1,
        "[请|]用“{word}”造一个[句子|简单的句子|短句]。",
        "写一句[话|简单的话|自己的话]，里面要有“{word}”。",
        "{name}在学中文，[请用|想听一句带]“{word}”的话[给他看|帮帮他]。",
        "{name}不会用“{word}”这个词，[请举一个例子|写个例句吧]。",
        "[想|编]一个含有“{word}”的句子[送给|说给]{name}。",
        "老师让{name}把“{word}”[写进|放进]一句话，怎么写？",
        "[请做造句练习|今天的造句作业是]：用“{word}”写一句。",
        "{name}说到了{word}，他[可能说了什么|会怎么说]？写一句就行。",
        "作业要求{name}写到“{word}”，[一句就够|不用太长]，请写出来。",
    ),
    _kind(
        "sentence_with_two",
        "en",
        _words("en", 2),
        _written_with_two("en"),
        2,
        "Write a [short|simple|new] sentence with the words {first} and {second}.",
        "Use both {first} and {second} in [one|a single] sentence.",
        "{name} needs [a line|some text] in which {first} and {second} [appear|stand] together. Write it.",
        "[Invent|Make up|Think of] a sentence about {first} and {second} [for|with] {name}.",
        "The words are {first}, {second}. [Put them into one sentence|Make a sentence of them].",
        "How would {name} [say something|write a line] with {first} as well as {second}?",
        "[Tell|Show] {name} how {first} goes together with {second} in a sentence.",
        "There is {first} on one card of {name} and {second} on the other. [Make a sentence|Write one line].",
    ),
    _kind(
        "sentence_with_two",
        "zh",
        _words("zh", 2),
        _written_with_two("zh"),
        2,
        "[请|]用“{first}”和“{second}”造一个句子。",
        "写一句话，里面[既有|要有]“{first}”，[也有|还有]“{second}”。",
        "{name}想把“{first}”与“{second}”[放进|写进]同一句话，怎么写？",
        "两个词是{first}、{second}，[请连成一句话|请写一个句子]。",
        "[想|编]一句话说给{name}听，要提到“{first}”“{second}”。",
        "老师给了{name}“{first}”“{second}”[两个词|这些词]，请造句。",
        "{name}看见了{first}，又看见了{second}，[怎么用一句话说|请用一句话讲]？",
        "卡片上一面是{first}，一面是{second}，请帮{name}造句。",
    ),
)
