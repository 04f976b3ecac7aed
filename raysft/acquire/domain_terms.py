"""What a domain consists of: its terms, scenarios and processes, as a file says it.

    terms:                                   # a list; other spellings behind a bar
      - fire door | fire-resisting door
      - 灭火器 | 消防器
    scenarios:                               # name: words that show it; none means the name itself
      evacuation of a school: [school, evacuate, assembly point]
    processes:                               # name: its steps in order, each with other spellings
      monthly check: [visual check | look over, pressure gauge, record]

A YAML or JSON file (.yaml, .yml, .json) is as above. Any other file, such as .txt or .csv, is a list of
terms, one a line with its other spellings behind bars; of a .csv or .tsv the first column counts. Blank lines
and lines that begin with # are passed over.

A config that has such a field takes a path, a list of terms or a mapping as above, and keeps what the file
says, not where it is: so the content is part of the stage's fingerprint and travels with it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from raysft.stage import StrictModel
from raysft.stores.opening import read_bytes

ALIAS_MARK = "|"
STRUCTURED = (".yaml", ".yml", ".json")
MAX_BYTES = 16 << 20


class DomainTerms(StrictModel):
    """Terms, scenarios and processes of a domain; spellings of one thing are separated by a bar."""

    terms: tuple[str, ...] = Field((), description="terms, each once")
    scenarios: dict[str, tuple[str, ...]] = Field({}, description="words that show each")
    processes: dict[str, tuple[str, ...]] = Field({}, description="steps of each, in order")

    @model_validator(mode="after")
    def _says_something(self) -> DomainTerms:
        steps = [(f"processes.{name}", step) for name, own in self.processes.items() for step in own]
        words = [(f"scenarios.{name}", word) for name, own in self.scenarios.items() for word in own]
        for where, text in [*(("terms", term) for term in self.terms), *words, *steps]:
            if not spellings(text):
                raise ValueError(f"{where}: {text!r} is blank; give it a text or take it out")
        without = [name for name, own in self.processes.items() if not own]
        if without:
            raise ValueError(f"processes.{without[0]}: has no steps; list them in order")
        if not (self.terms or self.scenarios or self.processes):
            raise ValueError("there are no terms, no scenarios and no processes in it")
        return self

    @property
    def term_spellings(self) -> dict[str, list[str]]:
        """Terms by their first spelling; terms with the same one are one."""
        merged: dict[str, list[str]] = {}
        for term in self.terms:
            own = spellings(term)
            merged.setdefault(own[0], []).extend(own)
        return merged

    @property
    def scenario_spellings(self) -> dict[str, list[str]]:
        """Scenarios by name, with all spellings of all their words."""
        return {
            name: [s for word in words or (name,) for s in spellings(word)]
            for name, words in sorted(self.scenarios.items())
        }


def spellings(text: str) -> list[str]:
    """The spellings of a term: what stands between its bars."""
    return [part.strip() for part in text.split(ALIAS_MARK) if part.strip()]


def read_terms(path: str) -> DomainTerms:
    """What a file says of a domain.

    Raises:
        ValueError: the file cannot be read or does not say it in a form above; names the file.
    """
    try:
        data = read_bytes(path, MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path}: has more than {MAX_BYTES >> 20} MiB; is it the right file?")
    try:
        return DomainTerms.model_validate(_tree(path, data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from error
    except (yaml.YAMLError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        told = "; ".join(_said(e) for e in error.errors())
        raise ValueError(f"{path}: {told}") from error


def _said(error: Mapping[str, Any]) -> str:
    where = ".".join(map(str, error["loc"]))
    message = str(error["msg"]).removeprefix("Value error, ").replace("a valid tuple", "a list")
    return f"{where}: {message}" if where else message


def _tree(path: str, text: str) -> Any:
    if path.lower().endswith(STRUCTURED):
        tree = yaml.load(text, yaml.BaseLoader)  # every scalar is a text: 119 and on are terms too
        return {"terms": tree} if isinstance(tree, list) else tree
    return {"terms": _lines(path, text)}


def _lines(path: str, text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if path.lower().endswith((".csv", ".tsv")):
        delimiter = "\t" if path.lower().endswith(".tsv") else ","
        rows = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, strict=True)
        return [row[0].strip() for row in rows if row and row[0].strip()]
    return [line.strip() for line in lines]


def _loaded(value: Any) -> Any:
    if isinstance(value, str):
        return read_terms(value)
    return {"terms": value} if isinstance(value, Sequence) else value


Terms = Annotated[DomainTerms, BeforeValidator(_loaded)]
"""A config's field: a path, a list of terms, or a mapping with terms, scenarios and processes."""
