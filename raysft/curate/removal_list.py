"""A list of rows to remove, as a file says it: their licence was withdrawn, a person asked for it.

    - source: "*/forum-2023.jsonl.gz"          # a pattern of source URIs: *, ? and [abc]; * takes in / too
      reason: the forum withdrew its licence
    - source: "s3://data/letters.jsonl"
      row: 1204                                # the row's offset in that source, from 0
      reason: request 17
    - licence: CC-BY-NC-*                      # a pattern of licences, in any case
      reason: 不可商用
    - id: 5f0c…                                # 32 hex digits, as the curated set has them
      reason: request 18
    - content_hash: 9a41…                      # 32 hex digits: the same messages, wherever they were read
      reason: request 19

A YAML or JSON file (.yaml, .yml, .json) is such a list; in a .jsonl file each line is an entry. A config
that has such a field takes a path or the list itself, and keeps what the file says, not where it is: so the
list is part of the stage's fingerprint and travels with it.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, field_validator, model_validator

from raysft.stage import StrictModel
from raysft.stores.opening import read_bytes

STRUCTURED = (".yaml", ".yml", ".json")
LINES = ".jsonl"
MAX_BYTES = 64 << 20
SHOWN_ERRORS = 5
NAMING = ("id", "content_hash", "source", "licence")
HASH = re.compile(r"[0-9a-f]{32}")


class Removal(StrictModel):
    """One entry: what names rows, and why they go."""

    id: str | None = Field(None, description="id of a row, 32 hex digits")
    content_hash: str | None = Field(
        None, description="hash of a row's messages (its column content_hash), 32 hex digits"
    )
    source: str | None = Field(None, min_length=1, description="pattern of source URIs (*, ? and [abc])")
    row: int | None = Field(None, ge=0, description="with `source`: a row's offset in it, from 0")
    licence: str | None = Field(None, min_length=1, description="pattern of licences, in any case")
    reason: str = Field(
        min_length=1, max_length=500, description="why; stands in each dropped row's detail and in the report"
    )

    @field_validator("id", "content_hash")
    @classmethod
    def _is_hash(cls, value: str | None) -> str | None:
        if value is not None and not HASH.fullmatch(value):
            raise ValueError(f"got {value[:40]!r}; allowed: 32 hex digits in small letters")
        return value

    @model_validator(mode="after")
    def _names_rows_in_one_way(self) -> Removal:
        given = [name for name in NAMING if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"got {given or 'none of them'}; give exactly one of {', '.join(NAMING)}")
        if self.row is not None and self.source is None:
            raise ValueError("`row` is a row's offset in a source; give `source` too")
        return self

    @property
    def named(self) -> str:
        """What it names, in a line."""
        (name,) = (n for n in NAMING if getattr(self, n) is not None)
        at = "" if self.row is None else f", row {self.row}"
        return f"{name} {getattr(self, name)}{at}"


def read_removals(path: str) -> tuple[Removal, ...]:
    """What a file lists.

    Raises:
        ValueError: the file cannot be read or is no such list; names the file and the entries.
    """
    try:
        data = read_bytes(path, MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise ValueError(
            f"{path}: has more than {MAX_BYTES >> 20} MiB; name sources or licences, not each row"
        )
    try:
        return ENTRIES.validate_python(_entries(path, data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from error
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        told = [_said(e["loc"], e["msg"]) for e in error.errors()]
        more = f"; and {len(told) - SHOWN_ERRORS} more" if len(told) > SHOWN_ERRORS else ""
        raise ValueError(f"{path}: {'; '.join(told[:SHOWN_ERRORS])}{more}") from error


def _entries(path: str, text: str) -> Any:
    name = path.lower()
    if name.endswith(LINES):
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    if not name.endswith(STRUCTURED):
        raise ValueError(f"{path}: allowed are {', '.join((*STRUCTURED, LINES))}")
    if name.endswith(".json"):
        return json.loads(text)
    tree = yaml.load(text, yaml.CBaseLoader)  # every scalar is a text: an id may be all digits
    return [] if tree in (None, "") else tree


def _said(place: tuple[int | str, ...], message: str) -> str:
    where = ".".join(map(str, place))
    message = message.removeprefix("Value error, ").replace("a valid tuple", "a list")
    return f"entry {where}: {message}" if where else message


ENTRIES = TypeAdapter(tuple[Removal, ...])


def _loaded(value: Any) -> Any:
    return read_removals(value) if isinstance(value, str) else value


Removals = Annotated[tuple[Removal, ...], BeforeValidator(_loaded)]
"""A config's field: a path, or a list of entries."""
