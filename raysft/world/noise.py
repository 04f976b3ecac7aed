"""The tasks of the world with faults at stated rates, each row telling which fault it has.

    generate(start, stop, seed, noise, part)   rows of the columns of `raysft.world.tasks`

Row i is decided by (`version()`, seed, i, noise, part) alone. It suffers one noise of `NAMES` at most,
drawn by the rates, so the rates sum to 1 at most; without any rate the rows are those of
`tasks.generate`. Row 0 suffers none. What a noise draws is of the part like all else. `truth_answer` is
the right answer to the last question as it was before the noise.

Copies (`COPIES`) are made of an earlier row without noise and carry its number as `truth_group`; a
leaked test item has the group -1 - k, where k is its number among the held-out rows of the same seed and
part, of which the first `LEAKED_ITEMS` leak. All other rows have their own number. Two rows of different
groups may still be alike by chance, since the world is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from itertools import accumulate
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from raysft.sample import digest64, uniform
from raysft.stage import StrictModel
from raysft.world import draw, held_out, tasks
from raysft.world.draw import WHOLE, Part
from raysft.world.kind import Kind
from raysft.world.spoil import SPOIL, SUITED, Conversation
from raysft.world.turns import TWO_TURNS_SHARE, follow_up

VERSION = 1
NAMES = (
    *("exact_copy", "near_duplicate", "paraphrase", "wrong_answer", "half_answer", "refusal", "truncated"),
    *("rambling", "wrong_language", "label_error", "contradiction", "leaked_test", "pii", "markup"),
)
COPIES = frozenset({"exact_copy", "near_duplicate", "paraphrase", "contradiction"})
"""Noises that repeat an earlier row's question."""
LEAKED_ITEMS = 500
TRIES = 1000
"""Draws of an original before row 0 is taken; needed where hardly any row is without noise."""
ROUNDING = 1e-9

Rate = Annotated[float, Field(ge=0, le=1)]


class Noise(StrictModel):
    """Shares of rows (0 to 1) that suffer each noise; a row suffers one at most, so they sum to 1 at most."""

    exact_copy: Rate = Field(0.0, description="an earlier row once more, letter for letter")
    near_duplicate: Rate = Field(
        0.0,
        description="an earlier row with a few small edits: blanks, punctuation, case, a typo, politeness",
    )
    paraphrase: Rate = Field(
        0.0, description="an earlier row's question in another wording, with the same answer"
    )
    wrong_answer: Rate = Field(0.0, description="a plausible answer that is wrong")
    half_answer: Rate = Field(0.0, description="the first part of the right answer, ending between words")
    refusal: Rate = Field(0.0, description="an assistant that declines to answer")
    truncated: Rate = Field(0.0, description="a sentence that breaks off within a word")
    rambling: Rate = Field(
        0.0, description="the right answer, then several sentences of repetition or chatter"
    )
    wrong_language: Rate = Field(0.0, description="an answer in a sentence of the other language")
    label_error: Rate = Field(
        0.0, description="a classification or multiple-choice task with another label than the right one"
    )
    contradiction: Rate = Field(0.0, description="an earlier row's question with a wrong answer")
    leaked_test: Rate = Field(
        0.0, description="a task of raysft.world.held_out, of the first 500 of the same seed"
    )
    pii: Rate = Field(0.0, description="a made-up e-mail address, phone number, identity number or address")
    markup: Rate = Field(0.0, description="HTML tags, broken entities, Markdown rubbish, garbled characters")
    imbalance: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="exponent s of a Zipf law over the kinds of a language, of those that are drawn: the "
        "kind of rank r comes r**-s as often as the first; 0 draws all equally often. Ranks follow from the "
        "kinds' names",
    )

    @model_validator(mode="after")
    def _rates_fit(self) -> Self:
        total = sum(self.rates)
        if total > 1 + ROUNDING:
            raise ValueError(
                f"the rates of noise sum to {total:.4g}, but a row suffers one noise at most: "
                "lower them until they sum to 1 or less"
            )
        return self

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates in the order of `NAMES`."""
        return tuple(getattr(self, name) for name in NAMES)


def version() -> str:
    """What decides `generate` beside its arguments; part of the rows' identity."""
    return tasks.version()


