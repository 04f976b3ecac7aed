"""Cluster rows in one pass: a row joins the most similar leader so far, or becomes a leader.

Columns in: the vectors that `vectors` names (of `curate.embed` or `curate.tfidf`); messages, source, op and
the column `prefer`, for the order.
Columns out: `cluster`, the id of the leader, its own for a leader; `cluster_cosine`, float64, the cosine with
the leader, 1 for a leader; `cluster_size`, int64, rows of the cluster, its leader among them. A row without a
vector is a cluster of its own, and its cosine null.
Drops: with `keep: leaders` all other rows, `not_a_leader`, with the leader's id and the cosine as detail.

Leader clustering (Hartigan 1975, "Clustering Algorithms", chapter 3; raysft/algorithms/onepass.py) in the
order of raysft/curate/preference.py, so that a leader is preferred to all that join it. No two leaders are as
similar as the threshold, and every row is as similar to its leader. Rows of sets that are owned already are
leaders from the start, however alike.

Above `single_pass_rows` rows: leaders of parts, by a hash of the id, then leaders among those; each row joins
the most similar of them, and rows that have lost their leader and found no other are clustered once more
among themselves. So the same holds, but for two things: other rows lead, and a row may join a leader that
comes after it in the order. Findings say which of both was done; docs/word_vectors.md, how much it changes.
All leaders must fit into the memory of one task, with 4 bytes a place of a vector.

Yardstick (docs/yardstick.md), after minhash_dedup, with `keep: leaders`, an embedder that reads English
alone and threshold 0.95: precision 76 %; 88 % of near duplicates and 13 % of paraphrases are resolved then;
0.7 % of the clean rows dropped. With `vectors: tfidf`: 61 %; 86 % and 8 %; 1.4 %.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from raysft.algorithms.groups import bounds
from raysft.algorithms.onepass import leader_clusters, nearest_leader
from raysft.curate.embed import vectors_of
from raysft.curate.preference import ORDER, DedupConfig, preference_columns, with_preference
from raysft.sample import digest64, mark_dropped
from raysft.stage import Context, Fit, Fitted, Map, Partition, finding

VERSION = 1
WRITES = "columns"
ADDS = ("cluster", "cluster_cosine", "cluster_size")
FINDS = {"not_a_leader": ("near_duplicate", "paraphrase")}
LEFT_OVER = np.uint64(0xFFFFFFFFFFFFFFFF)  # no row's handle, which is a positive int64


class Config(DedupConfig):
    vectors: str = Field("embedding", description="column of vectors: that of curate.embed, or tfidf")
    threshold: float = Field(
        0.75,
        gt=0,
        le=1,
        description="cosine from which a row joins a leader (the default of community_detection of "
        "sentence-transformers); 0.95 to drop what says the same",
    )
    keep: Literal["all", "leaders"] = Field(
        "all", description="whether rows that joined a leader are dropped"
    )
    single_pass_rows: int = Field(
        1 << 18,
        ge=1,
        description="most rows, owned ones too, that one task clusters in one pass; above, rows are cut into "
        "parts of about so many",
    )


def columns(config: Config) -> tuple[str, ...]:
    """The sample columns that clustering needs."""
    needed = preference_columns(config)
    return needed if config.vectors in needed else (*needed, config.vectors)


def count_rows(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """(key, rows, owned): one row that counts the table's."""
    owned = pc.sum(table["owned"]).as_py() or 0
    return pa.table({"key": np.zeros(1, np.uint64), "rows": [len(table)], "owned": [owned]})


def counted(rows: pa.Table, config: Config, context: Context) -> pa.Table:
    return rows


