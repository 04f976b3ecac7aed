"""What a stage is: a strict config, pure functions over Arrow tables, and `STEPS` of four kinds.

A stage is one module, `raysft/<family>/<name>.py`, known in recipes as `<family>.<name>`. It has
    VERSION   an integer, raised when the same config would give other rows
    WRITES    "rows" (it makes or takes out rows: augment.*, curate.select) or "columns" (it annotates)
    ADDS      names of the columns it adds beside the marks; none if it has no ADDS
    FINDS     for `raysft evaluate-curation`: rule or score → the noises (raysft/world/noise.py) that it is
              meant to find; a rule or score that is not there is measured against anything bad
    WORSE     for the same: score → "high" or "low", the end at which rows are bad
    Config    a `StageConfig`; every field says what, unit, default and source
    engine_kinds   a function, where not all engines of a protocol will do: config → kinds of engine that do
    STEPS     a tuple of the step kinds below, run in order

Functions get `(table, config, context)`. Tables hold live rows only: rows that were dropped or
quarantined earlier never reach a stage function, and truth columns (raysft/sample.py) none. A function must
accept an empty table and then still return its columns, typed. `run_local` below is the reference executor;
`raysft.runtime` interprets the same steps on Ray, and a parity test compares the two for every stage.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from raysft.sample import SCHEMA, append_rows, digest64, live_mask, samples, set_column, without_truth

FAMILIES = ("augment", "curate")
MADE = "made"
QUARANTINED = "quarantined"
MARKS = ("drop_stage", "drop_rule", "drop_detail", "quarantine")


class StrictModel(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StageConfig(StrictModel):
    """Fields that every stage has. They decide how the work is cut, never what comes out."""

    rows_per_shard: int = Field(
        256,
        ge=1,
        description="rows of a work shard at this stage: seconds of work for an engine",
        json_schema_extra={"execution_only": True},
    )


class TableConfig(StageConfig):
    """Fields of a stage that needs no engine: its rows cost microseconds."""

    rows_per_shard: int = Field(
        16_384,
        ge=1,
        description="rows of a work shard at this stage: seconds of work for a core",
        json_schema_extra={"execution_only": True},
    )


@dataclass(frozen=True)
class Fitted:
    """What `Fit` functions found: arrays (stored as safetensors) and JSON values.

    `values["findings"]`, if there, is a list of `finding(…)` tables for the manifest and the report, and
    `values["notes"]` a list of lines for whoever watches the run.
    """

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


def finding(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """A table that a stage found and people should see: texts, numbers or None in its cells."""
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


@dataclass(frozen=True)
class Context:
    """What a stage function may know beside its table and config.

    `earlier_rounds` are the fingerprints of the stage's rounds before this one, by which it knows its own
    rows again; `prompts` the texts of prompts, by "<name>.<lang>", that the recipe replaces.
    """

    stage: str
    fingerprint: str
    seed: int
    round: int = 1
    earlier_rounds: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    engine: Any = None
    fitted: Fitted = field(default_factory=Fitted)


StageFunction = Callable[[pa.Table, Any, Context], pa.Table]
Columns = tuple[str, ...] | Callable[[Any], tuple[str, ...]]


@dataclass(frozen=True)
class Map:
    """Batch → batch, independent of the batch's size and order.

    In a stage that writes columns, `fn` returns the same ids in the same order. In one that writes
    rows it may add rows (with parents) and leave out rows only if a made row names them as parent.
    `engine` is the name of the config field that names the engine; `protocol` is what it must be:
    "llm", "scorer", "embedder" or "classifier".
    """

    fn: StageFunction
    engine: str | None = None
    protocol: str | None = None


@dataclass(frozen=True)
class Partition:
    """`keys(table[columns])` gives narrow rows with a uint64 column `key`, any number a sample; `fn`
    is called once for each hash partition, which holds whole keys, and returns narrow rows for the
    `Gather` that follows, or, if none follows, at most one row an `id` to be joined to the samples."""

    keys: StageFunction
    fn: StageFunction
    columns: Columns


@dataclass(frozen=True)
class Fit:
    """`columns` of all live rows, or of the `max_rows` with the smallest H(seed, stage, id), → arrays and
    JSON. Later steps of the stage find the result, merged, in `context.fitted`."""

    fn: Callable[[pa.Table, Any, Context], Fitted]
    columns: Columns
    max_rows: int | None = None


@dataclass(frozen=True)
class Gather:
    """The preceding `Partition`'s rows, or `columns` of all live rows, in one call → at most one row an
    `id`, joined to the samples. Refuses input above `max_bytes`."""

    fn: StageFunction
    columns: Columns
    max_bytes: int = 2 << 30


Step = Map | Partition | Fit | Gather


@dataclass(frozen=True)
class Counts:
    """Where the rows of a stage went. in = passed + consumed + dropped_in + quarantined;
    made = made_kept + made_dropped; out = passed + made_kept. `rules` counts drops by rule.
    `operations` has for each operation (`op` of a row) how many rows it made under MADE, and how many of
    its rows were taken out here under each rule."""

    rows_in: int = 0
    passed: int = 0
    consumed: int = 0
    dropped_in: int = 0
    quarantined: int = 0
    made_kept: int = 0
    made_dropped: int = 0
    rules: Mapping[str, int] = field(default_factory=dict)
    operations: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def rows_out(self) -> int:
        return self.passed + self.made_kept

    def __add__(self, other: Counts) -> Counts:
        mine, theirs = asdict(self), asdict(other)
        numbers = {name: n + theirs[name] for name, n in mine.items() if isinstance(n, int)}
        operations = {
            op: _sum(self.operations.get(op, {}), other.operations.get(op, {}))
            for op in sorted({*self.operations, *other.operations})
        }
        return Counts(**numbers, rules=_sum(self.rules, other.rules), operations=operations)

    def check(self) -> None:
        """Raise `RowsLost` unless the row equation holds."""
        if self.rows_in != self.passed + self.consumed + self.dropped_in + self.quarantined:
            raise RowsLost(f"counts do not add up: {self}")


def _sum(mine: Mapping[str, int], theirs: Mapping[str, int]) -> dict[str, int]:
    return {name: mine.get(name, 0) + theirs.get(name, 0) for name in sorted({*mine, *theirs})}


class RowsLost(RuntimeError):
    """A stage function lost, repeated or reordered rows: a bug of the stage, never a drop."""


def names() -> list[str]:
    """All stages there are, as `<family>.<name>`."""
    found = []
    for family in FAMILIES:
        package = importlib.import_module(f"raysft.{family}")
        found += [f"{family}.{m.name}" for m in pkgutil.iter_modules(package.__path__) if not m.ispkg]
    return sorted(n for n in found if hasattr(importlib.import_module(f"raysft.{n}"), "STEPS"))


def load(name: str) -> ModuleType:
    """The module of a stage.

    Raises:
        LookupError: there is no such stage; the message lists those that exist.
    """
    family, _, short = name.partition(".")
    if family in FAMILIES and short.isidentifier():
        try:
            module = importlib.import_module(f"raysft.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"raysft.{name}":
                raise
        else:
            if hasattr(module, "STEPS"):
                return module
    raise LookupError(f"no stage {name!r}; there are: {', '.join(names())}")


def unwritten(name: str, config: Any, have: Collection[str]) -> list[str]:
    """Columns that a stage's barriers read and that are neither a sample's own, nor in `have`, nor added by
    a `Map` of the stage before them."""
    module = load(name)
    known, missing = {*SCHEMA.names, *have}, {}
    for step in module.STEPS:
        if isinstance(step, Map):
            known.update(getattr(module, "ADDS", ()))
        else:
            missing.update(dict.fromkeys(c for c in columns_of(step, config) if c not in known))
    return list(missing)


def columns_of(step: Fit | Partition | Gather, config: Any) -> list[str]:
    """The sample columns a step reads: always `id`, then those it names."""
    wanted = step.columns(config) if callable(step.columns) else step.columns
    return ["id", *(c for c in wanted if c != "id")]


def apply_map(step: Map, table: pa.Table, config: Any, context: Context, writes: str) -> pa.Table:
    """Run a Map on the live rows of a table and put its result in place.

    For "columns" the result has the table's rows, in their order, with null in new columns of rows that
    were not live. For "rows" it is the live rows' result, followed by the rows that were not live.

    Raises:
        RowsLost: the function broke the contract of `Map`.
    """
    mask = live_mask(table)
    before = table.filter(mask)
    after = step.fn(before, config, context)
    if writes == "rows":
        count(before, after)
        gone_before = table.filter(pc.invert(mask))
        return append_rows(after, gone_before) if len(gone_before) else after.combine_chunks()
    if not after["id"].combine_chunks().equals(before["id"].combine_chunks()):
        raise RowsLost(f"{context.stage}: a stage that writes columns must return the same ids in order")
    return _scatter(table, mask, after)


def _scatter(table: pa.Table, mask: pa.Array, after: pa.Table) -> pa.Table:
    """The columns of `after` (rows where mask is True) laid over all rows of `table`."""
    positions = np.cumsum(mask.to_numpy(zero_copy_only=False)) - 1
    index = pa.array(positions, mask=~mask.to_numpy(zero_copy_only=False), type=pa.int64())
    for name in after.column_names:
        values = after[name].combine_chunks().take(index)
        if name in table.column_names:
            if after[name].equals(table[name].filter(mask)):
                continue
            values = pc.if_else(mask, values, table[name].combine_chunks())
        table = set_column(table, name, values)
    return table


def join_decisions(table: pa.Table, decisions: pa.Table, stage: str) -> pa.Table:
    """Lay a narrow table with one row an `id` over the samples; a mark only where the row is still live.
    A column that is there already keeps its values where an id is not decided.

    Raises:
        RowsLost: an id is decided twice.
    """
    if pc.count_distinct(decisions["id"]).as_py() != len(decisions):
        raise RowsLost(f"{stage}: an id has two decisions")
    alive = live_mask(table)
    index = pc.index_in(table["id"].combine_chunks(), decisions["id"].combine_chunks())
    is_decided = pc.is_valid(index)
    for name in decisions.column_names:
        if name == "id":
            continue
        values = decisions[name].combine_chunks().take(index)
        if name in MARKS:
            values = pc.coalesce(table[name].combine_chunks(), pc.if_else(alive, values, None))
        elif name in table.column_names:
            values = pc.if_else(is_decided, values, table[name].combine_chunks())
        table = set_column(table, name, values)
    if "drop_rule" in decisions.column_names and "drop_stage" not in decisions.column_names:
        fresh = pc.and_(alive, pc.is_valid(table["drop_rule"].combine_chunks()))
        column = pc.if_else(fresh, pa.scalar(stage), table["drop_stage"].combine_chunks())
        table = set_column(table, "drop_stage", column)
    return table


def count(before: pa.Table, after: pa.Table) -> Counts:
    """Counts of a step from its live rows before and all rows after it.

    Raises:
        RowsLost: an id stands twice, or one is gone and no made row names it as parent.
    """
    ids_before = before["id"].combine_chunks()
    ids_after = after["id"].combine_chunks()
    if pc.count_distinct(ids_after).as_py() != len(ids_after):
        raise RowsLost("an id stands twice after a step")
    is_old = pc.is_in(ids_after, value_set=ids_before)
    gone = pc.filter(ids_before, pc.invert(pc.is_in(ids_before, value_set=ids_after)))
    if len(gone):
        parents = pc.list_flatten(after["parents"].combine_chunks().filter(pc.invert(is_old)))
        orphans = pc.filter(gone, pc.invert(pc.is_in(gone, value_set=parents)))
        if len(orphans):
            raise RowsLost(f"{len(orphans)} rows vanished without a rule, e.g. {orphans[0]}")
    quarantined = pc.is_valid(after["quarantine"].combine_chunks())
    dropped = pc.and_(pc.is_valid(after["drop_rule"].combine_chunks()), pc.invert(quarantined))
    alive = live_mask(after)
    old, new = is_old, pc.invert(is_old)
    rules = pc.filter(after["drop_rule"].combine_chunks(), dropped).value_counts().to_pylist()
    counts = Counts(
        rows_in=len(before),
        passed=_true(pc.and_(old, alive)),
        consumed=len(gone),
        dropped_in=_true(pc.and_(old, dropped)),
        quarantined=_true(pc.and_(old, quarantined)),
        made_kept=_true(pc.and_(new, alive)),
        made_dropped=_true(pc.and_(new, pc.invert(alive))),
        rules={r["values"]: r["counts"] for r in sorted(rules, key=lambda r: r["values"])},
        operations=_operations(after, new, pc.invert(alive)),
    )
    counts.check()
    return counts


def _operations(rows: pa.Table, is_new: pa.Array, is_out: pa.Array) -> dict[str, dict[str, int]]:
    """By operation: how many rows were made, and which rules took out how many, made here or before."""
    told = pa.table({"op": rows["op"], "what": pc.coalesce(rows["drop_rule"], pa.scalar(QUARANTINED))})
    counted = [(told.filter(is_new), MADE), (told.filter(is_out), None)]
    found: dict[str, dict[str, int]] = {}
    for table, name in counted:
        groups = table.group_by(["op", "what"]).aggregate([([], "count_all")])
        for group in groups.sort_by([("op", "ascending"), ("what", "ascending")]).to_pylist():
            if group["op"] is not None:
                of_op, what = found.setdefault(group["op"], {}), name or group["what"]
                of_op[what] = of_op.get(what, 0) + group["count_all"]
    return found


def _true(mask: pa.Array) -> int:
    return pc.sum(mask).as_py() or 0


def hash_partitions(narrow: pa.Table, n: int) -> Iterator[pa.Table]:
    """The rows of `narrow` in up to n tables that hold whole keys, each sorted by (key, id)."""
    part = pc.cast(narrow["key"].combine_chunks(), pa.uint64()).to_numpy() % np.uint64(n)
    for p in np.unique(part):
        yield narrow.filter(pa.array(part == p)).sort_by([("key", "ascending"), ("id", "ascending")])


def fit_sample(narrow: pa.Table, step: Fit, context: Context) -> pa.Table:
    """The rows a Fit sees, sorted by id: all, or the `max_rows` with the smallest H(seed, stage, id)."""
    if step.max_rows is not None and len(narrow) > step.max_rows:
        order = np.array(
            [digest64(context.seed, context.stage, i) for i in narrow["id"].to_pylist()], np.uint64
        )
        narrow = narrow.take(pa.array(np.argsort(order, kind="stable")[: step.max_rows]))
    return narrow.sort_by("id")


def merge_fitted(first: Fitted, second: Fitted) -> Fitted:
    """Both results as one; the second wins where names meet."""
    return Fitted({**first.arrays, **second.arrays}, {**first.values, **second.values})


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
) -> pa.Table:
    """The reference executor: one stage, in this process, on one table.

    A stage that writes rows starts from the live ones: those dropped earlier stay in its parent's shards.
    """
    module = load(stage)
    table = without_truth(table)
    context = Context(stage, fingerprint, seed, round, earlier_rounds, prompts or {})
    narrow: pa.Table | None = None
    if module.WRITES == "rows":
        table = table.filter(live_mask(table))
    for step in module.STEPS:
        if isinstance(step, Map):
            if narrow is not None:
                table, narrow = join_decisions(table, narrow, stage), None
            engine = (engines or {})[getattr(config, step.engine)] if step.engine else None
            table = apply_map(step, table, config, replace(context, engine=engine), module.WRITES)
            continue
        rows = table.filter(live_mask(table)).select(columns_of(step, config))
        if isinstance(step, Fit):
            found = step.fn(fit_sample(rows, step, context), config, context)
            context = replace(context, fitted=merge_fitted(context.fitted, found))
        elif isinstance(step, Partition):
            keyed = step.keys(rows, config, context)
            parts = [step.fn(part, config, context) for part in hash_partitions(keyed, partitions)]
            narrow = pa.concat_tables(parts) if parts else step.fn(keyed, config, context)
        else:
            source = rows if narrow is None else narrow
            narrow = step.fn(source.sort_by("id") if "id" in source.column_names else source, config, context)
    return table if narrow is None else join_decisions(table, narrow, stage)


def made_rows(table: pa.Table, made: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The table followed by rows made from it (see `raysft.sample.samples` for their columns)."""
    return append_rows(table, samples(made))
