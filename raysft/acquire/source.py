"""Sources of a recipe → units of work → samples, and the truth columns of made-up rows.

A *unit* is a file, or a row range of one or of the procedural world. Ids of its rows are
`acquired_id(unit.content, row)`: they stay when a file moves. A row that gives several samples (a seed
task with several instances) gives the first one that id; the j-th further one, j from 1, gets
`digest("acquired", unit.content, row, j)` and `k` = j. All of them share `source.row`.

A label (`task`, `domain`, `lang`, `licence`) is the row's own if it has one, else the recipe's, else
what the format implies or the language guess says.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, islice
from typing import Annotated, Any, Literal, Self

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
from fsspec.implementations.local import LocalFileSystem
from pydantic import Discriminator, Field, Tag, model_validator

from raysft.acquire import formats
from raysft.acquire.language import guess_language
from raysft.acquire.readers import ALLOWED_ENDINGS, BadRow, Record, bad_row, kind_of, records
from raysft.sample import SCHEMA, TRUTH_PREFIX, acquired_id, digest, samples
from raysft.stage import StrictModel
from raysft.world import noise as noisy_tasks
from raysft.world.draw import HARDEST, WHOLE, MaxDifficulty, Part, Tasks
from raysft.world.noise import Noise, unsuited

DETECTION_ROWS = 100
ROWS_PER_TABLE = 5_000
UNKNOWN_FORMAT = "unknown"
TRUTH = pa.schema(
    [
        ("truth_kind", pa.string()),
        ("truth_difficulty", pa.int32()),
        ("truth_answer", pa.string()),
        ("truth_noise", pa.list_(pa.string())),
        ("truth_group", pa.int64()),
    ]
)
"""Columns of a world's acquired rows beyond `SCHEMA`, null where its generator does not tell them:
the kind of task, its difficulty from 1 to 3, a right answer, names of `raysft.world.noise` that the row
suffered, and the number of the row that it is a copy of, its own if of none."""


class FileSource(StrictModel):
    """Files in one of the known formats."""

    kind: Literal["files"] = "files"
    path: str = Field(
        min_length=1, description="a file, a folder or a glob; local, or any fsspec URI such as s3://"
    )
    format: formats.Format | None = Field(None, description="layout of the rows; detected if unset")
    licence: str | None = Field(None, description="licence of the rows that name none")
    task: str | None = Field(None, description="task of the rows that name none")
    domain: str | None = Field(None, description="domain of the rows that name none")
    lang: str | None = Field(None, description="ISO 639-1 code of the rows that name none; guessed if unset")
    limit: int | None = Field(None, ge=1, description="only the first n rows of each file")


class WorldSource(StrictModel):
    """Rows that `raysft.world` makes up: tasks with their answers, or what teaches a model our prompts."""

    kind: Literal["world"]
    set: Literal["tasks", "held_out", "teacher"] = Field(
        "tasks", description="the module of raysft.world that makes the rows"
    )
    rows: int = Field(ge=1, description="how many tasks")
    seed: int = Field(description="which world")
    noise: Noise | None = Field(None, description="rates of what is wrong with the tasks; set: tasks only")
    tasks: Tasks = None
    max_difficulty: MaxDifficulty = HARDEST
    rows_per_unit: int = Field(2000, ge=1, description="rows of a unit; ids depend on it")

    @property
    def part(self) -> Part:
        """The part of the world that the rows are of."""
        return Part(self.tasks, self.max_difficulty)

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        problems = []
        if self.noise is not None and self.set != "tasks":
            problems.append(
                f"noise is added to set: tasks only, not to set: {self.set}; leave out one of them"
            )
        if self.part != WHOLE and self.set == "teacher":
            problems.append(
                "tasks and max_difficulty narrow set: tasks and set: held_out, not set: teacher; "
                "leave them out or choose another set"
            )
        if self.noise is not None:
            problems += unsuited(self.noise, self.part)
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _kind_tag(value: Any) -> Any:
    """A source that does not say its kind is one of files."""
    return value.get("kind", "files") if isinstance(value, dict) else getattr(value, "kind", "files")


Source = Annotated[
    Annotated[FileSource, Tag("files")] | Annotated[WorldSource, Tag("world")],
    Discriminator(
        _kind_tag,
        custom_error_type="unknown_source_kind",
        custom_error_message="kind must be 'files' (the default) or 'world'",
    ),
]


@dataclass(frozen=True)
class Unit:
    """A piece of a source: `content` tells what is in it, `bytes` its size (0 where made up), and
    [`start`, `stop`) the rows of it, or None for all. Ids of rows come from `content`: of equal
    files, a plan reads one."""

    uri: str
    content: str
    bytes: int
    start: int | None = None
    stop: int | None = None


@dataclass(frozen=True)
class Acquired:
    """What a unit gave: samples, rows that could not be read, and the format they were read in
    ("unknown" where no row could be). `rows` counts the rows of the source: read and bad."""

    table: pa.Table
    bad: list[BadRow]
    format: str

    @property
    def rows(self) -> int:
        offsets = pc.struct_field(self.table["source"].combine_chunks(), "row")
        return int(pc.count_distinct(offsets).as_py()) + len(self.bad)


def expand(source: FileSource | WorldSource) -> list[Unit]:
    """The units of a source, sorted by path or row.

    In folders and globs, names that begin with `.` or `_` and unknown endings are passed over.

    Raises:
        FileNotFoundError: nothing matches; names the pattern.
        ValueError: a file named directly has an ending that is not read.
    """
    if isinstance(source, WorldSource):
        return _world_units(source)
    fs, path = fsspec.core.url_to_fs(source.path)
    fs.invalidate_cache()
    start, stop = (0, source.limit) if source.limit else (None, None)
    units = []
    for found in _matches(fs, path, source.path):
        uri = found if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(found)
        content, size = _content_identity(fs, found)
        units.append(Unit(uri, content, size, start, stop))
    return units


def read(source: FileSource | WorldSource, unit: Unit) -> Acquired:
    """The samples of one unit, and its bad rows.

    Raises:
        ValueError: the format is neither given nor to be told from the first rows.
        OSError: the file cannot be opened or fetched.
    """
    if isinstance(source, WorldSource):
        return _read_world(source, unit)
    rows = _in_range(records(unit.uri), unit)
    head = []
    format: formats.Format | None = source.format
    if format is None:
        head = list(islice(rows, DETECTION_ROWS))
        try:
            format = formats.detect(row.value for row in head if isinstance(row, Record))
        except ValueError as error:
            raise ValueError(f"{unit.uri}: {error}; name it with `format:`") from error
    return _converted(chain(head, rows), source, unit, format)


def _matches(fs: Any, path: str, pattern: str) -> list[str]:
    """Paths of the files that a pattern names, sorted."""
    if fs.isfile(path):
        if kind_of(path) is None:
            raise ValueError(f"{pattern}: this ending is not read; allowed: {ALLOWED_ENDINGS}")
        return [path]
    if fs.isdir(path):
        root = path.rstrip("/") + "/"
        found = [p for p in fs.find(path) if not _is_hidden(p.removeprefix(root))]
    else:
        named = pattern.rstrip("/").rpartition("/")[2][:1] in (".", "_")
        listed = fs.glob(path, detail=True) if any(c in path for c in "*?[") else {}
        files = [p for p, info in listed.items() if info["type"] == "file"]
        found = [p for p in files if named or not _is_hidden(p.rpartition("/")[2])]
    known = sorted(p for p in found if kind_of(p) is not None)
    if not known:
        passed_over = f" ({len(found)} with other endings)" if found else ""
        raise FileNotFoundError(f"no file matches {pattern!r}{passed_over}; read are: {ALLOWED_ENDINGS}")
    return known


def _is_hidden(relative: str) -> bool:
    return any(part.startswith((".", "_")) for part in relative.split("/"))


def _content_identity(fs: Any, path: str) -> tuple[str, int]:
    """What tells a file's content, and its size in bytes: the store's ETag if it has one, else SHA-256."""
    info = fs.info(path)
    etag = info.get("ETag") or info.get("etag")
    if etag and not isinstance(fs, LocalFileSystem):
        return f"{str(etag).strip(chr(34))}:{info['size']}", info["size"]
    if isinstance(fs, LocalFileSystem):
        return _local_digest(path, info["size"], info["mtime"]), info["size"]
    with fs.open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), info["size"]


@lru_cache(maxsize=65_536)
def _local_digest(path: str, size: int, mtime: float) -> str:
    """SHA-256 of a file. A plan is made more than once in a process; size and time are there so that a
    changed file is read again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_range(rows: Iterator[Record | BadRow], unit: Unit) -> Iterator[Record | BadRow]:
    """The rows of the unit; what concerns the file as a whole belongs to its first row."""
    for row in rows:
        at = row.row or 0
        if unit.stop is not None and at >= unit.stop:
            return
        if at >= (unit.start or 0):
            yield row


