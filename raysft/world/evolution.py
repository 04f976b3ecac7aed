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


@dataclass(frozen=True)
class Form:
    """`solve` gives None for a task that it cannot follow; `sample` draws the form's own slots; `suits`
    tells the shapes of answers for which the form makes sense."""

    operation: str
    lang: str
    form: str
    solve: Follow
    sample: Sample = lambda rng, level: {}
    suits: frozenset[str] = ANY

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


def _small_number(rng: Random, level: int) -> Slots:
    return {"n": str(rng.randint(1, 5))}


def _small_sum(rng: Random, level: int) -> Slots:
    return {"a": str(rng.randint(1, 9)), "b": str(rng.randint(1, 9))}


FORMS = (
    Form("constraints", "en", "{task} Answer in a full sentence.", lambda t, s: t.sentence, suits=SHORT),
    Form("constraints", "en", "{task} Put the answer in quotation marks.", lambda t, s: f'"{t.answer}"'),
    Form("constraints", "en", "{task} Write the answer twice.", lambda t, s: f"{t.answer} {t.answer}"),
    Form("constraints", "en", "{task} Begin with the word Answer.", lambda t, s: f"Answer: {t.answer}"),
    Form("constraints", "zh", "{task}请用一句完整的话回答。", lambda t, s: t.sentence, suits=SHORT),
    Form("constraints", "zh", "{task}请把答案放在引号里。", lambda t, s: f"“{t.answer}”"),
    Form("constraints", "zh", "{task}请把答案写两遍。", lambda t, s: f"{t.answer} {t.answer}"),
    Form("constraints", "zh", "{task}回答要以“答案”开头。", lambda t, s: f"答案：{t.answer}"),
    Form(
        "deepen",
        "en",
        "{task} Also say whether the number is even or odd.",
        _parity(("even", "odd"), ", "),
        suits=NUMBERS,
    ),
    Form(
        "deepen", "zh", "{task}再说出这个数是单数还是双数。", _parity(("双数", "单数"), "，"), suits=NUMBERS
    ),
    Form(
        "deepen", "en", "{task} Also give the first letter of the answer.", _first_letter(", "), suits=WORDS
    ),
    Form("deepen", "zh", "{task}再说出答案的第一个字。", _first_letter("，"), suits=WORDS),
    Form(
        "deepen",
        "en",
        "{task} Also write a sentence with the word {word}.",
        _and_sentence("en", " "),
        KIND_OF["sentence_with", "en"].sample,
    ),
    Form(
        "deepen",
        "zh",
        "{task}再用“{word}”造一个句子。",
        _and_sentence("zh", " "),
        KIND_OF["sentence_with", "zh"].sample,
    ),
    Form(
        "concretise",
        "en",
        "{name} is at {place} and gets this task: {task}",
        lambda t, s: t.answer,
        _asker("en"),
    ),
    Form("concretise", "zh", "{name}在{place}遇到一道题：{task}", lambda t, s: t.answer, _asker("zh")),
    Form(
        "reasoning",
        "en",
        "{task} Then add {n} to the result. What do you get?",
        _plus,
        _small_number,
        NUMBERS,
    ),
    Form("reasoning", "zh", "{task}再给结果加上{n}，得多少？", _plus, _small_number, NUMBERS),
    Form(
        "reasoning",
        "en",
        "{task} Explain first, then write the answer on its own.",
        lambda t, s: f"{t.sentence} {t.answer}",
        suits=SHORT,
    ),
    Form(
        "reasoning",
        "zh",
        "{task}先说明理由，再单独写出答案。",
        lambda t, s: f"{t.sentence}{t.answer}",
        suits=SHORT,
    ),
    Form("reasoning", "en", "First work out {a} + {b}, then do this: {task}", _sum_first(", "), _small_sum),
    Form("reasoning", "zh", "先算{a}+{b}，再做这道题：{task}", _sum_first("，"), _small_sum),
    Form(
        "complicate_input",
        "en",
        "{task} Also read the table and say who has more: {name} = {a}, {other} = {b}.",
        _who_has_more(", "),
        _table("en"),
    ),
    Form(
        "complicate_input",
        "zh",
        "{task}再看表格，说出谁的更多：{name} = {a}，{other} = {b}。",
        _who_has_more("，"),
        _table("zh"),
    ),
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
            return reworded(kind, {**kind.sample(rng, 1), **truth.slots}, rng)
    shape = TEXT if truth is None else truth.shape
    form = rng.choice([form for form in FORMS_OF[operation, lang] if shape in form.suits])
    return form.wrap(instruction, form.sample(rng, 1), rng)


def _another(kind: Kind, instruction: str, rng: Random) -> str:
    while (text := reworded(kind, kind.sample(rng, 1), rng)) == instruction:
        pass
    return text
