"""A row and a template → samples: the forms a row is asked in, its phrasings, and demonstrations before it.

Everything that is drawn is a hash of `Asking.content`, the row's number and the form's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jinja2

from raysft.acquire.demonstrations import Demonstrations, framed
from raysft.acquire.formats import Example, Unreadable
from raysft.acquire.language import guess_language
from raysft.acquire.task_rows import Row, names_of
from raysft.acquire.task_templates import (
    ENVIRONMENT,
    LANGUAGES,
    Form,
    Language,
    Phrasing,
    Template,
    Words,
    is_placed,
    placed,
    render,
)
from raysft.sample import digest64, uniform

# What a text of a template may raise for one row's values.
RENDERING = (jinja2.TemplateError, TypeError, ValueError, ArithmeticError)
# Rows of one task and label that demonstrations are drawn from, and the most rows of a file that are.
POOL_ROWS_OF_A_KIND = 250
MAX_POOL_ROWS = 100_000
# Draws for each demonstration that is wanted, before a sample makes do with fewer.
TRIES = 20

Pool = Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class Asking:
    """How the rows of one file are asked: the template, what the recipe says, and what the file has."""

    template: Template
    content: str
    forms: Sequence[Form]
    values: Mapping[str, Words]
    labels: Mapping[str, Words]
    inverted: float
    without_description: float
    demonstrations: Demonstrations
    languages: Sequence[Language]
    otherwise: Language
    pool: Pool = field(default_factory=dict)

    def chance(self, row: int, form: Form, what: str) -> float:
        return uniform(self.content, row, form.name, what)

    def choice(self, row: int, form: Form, what: str, n: int) -> int:
        return digest64(self.content, row, form.name, what) % n


@dataclass(frozen=True)
class Made:
    """A sample, and how it was asked."""

    example: Example
    form: str
    is_described: bool
    demonstrations: int


@dataclass(frozen=True)
class _Asked:
    """One row in one form and phrasing."""

    input: str
    user: str
    answer: str
    gold: str


def samples_of(asking: Asking, row: Row, at: int) -> list[Made]:
    """The samples of row number `at`.

    Raises:
        Unreadable: bad_gold, blank_content, cannot_render, or no_form.
    """
    made = []
    for form in asking.forms:
        if form.inverted and asking.chance(at, form, "inverted") >= asking.inverted:
            continue
        lang = _language(asking, row, at, form)
        names = _names(asking, row, lang)
        if _takes(form, names):
            made.append(_sample(asking, row, at, form, lang, names))
    if not made:
        told = ", ".join(form.name for form in asking.forms)
        raise Unreadable(f"no_form: none of the forms takes this row: {told}")
    return made


def pool_of(asking: Asking, rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows to draw demonstrations from, by task: the first 250 of each task and label."""
    pool: dict[str, list[Row]] = {}
    seen: dict[tuple[str, str | None], int] = {}
    has_kinds = bool(asking.template.label or placed(asking.template.task))
    for row in rows:
        try:
            task = _task(asking, _names(asking, row, LANGUAGES[0]))
        except Unreadable:
            continue
        kind = (task, row.label)
        if seen.get(kind, 0) < POOL_ROWS_OF_A_KIND:
            pool.setdefault(task, []).append(row)
            seen[kind] = seen.get(kind, 0) + 1
        elif not has_kinds:
            break
        if sum(seen.values()) >= MAX_POOL_ROWS:
            break
    return pool


def _sample(asking: Asking, row: Row, at: int, form: Form, lang: Language, names: Mapping[str, Any]) -> Made:
    phrasing = None
    phrasings: Sequence[Phrasing] = getattr(form.phrasings, lang)
    if phrasings and asking.chance(at, form, "described") >= asking.without_description:
        phrasing = phrasings[asking.choice(at, form, "phrasing", len(phrasings))]
    own = _asked(asking, form, phrasing, lang, names)
    task = _task(asking, names)
    user = own.user
    solved: list[tuple[str, str]] = []
    if asking.chance(at, form, "demonstrated") < asking.demonstrations.share:

        def solve(other: Row) -> _Asked | None:
            others = _names(asking, other, lang)
            return _asked(asking, form, phrasing, lang, others) if _takes(form, others) else None

        solved = _demonstrations(asking, asking.pool.get(task, ()), at, form, own, solve)
        if solved:
            user = framed(solved, own.user, lang, asking.choice(at, form, "frame", 1 << 32))
    options = None
    if not form.inverted and (asking.template.choices or asking.template.label):
        options = list(row.options) if asking.template.choices else names["labels"]
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": own.answer}]
    label = f"{task}.{form.name}" if form.inverted else task
    example = Example(turns, label, options=options, gold=own.gold)
    return Made(example, form.name, phrasing is not None or not phrasings, len(solved))


