"""Sources of `kind: domain`: standards, process documents and other texts of a domain, in chunks.

Each chunk (raysft/acquire/chunks.py) is a row: one assistant turn that nobody has asked for yet, of task
"chunk", for `augment.grounded` to ask questions about. `source.row` is its number in the file, from 0.
Chunks of other bounds are other rows, so the bounds are part of a unit's content.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raysft.acquire.chunks import chunks
from raysft.acquire.documents import KINDS, Document, read_document
from raysft.acquire.files import Files, units_of
from raysft.acquire.formats import Example, Unreadable
from raysft.acquire.readers import BadRow, Record, bad_row, kind_of
from raysft.acquire.unit import Acquired, Unit, collect

TASK = "chunk"


class DomainSource(Files):
    """Documents of one domain."""

    kind: Literal["domain"]
    domain: str = Field(min_length=1, description="name of the domain that the documents are about")
    chunk_words: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=20)]] = Field(
        (80, 400),
        description="least and most words of a chunk; two Chinese characters count as a word. Our choice: a "
        "clause with its neighbours, and with questions and answers well below 2,048 tokens",
    )
    limit: int | None = Field(None, ge=1, description="only the first n chunks of each file")

    @model_validator(mode="after")
    def _can_be(self) -> DomainSource:
        least, most = self.chunk_words
        if 2 * least > most:
            raise ValueError(
                f"chunk_words is [{least}, {most}]; the most must be at least twice the least, so that two "
                "small neighbours fit together"
            )
        if self.task is not None:
            raise ValueError(
                f"task is {self.task!r}; rows of kind: domain are of task {TASK!r}, leave it out"
            )
        return self


def expand(source: DomainSource) -> list[Unit]:
    """One unit a file; raises as `units_of` does."""
    least, most = source.chunk_words
    units = units_of(source, KINDS)
    return [replace(unit, content=f"{unit.content}:chunks-{least}-{most}") for unit in units]


def read(source: DomainSource, unit: Unit) -> Acquired:
    """The chunks of one file, or the reason why it has none as a bad row.

    Raises:
        OSError: the file cannot be opened or fetched.
    """
    document: Document | BadRow
    try:
        document = read_document(unit.uri)
    except Unreadable as error:
        document = bad_row(unit.uri, None, None, str(error), "")
    table, bad = collect(_records(document, source, unit), unit, source.labels, _example)
    told = {} if isinstance(document, BadRow) else document.told
    return Acquired(table, bad, kind_of(unit.uri, KINDS) or "", told)


def _records(document: Document | BadRow, source: DomainSource, unit: Unit) -> Iterator[Record | BadRow]:
    if isinstance(document, BadRow):
        yield document
        return
    is_markdown = kind_of(unit.uri, KINDS) == "md"
    cut = chunks(document.text, *source.chunk_words, is_markdown)
    for row, chunk in enumerate(cut[: unit.stop]):
        yield Record(row, None, chunk.text, None)


def _example(record: Record) -> list[Example]:
    return [Example([{"role": "assistant", "content": record.value}], TASK)]
