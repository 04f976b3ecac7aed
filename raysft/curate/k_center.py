"""Keep rows that cover all others: K-Center-Greedy over vectors, to a budget or a radius.

Columns in: `embedding` of `curate.embed`, or another column of vectors; the quotas' column, if any.
Columns out: `center_rank`, int64, from 0 in the order of choice, null for rows that are not chosen;
    `center_distance`, float32, Euclidean, to the nearest center or owned row (of unit vectors with cosine c
    it is sqrt(2 - 2c)); `nearest_center`, its id. The last two are null for rows without a vector.
Drops, unless all are kept: `not_a_center`, with distance and id of its nearest center as detail;
    `not_drawn`, a row without a vector, with how many of these were drawn as detail.

Each center is the row farthest from those before it (raysft/algorithms/k_center.py; Gonzalez 1985; Sener &
Savarese 2018). The first is the row whose digest of run seed, stage and id is smallest, which also decides
between equally far ones; where rows are owned (`against`), all of them count as chosen before. It ends with
the budget, or as soon as no row that may be chosen is farther than `radius` from its nearest center.

Up to `exact_bytes` of vectors are one task's work. More are parted by their digests, and the centers of each
part's own greedy choice go into a final one (Malkomes et al. 2015). Both rounds then end at half the radius,
so that every row is within the whole of it. The radius found is at most twice the smallest that as many
centers could have, four times in two rounds; with quotas there is no such factor.

Rows without a vector cannot be placed. They get their share of the budget, or of their value's quota, by
digest, and are ranked behind the centers; all of them stay where only a radius is asked for. A quota is the
most rows of one value; values without one share what the others leave. Owned rows count towards none.

Yardstick (docs/yardstick.md): nothing to find; it keeps what differs, good or bad.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from raysft.algorithms.groups import bounds
from raysft.algorithms.k_center import k_center_greedy
from raysft.algorithms.nearest_centre import NearestCentres
from raysft.curate.embed import vectors_of
from raysft.curate.quotas import drawn_by_group, group_of, in_rows
from raysft.sample import digest64, mark_dropped, set_column
from raysft.stage import Context, Fit, Fitted, Map, Partition, TableConfig, finding

VERSION = 1
WRITES = "columns"
ADDS = ("center_rank", "center_distance", "nearest_center")
BY_LOT = [("lot", "ascending"), ("id", "ascending")]


class Config(TableConfig):
    vectors: str = Field("embedding", min_length=1, description="the column of vectors to compare")
    budget: int | None = Field(None, ge=0, description="rows to choose at most; no limit if unset")
    radius: float | None = Field(
        None, ge=0, description="distance from its nearest center that is near enough for any row"
    )
    quota_column: str | None = Field(
        None, description="column of texts, numbers or booleans that the quotas are about, such as lang"
    )
    quotas: dict[str, int | float] = Field(
        {},
        description="by value of quota_column, how many rows to choose at most: a whole number of rows, "
        "or a fraction of the budget; for other values there is no limit but the budget",
    )
    against: tuple[str, ...] = Field(
        (),
        description="sets that are owned already: folders of runs (their last sealed stage) or of sealed "
        "stages; their live rows are centers from the start",
        json_schema_extra={"execution_only": True},  # the sets' digests tell their content
    )
    keep: Literal["centers", "all"] = Field(
        "centers", description="drop rows that are not chosen, or only rank and measure them"
    )
    exact_bytes: int = Field(
        1 << 30,
        ge=1,
        description="bytes of vectors up to which one task compares all, in up to four times this memory; "
        "more are covered in two rounds, which take parts of this size",
    )

    @model_validator(mode="after")
    def _has_an_end(self) -> Config:
        if self.budget is None and self.radius is None:
            raise ValueError("budget and radius are both unset; set at least one of them")
        return self

    @model_validator(mode="after")
    def _quotas_are_of_something(self) -> Config:
        if bool(self.quotas) != (self.quota_column is not None):
            raise ValueError("quotas and quota_column go together; set both or neither")
        for value, quota in self.quotas.items():
            if not quota >= 0 or (isinstance(quota, float) and quota > 1):
                raise ValueError(
                    f"quotas: {value} has {quota}; "
                    "allowed: a whole number of rows, or a fraction of the budget from 0.0 to 1.0"
                )
            if isinstance(quota, float) and self.budget is None:
                raise ValueError(
                    f"quotas: {value} has {quota} of a budget that is unset; set one, or say rows"
                )
        return self


def grouped(config: Config) -> tuple[str, ...]:
    """The sample columns by which rows have quotas."""
    return () if config.quota_column is None else (config.quota_column,)


def count_keys(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """(key, row, id, lot, group, dimension, has_vector) of every row that is not owned.

    Raises:
        ValueError: the column of vectors is none.
    """
    own = table.filter(pc.invert(table["owned"]))
    lots = _lots(own, context)
    vectors = own[config.vectors].combine_chunks()
    dimension = vectors_of(own.slice(0, 0), config.vectors).shape[1]
    return pa.table(
        {
            "key": pa.array(lots),
            "row": own["row"],
            "id": own["id"],
            "lot": pa.array(lots),
            "group": _group(own, config),
            "dimension": pa.array(np.full(len(own), dimension, np.int32)),
            "has_vector": pc.is_valid(vectors),
        }
    )


def count(rows: pa.Table, config: Config, context: Context) -> pa.Table:
    """(group, dimension, has_vector, rows): how many there are; and, of each group's rows without a vector,
    as many as the budget could draw, each a line of 0 rows with its `id` and `lot`."""
    kinds = ["group", "dimension", "has_vector"]
    counts = rows.group_by(kinds).aggregate([([], "count_all")]).rename_columns([*kinds, "rows"])
    drawable = rows.filter(pc.invert(rows["has_vector"])).sort_by([("group", "ascending"), *BY_LOT])
    edges = itertools.pairwise(bounds(drawable["group"].to_numpy()))
    most = len(rows) if config.budget is None else config.budget
    first = [np.arange(start, min(end, start + most)) for start, end in edges]
    drawable = drawable.take(pa.array(np.concatenate([np.zeros(0, np.int64), *first])))
    lines = drawable.select([*kinds, "id", "lot"]).append_column(
        "rows", pa.array(np.zeros(len(drawable), np.int64))
    )
    return pa.concat_tables([lines, counts], promote_options="default")


def share(lines: pa.Table, config: Config, context: Context) -> Fitted:
    """Who gets what: values `parts` (how many the vectors are cut into), `k` (centers at most), `left` (of
    each group), `drawn_ids` of rows without a vector, and the counts `placed` and `unplaced`.

    Raises:
        ValueError: what the parts choose would not fit into one task.
    """
    has_vector = lines["has_vector"].to_numpy(zero_copy_only=False)
    group, rows = lines["group"].to_numpy(), lines["rows"].to_numpy()
    groups = len(config.quotas) + 1
    placed = np.bincount(group[has_vector], rows[has_vector], groups).astype(np.int64)
    unplaced = np.bincount(group[~has_vector], rows[~has_vector], groups).astype(np.int64)
    total = int(placed.sum() + unplaced.sum())
    budget = total if config.budget is None else min(config.budget, total)
    quotas = in_rows(config.quotas, config.budget or 0, budget)
    draws = drawn_by_group(placed, unplaced, quotas, budget)
    dimension = pc.max(lines["dimension"]).as_py() or 0
    parts = max(1, math.ceil(int(placed.sum()) * dimension * 4 / config.exact_bytes))
    k = min(budget - int(draws.sum()), int(placed.sum()))
    if parts > 1 and config.radius is None:  # else a part may need fewer centers
        most = min(parts * k, int(placed.sum()))
        _refuse_beyond(most, dimension, config, f"{k:,} centers from each of {parts} parts")
    return Fitted(
        values={
            "parts": parts,
            "k": k,
            "left": (quotas - draws).tolist(),
            "drawn_ids": _drawn_ids(lines, draws),
            "placed": placed.tolist(),
            "unplaced": unplaced.tolist(),
        }
    )


def _drawn_ids(lines: pa.Table, draws: np.ndarray) -> list[str]:
    """Of each group's rows without a vector so many, those with the smallest digests, in their order."""
    candidates = lines.filter(pc.is_valid(lines["id"])).sort_by(BY_LOT)
    group = candidates["group"].to_numpy()
    is_drawn = np.zeros(len(group), bool)
    for one, number in enumerate(draws):
        is_drawn[np.flatnonzero(group == one)[:number]] = True
    return candidates["id"].filter(pa.array(is_drawn)).to_pylist()