def _demonstrations(
    asking: Asking,
    pool: Sequence[Row],
    at: int,
    form: Form,
    own: _Asked,
    solve: Callable[[Row], _Asked | None],
) -> list[tuple[str, str]]:
    """Rows of other inputs, solved; none has the sample's answer as input or its input as answer."""
    solved: list[tuple[str, str]] = []
    seen = {own.input}
    count = asking.demonstrations.count
    for i in range(count * TRIES if pool else 0):
        try:
            shown = solve(pool[asking.choice(at, form, f"demonstration {i}", len(pool))])
        except Unreadable:
            continue
        if shown and shown.input not in {*seen, own.answer} and shown.answer != own.input:
            solved.append((shown.user, shown.answer))
            seen.add(shown.input)
            if len(solved) == count:
                break
    return solved


def _asked(
    asking: Asking, form: Form, phrasing: Phrasing | None, lang: Language, names: Mapping[str, Any]
) -> _Asked:
    """A row's values in the form's texts.

    Raises:
        Unreadable: cannot_render, or blank_content where nothing is asked or answered.
    """
    shown = user = _rendered(form.input.says(lang), names, form)
    answered = form.answer.says(lang)
    if phrasing is not None:
        user = _rendered(phrasing.text, {**names, "input": shown}, form)
        if shown.strip() and not is_placed(asking.template, form, phrasing, lang):
            user = f"{user}\n\n{shown}"
        answered = phrasing.answer or answered
    answer = _rendered(answered, names, form)
    gold = answer if form.gold is None else _rendered(form.gold, names, form).strip()
    for what, text in (("what is asked", user), ("the answer", answer)):
        if not text.strip():
            raise Unreadable(f"blank_content: {what} has no text in the form {form.name}")
    if not gold:
        raise Unreadable(f"bad_gold: the reference answer has no text in the form {form.name}")
    return _Asked(shown, user, answer, gold)


def _rendered(text: str, names: Mapping[str, Any], form: Form) -> str:
    try:
        return render(text, names)
    except RENDERING as error:
        raise Unreadable(f"cannot_render: the form {form.name}: {error}") from error


def _names(asking: Asking, row: Row, lang: Language) -> dict[str, Any]:
    try:
        return names_of(row, asking.template, asking.values, asking.labels, lang)
    except Unreadable:
        raise
    except RENDERING as error:
        raise Unreadable(f"cannot_render: let: {error}") from error


def _task(asking: Asking, names: Mapping[str, Any]) -> str:
    try:
        return render(asking.template.task, names).strip()
    except RENDERING as error:
        raise Unreadable(f"cannot_render: task: {error}") from error


def _takes(form: Form, names: Mapping[str, Any]) -> bool:
    if form.when is None:
        return True
    try:
        return bool(_condition(form.when)(**names))
    except RENDERING as error:
        raise Unreadable(f"cannot_render: the form {form.name}, when: {error}") from error


@lru_cache(maxsize=256)
def _condition(text: str) -> Callable[..., Any]:
    return ENVIRONMENT.compile_expression(text, undefined_to_none=False)


def _language(asking: Asking, row: Row, at: int, form: Form) -> Language:
    """The language of a sample's description: one of those that are asked for, else one of those of the row's
    texts, and one that the form has descriptions in."""
    fields = asking.template.described_in or list(asking.template.fields)[:1]
    guessed = {guess_language(row.texts.get(name, "")) for name in fields}
    found = asking.languages or [lang for lang in LANGUAGES if lang in guessed] or [asking.otherwise]
    spoken = form.phrasings.languages or LANGUAGES
    fit = [lang for lang in found if lang in spoken] or [spoken[0]]
    return fit[asking.choice(at, form, "language", len(fit))]