def fit_parts(rows: pa.Table, config: Config, context: Context) -> Fitted:
    """`parts`, into which rows are cut, and `new`, the number of rows that are not owned."""
    total, owned = (int(np.sum(rows[name].to_numpy())) for name in ("rows", "owned"))
    return Fitted(values={"parts": max(1, -(-total // config.single_pass_rows)), "new": total - owned})


def part_keys(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """(key, its vector, and what rows are ordered by) of every row that has a vector; the key is its part."""
    table = table.filter(pc.is_valid(table[config.vectors]))
    parts = context.fitted.values["parts"]
    keys = [digest64("part", name) % parts if parts > 1 else 0 for name in table["id"].to_pylist()]
    rows = with_preference(table, config)
    rows = rows.append_column("key", pa.array(keys, pa.uint64()))
    return rows.append_column(config.vectors, table[config.vectors])


def lead_parts(rows: pa.Table, config: Config, context: Context) -> pa.Table:
    """With one part, (row, leader, cosine) of all its rows; with several, the rows that lead in each."""
    order = pc.sort_indices(rows.drop_columns(config.vectors), [("key", "ascending"), *ORDER])
    vectors = vectors_of(rows, config.vectors)[order.to_numpy()]
    narrow = rows.drop_columns(config.vectors).take(order)
    key, owned = narrow["key"].to_numpy(), narrow["owned"].to_numpy()
    leader, cosine = np.arange(len(rows)), np.ones(len(rows))
    for start, end in itertools.pairwise(bounds(key)):
        found, near = leader_clusters(vectors[start:end], config.threshold, int(owned[start:end].sum()))
        leader[start:end], cosine[start:end] = found + start, near
    if context.fitted.values["parts"] == 1:
        handles = narrow["row"].to_numpy()
        return pa.table({"row": handles, "leader": handles[leader], "cosine": cosine})
    leads = np.flatnonzero(leader == np.arange(len(rows)))
    vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors[leads].ravel()), vectors.shape[1])
    return narrow.take(pa.array(leads)).append_column(config.vectors, vector)


def fit_leaders(rows: pa.Table, config: Config, context: Context) -> Fitted:
    """With one part `row`, ascending, and its `leader` and `cosine`; with several, the leaders among those
    of the parts: `leader` int64 and `vector` float32 [leaders, dimension]."""
    if context.fitted.values["parts"] == 1:
        rows = rows.sort_by("row")
        return Fitted({name: rows[name].to_numpy() for name in ("row", "leader", "cosine")})
    order = pc.sort_indices(rows.drop_columns(config.vectors), list(ORDER)).to_numpy()
    vectors, handles = vectors_of(rows, config.vectors)[order], rows["row"].to_numpy()[order]
    leader, _ = leader_clusters(vectors, config.threshold, pc.sum(rows["owned"]).as_py() or 0)
    leads = leader == np.arange(len(rows))
    return Fitted({"leader": handles[leads], "vector": vectors[leads]})


def cluster_keys(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """(key, cosine, vector, and what rows are ordered by) of every row. The key is its leader's handle, or
    LEFT_OVER, and then alone it has a vector."""
    rows = with_preference(table, config)
    key = rows["row"].to_numpy().astype(np.uint64)
    has_vector = pc.is_valid(table[config.vectors]).to_numpy()
    cosine, is_left = np.where(has_vector, 1.0, np.nan), np.zeros(len(table), bool)
    asks = np.flatnonzero(has_vector & ~rows["owned"].to_numpy())
    known, left = context.fitted.arrays, np.zeros((0, 1), np.float32)
    if context.fitted.values["parts"] == 1:
        place = np.searchsorted(known["row"], rows["row"].to_numpy()[asks])
        key[asks], cosine[asks] = known["leader"][place], known["cosine"][place]
    else:
        vectors = vectors_of(table.take(pa.array(asks)), config.vectors)
        place, cosine[asks] = nearest_leader(vectors, known["vector"], config.threshold)
        left = vectors[place < 0]
        is_left[asks] = place < 0
        key[asks] = np.where(place < 0, LEFT_OVER, known["leader"][place].astype(np.uint64))
    ends = np.append(0, np.cumsum(is_left)) * left.shape[1]
    added: dict[str, Any] = {
        "key": pa.array(key),
        "cosine": pa.array(cosine, from_pandas=True),
        "vector": pa.LargeListArray.from_arrays(ends, pa.array(left.ravel())),
    }
    for name, values in added.items():
        rows = rows.append_column(name, values)
    return rows


def decide(rows: pa.Table, config: Config, context: Context) -> pa.Table:
    """Cluster, cosine and size of every row that is not owned."""
    key, cosine = rows["key"].to_numpy().copy(), rows["cosine"].to_numpy().copy()
    handles = rows["row"].to_numpy()
    left = rows.append_column("place", pa.array(np.arange(len(rows)))).filter(pa.array(key == LEFT_OVER))
    if len(left):
        left = left.sort_by(list(ORDER))
        vectors = left["vector"].combine_chunks()
        matrix = vectors.flatten().to_numpy().reshape(len(left), -1)
        leader, near = leader_clusters(matrix, config.threshold)
        place = left["place"].to_numpy()
        key[place], cosine[place] = handles[place][leader].astype(np.uint64), near
    _, cluster, sizes = np.unique(key, return_inverse=True, return_counts=True)
    by_handle = np.argsort(handles)
    leader = by_handle[np.searchsorted(handles, key.astype(np.int64), sorter=by_handle)]
    decided = pa.table(
        {
            "row": rows["row"],
            "cluster": rows["id"].take(pa.array(leader)),
            "cluster_cosine": pa.array(cosine, from_pandas=True),
            "cluster_size": pa.array(sizes[cluster], pa.int64()),
        }
    )
    return decided.filter(pc.invert(rows["owned"]))


def drop(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """Marks for the rows that joined a leader, where only leaders stay. Owned rows have no cluster."""
    if config.keep == "all" or "cluster" not in table.column_names:
        return table
    told = (table[name].to_pylist() for name in ("id", "cluster", "cluster_cosine"))
    joined = [
        f"{cluster} {cosine:.4f}" if cluster != own else None
        for own, cluster, cosine in zip(*told, strict=True)
    ]
    return mark_dropped(table, context.stage, ["not_a_leader" if d else None for d in joined], joined)


def report(rows: pa.Table, config: Config, context: Context) -> Fitted:
    """`values["findings"]`: how many clusters there are, how large, and how they were found."""
    parts, new = (context.fitted.values[name] for name in ("parts", "new"))
    own = rows.filter(pc.equal(rows["cluster"], rows["id"]))
    sizes = own["cluster_size"].to_numpy()
    how = "one pass" if parts == 1 else f"leaders of {parts} parts, then leaders among those"
    told: dict[str, Any] = {
        "rows": new,
        "clusters": len(own),
        "rows in the largest": int(sizes.max(initial=0)),
        "in the median": float(np.median(sizes)) if len(sizes) else None,
        "clusters of one row": int(np.sum(sizes == 1)),
        "of them without a vector": own["cluster_cosine"].null_count,
        "rows that joined owned ones": new - int(sizes.sum()),
        "found by": how,
    }
    table = finding(
        f"Clusters by {config.vectors}, cosine {config.threshold:g}", list(told), [list(told.values())]
    )
    note = f"{len(own):,} clusters of {new:,} rows, by {how}"
    return Fitted(values={"findings": [table], "notes": [note]})


STEPS = (
    Partition(keys=count_rows, fn=counted, columns=()),
    Fit(fn=fit_parts),
    Partition(keys=part_keys, fn=lead_parts, columns=columns),
    Fit(fn=fit_leaders),
    Partition(keys=cluster_keys, fn=decide, columns=columns),
    Map(fn=drop),
    Fit(fn=report, columns=ADDS),
)
