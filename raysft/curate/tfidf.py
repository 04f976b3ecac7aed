"""Give each row a vector of its words: TF-IDF, or counts alone.

Columns in: messages.
Columns out: `tfidf`, fixed_size_list<float32>[dimension], of unit length; null for a text without a token.
Drops: none.

For stages that compare vectors (curate.semantic_dedup, curate.onepass_cluster, curate.select), in place of
an embedding: no model, any language, and alike means the same words. Features are words, CJK characters and
pairs of them, hashed into the vector's places (raysft/algorithms/tfidf.py; how exact that is stands in
docs/word_vectors.md). Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval", is the
reason for the weights. How rare a word is, is counted over all rows of the run: vectors of two runs do not
compare.

Yardstick (docs/yardstick.md): nothing to find; it marks and scores no row.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from raysft.algorithms import tfidf
from raysft.curate.texts import On, texts_of
from raysft.sample import set_column
from raysft.stage import Context, Fit, Fitted, Map, Partition, TableConfig

VERSION = 1
WRITES = "columns"
ADDS = ("tfidf",)
TEXTS = tfidf.SLOTS  # the key under which texts are counted; slots are smaller


class Config(TableConfig):
    on: On = Field("conversation", description="the words of all turns, or of the first user turn alone")
    dimension: int = Field(
        1024,
        ge=64,
        le=1 << 16,
        description="places of a vector, 4 bytes each; cosines near 0 are off by 1/√dimension",
    )
    weights: Literal["tfidf", "counts"] = Field(
        "tfidf",
        description="rare words weigh more, as scikit-learn's smoothed idf has it; or all words weigh alike",
    )
    sublinear: bool = Field(
        True, description="a word that stands t times counts 1 + ln t, not t (scikit-learn's sublinear_tf)"
    )


def count_texts(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """(key, count): how many texts have a feature of each slot, and under TEXTS how many have any."""
    slots, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if config.weights == "tfidf":
        frequencies, texts = tfidf.document_frequencies(texts_of(table, config.on))
        slots = np.append(np.flatnonzero(frequencies), TEXTS)
        counts = np.append(frequencies[slots[:-1]], texts)
    return pa.table({"key": slots.astype(np.uint64), "count": counts.astype(np.int64)})


def add_counts(rows: pa.Table, config: Config, context: Context) -> pa.Table:
    """(key, count), each key once."""
    return rows.group_by("key").aggregate([("count", "sum")]).rename_columns(["key", "count"])


def fit_frequencies(rows: pa.Table, config: Config, context: Context) -> Fitted:
    """`slots` int64, ascending, and in how many texts each is, `frequencies` int64; `texts`, their number."""
    rows = rows.sort_by("key")
    slots, counts = rows["key"].to_numpy().astype(np.int64), rows["count"].to_numpy()
    if len(slots) == 0:
        return Fitted()
    note = f"{counts[-1]:,} texts, {len(slots) - 1:,} of {tfidf.SLOTS:,} slots of words taken"
    return Fitted(
        {"slots": slots[:-1], "frequencies": counts[:-1]}, {"texts": int(counts[-1]), "notes": [note]}
    )


def vectorise(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The table with its column `tfidf`."""
    weights = None
    if config.weights == "tfidf":
        arrays = context.fitted.arrays
        texts = context.fitted.values["texts"]
        weights = tfidf.inverse_frequencies(arrays["slots"], arrays["frequencies"], texts)
    vectors, has_vector = tfidf.hashed_vectors(
        texts_of(table, config.on), config.dimension, sublinear=config.sublinear, weights=weights
    )
    column = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.ravel()), config.dimension, mask=pa.array(~has_vector)
    )
    return set_column(table, "tfidf", column)


def columns(config: Config) -> tuple[str, ...]:
    """The sample columns that counting needs."""
    return ("messages",) if config.weights == "tfidf" else ()


STEPS = (
    Partition(keys=count_texts, fn=add_counts, columns=columns),
    Fit(fn=fit_frequencies),
    Map(fn=vectorise),
)