def _converted(
    rows: Iterator[Record | BadRow], source: FileSource, unit: Unit, format: formats.Format | None
) -> Acquired:
    tables, made, bad = [], [], []
    for row in rows:
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        try:
            if format is None:
                raise formats.Unreadable(f"wrong_type: the row is no object: {row.value!r:.80}")
            made.extend(_samples_of(row, source, unit, format))
        except formats.Unreadable as error:
            raw = json.dumps(row.value, ensure_ascii=False, default=str) if row.raw is None else row.raw
            bad.append(bad_row(unit.uri, row.row, row.line, str(error), raw))
        if len(made) >= ROWS_PER_TABLE:
            tables.append(samples(made))
            made = []
    tables.append(samples(made))
    return Acquired(pa.concat_tables(tables), bad, format or UNKNOWN_FORMAT)


def _samples_of(
    record: Record, source: FileSource, unit: Unit, format: formats.Format
) -> list[dict[str, Any]]:
    own = formats.labels(record.value)
    rows = []
    for k, example in enumerate(formats.convert(record.value, format)):
        text = "\n".join(m["content"] for m in example.messages if m["role"] != "system")
        first = acquired_id(unit.content, record.row)
        rows.append(
            {
                "id": digest("acquired", unit.content, record.row, k) if k else first,
                "messages": example.messages,
                "task": own.get("task") or source.task or example.task,
                "domain": own.get("domain") or source.domain,
                "lang": own.get("lang") or source.lang or guess_language(text),
                "source": _origin(unit, record.row, own.get("licence") or source.licence),
                "k": k or None,
            }
        )
    return rows


