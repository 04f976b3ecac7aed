"""What every executor does in the same way to carry out a stage's steps, and the reference executor.

`run_local` runs one stage on one table in this process: for tests, and to read what the steps mean.
`raysft.runtime` runs the same steps on Ray with the functions here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysft.sample import SCHEMA, digest64, live_mask, rows_where, without_truth
from raysft.stage import (
    HISTORY,
    Components,
    Context,
    Fit,
    Fitted,
    Gather,
    Map,
    Partition,
    apply_map,
    columns_of,
    join_decisions,
    load,
)


def hash_partitions(narrow: pa.Table, n: int) -> Iterator[pa.Table]:
    """The rows of `narrow` in up to n tables that hold whole keys."""
    part = pc.cast(narrow["key"].combine_chunks(), pa.uint64()).to_numpy() % np.uint64(n)
    for p in np.unique(part):
        yield narrow.filter(pa.array(part == p))


def fit_sample(narrow: pa.Table, step: Fit, config: Any, context: Context) -> pa.Table:
    """The rows a Fit sees, sorted by id: all, or the `max_rows` with the smallest H(seed, stage, id)."""
    most = step.max_rows(config) if callable(step.max_rows) else step.max_rows
    if most == 0:
        return narrow.slice(0, 0)
    if most is not None and len(narrow) > most:
        order = np.array(
            [digest64(context.seed, context.stage, i) for i in narrow["id"].to_pylist()], np.uint64
        )
        narrow = narrow.take(pa.array(np.argsort(order, kind="stable")[:most]))
    return narrow.sort_by("id") if "id" in narrow.column_names else narrow


def merge_fitted(first: Fitted, second: Fitted) -> Fitted:
    """Both results as one; the second wins where names meet."""
    return Fitted({**first.arrays, **second.arrays}, {**first.values, **second.values})


def narrow_of(
    table: pa.Table, step: Fit | Partition | Gather, config: Any, *, first: int = 0, owned: bool = False
) -> pa.Table:
    """What a barrier step reads of a table's live rows; their `row` is `first` and their place in the table.

    Raises:
        KeyError: the table lacks a column that the step names.
    """
    columns = columns_of(step, config)
    missing = [c for c in columns if c not in table.column_names]
    if missing:
        scores = [c for c in table.column_names if c not in SCHEMA.names]
        raise KeyError(f"needs columns {missing}, which no stage before it writes; there are: {scores}")
    mask = live_mask(table)
    rows = np.flatnonzero(mask.to_numpy(zero_copy_only=False)) + first
    narrow = rows_where(table.select(columns), mask)
    narrow = narrow.append_column("row", pa.array(rows, pa.int64()))
    return narrow.append_column("owned", pa.array(np.full(len(rows), owned)))


def with_components(narrow: pa.Table, components: pa.Table) -> pa.Table:
    """The rows of `narrow` that stand in `components` (row, component; sorted by row), with that column."""
    known, rows = components["row"].to_numpy(), narrow["row"].to_numpy()
    at = np.minimum(np.searchsorted(known, rows), max(len(known) - 1, 0))
    found = np.flatnonzero(known[at] == rows) if len(known) else np.zeros(0, np.int64)
    component = components["component"].combine_chunks().take(pa.array(at[found]))
    return narrow.take(pa.array(found)).append_column("component", component)


def components_of(edges: pa.Table) -> pa.Table:
    """(row, component), sorted by row, of all rows that stand in edges (row, other): int64 all."""
    from raysft.algorithms.union_find import components  # numba, which no engine's process may load

    ends = np.stack([edges[name].to_numpy() for name in ("row", "other")])
    rows, place = np.unique(ends, return_inverse=True)
    left, right = place.reshape(ends.shape)
    return pa.table({"row": rows, "component": rows[components(len(rows), left, right)]})


def run_local(
    stage: str,
    table: pa.Table,
    config: Any,
    *,
    engines: Mapping[str, Any] | None = None,
    seed: int = 0,
    round: int = 1,
    fingerprint: str = "local",
    earlier_rounds: tuple[str, ...] = (),
    prompts: Mapping[str, str] | None = None,
    partitions: int = 3,
    owned: pa.Table | None = None,
    history: pa.Table | None = None,
) -> pa.Table:
    """The reference executor: one stage, in this process, on one table.

    `owned` are the rows of sets that are owned already, `history` all rows there ever were (the table's, if
    not given). A stage that writes rows starts from the live ones: those dropped earlier stay in its
    parent's shards.
    """
    module = load(stage)
    table = without_truth(table)
    history = table if history is None else history
    context = Context(stage, fingerprint, seed, round, earlier_rounds, prompts or {})
    narrow: pa.Table | None = None
    joined: pa.Table | None = None

    def rows_for(step: Fit | Partition | Gather, with_owned: bool) -> pa.Table:
        rows = narrow_of(table, step, config)
        if owned is not None and with_owned:
            more = narrow_of(owned, step, config, first=len(table), owned=True)
            rows = pa.concat_tables([rows, more], promote_options="permissive")
        return rows if joined is None else with_components(rows, joined)

    if module.WRITES == "rows":
        table = table.filter(live_mask(table))
    for step in module.STEPS:
        name = getattr(step, "engine", None)
        engine = (engines or {})[getattr(config, name)] if name and getattr(config, name) else None
        asked = replace(context, engine=engine)
        if isinstance(step, Map):
            if narrow is not None:
                table, narrow = join_decisions(table, narrow, stage), None
            table = apply_map(step, table, config, asked, module.WRITES)
            if owned is not None:
                owned = apply_map(step, owned, config, asked, module.WRITES)
            joined = None
        elif isinstance(step, Fit):
            if step.history:
                rows = history.select([*HISTORY, *(c for c in columns_of(step, config) if c not in HISTORY)])
            else:
                rows = rows_for(step, step.owned) if narrow is None else narrow
            found = step.fn(fit_sample(rows, step, config, context), config, asked)
            context, narrow = replace(context, fitted=merge_fitted(context.fitted, found)), None
        elif isinstance(step, Partition):
            keyed = step.keys(rows_for(step, True), config, context)
            parts = [step.fn(part, config, context) for part in hash_partitions(keyed, partitions)]
            narrow = pa.concat_tables(parts) if parts else step.fn(keyed, config, context)
        elif isinstance(step, Components):
            assert narrow is not None
            joined, narrow = components_of(narrow), None
        else:
            source = rows_for(step, True) if narrow is None else narrow
            narrow = step.fn(source.sort_by("id") if "id" in source.column_names else source, config, context)
    return table if narrow is None else join_decisions(table, narrow, stage)
