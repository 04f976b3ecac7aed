"""Sources of `kind: files`: instruction data in one of the layouts of `raysft.acquire.formats`."""

from __future__ import annotations

from itertools import chain, islice
from typing import Literal

from pydantic import Field

from raysft.acquire import formats
from raysft.acquire.files import Files, records_of, units_of
from raysft.acquire.readers import Record
from raysft.acquire.unit import Acquired, Unit, collect

DETECTION_ROWS = 100
UNKNOWN_FORMAT = "unknown"


class FileSource(Files):
    """Files in one of the known formats."""

    kind: Literal["files"] = "files"
    format: formats.Format | None = Field(None, description="layout of the rows; detected if unset")


def expand(source: FileSource) -> list[Unit]:
    """One unit a file; raises as `units_of` does."""
    return units_of(source)


def read(source: FileSource, unit: Unit) -> Acquired:
    """The samples of one file, and its bad rows.

    Raises:
        ValueError: the format is neither given nor to be told from the first rows.
        OSError: the file cannot be opened or fetched.
    """
    rows = records_of(unit)
    head = []
    format: formats.Format | None = source.format
    if format is None:
        head = list(islice(rows, DETECTION_ROWS))
        try:
            format = formats.detect(row.value for row in head if isinstance(row, Record))
        except ValueError as error:
            raise ValueError(f"{unit.uri}: {error}; name it with `format:`") from error

    def convert(record: Record) -> list[formats.Example]:
        if format is None:
            raise formats.Unreadable(f"wrong_type: the row is no object: {record.value!r:.80}")
        return formats.convert(record.value, format)

    table, bad = collect(chain(head, rows), unit, source.labels, convert)
    return Acquired(table, bad, format or UNKNOWN_FORMAT)
