"""Kinds that change or read a list of words, word by word."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from raysft.world import vocabulary as v
from raysft.world.context import is_clean, surroundings
from raysft.world.kind import Kind, Sample, Slots
from raysft.world.lists import is_word, join, split

WORDS = {
    "en": tuple(dict.fromkeys((*v.TO_CHINESE, *v.OPPOSITE_EN, *v.FOODS_EN))),
    "zh": tuple(dict.fromkeys((*v.TO_ENGLISH, *v.OPPOSITE_ZH, *v.FOODS_ZH))),
}
ORDINALS = {
    "en": ("first", "second", "third", "fourth", "fifth"),
    "zh": ("第一个", "第二个", "第三个", "第四个", "第五个"),
}
SIDES = {"en": ("beginning", "end"), "zh": ("开头", "末尾")}
Change = Callable[[list[str], Slots, str], str | None]
"""What becomes of the words of a list; None where the slots do not fit the list."""


def _listed(lang: str) -> Sample:
    """Lists of 3, 4 or 5 words, and slots that name one of them, another one, and a new one."""

    def sample(rng: Random, level: int) -> Slots:
        *words, new = rng.sample(WORDS[lang], level + 3)
        at, to = rng.sample(range(len(words)), 2)
        return {
            "list": join(words, lang),
            "word": words[at],
            "partner": words[to],
            "new": new,
            "which": ORDINALS[lang][at],
            "side": rng.choice(SIDES[lang]),
            **surroundings(rng, lang),
        }

    return sample


def _on_list(name: str, lang: str, phrasings: tuple[str, ...], change: Change) -> Kind:
    def solve(slots: Slots) -> str | None:
        words = split(slots["list"], lang)
        if words is None or not 2 <= len(words) <= 7 or len(set(words)) < len(words):
            return None
        return change(words, slots, lang) if is_clean(slots, lang) else None

    return Kind(name, "string_operation", "language", lang, phrasings, _listed(lang), solve, levels=(1, 2, 3))


def _reversed(words: list[str], slots: Slots, lang: str) -> str | None:
    return join(words[::-1], lang)


def _nth(words: list[str], slots: Slots, lang: str) -> str | None:
    ordinals = ORDINALS[lang][: len(words)]
    return words[ordinals.index(slots["which"])] if slots["which"] in ordinals else None


def _without(words: list[str], slots: Slots, lang: str) -> str | None:
    return join([w for w in words if w != slots["word"]], lang) if slots["word"] in words else None


def _swapped(words: list[str], slots: Slots, lang: str) -> str | None:
    one, other = slots["word"], slots["partner"]
    if one not in words or other not in words or one == other:
        return None
    return join([{one: other, other: one}.get(word, word) for word in words], lang)


def _added(words: list[str], slots: Slots, lang: str) -> str | None:
    new = slots["new"]
    if new in words or not is_word(new, lang) or slots["side"] not in SIDES[lang]:
        return None
    return join([new, *words] if slots["side"] == SIDES[lang][0] else [*words, new], lang)


def _replaced(words: list[str], slots: Slots, lang: str) -> str | None:
    old, new = slots["word"], slots["new"]
    if old not in words or new in words or not is_word(new, lang):
        return None
    return join([new if word == old else word for word in words], lang)


def _hyphened(words: list[str], slots: Slots, lang: str) -> str | None:
    return "-".join(words)


KINDS = (
    _on_list(
        "reverse",
        "en",
        (
            "[Reverse|Turn around] the order of these words: {list}.",
            "{scene}. [Write|Say] this list from the last word to the first: {list}.",
            "{name} [says|reads] {list}. {other} repeats it [backwards, word by word|in the opposite order]. "
            "What does {other} say?",
            "Write this from its end to its [start|beginning]: {list}.",
            "{name} and {other} read at {place}: {list}. [Please list|List] these back to front.",
            "{scene}. How does the list {list} [look|read] in reverse?",
        ),
        _reversed,
    ),
    _on_list(
        "reverse",
        "zh",
        (
            "请把[这些词|下面的词]的顺序[倒过来|反过来]：{list}。",
            "{scene}。从最后一个词[写到|念到]第一个词：{list}。",
            "{name}说了{list}，{other}[倒着|反着]说一遍，{other}说的是什么？",
            "{list}，[颠倒|反转]词序以后是怎样的？",
            "{place}门口写着{list}，请[从后往前|由后到前]读出来。",
        ),
        _reversed,
    ),
    _on_list(
        "nth_word",
        "en",
        (
            "[What is|Give me|Tell me] the {which} word [in|of] this list: {list}.",
            "{scene}. Of the words {list}, which one comes {which}?",
            "{name} [heard|saw|wrote down] {list}, in that order. What was {which}?",
            "Read {list} and [copy|write] only the {which} [word|one].",
            "In the row {list}, [which word stands|what stands] in {which} place?",
            "At {place}, {name} [learns|reads] the words {list}. [Name|Say] the {which} of them.",
        ),
        _nth,
    ),
    _on_list(
        "nth_word",
        "zh",
        (
            "[请写出|请说出|请告诉我]下面的{which}词：{list}。",
            "{scene}。在{list}当中，排在{which}的[词|那个]是什么？",
            "{name}[先后|依次]看到{list}，{which}看到的是什么？",
            "{list}，这一排里{which}[词是什么|是哪个词|写了什么]？",
            "{name}在{place}学了这些词：{list}。其中{which}是[什么|哪个]？",
        ),
        _nth,
    ),
    _on_list(
        "drop_word",
        "en",
        (
            "[Remove|Delete|Drop] the word {word} from this list: {list}.",
            "{scene}. The list says {list}. [Write|Copy] it without {word}.",
            "{name} has the words {list} and [forgets|gives away] {word}. What remains?",
            "Leave out {word}: {list}.",
            "[Which words remain|What remains] of {list} when {word} is [taken away|crossed out]?",
            "{name} and {other} write {list} on a board at {place}. Then {other} [erases|wipes off] {word}. "
            "What [stays|is still there]?",
        ),
        _without,
    ),
    _on_list(
        "drop_word",
        "zh",
        (
            "请[从下面的词里|从这些词中|在这一串里]去掉“{word}”：{list}。",
            "{scene}。单子上写着{list}，[删掉|划掉]“{word}”以后还有什么？",
            "{name}的词卡有{list}，[丢了|送走了]“{word}”，还剩下什么？",
            "{list}，不要“{word}”，[其余的照抄|把别的写下来|只写其他的]。",
            "{name}在{place}写了{list}，{other}擦掉了“{word}”，[还留着|剩下]哪些词？",
        ),
        _without,
    ),
    _on_list(
        "swap_words",
        "en",
        (
            "[Swap|Exchange] the words {word} and {partner} in this list: {list}.",
            "{scene}. In the list {list}, let {word} and {partner} [change|trade|switch] places.",
            "{name} puts {list} in a row. {other} switches {word} with {partner}. "
            "[How does the row look|What is the row] now?",
            "[Write|Copy] {list} again, but with {partner} where {word} was and {word} where {partner} was.",
            "{name} sits by {word} and {other} by {partner}, then they [swap|exchange] their words: {list}. "
            "What is the new list?",
            "The order {list} is wrong, as {word} and {partner} are [mixed up|exchanged]. Correct it.",
        ),
        _swapped,
    ),
    _on_list(
        "swap_words",
        "zh",
        (
            "请把“{word}”和“{partner}”[交换位置|对调]：{list}。",
            "{scene}。单子是{list}，“{word}”跟“{partner}”[互换|换个位置]以后[怎么写|是怎样的|变成什么]？",
            "{name}摆了一排：{list}。{other}把“{word}”与“{partner}”调换，现在[是什么顺序|怎么排]？",
            "[重写|抄写|再写一次]{list}，但是“{word}”的位置写“{partner}”，“{partner}”的位置写“{word}”。",
        ),
        _swapped,
    ),
    _on_list(
        "add_to_list",
        "en",
        (
            "[Put|Write|Add] the word {new} at the {side} of this list: {list}.",
            "{scene}. The list was {list}. Now {new} is added at its {side}. [Write|Give] the whole list.",
            "{name} has the words {list} and [places|sets] {new} at the {side}. What does {name} have now?",
            "[Extend|Lengthen] {list} by {new}, at the {side}.",
            "{scene}. [Copy|Repeat] {list}, with {new} at the {side}.",
            "{other} joins {new} to the {side} of {list}. [What|Which words] does {name} read then?",
        ),
        _added,
    ),
    _on_list(
        "add_to_list",
        "zh",
        (
            "请在[这些词|下面这串词]的{side}加上“{new}”：{list}。",
            "{scene}。单子上是{list}，{side}又[添|多|补]了“{new}”，写出整张单子。",
            "{name}有{list}，{other}把“{new}”放在{side}，现在[一共有什么|都有什么]？",
            "[抄写|重写|照抄]{list}，{side}[多写|加写]一个“{new}”。",
        ),
        _added,
    ),
    _on_list(
        "replace_in_list",
        "en",
        (
            "[Replace|Swap out] the word {word} with {new} in this list: {list}.",
            "{scene}. Write {new} instead of {word}: {list}.",
            "{name} wrote {list}, but wants {new} in place of {word}. [Now list|List] what {name} wants.",
            "[Change|Turn] {word} into {new} and [copy|keep] the rest: {list}.",
            "The list {list} has a mistake: {word} should be {new}. [Correct it|Write it well|Repair it].",
        ),
        _replaced,
    ),
    _on_list(
        "replace_in_list",
        "zh",
        (
            "请把下面的“{word}”[换成|改成]“{new}”：{list}。",
            "{scene}。单子{list}里有一处[错误|写错了]，“{word}”应该是“{new}”，请改正。",
            "{name}写了{list}，后来不要“{word}”，[改要|换了]“{new}”，最后[是哪些|都有什么]？",
            "用“{new}”[代替|替换]“{word}”，其他[不变|照抄]：{list}。",
        ),
        _replaced,
    ),
    _on_list(
        "hyphen",
        "en",
        (
            "[Join|Connect|Link] the words {list} with hyphens.",
            "{scene}. Put a hyphen between [the words|every two words]: {list}.",
            "{name} [needs|wants] one long name made of {list}, with hyphens [in between|instead of commas]. "
            "Write it.",
            "Replace the commas by hyphens: {list}.",
            "[Make|Build] one [hyphenated|long] word from {list}, using hyphens.",
        ),
        _hyphened,
    ),
    _on_list(
        "hyphen",
        "zh",
        (
            "请用连字符“-”把[这些词|下面的词|以下各词]连起来：{list}。",
            "{scene}。把{list}里的顿号[都换成|全部改成|改为]“-”。",
            "{name}给{place}起名，用“-”[连接|串起|连起]{list}，写成什么？",
            "{scene}，在[每两个词|相邻的词|各词]之间写“-”：{list}。",
        ),
        _hyphened,
    ),
)
