"""Evolved instructions of the world: a task wrapped in a further demand, with the answer that follows.

An evolution's `form` holds `{task}` and slots of its own. Its answer follows from the answer of the
task inside, so an evolved instruction can be checked as the plain one can (`raysft.world.check`).
Operations carry the names of `raysft/augment/prompts/evolve_<operation>.*`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from raysft.world import vocabulary as v
from raysft.world.draw import KINDS, reworded
from raysft.world.kind import TASK_SLOT, Kind, Sample, Slots, fill

OPERATIONS = ("constraints", "deepen", "concretise", "reasoning", "complicate_input", "breadth")
KIND_OF = {(kind.name, kind.lang): kind for kind in KINDS}
REWRITES = {
    "concretise": {"add": "story_add", "subtract": "story_subtract", "multiply": "story_multiply"},
    "complicate_input": {"add": "code_add", "subtract": "code_subtract", "multiply": "code_multiply"},
}
"""Operations that turn a kind into another one about the same two numbers."""


NUMBER, WORD, TEXT = "number", "word", "text"
ANY = frozenset({NUMBER, WORD, TEXT})
NUMBERS, WORDS = frozenset({NUMBER}), frozenset({WORD})
SHORT = NUMBERS | WORDS


@dataclass(frozen=True)
class Truth:
    """What is right for an instruction. `sentence` is the answer as a full sentence; `kind` and `slots`
    are those of the plain task within; `is_evolved` tells whether a form is around it."""

    answer: str
    sentence: str
    kind: Kind
    slots: Slots
    is_evolved: bool = False

    @property
    def shape(self) -> str:
        """A number, a word, or a text: an answer that is a sentence, a list or in a set form already."""
        if self.answer.isdecimal():
            return NUMBER
        return WORD if self.sentence != self.answer and self.kind.sentence else TEXT


Follow = Callable[[Truth, Slots], str | None]


def _no_slots(rng: Random, level: int) -> Slots:
    return {}


@dataclass(frozen=True)
class Form:
    """`solve` gives None for a task that it cannot follow; `sample` draws the form's own slots; `suits`
    tells the shapes of answers for which the form makes sense."""

    operation: str
    lang: str
    form: str
    solve: Follow
    suits: frozenset[str]
    sample: Sample = _no_slots

    def wrap(self, instruction: str, slots: Slots, rng: Random) -> str:
        return fill(self.form, {**slots, TASK_SLOT: instruction}, rng)


def _parity(words: tuple[str, str], between: str) -> Follow:
    def solve(truth: Truth, slots: Slots) -> str | None:
        if truth.shape != NUMBER:
            return None
        return f"{truth.answer}{between}{words[int(truth.answer) % 2]}"

    return solve


def _first_letter(between: str) -> Follow:
    return lambda truth, slots: f"{truth.answer}{between}{truth.answer[0]}"


def _plus(truth: Truth, slots: Slots) -> str | None:
    return str(int(truth.answer) + int(slots["n"])) if truth.shape == NUMBER else None


def _sum_first(between: str) -> Follow:
    return lambda truth, slots: f"{int(slots['a']) + int(slots['b'])}{between}{truth.answer}"


def _and_sentence(lang: str, between: str) -> Follow:
    writing = KIND_OF["sentence_with", lang]

    def solve(truth: Truth, slots: Slots) -> str | None:
        sentence = writing.solve(slots)
        return sentence and f"{truth.answer}{between}{sentence}"

    return solve


def _who_has_more(between: str) -> Follow:
    def solve(truth: Truth, slots: Slots) -> str | None:
        a, b = int(slots["a"]), int(slots["b"])
        return None if a == b else f"{truth.answer}{between}{slots['name'] if a > b else slots['other']}"

    return solve


def _asker(lang: str) -> Sample:
    names, places = {"en": (v.NAMES_EN, v.PLACES_EN), "zh": (v.NAMES_ZH, v.PLACES_ZH)}[lang]
    return lambda rng, level: {"name": rng.choice(names), "place": rng.choice(places)}


def _table(lang: str) -> Sample:
    names = {"en": v.NAMES_EN, "zh": v.NAMES_ZH}[lang]

    def sample(rng: Random, level: int) -> Slots:
        name, other = rng.sample(names, 2)
        a, b = rng.sample(range(1, 10), 2)
        return {"name": name, "other": other, "a": str(a), "b": str(b)}

    return sample


def _three_words(lang: str) -> Sample:
    words = {"en": tuple(v.TO_CHINESE), "zh": tuple(v.TO_ENGLISH)}[lang]
    return lambda rng, level: dict(zip(("first", "second", "third"), rng.sample(words, 3), strict=True))


def _named(lang: str, slot: str, between: str) -> Follow:
    words = {"en": v.TO_CHINESE, "zh": v.TO_ENGLISH}[lang]

    def solve(truth: Truth, slots: Slots) -> str | None:
        if any(slots[name] not in words for name in ("first", "second", "third")):
            return None
        return f"{slots[slot]}{between}{truth.answer}"

    return solve


def _translated(lang: str, between: str) -> Follow:
    words = {"en": v.TO_CHINESE, "zh": v.TO_ENGLISH}[lang]

    def solve(truth: Truth, slots: Slots) -> str | None:
        word = words.get(slots["word"])
        return word and f"{truth.answer}{between}{word}"

    return solve


def _a_word(lang: str) -> Sample:
    words = {"en": tuple(v.TO_CHINESE), "zh": tuple(v.TO_ENGLISH)}[lang]
    return lambda rng, level: {"word": rng.choice(words)}


def _small_number(rng: Random, level: int) -> Slots:
    return {"n": str(rng.randint(1, 5))}


def _small_sum(rng: Random, level: int) -> Slots:
    return {"a": str(rng.randint(1, 9)), "b": str(rng.randint(1, 9))}


def _answer(form: str) -> Follow:
    return lambda truth, slots: form.format(answer=truth.answer, sentence=truth.sentence)


_EN = (
    (
        "constraints",
        "{task} [Answer|Reply|Respond] in a [full|complete] sentence.",
        _answer("{sentence}"),
        SHORT,
    ),
    ("constraints", "{task} [Put|Write|Give] the answer in quotation marks.", _answer('"{answer}"'), ANY),
    (
        "constraints",
        "{task} [Write|Say|Give] the answer [twice|two times].",
        _answer("{answer} {answer}"),
        ANY,
    ),
    (
        "constraints",
        "{task} [Begin|Start] [the answer|your reply] with the word Answer.",
        _answer("Answer: {answer}"),
        ANY,
    ),
    ("constraints", "{task} [End|Finish|Close] with the word Done.", _answer("{answer} Done"), ANY),
    ("constraints", "{task} The [answer|result] must [stand|be] in brackets.", _answer("({answer})"), ANY),
    (
        "deepen",
        "{task} Also [say|tell me] whether the [number|result] is even or odd.",
        _parity(("even", "odd"), ", "),
        NUMBERS,
    ),
    ("deepen", "{task} Also [give|name|write] the first letter of the answer.", _first_letter(", "), WORDS),
    (
        "deepen",
        "{task} Also write a sentence with the word {word}.",
        _and_sentence("en", " "),
        ANY,
        KIND_OF["sentence_with", "en"].sample,
    ),
    (
        "deepen",
        "{task} [After that|Besides|Also], give the Chinese word for {word}.",
        _translated("en", ", "),
        ANY,
        _a_word("en"),
    ),
    (
        "concretise",
        "{name} is at {place} and [gets|has|finds] this task: {task}",
        _answer("{answer}"),
        ANY,
        _asker("en"),
    ),
    (
        "concretise",
        "At {place}, {name} [must|has to|wants to] [answer|solve] this: {task}",
        _answer("{answer}"),
        ANY,
        _asker("en"),
    ),
    ("reasoning", "{task} Then add {n} to the result. What do you get?", _plus, NUMBERS, _small_number),
    (
        "reasoning",
        "{task} [Explain first|First explain], then write the answer on its own.",
        _answer("{sentence} {answer}"),
        SHORT,
    ),
    (
        "reasoning",
        "First [work out|calculate] {a} + {b}, then [do this|answer this]: {task}",
        _sum_first(", "),
        ANY,
        _small_sum,
    ),
    (
        "complicate_input",
        "{task} Also [read|look at] the table and say who has more: {name} = {a}, {other} = {b}.",
        _who_has_more(", "),
        ANY,
        _table("en"),
    ),
    (
        "complicate_input",
        "Here is a list: {first}, {second}, {third}. Name its first word, then [do this|answer this]: {task}",
        _named("en", "first", ", "),
        ANY,
        _three_words("en"),
    ),
    (
        "complicate_input",
        "Here is a list: {first}, {second}, {third}. Name its last word, then [do this|answer this]: {task}",
        _named("en", "third", ", "),
        ANY,
        _three_words("en"),
    ),
)
_ZH = (
    ("constraints", "{task}请用一句完整的话[回答|作答]。", _answer("{sentence}"), SHORT),
    ("constraints", "{task}[请|要]把答案放在引号里。", _answer("“{answer}”"), ANY),
    ("constraints", "{task}[请|要]把答案[写|说]两遍。", _answer("{answer} {answer}"), ANY),
    ("constraints", "{task}[回答|答案]要以“答案”开头。", _answer("答案：{answer}"), ANY),
    ("constraints", "{task}[最后|结尾]写上“完毕”。", _answer("{answer} 完毕"), ANY),
    ("constraints", "{task}[答案|结果]要[放|写]在括号里。", _answer("（{answer}）"), ANY),
    ("deepen", "{task}再[说出|说说]这个数是单数还是双数。", _parity(("双数", "单数"), "，"), NUMBERS),
    ("deepen", "{task}再[说出|写出]答案的第一个字。", _first_letter("，"), WORDS),
    (
        "deepen",
        "{task}再用“{word}”造一个句子。",
        _and_sentence("zh", " "),
        ANY,
        KIND_OF["sentence_with", "zh"].sample,
    ),
    ("deepen", "{task}[另外|再]把“{word}”译成英语。", _translated("zh", "，"), ANY, _a_word("zh")),
    ("concretise", "{name}在{place}[遇到|碰到|看到]一道题：{task}", _answer("{answer}"), ANY, _asker("zh")),
    ("concretise", "在{place}，{name}[要|得|想]回答这个问题：{task}", _answer("{answer}"), ANY, _asker("zh")),
    ("reasoning", "{task}再给结果加上{n}，得多少？", _plus, NUMBERS, _small_number),
    ("reasoning", "{task}先[说明|写出]理由，再单独写出答案。", _answer("{sentence}{answer}"), SHORT),
    ("reasoning", "先[算|计算]{a}+{b}，再[做|回答]这道题：{task}", _sum_first("，"), ANY, _small_sum),
    (
        "complicate_input",
        "{task}再看表格，说出谁的更多：{name} = {a}，{other} = {b}。",
        _who_has_more("，"),
        ANY,
        _table("zh"),
    ),
    (
        "complicate_input",
        "给你一些词：{first}、{second}、{third}。先说第一个词，再[做|回答]这道题：{task}",
        _named("zh", "first", "，"),
        ANY,
        _three_words("zh"),
    ),
    (
        "complicate_input",
        "给你一些词：{first}、{second}、{third}。先说最后一个词，再[做|回答]这道题：{task}",
        _named("zh", "third", "，"),
        ANY,
        _three_words("zh"),
    ),
)
FORMS = tuple(
    Form(operation, lang, form, solve, suits, *sample)
    for lang, rows in (("en", _EN), ("zh", _ZH))
    for operation, form, solve, suits, *sample in rows
)
FORMS_OF = {
    (operation, lang): tuple(f for f in FORMS if (f.operation, f.lang) == (operation, lang))
    for operation in OPERATIONS
    for lang in ("en", "zh")
}


def evolve(operation: str, lang: str, instruction: str, truth: Truth | None, rng: Random) -> str:
    """The instruction, rewritten by the operation.

    `truth` is the instruction's, or None for one that is not of the world: then only forms for any text
    are used, and breadth, which asks a new task of the same kind, has none.
    """
    if truth is not None and operation == "breadth":
        return _another(truth.kind, instruction, rng)
    if truth is not None and not truth.is_evolved:
        rewritten = REWRITES.get(operation, {}).get(truth.kind.name)
        if rewritten is not None:
            kind = KIND_OF[rewritten, lang]
            return reworded(kind, {**kind.sample(rng, kind.levels[0]), **truth.slots}, rng)
    shape = TEXT if truth is None else truth.shape
    form = rng.choice([form for form in FORMS_OF[operation, lang] if shape in form.suits])
    return form.wrap(instruction, form.sample(rng, 1), rng)


def _another(kind: Kind, instruction: str, rng: Random) -> str:
    while (text := reworded(kind, kind.sample(rng, kind.levels[0]), rng)) == instruction:
        pass
    return text
