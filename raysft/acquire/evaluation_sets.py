"""Evaluation sets: files whose items must not stand in training data, read as items of question and answer.

    sets:
      gsm8k: data/gsm8k_test.jsonl.gz                          # a layout that is known: question, answer
      mmlu: {path: data/mmlu.jsonl, question: [question, choices.*], only: {split: test}}
      prompts: data/prompts.txt                                # an item a line

Read are the files and layouts of `kind: files` (raysft/acquire/formats.py), or columns that the set names,
rows that are a text, and .txt files, where each line that is not blank is an item. Of a conversation all user
turns are the question and the last assistant turn is the answer; a plain text is a question without one.

An item's number is its row, counted from 0 over the set's files in the order of their paths. A row that
cannot be read is a `BadRow`: the item in it is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from raysft.acquire import formats
from raysft.acquire.files import Files, records_of, units_of
from raysft.acquire.formats import Format, Unreadable
from raysft.acquire.instructions import DETECTION_ROWS
from raysft.acquire.readers import KINDS, BadRow, Record, bad_row, kind_of
from raysft.acquire.streams import Damaged, lines
from raysft.acquire.task_rows import text_at
from raysft.acquire.unit import Unit
from raysft.sample import answer_of, digest
from raysft.stage import StrictModel
from raysft.stores.opening import is_local, open_store

LINES = "txt"
DECIDING = ("format", "question", "answer", "only")
"""The fields that decide what the items of a file are."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Columns = Annotated[tuple[str, ...], BeforeValidator(_listed)]


@dataclass(frozen=True)
class Item:
    """One item; `answer` is "" where the set gives none. A row with several instances gives several items
    of one number."""

    number: int
    question: str
    answer: str


class EvaluationSet(StrictModel):
    """Where an evaluation set is, and how its items are read."""

    path: str = Field(
        min_length=1,
        description="a file, a folder or a glob that all workers can read; kept as an absolute path",
    )
    format: Format | None = Field(None, description="layout of the rows; detected if unset")
    question: Columns = Field(
        (), description="columns, or paths such as choices.*, that are the question; the layout's if empty"
    )
    answer: Columns = Field((), description="columns or paths that are the answer, beside `question`")
    only: dict[str, str] = Field({}, description="column → text that it must hold, such as {split: test}")

    @model_validator(mode="after")
    def _is_read_in_one_way(self) -> EvaluationSet:
        if self.question and self.format:
            raise ValueError("question and format both say how rows are read; give one of them")
        if self.answer and not self.question:
            raise ValueError("answer names columns, so question must name some too")
        return self

    @property
    def content(self) -> str:
        """Digest of all that decides the items."""
        return digest(*(u.content for u in _units(self)), self.model_dump_json(include=set(DECIDING)))


def items_of(given: EvaluationSet) -> Iterator[Item | BadRow]:
    """The items of a set, in order, and the rows that cannot be read.

    Raises:
        ValueError: a file's layout is neither given nor to be told from its first rows; names the file.
        OSError: a file cannot be opened or fetched.
    """
    first = 0
    for unit in _units(given):
        number = first
        format, rows = _layout(given, unit)
        for row in rows:
            number = first + (row.row or 0)
            if isinstance(row, BadRow):
                yield row
                continue
            try:
                if all(text_at(row.value, name, optional=True) == text for name, text in given.only.items()):
                    yield from (Item(number, *parts) for parts in _parts(given, format, row.value))
            except Unreadable as error:
                yield bad_row(unit.uri, row.row, row.line, str(error), row.raw or "")
        first = number + 1


def _units(given: EvaluationSet) -> list[Unit]:
    return units_of(Files(path=given.path), (*KINDS, LINES))


def _layout(given: EvaluationSet, unit: Unit) -> tuple[Format | None, Iterator[Record | BadRow]]:
    """The layout of a file's rows, None where a row is a text or columns are named, and the rows."""
    if kind_of(unit.uri, (LINES,)):
        return None, _lines(unit)
    rows = records_of(unit)
    if given.question or given.format:
        return given.format, rows
    head = list(islice(rows, DETECTION_ROWS))
    try:
        format = formats.detect(row.value for row in head if isinstance(row, Record))
    except ValueError as error:
        raise ValueError(f"{unit.uri}: {error}; name the columns with `question:` and `answer:`") from error
    return format, chain(head, rows)


def _lines(unit: Unit) -> Iterator[Record | BadRow]:
    """The lines of a text file that are not blank."""
    row, number = 0, 0
    try:
        for number, line in enumerate(lines(unit.uri), 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                yield bad_row(unit.uri, row, number, f"bad_utf8: {error.reason} at byte {error.start}", line)
                row += 1
                continue
            if text:
                yield Record(row, number, text, None)
                row += 1
    except Damaged as damage:
        yield bad_row(unit.uri, row, number + 1, damage.reason, damage.tail)


def _parts(given: EvaluationSet, format: Format | None, value: Any) -> list[tuple[str, str]]:
    """(question, answer) of each instance of a row.

    Raises:
        Unreadable: there is no question in it.
    """
    if given.question:
        question, answer = (
            "\n".join(filter(None, (text_at(value, name, is_optional) for name in columns)))
            for columns, is_optional in ((given.question, False), (given.answer, True))
        )
        found = [(question, answer)]
    elif isinstance(value, str) or format is None:
        found = [(text_at({"text": value}, "text", optional=False), "")]
    else:
        found = [_parts_of(example.messages) for example in formats.examples_of(value, format)]
    if not all(question.strip() for question, _ in found):
        raise Unreadable("blank_content: there is no text in it")
    if not all(formats.is_utf8(text) for parts in found for text in parts):
        raise Unreadable("lone_surrogate: a text holds half of a surrogate pair")
    return found


def _parts_of(messages: formats.Turns) -> tuple[str, str]:
    asked = "\n".join(m["content"] for m in messages if m["role"] == "user")
    return (asked, answer_of(messages)) if asked else (answer_of(messages), "")


def _looked_at(given: EvaluationSet) -> EvaluationSet:
    """The set with an absolute path, once its files have been found and an item in them."""
    try:
        fs, path = open_store(given.path)
        found = given.model_copy(update={"path": path}) if is_local(fs) else given
        problem = ""
        for item in items_of(found):
            if isinstance(item, Item):
                return found
            problem = problem or f"; row {item.row}: {item.reason}"
    except OSError as error:
        raise ValueError(str(error)) from error
    if given.only and not problem:
        problem = f"; no row has {', '.join(f'{name}: {text}' for name, text in given.only.items())}"
    raise ValueError(f"{given.path}: has no item{problem}")


def _from_path(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


ReadableSet = Annotated[EvaluationSet, BeforeValidator(_from_path), AfterValidator(_looked_at)]
"""A config's field: the path of an evaluation set, or a mapping; refused where no item can be read."""
