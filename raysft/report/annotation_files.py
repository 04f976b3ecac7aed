"""The files of a batch by their paths: one format for the annotators, and `batch.json` for the way back.

    jsonl          <annotator>.jsonl   a task a line; fill in `value`, or `text`
    csv            <annotator>.csv     the same as a table, UTF-8 with a mark by which spreadsheets tell it
    label_studio   <annotator>.json    tasks to import, and labeling_config.xml for the project
    argilla        <annotator>/        a folder that `argilla.Dataset.from_disk` reads, Argilla 2.3 or newer

Beside them `guidelines.md`. The files are functions of the rows: written again they are the same, byte by
byte. Texts of rows are data: in a CSV a cell that a spreadsheet would take for a formula gets an apostrophe
before it, which the import takes away; in Label Studio and Argilla they are shown as plain text.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from raysft.acquire.annotation_records import TEXT, VALUE, guarded
from raysft.acquire.batch_file import FILE, Batch, batch_json
from raysft.report import argilla, label_studio
from raysft.report.annotation_tasks import Task, tasks_of
from raysft.stores.opening import read_bytes, write_bytes

GUIDELINES = "guidelines.md"
BLANK: dict[str, Any] = {VALUE: None, TEXT: None}


def files_of(batch: Batch, format: str) -> dict[str, bytes]:
    """Content of every file, by its path below the export's folder.

    Raises:
        LookupError: there is no such format.
    """
    if format not in FORMATS:
        raise LookupError(f"no format {format!r}; there are: {', '.join(FORMATS)}")
    files = {FILE: batch_json(batch), GUIDELINES: batch.guidelines.rstrip("\n") + "\n"}
    for annotator in batch.annotators:
        files |= FORMATS[format](batch, annotator, tasks_of(batch, annotator))
    return {path: text.encode() for path, text in sorted(files.items())}


def write_files(files: Mapping[str, bytes], folder: str) -> list[str]:
    """Write the files below a folder; returns their paths, sorted. One that is there already stays if it is
    the same.

    Raises:
        FileExistsError: a file is there with other content, such as answers; nothing is written then.
    """
    paths = {path: f"{folder.rstrip('/')}/{path}" for path in sorted(files)}
    for path, place in paths.items():
        if _content(place) not in (None, files[path]):
            raise FileExistsError(
                f"{place} is there with other content, which may be people's answers; give another --out"
            )
    for path, place in paths.items():
        write_bytes(place, files[path])
    return list(paths.values())


def _content(place: str) -> bytes | None:
    try:
        return read_bytes(place)
    except FileNotFoundError:
        return None


def _jsonl(batch: Batch, annotator: str, tasks: Sequence[Task]) -> dict[str, str]:
    lines = (json.dumps({**asdict(task), **BLANK}, ensure_ascii=False) for task in tasks)
    return {f"{annotator}.jsonl": "".join(line + "\n" for line in lines)}


def _csv(batch: Batch, annotator: str, tasks: Sequence[Task]) -> dict[str, str]:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*CELLS, *BLANK], lineterminator="\r\n")
    writer.writeheader()
    for task in tasks:
        writer.writerow({name: guarded(cell(task)) for name, cell in CELLS.items()})
    return {f"{annotator}.csv": "\ufeff" + text.getvalue()}


def _label_studio(batch: Batch, annotator: str, tasks: Sequence[Task]) -> dict[str, str]:
    told = json.dumps([label_studio.task_json(task) for task in tasks], ensure_ascii=False, indent=1)
    return {f"{annotator}.json": told + "\n", label_studio.FILE: label_studio.config_xml(batch)}


def _argilla(batch: Batch, annotator: str, tasks: Sequence[Task]) -> dict[str, str]:
    told = argilla.files(batch, annotator, tasks)
    return {
        f"{annotator}/{path}": json.dumps(value, ensure_ascii=False, indent=1) + "\n"
        for path, value in told.items()
    }


CELLS: dict[str, Callable[[Task], str]] = {
    "id": lambda task: task.id,
    "batch": lambda task: task.batch,
    "annotator": lambda task: task.annotator,
    "queue": lambda task: task.queue,
    "question": lambda task: task.question,
    "conversation": lambda task: task.conversation_text,
    "answer": lambda task: task.answer,
    "options": lambda task: task.options_text,
    "values": lambda task: " | ".join(task.values),
    "draft": lambda task: task.draft,
}
FORMATS: dict[str, Callable[[Batch, str, Sequence[Task]], dict[str, str]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "label_studio": _label_studio,
    "argilla": _argilla,
}
