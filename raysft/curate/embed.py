"""Embed each row's text.

Columns in: messages.
Columns out: `embedding`, fixed_size_list<float32>[dimension], of unit length.
Drops: none.

One vector a row serves semantic deduplication, diverse selection and novelty alike. Long texts are cut
where the embedder cuts them. A vector of zeros is an embedder's way to say that it cannot read a text, as
an English one cannot read Chinese, which else all looks alike to it: such a row's `embedding` is null.

Yardstick (docs/yardstick.md): nothing to find; it marks and scores no row.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from raysft.curate.texts import On, texts_of
from raysft.sample import set_column
from raysft.stage import Context, Map, StageConfig

VERSION = 1
WRITES = "columns"
ADDS = ("embedding",)


class Config(StageConfig):
    engine: str = Field(description="name of an engine of the recipe that embeds")
    on: On = Field("conversation", description="embed all turns, or the first user turn alone")


def embedded(texts: list[str], engine: str, context: Context) -> np.ndarray:
    """float32 [texts, dimension] from the context's engine, which the recipe calls `engine`.

    Raises:
        ValueError: the engine returned another number of rows, or values that are not finite.
    """
    vectors = np.ascontiguousarray(context.engine.embed(texts), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise ValueError(f"{engine} returned shape {vectors.shape} for {len(texts)} texts")
    if not np.isfinite(vectors).all():
        raise ValueError(f"{engine} returned values that are not finite")
    return vectors


def embed(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The table with its column `embedding`; raises as `embedded` does."""
    vectors = embedded(texts_of(table, config.on).to_pylist(), config.engine, context)
    is_unread = pa.array(~vectors.any(axis=1))
    values, dimension = pa.array(vectors.ravel()), vectors.shape[1]
    return set_column(
        table, "embedding", pa.FixedSizeListArray.from_arrays(values, dimension, mask=is_unread)
    )


def vectors_of(table: pa.Table, name: str = "embedding") -> np.ndarray:
    """float32 [rows, dimension] from a column of vectors, which must have no nulls.

    Raises:
        ValueError: the column is no fixed_size_list<float32>.
    """
    chunked = table[name]
    column = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()
    if not pa.types.is_fixed_size_list(column.type) or column.type.value_type != pa.float32():
        raise ValueError(f"column {name} is {column.type}; vectors are fixed_size_list<float32>")
    return column.flatten().to_numpy().reshape(len(column), column.type.list_size)


STEPS = (Map(fn=embed, engine="engine", protocol="embedder"),)