def _origin(unit: Unit, row: int, licence: str | None) -> dict[str, Any]:
    return {"uri": unit.uri, "row": row, "licence": licence, "content": unit.content}


def _world(source: WorldSource) -> tuple[str, Callable[[int, int], list[dict[str, Any]]]]:
    """What decides a world's rows beside its set, its seed and their numbers, and the function that makes
    rows start … stop-1."""
    is_whole = source.part == WHOLE
    told = "" if is_whole else f":{source.part.digest}"
    arguments = {"seed": source.seed} if is_whole else {"seed": source.seed, "part": source.part}
    if source.noise is not None:
        rates = digest(source.noise.model_dump_json())
        make = partial(noisy_tasks.generate, noise=source.noise, **arguments)
        return f"{noisy_tasks.version()}:{rates}{told}", make
    # Imported late: recipes without this set need not load it.
    world = importlib.import_module(f"raysft.world.{source.set}")
    return world.version() + told, partial(world.generate, **arguments)


def _world_units(source: WorldSource) -> list[Unit]:
    version, _ = _world(source)
    name = f"world:{source.set}:{source.seed}"
    units = []
    for start in range(0, source.rows, source.rows_per_unit):
        stop = min(start + source.rows_per_unit, source.rows)
        units.append(Unit(name, f"{name}:{start}:{stop}:{version}", 0, start, stop))
    return units


def _read_world(source: WorldSource, unit: Unit) -> Acquired:
    start, stop = unit.start or 0, unit.stop or source.rows
    rows, truths = [], []
    _, generate = _world(source)
    for at, made in enumerate(generate(start, stop), start):
        text = "\n".join(m["content"] for m in made["messages"])
        told = {name: value for name, value in made.items() if not name.startswith(TRUTH_PREFIX)}
        own = {"id": acquired_id(unit.content, at), "source": _origin(unit, at, None)}
        rows.append({"lang": guess_language(text), **told, **own})
        truths.append(made)
    table = samples(rows) if rows else SCHEMA.empty_table()
    for field in TRUTH:
        table = table.append_column(field, pa.array([t.get(field.name) for t in truths], field.type))
    return Acquired(table, [], "world")
