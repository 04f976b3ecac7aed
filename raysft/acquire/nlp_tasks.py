"""Sources of `kind: nlp_tasks`: a data set with input and output columns as instructions.

A template (raysft/acquire/task_templates.py) says which fields there are and in which forms a row is asked.
Every row gives a sample of each plain form and, drawn by digest, of each inverted form (answer → question,
label → a text of that label, translation back …), as FLAN turns tasks around (Wei et al. 2022, "Finetuned
language models are zero-shot learners", section 2.1). The description is one of the form's phrasings.
Columns out: those of a sample, with the reference answer in `gold` and, where one is to choose, `options`.

Bad rows: those of raysft/acquire/task_rows.py; cannot_render where a text of the template cannot do with the
row's values; no_form where no form takes the row.

A unit's content hashes the file, the template and what the recipe says of it, so that two sources may read
one file with other templates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import PurePath
from typing import Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from raysft.acquire.demonstrations import Demonstrations
from raysft.acquire.files import Files, records_of, units_of
from raysft.acquire.formats import Example, Unreadable
from raysft.acquire.readers import BadRow, Record, records
from raysft.acquire.task_rows import GoldAs, Row, columns_missing, labels_of, read_row
from raysft.acquire.task_samples import Asking, pool_of, samples_of
from raysft.acquire.task_templates import LANGUAGES, Form, LabelWords, Said, Template, Words, parsed, text_of
from raysft.acquire.unit import Acquired, Unit, collect
from raysft.sample import digest

FIRST_ROWS = 100
DECIDING = (
    "columns",
    "values",
    "label_names",
    "gold_as",
    "forms",
    "inverted",
    "demonstrations",
    "without_description",
    "prompt_lang",
    "lang",
)
"""The fields that decide what the samples of a file are."""


class NlpTasksSource(Files):
    """Files of a data set with input and output columns, asked by a template."""

    kind: Literal["nlp_tasks"]
    template: str = Field(min_length=1, description="name of a ready template, or a .yaml file")
    columns: dict[str, str | list[str]] = Field(
        {}, description="field of the template → column or path in the row; of the same name if left out"
    )
    values: dict[str, Said] = Field({}, description="constants of the template, such as names of languages")
    label_names: LabelWords = Field(
        {}, description="label → what it is called, all that there are, in order; the file's own if empty"
    )
    gold_as: GoldAs | None = Field(
        None, description="what tells the right option; letters and options' texts are told apart if unset"
    )
    forms: list[str] | None = Field(None, description="forms of the template to ask in; all if unset")
    inverted: float = Field(0.2, ge=0, le=1, description="share of rows that give each inverted form too")
    demonstrations: Demonstrations = Field(
        Demonstrations(), description="few-shot examples of the same task before some samples"
    )
    without_description: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of samples that are the input alone; models tuned without descriptions follow "
        "unseen instructions far worse (Wei et al. 2022, section 4.3)",
    )
    prompt_lang: Literal["en", "zh", "both"] | None = Field(
        None, description="language of the descriptions; that of the row's texts if unset"
    )
    _template: Template = PrivateAttr()
    _template_text: str = PrivateAttr()

    @model_validator(mode="after")
    def _fits_its_template(self) -> Self:
        self._template_text = text_of(self.template)
        self._template = parsed(self.template, self._template_text)
        problems = list(_mistakes_in(self, self._template))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def chosen(self) -> list[Form]:
        """The forms to ask in, in the template's order."""
        return [f for f in self._template.forms if self.forms is None or f.name in self.forms]

    @property
    def deciding(self) -> str:
        """Digest of all that decides the samples beside the file."""
        return digest("nlp_tasks", self._template_text, self.model_dump_json(include=set(DECIDING)))


def _mistakes_in(source: NlpTasksSource, template: Template) -> Iterator[str]:
    """What a source says that its template cannot do with."""
    options = template.choices.options if template.choices else None
    forms = [form.name for form in template.forms]
    named: tuple[tuple[str, Iterable[str], Iterable[str]], ...] = (
        ("columns", source.columns, template.fields),
        ("values", source.values, template.values),
        ("forms", source.forms or (), forms),
    )
    for key, given, known in named:
        for name in given:
            if name not in known:
                told = ", ".join(known) or "none"
                yield f"{key}: {source.template} has no {name!r}; it has: {told}"
    for name, column in source.columns.items():
        if isinstance(column, list) and name != options:
            yield f"columns.{name}: a list of columns is for options only; name one column"
    for name, about in template.values.items():
        if about.default is None and name not in source.values:
            short = f", or one of {', '.join(about.known)}" if about.known else ""
            yield f"values.{name} is missing ({about.about}{short})"
    if source.forms is not None and not source.forms:
        yield f"forms: none is named; name some of {', '.join(forms)}, or leave it out"
    if source.chosen and all(form.inverted for form in source.chosen) and source.inverted < 1:
        yield f"inverted is {source.inverted:g}, so rows would be lost with inverted forms alone; set it to 1"
    if source.label_names and not template.label:
        yield f"label_names: {source.template} has no label"
    if source.gold_as and not template.choices:
        yield f"gold_as: {source.template} has no options"
    wanted = LANGUAGES if source.prompt_lang == "both" else [source.prompt_lang]
    for form in source.chosen if source.prompt_lang else ():
        spoken = form.phrasings.languages
        if spoken and not set(wanted) <= {*spoken}:
            yield f"prompt_lang: the form {form.name} has descriptions in {' and '.join(spoken)} only"