def owned_keys(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """(key, row, id, vector) of owned rows that have a vector; not even the columns without any sets."""
    if not config.against:
        return pa.table({"key": pa.array([], pa.uint64()), "row": pa.array([], pa.int64())})
    theirs = _with_vector(table.filter(table["owned"]), config)
    columns = {"row": theirs["row"], "id": theirs["id"], "vector": theirs[config.vectors]}
    return pa.table({"key": pa.array(_lots(theirs, context)), **columns})


def pass_on(rows: pa.Table, config: Config, context: Context) -> pa.Table:
    """The rows as they are."""
    return rows


def hold_owned(rows: pa.Table, config: Config, context: Context) -> Fitted:
    """`owned` float32 [rows, dimension] and value `owned_ids`."""
    if not config.against:
        return Fitted(values={"owned_ids": []})
    vectors = vectors_of(rows, "vector")
    _refuse_beyond(len(vectors), vectors.shape[1], config, "the owned rows")
    return Fitted({"owned": vectors}, {"owned_ids": rows["id"].to_pylist()})


def part_keys(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """(key, row, id, lot, group, vector) of rows with a vector that are not owned; the key is the part."""
    own = _with_vector(table.filter(pc.invert(table["owned"])), config)
    lots = _lots(own, context)
    return pa.table(
        {
            "key": pa.array(lots % np.uint64(context.fitted.values["parts"])),
            "row": own["row"],
            "id": own["id"],
            "lot": pa.array(lots),
            "group": _group(own, config),
            "vector": own[config.vectors],
        }
    )


def choose_in_parts(rows: pa.Table, config: Config, context: Context) -> pa.Table:
    """The centers of each part, the rows that its own greedy choice takes, with their `rank` in it."""
    rows = rows.sort_by([("key", "ascending"), *BY_LOT])
    chosen, ranks = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start, end in itertools.pairwise(bounds(rows["key"].to_numpy())):
        centers = _centers(rows.slice(start, end - start), config, context)
        chosen.append(start + centers)
        ranks.append(np.arange(len(centers)))
    return rows.take(pa.array(np.concatenate(chosen))).append_column("rank", pa.array(np.concatenate(ranks)))


def choose(rows: pa.Table, config: Config, context: Context) -> Fitted:
    """`centers` float32 [centers, dimension] and value `center_ids`, in the order of choice."""
    if context.fitted.values["parts"] == 1:
        chosen = rows.sort_by("rank")
    else:
        dimension = vectors_of(rows, "vector").shape[1]
        _refuse_beyond(len(rows), dimension, config, "the centers of all parts")
        rows = rows.sort_by(BY_LOT)
        chosen = rows.take(pa.array(_centers(rows, config, context)))
    return Fitted({"centers": vectors_of(chosen, "vector")}, {"center_ids": chosen["id"].to_pylist()})


def assign(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The table with its three columns."""
    values, arrays = context.fitted.values, context.fitted.arrays
    chosen = pa.array([*values["center_ids"], *values["drawn_ids"]], pa.string())
    rank = pc.cast(pc.index_in(table["id"].combine_chunks(), chosen), pa.int64())
    placed = np.flatnonzero(pc.is_valid(table[config.vectors]).to_numpy())
    nearest = NearestCentres(vectors_of(table.take(pa.array(placed)), config.vectors))
    for centers in ("owned", "centers"):
        if len(arrays.get(centers, ())):
            nearest.add(arrays[centers])
    place, distance = np.full(len(table), -1), np.zeros(len(table), np.float32)
    place[placed], distance[placed] = nearest.place, nearest.distance
    names = pa.array([*values["owned_ids"], *values["center_ids"]], pa.string())
    table = set_column(table, "center_rank", rank)
    table = set_column(table, "center_distance", pa.array(distance, mask=place < 0))
    return set_column(table, "nearest_center", names.take(pa.array(place, mask=place < 0)))


def report(rows: pa.Table, config: Config, context: Context) -> Fitted:
    """`values["findings"]`: what was chosen and how well it covers; which quotas were not filled."""
    values = context.fitted.values
    centers, parts = len(values["center_ids"]), values["parts"]
    placed, unplaced = sum(values["placed"]), sum(values["unplaced"])
    radius = pc.max(rows["center_distance"]).as_py()
    how = "exactly" if parts == 1 else f"in two rounds over {parts} parts"
    factor = (
        "none, with quotas" if config.quotas else f"at most {2 if parts == 1 else 4} × the smallest radius"
    )
    told = [
        ["rows with a vector", placed],
        ["owned rows, centers from the start", len(values["owned_ids"])],
        ["centers chosen", centers],
        ["covering radius", None if radius is None else round(radius, 6)],
        ["radius asked for", config.radius],
        ["chosen", how],
        ["factor that holds", factor],
        ["rows without a vector", unplaced],
        ["of these drawn", len(values["drawn_ids"])],
    ]
    tables = [finding("Centers", ["", "value"], told)]
    if config.quotas:
        chosen = rows.filter(pc.is_valid(rows["center_rank"]))
        tables.append(_quota_table(chosen, config, values["placed"], values["unplaced"]))
    reach = "nothing to cover" if radius is None else f"all within {radius:.4f}"
    note = f"{centers} centers, chosen {how}, of {placed} rows: {reach}"
    return Fitted(values={"findings": tables, "notes": [note]})


def mark(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The table with rows marked that were not chosen, if only centers are kept."""
    if config.keep == "all":
        return table
    values = context.fitted.values
    drawn = f"no vector; not among the {len(values['drawn_ids'])} of {sum(values['unplaced'])} drawn"
    rules: list[str | None] = []
    details: list[str | None] = []
    columns = (table[name].to_pylist() for name in (*ADDS,))
    has_vector = pc.is_valid(table[config.vectors]).to_pylist()
    for rank, distance, nearest, is_placed in zip(*columns, has_vector, strict=True):
        rule = detail = None
        if rank is None and not is_placed:
            rule, detail = "not_drawn", drawn
        elif rank is None:
            rule = "not_a_center"
            detail = "no center in the budget" if nearest is None else f"{distance:.4f} from {nearest}"
        rules.append(rule)
        details.append(detail)
    return mark_dropped(table, context.stage, rules, details)


def _quota_table(chosen: pa.Table, config: Config, placed: list[int], unplaced: list[int]) -> dict:
    group = _group(chosen, config).to_numpy()
    quotas = in_rows(config.quotas, config.budget or 0, 0)
    lines = []
    for one, value in enumerate(sorted(config.quotas)):
        got, there = int((group == one).sum()), placed[one] + unplaced[one]
        lines.append([value, int(quotas[one]), there, got, max(0, int(quotas[one]) - got)])
    columns = ["", "quota", "rows there are", "chosen", "not filled"]
    return finding(f"Quotas of {config.quota_column}", columns, lines)


def _centers(rows: pa.Table, config: Config, context: Context) -> np.ndarray:
    """int64: positions of the centers among rows in the order of their lots; in this order where there is
    nothing to choose, since all rows of all parts may be centers."""
    values, groups = context.fitted.values, rows["group"].to_numpy()
    left, radius = np.array(values["left"]), config.radius
    if radius is None and values["k"] == sum(values["placed"]) and (left >= values["placed"]).all():
        return np.arange(len(rows))
    if radius is not None and values["parts"] > 1:
        radius /= 2
    cover = k_center_greedy(
        vectors_of(rows, "vector"),
        min(values["k"], len(rows)),
        radius=radius,
        existing=context.fitted.arrays.get("owned"),
        groups=groups,
        quotas=left,
    )
    return cover.centres


def _group(table: pa.Table, config: Config) -> pa.Array:
    return group_of(table, config.quota_column, config.quotas)


def _lots(table: pa.Table, context: Context) -> np.ndarray:
    """uint64 [rows]: digests of run seed, stage and id."""
    return np.array([digest64(context.seed, context.stage, i) for i in table["id"].to_pylist()], np.uint64)


def _with_vector(table: pa.Table, config: Config) -> pa.Table:
    return table.filter(pc.is_valid(table[config.vectors]))


def _refuse_beyond(vectors: int, dimension: int, config: Config, what: str) -> None:
    size = vectors * dimension * 4
    if size > config.exact_bytes:
        raise ValueError(
            f"exact_bytes: {what} are {vectors:,} vectors of {size:,} bytes, more than the "
            f"{config.exact_bytes:,} that one task may compare; allow more bytes, or ask for fewer centers"
        )


def _read_counted(config: Config) -> tuple[str, ...]:
    return (config.vectors, *grouped(config))


def _read_owned(config: Config) -> tuple[str, ...]:
    return (config.vectors,) if config.against else ()


def _read_reported(config: Config) -> tuple[str, ...]:
    return ("center_rank", "center_distance", *grouped(config))


STEPS = (
    Partition(keys=count_keys, fn=count, columns=_read_counted),
    Fit(fn=share),
    Partition(keys=owned_keys, fn=pass_on, columns=_read_owned),
    Fit(fn=hold_owned),
    Partition(keys=part_keys, fn=choose_in_parts, columns=_read_counted),
    Fit(fn=choose),
    Map(fn=assign),
    Fit(fn=report, columns=_read_reported),
    Map(fn=mark),
)
