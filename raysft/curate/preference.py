"""Who is kept of rows that are alike: one order for every stage that drops duplicates.

Rows are ranked by, in turn:
    1. owned rows (of sets that `against` names) before new ones;
    2. the source, by the first entry of `prefer_sources` that fits it: people before machines, if unset;
    3. the column `prefer`, highest first, rows without a value last;
    4. characters of all assistant turns, most first;
    5. the id, smallest first.
No two rows are equal in it, and nothing in it depends on how rows are ordered or cut.
"""

from __future__ import annotations

import fnmatch
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from raysft.curate.texts import answer_lengths
from raysft.stage import TableConfig

ACQUIRED, MADE = "acquired", "made"
ORDER: tuple[tuple[str, str], ...] = (
    ("owned", "descending"),
    ("source_rank", "ascending"),
    ("score", "descending"),
    ("length", "descending"),
    ("id", "ascending"),
)
COLUMNS = ("id", *(name for name, _ in ORDER if name != "id"))


Chains = Annotated[
    Literal["keep", "drop"],
    Field(
        description="rows that are like the one that stays only through others. keep: a row is dropped only "
        "if it is like a row that stays, so that of a chain several may stay; drop: of all rows that chains "
        "join one stays (Lee et al. 2022, SemDeDup)"
    ),
]
"""A field of stages that join rows by similarity, which is not transitive."""


class DedupConfig(TableConfig):
    """Fields of the stages that keep one of several rows that are alike."""

    against: tuple[str, ...] = Field(
        (),
        description="sets that are owned already: folders of runs (their last sealed stage) or of sealed "
        "stages; their live rows are never dropped and win over new ones",
        json_schema_extra={"execution_only": True},  # the sets' digests tell their content
    )
    prefer_sources: tuple[str, ...] = Field(
        (ACQUIRED, MADE),
        description="whose rows are kept, best first: patterns of source URIs (* and ?), 'acquired' for all "
        "that was read, 'made' for all that a stage made; what none fits comes last",
    )
    prefer: str | None = Field(
        None, description="a numeric column, such as a quality score, of which the highest value is kept"
    )


def preference_columns(config: DedupConfig) -> tuple[str, ...]:
    """The sample columns that `with_preference` reads."""
    own = ("messages", "source", "op")
    return own if config.prefer is None or config.prefer in own else (*own, config.prefer)


def with_preference(table: pa.Table, config: DedupConfig) -> pa.Table:
    """(id, owned, source_rank int32, score float64, length int64) and `row` of a barrier's rows, to be
    sorted by `ORDER`.

    Raises:
        ValueError: the column `prefer` is not numeric.
    """
    return pa.table(
        {
            "row": table["row"],
            "id": table["id"],
            "owned": table["owned"],
            "source_rank": pa.array(source_ranks(table, config.prefer_sources), pa.int32()),
            "score": pa.array(_scores(table, config.prefer)),
            "length": pa.array(answer_lengths(table)),
        }
    )


def source_ranks(table: pa.Table, patterns: tuple[str, ...]) -> np.ndarray:
    """int32 [rows]: place of the first pattern that fits a row's source; their number where none does."""
    uris = pc.fill_null(pc.struct_field(table["source"].combine_chunks(), "uri"), "")
    kinds = pc.if_else(pc.is_valid(table["op"].combine_chunks()), MADE, ACQUIRED)
    distinct = pc.unique(pc.binary_join_element_wise(kinds, uris, "\n"))
    named = [text.split("\n", 1) for text in distinct.to_pylist()]
    ranks = np.array([_rank(kind, uri, patterns) for kind, uri in named], np.int32)
    place = pc.index_in(pc.binary_join_element_wise(kinds, uris, "\n"), distinct)
    return ranks[place.to_numpy(zero_copy_only=False)] if len(table) else np.zeros(0, np.int32)


def _rank(kind: str, uri: str, patterns: tuple[str, ...]) -> int:
    for place, pattern in enumerate(patterns):
        if pattern == kind if pattern in (ACQUIRED, MADE) else fnmatch.fnmatchcase(uri, pattern):
            return place
    return len(patterns)


def _scores(table: pa.Table, prefer: str | None) -> np.ndarray:
    """float64 [rows], -inf where there is no value."""
    if prefer is None:
        return np.zeros(len(table))
    column = table[prefer].combine_chunks()
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise ValueError(f"prefer: column {prefer} is {kind}; rows are ranked by numbers")
    values = pc.fill_null(pc.cast(column, pa.float64(), safe=False), -np.inf)
    return np.nan_to_num(values.to_numpy(zero_copy_only=False), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
