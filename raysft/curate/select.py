"""Decide which rows are in: those that meet a condition, then as many of them as the budget allows.

Columns in: those the condition names; `embedding` for k_center. Columns out: none but the marks.
Drops: `select_where`, with the row's values and the thresholds as detail;
    `select_budget`, with what it lost to as detail.

Conditions are those of `raysft.algorithms.conditions`; quantiles are taken over the live rows. The budget
goes to the most diverse rows by K-Center-Greedy over embeddings (Sener & Savarese 2018), starting with the
row whose digest of run seed, stage and id is smallest, which also decides between equally far rows; or to a
random choice, the rows with the smallest digests. Rows without an embedding get their share of the budget,
by digest: a language that the embedder cannot read is not selected away.

Yardstick (docs/yardstick.md), `where: perplexity <= q(perplexity, 0.95)`, after the other stages: precision
86 %, recall 11 % of all bad rows, 1.0 % of the clean ones dropped; bad rows 41 % before, 38 % after.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from raysft.algorithms.conditions import Condition, parse
from raysft.algorithms.k_center import k_center_greedy
from raysft.curate.embed import vectors_of
from raysft.sample import digest64
from raysft.stage import Context, Gather, TableConfig

VERSION = 2
WRITES = "rows"
MARKS = pa.schema([("row", pa.int64()), ("drop_rule", pa.string()), ("drop_detail", pa.string())])


class Config(TableConfig):
    where: str | None = Field(
        None,
        max_length=1000,
        description="what a row must meet, e.g. perplexity < q(perplexity, 0.9) and answer_words >= 5",
    )
    budget: int | None = Field(None, ge=0, description="rows to keep at most; all that meet `where` if unset")
    diversity: Literal["k_center", "random"] = Field(
        "k_center", description="who gets the budget: rows far from each other by embedding, or any"
    )

    @field_validator("where")
    @classmethod
    def _is_condition(cls, where: str | None) -> str | None:
        if where is not None:
            parse(where)
        return where


def columns(config: Config) -> tuple[str, ...]:
    """The sample columns that this config needs."""
    named = parse(config.where).columns if config.where is not None else ()
    needs_embedding = config.budget is not None and config.diversity == "k_center"
    return (*named, "embedding") if needs_embedding and "embedding" not in named else named


def decide(rows: pa.Table, config: Config, context: Context) -> pa.Table:
    """Marks for the rows that are not selected."""
    rows = rows.sort_by("id")
    marks = []
    if config.where is not None:
        passes, failed = apply_where(rows, parse(config.where))
        marks.append(failed)
        rows = rows.filter(pa.array(passes))
    if config.budget is not None and len(rows) > config.budget:
        marks.append(apply_budget(rows, config, context))
    return pa.concat_tables(marks) if marks else MARKS.empty_table()


def apply_where(rows: pa.Table, condition: Condition) -> tuple[np.ndarray, pa.Table]:
    """(bool [rows]: who meets the condition, marks for those who do not)."""
    values = {name: _numbers(rows, name) for name in condition.columns}
    thresholds = condition.thresholds(values)
    passes = condition.holds(values, thresholds)
    stated = "".join(f"; q({name}, {p:g})={value:.6g}" for (name, p), value in thresholds.items())
    details = []
    for i in np.flatnonzero(~passes):
        own = (f"{n}={'missing' if np.isnan(v[i]) else f'{v[i]:.6g}'}" for n, v in values.items())
        details.append(", ".join(own) + stated)
    return passes, _marks(rows["row"].combine_chunks().filter(pa.array(~passes)), "select_where", details)


def apply_budget(rows: pa.Table, config: Config, context: Context) -> pa.Table:
    """Marks for the rows that the budget, smaller than their number, leaves out. Rows come sorted by id."""
    budget = config.budget or 0
    lot = np.array([digest64(context.seed, context.stage, i) for i in rows["id"].to_pylist()], np.uint64)
    placed = np.zeros(0, np.int64)
    if config.diversity == "k_center":
        placed = np.flatnonzero(pc.is_valid(rows["embedding"]).to_numpy())
    drawn = np.setdiff1d(np.arange(len(rows)), placed)
    draws = round(budget * len(drawn) / len(rows))
    is_chosen = np.zeros(len(rows), bool)
    is_chosen[drawn[np.argsort(lot[drawn], kind="stable")[:draws]]] = True
    details = np.full(len(rows), f"not among the {draws} of {len(drawn)} drawn", object)
    if budget > draws:
        placed = placed[np.argsort(lot[placed], kind="stable")]
        cover = k_center_greedy(vectors_of(rows.take(pa.array(placed))), budget - draws)
        is_chosen[placed[cover.centres]] = True
        details[placed] = [
            f"{d:.4f} from the nearest of {len(cover.centres)} centres" for d in cover.distance
        ]
    else:
        details[placed] = "no centre in the budget"
    losers = pa.array(~is_chosen)
    return _marks(rows["row"].combine_chunks().filter(losers), "select_budget", list(details[~is_chosen]))


def _numbers(rows: pa.Table, name: str) -> np.ndarray:
    """float64 [rows], NaN for null.

    Raises:
        ValueError: the column is not numeric.
    """
    column = rows[name].combine_chunks()
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise ValueError(f"column {name} is {kind}; a condition compares numbers")
    return pc.fill_null(pc.cast(column, pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)


def _marks(rows: pa.Array, rule: str, details: list[str]) -> pa.Table:
    return pa.table(
        [rows, pa.repeat(pa.scalar(rule), len(rows)), pa.array(details, pa.string())], schema=MARKS
    )


STEPS = (Gather(fn=decide, columns=columns),)