def expand(source: NlpTasksSource) -> list[Unit]:
    """One unit a file; raises as `units_of` does."""
    return [
        Unit(u.uri, digest(u.content, source.deciding), u.bytes, u.start, u.stop) for u in units_of(source)
    ]


def check(source: NlpTasksSource) -> None:
    """Look at the first rows of the first file.

    Raises:
        ValueError: a column is not there, or none of the rows can be used.
    """
    unit = expand(source)[0]
    first = list(islice(_records(records_of(unit)), FIRST_ROWS))
    _check_columns(source, unit, first)
    asking = _asking(source, unit, lambda: first)
    problem = ""
    for record in first:
        try:
            samples_of(asking, _row(source, record), record.row)
        except Unreadable as error:
            problem = problem or f"row {record.row}: {error}"
        else:
            return
    if problem:
        raise ValueError(f"{unit.uri}: none of the first {len(first)} rows can be used; {problem}")


def read(source: NlpTasksSource, unit: Unit) -> Acquired:
    """The samples of one file, and its bad rows.

    Raises:
        ValueError: a column is not there, or there are too many labels; names the file.
        OSError: the file cannot be opened or fetched.
    """
    _check_columns(source, unit, islice(_records(records_of(unit)), FIRST_ROWS))
    # Labels and demonstrations are those of the whole file, so that a preview asks as the run does.
    asking = _asking(source, unit, lambda: _records(records(unit.uri)))
    told: Counter[str] = Counter()

    def convert(record: Record) -> list[Example]:
        made = samples_of(asking, _row(source, record), record.row)
        told.update(m.form for m in made)
        told.update("with demonstrations" for m in made if m.demonstrations)
        told.update("without description" for m in made if not m.is_described)
        return [m.example for m in made]

    table, bad = collect(records_of(unit), unit, source.labels, convert)
    return Acquired(table, bad, PurePath(source.template).stem, told)


def _check_columns(source: NlpTasksSource, unit: Unit, first: Iterable[Record]) -> None:
    wrong = columns_missing([record.value for record in first], source._template, source.columns)
    if wrong:
        raise ValueError(f"{unit.uri}: {'; '.join(wrong)}")


def _asking(source: NlpTasksSource, unit: Unit, rows: Callable[[], Iterable[Record]]) -> Asking:
    """How the rows of a unit are asked; labels and demonstrations are taken from `rows`."""
    template = source._template
    labels = dict(source.label_names)
    if template.label and not labels:
        labels = labels_of((record.value for record in rows()), template, source.columns)
    wanted = LANGUAGES if source.prompt_lang == "both" else [source.prompt_lang]
    asking = Asking(
        template,
        unit.content,
        source.chosen,
        {name: _words(source, name) for name in template.values},
        labels,
        source.inverted,
        source.without_description,
        source.demonstrations,
        [lang for lang in wanted if lang],
        "zh" if source.lang == "zh" else "en",
    )
    if not source.demonstrations.share:
        return asking
    return replace(asking, pool=pool_of(asking, _readable(source, rows())))


def _words(source: NlpTasksSource, name: str) -> Words:
    """What a constant says: the source's words, or those that its short name stands for, or the default."""
    about = source._template.values[name]
    given = source.values.get(name) or about.default or Words()
    short = given.en if given.en == given.zh else None
    return about.known.get(short, given) if short is not None else given


def _row(source: NlpTasksSource, record: Record) -> Row:
    return read_row(record.value, source._template, source.columns, source.gold_as)


def _readable(source: NlpTasksSource, rows: Iterable[Record]) -> Iterator[Row]:
    for record in rows:
        try:
            yield _row(source, record)
        except Unreadable:
            continue


def _records(rows: Iterable[Record | BadRow]) -> Iterator[Record]:
    return (row for row in rows if isinstance(row, Record))
