"""The file of an annotation batch, `batch.json`: what was asked about which rows, and what is known of them.

`raysft export-annotations` writes it beside the files for people, and a source of `kind: annotations` reads
it with their answers. It holds the known labels, so it stays with who runs the batch.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, ValidationError

from raysft.curate.annotation_queues import Queue
from raysft.stage import StrictModel
from raysft.stores.opening import read_bytes

FILE = "batch.json"
SHOWN_ERRORS = 5


class BatchRow(StrictModel):
    """A row of a batch: columns of the sample, who got it, and whether its label is known."""

    id: str
    messages: list[dict[str, str]]
    task: str | None = None
    domain: str | None = None
    lang: str | None = None
    options: list[str] | None = None
    gold: str | None = None
    annotations: list[dict[str, str | None]] = Field(default_factory=list)
    source: dict[str, Any] | None = None
    parents: list[str] | None = None
    op: str | None = None
    annotators: list[str]
    is_check: bool = False


class Batch(StrictModel):
    """A batch; rows are sorted by id."""

    format: Literal["raysft annotation batch 1"] = "raysft annotation batch 1"
    name: str
    queue: Queue
    question: str
    labels: tuple[str, ...] = ()
    guidelines: str = ""
    draft: bool = True
    rows: tuple[BatchRow, ...] = ()

    @property
    def annotators(self) -> list[str]:
        """All who got a row, sorted."""
        return sorted({name for row in self.rows for name in row.annotators})


def batch_json(batch: Batch) -> str:
    """The file's text: a line a row, always the same for the same batch."""
    told = batch.model_dump(mode="json")
    rows = [json.dumps(row, ensure_ascii=False) for row in told.pop("rows")]
    head = json.dumps(told, ensure_ascii=False, indent=1).removesuffix("\n}")
    return head + ',\n "rows": [\n' + ",\n".join(rows) + "\n]}\n"


def read_batch(path: str) -> Batch:
    """The batch of a file.

    Raises:
        ValueError: the file cannot be read or is no batch; names it.
    """
    try:
        return Batch.model_validate(json.loads(read_bytes(path).decode("utf-8-sig")))
    except ValidationError as error:
        told = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:SHOWN_ERRORS]]
        raise ValueError(f"{path}: is no annotation batch: {'; '.join(told)}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}; give the {FILE} of the export") from error