def generate(start: int, stop: int, seed: int, noise: Noise, part: Part = WHOLE) -> list[dict[str, Any]]:
    """Rows start … stop-1 of the endless list that `seed`, `noise` and `part` name.

    Raises:
        ValueError: a noise cannot be made of any task of the part.
    """
    problems = unsuited(noise, part)
    if problems:
        raise ValueError("; ".join(problems))
    return [_row(i, seed, noise, part) for i in range(start, stop)]


def unsuited(noise: Noise, part: Part) -> list[str]:
    """What keeps the noise from being made of the part's tasks; empty where nothing does."""
    return [
        f"noise.{name} is made of the tasks {', '.join(suited)}, but tasks has none of them: "
        f"add one, or leave {name} out"
        for name, suited in SUITED.items()
        if getattr(noise, name) and part.tasks is not None and not set(suited) & set(part.tasks)
    ]


def noise_of(i: int, seed: int, noise: Noise) -> str | None:
    """The noise that row i suffers, or None."""
    return None if i == 0 else _drawn(uniform("noise", VERSION, seed, i), noise.rates)


def _drawn(chance: float, rates: Sequence[float]) -> str | None:
    ends = zip(NAMES, accumulate(rates), strict=True)
    return next((name for name, end in ends if chance < end), None)


def _row(i: int, seed: int, noise: Noise, part: Part) -> dict[str, Any]:
    name = noise_of(i, seed, noise)
    if name is None:
        return _told(clean(i, seed, noise.imbalance, part), i, [])
    rng = draw.row_rng("noise", seed, i)
    if name == "leaked_test":
        k = rng.randrange(LEAKED_ITEMS)
        (leaked,) = held_out.generate(k, k + 1, seed, part)
        return {**leaked, "truth_noise": [name], "truth_group": -1 - k}
    group = _original(i, seed, noise) if name in COPIES else i
    before = clean(group, seed, noise.imbalance, part)
    return _told(SPOIL[name](before, rng), group, [name])


def _told(conversation: Conversation, group: int, names: list[str]) -> dict[str, Any]:
    row = tasks.row(conversation.task, conversation.contents, group)
    return {**row, "truth_answer": conversation.right_answer, "truth_noise": names}


def _original(i: int, seed: int, noise: Noise) -> int:
    """The number of a row before row i that suffers no noise."""
    for attempt in range(TRIES):
        j = digest64("original", VERSION, seed, i, attempt) % i
        if noise_of(j, seed, noise) is None:
            return j
    return 0


def clean(i: int, seed: int, imbalance: float, part: Part = WHOLE) -> Conversation:
    """Row i as it is without noise; without imbalance it is row i of `tasks.generate`."""
    rng = draw.row_rng("tasks", seed, i)
    lang = rng.choice(draw.LANGUAGES)
    kind: Kind | None = None
    if imbalance:
        ranked = _ranked(part, lang)
        (kind,) = rng.choices(ranked, _zipf(len(ranked), imbalance))
    task = draw.draw(rng, lang, kind, part=part)
    contents = [task.instruction, task.answer]
    if rng.random() < TWO_TURNS_SHARE:
        contents += follow_up(task, rng, partial(draw.draw, part=part))
    return Conversation(task, tuple(contents), contents[-1], part)


@cache
def _ranked(part: Part, lang: str) -> tuple[Kind, ...]:
    """The language's kinds, the most frequent first; kinds of one name stand alike in both languages."""
    return tuple(sorted(part.kinds(lang), key=lambda kind: digest64("rank", kind.name)))


@cache
def _zipf(n: int, exponent: float) -> tuple[float, ...]:
    return tuple(rank**-exponent for rank in range(1, n + 1))
