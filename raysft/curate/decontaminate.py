"""Find rows that contain items of evaluation sets, and drop them.

Columns in: messages; `embedding` (of `curate.embed`) where `match` has embedding.
Columns out: `contamination`, list<struct<set, item, part, kind, share>>: the items that stand in the row,
    those with the greatest share first and 1,000 at most. `item` is the item's row in its set, from 0.
Drops: `contaminated`, with the set, the item's number, its part, kind and share as detail.

An item's question and its answer are looked for apart; an answer counts only if it is as long as an n-gram.
    ngram      Row and item share n-grams of 13 words or, which is as long, of 20 CJK characters (Brown et
               al. 2020, "Language models are few-shot learners", appendix C: 13 words at most and 8 at
               least). The share is that of the item's tokens that are in such n-grams, as in Tülu 3 (Lambert
               et al. 2024, section 3.2: n-grams of 8, more than half). Every n-gram of every item is looked
               up in every row (raysft/algorithms/ngram_index.py). An item shorter than an n-gram must stand
               in the row as a whole; one shorter than `min_words` is left to exact.
    exact      The item's text is one of the row's turns, after NFKC, case folding and collapsing white space.
    embedding  The cosine of item and row is `embedding_threshold` or more. It finds paraphrases, and with
               them much that is only alike; section 3.2 of Tülu 3 found n-grams more useful.

The sets are read with the recipe, for mistakes and for their content, which is part of the stage's
fingerprint, and again by a worker: all workers must be able to read their files.

Findings: for each set how many items stand in how many rows; the items, each with the row that has most of
it.

Yardstick (docs/yardstick.md): nothing to find; the world's noises have no evaluation items.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationInfo, field_validator, model_validator

from raysft.acquire.evaluation_sets import Item, ReadableSet, items_of
from raysft.algorithms.ngram_index import NgramIndex, holds_ngram
from raysft.curate.contamination import (
    KINDS,
    PARTS,
    Hits,
    column_of,
    embedding_hits,
    exact_arrays,
    exact_hits,
)
from raysft.curate.embed import embedded, vectors_of
from raysft.curate.texts import On, texts_of, turns_of
from raysft.sample import mark_dropped, set_column
from raysft.stage import Context, Fit, Fitted, Map, TableConfig, finding

VERSION = 1
WRITES = "columns"
ADDS = ("contamination",)
WORDS_TO_CHARACTERS = 1.5
EMBED_AT_ONCE = 1024
CHARACTERS_SHOWN = 80
ENTRY = ("set", "item", "part")
SUMMARY = (
    *("set", "items", "rows not read", "too short for n-grams", "items that stand in rows", "share", "rows"),
    *(f"by {kind}" for kind in KINDS),
)
ITEMS = ("set", "item", "its question begins", "rows", "row that has most", "part", "kind", "share")


class Config(TableConfig):
    sets: dict[str, ReadableSet] = Field(
        min_length=1,
        description="name → evaluation set: a path, or {path, format, question, answer, only}",
        json_schema_extra={"execution_only": True},
    )
    contents: dict[str, str] = Field(
        {},
        validate_default=True,
        description="name → digest of what decides a set's items; filled in, and held to where it is given",
    )
    match: tuple[Literal["ngram", "exact", "embedding"], ...] = Field(
        ("ngram", "exact"), min_length=1, description="how items are looked for; embedding needs `engine`"
    )
    on: On = Field("conversation", description="look in all turns, or in the first user turn alone")
    parts: tuple[Literal["question", "answer"], ...] = Field(
        ("question", "answer"),
        min_length=1,
        description="what of an item to look for; an answer only if it is as long as an n-gram",
    )
    ngram: int = Field(13, ge=1, le=1000, description="words of an n-gram (Brown et al. 2020, appendix C)")
    ngram_cjk: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="CJK characters of an n-gram; if unset 1.5 a word, what Chinese words have: 20 for 13",
    )
    min_words: int = Field(
        8,
        ge=1,
        description="shorter items are found by exact alone (Brown et al. 2020, appendix C: 8, for there are "
        "spurious collisions below); CJK characters count as in n-grams",
    )
    min_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of an item's tokens in shared n-grams from which it stands in a row (Tülu 3, "
        "section 3.2)",
    )
    engine: str | None = Field(None, description="the embedder of curate.embed, for `match: [embedding]`")
    embedding_threshold: float = Field(
        0.9,
        gt=0,
        le=1,
        description="cosine from which an item stands in a row; our choice: with MiniLM no two questions of "
        "GSM8K's test and training set are as near",
    )
    drop: bool = Field(True, description="drop rows that items stand in; if false they are only annotated")
    shown: int = Field(50, ge=0, description="items to name at most; the others are counted")

    @field_validator("contents")
    @classmethod
    def _are_those_of_the_sets(cls, given: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if "sets" not in info.data:
            return given
        found = {name: each.content for name, each in info.data["sets"].items()}
        for name, content in given.items():
            if name not in found:
                raise ValueError(f"{name}: there is no such set; sets has: {', '.join(found)}")
            if content != found[name]:
                raise ValueError(
                    f"{name}: the set's content is {found[name]}, not {content}: it has changed; "
                    "take `contents` out to use the set as it is now"
                )
        return found

    @model_validator(mode="after")
    def _has_an_embedder_to_match_by_embedding(self) -> Config:
        if ("embedding" in self.match) != (self.engine is not None):
            raise ValueError("`match` with embedding and `engine` belong together; give both or neither")
        return self

    @property
    def ngram_lengths(self) -> tuple[int, int]:
        """Words and CJK characters of an n-gram."""
        return self.ngram, self.ngram_cjk or math.ceil(WORDS_TO_CHARACTERS * self.ngram)


@dataclass(frozen=True)
class Sets:
    """All items, each with the place of its set, and of each set how many rows were not read."""

    items: list[tuple[int, Item]]
    not_read: list[int]


def read_sets(config: Config) -> Sets:
    """All items.

    Raises:
        ValueError: a set is not what it was when the recipe was read.
    """
    items, not_read = [], []
    for place, (name, given) in enumerate(config.sets.items()):
        if given.content != config.contents[name]:
            raise ValueError(f"sets.{name}: {given.path} has changed since the recipe was read; start again")
        found = list(items_of(given))
        items += [(place, item) for item in found if isinstance(item, Item)]
        not_read.append(sum(not isinstance(item, Item) for item in found))
    return Sets(items, not_read)


def index(table: pa.Table, config: Config, context: Context) -> Fitted:
    """The sets' texts: arrays of `NgramIndex`, of `exact_arrays` and of entries, see
    raysft/curate/contamination.py; `values["sets"]`, what there is to say of each set."""
    sets = read_sets(config)
    n, n_cjk = config.ngram_lengths
    answers = pa.array([item.answer for _, item in sets.items], pa.string())
    long = [row for row, holds in zip(sets.items, holds_ngram(answers, n, n_cjk), strict=True) if holds]
    entries = [(row, "question") for row in sets.items if "question" in config.parts]
    entries += [(row, "answer") for row in long if "answer" in config.parts]
    texts = pa.array([getattr(item, part) for (_, item), part in entries], pa.string())
    arrays = _entries("entry", entries)
    ngrams = NgramIndex.of(texts, n, n_cjk, config.min_words)
    short = Counter(arrays["entry_set"][~ngrams.is_indexed()].tolist())
    numbers = Counter(place for place, _ in {(place, item.number) for place, item in sets.items})
    told = [
        {"name": name, "items": numbers[place], "not_read": not_read, "short": short[place]}
        for place, (name, not_read) in enumerate(zip(config.sets, sets.not_read, strict=True))
    ]
    return Fitted({**arrays, **ngrams.arrays(), **exact_arrays(texts)}, {"sets": told})


def embed_items(table: pa.Table, config: Config, context: Context) -> Fitted:
    """`vectors` float32 [items, dimension], with entries of their own; nothing where nothing is embedded.
    What is embedded is the question, and, where whole conversations were, the answer behind it.

    Raises:
        ValueError: the engine is not the one that `curate.embed` used, by the dimension of its vectors.
    """
    if config.engine is None:
        return Fitted()
    items = read_sets(config).items
    both = config.on == "conversation"
    texts = [
        f"{item.question}\n{item.answer}" if both and item.answer else item.question for _, item in items
    ]
    batches = [texts[i : i + EMBED_AT_ONCE] for i in range(0, len(texts), EMBED_AT_ONCE)]
    vectors = np.concatenate([embedded(batch, config.engine, context) for batch in batches])
    dimension = vectors_of(table.filter(pc.is_valid(table["embedding"]))).shape[1]
    if vectors.shape[1] != dimension:
        raise ValueError(
            f"{config.engine} gives vectors of {vectors.shape[1]} numbers, and the column embedding holds "
            f"vectors of {dimension}; name the engine of curate.embed"
        )
    return Fitted(
        {"vectors": vectors, **_entries("vector", [(row, "both" if both else "question") for row in items])}
    )


def _entries(prefix: str, rows: Sequence[tuple[tuple[int, Item], str]]) -> dict[str, np.ndarray]:
    return {
        f"{prefix}_set": np.array([place for (place, _), _ in rows], np.int32),
        f"{prefix}_item": np.array([item.number for (_, item), _ in rows], np.int64),
        f"{prefix}_part": np.array([PARTS.index(part) for _, part in rows], np.int8),
    }


def annotate(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The table with its column `contamination`."""
    arrays = context.fitted.arrays
    entries = {name: arrays[f"entry_{name}"] for name in ENTRY}
    found = []
    if "ngram" in config.match:
        row, entry, share = NgramIndex.from_arrays(arrays).found_in(
            texts_of(table, config.on), config.min_share
        )
        found.append(Hits.of(row, entry, "ngram", share))
    if "exact" in config.match:
        row, _, turns = turns_of(table)
        if config.on == "instruction":
            row, turns = np.arange(len(table)), texts_of(table, "instruction")
        found.append(exact_hits(row, turns, arrays))
    if "embedding" in config.match:
        has_vector = pc.is_valid(table["embedding"]).to_numpy()
        vectors = vectors_of(table.filter(pa.array(has_vector)))
        hits = embedding_hits(
            np.flatnonzero(has_vector), vectors, arrays["vectors"], config.embedding_threshold
        )
        found.append(replace(hits, entry=hits.entry + len(entries["set"])))
        entries = {name: np.concatenate([entries[name], arrays[f"vector_{name}"]]) for name in ENTRY}
    column = column_of(Hits.all(found), len(table), list(config.sets), entries)
    return set_column(table, "contamination", column)


def report(rows: pa.Table, config: Config, context: Context) -> Fitted:
    """`values["findings"]`: how many items of each set stand in how many rows, and the items by name;
    `values["notes"]`: a line of it."""
    column = rows["contamination"].combine_chunks()
    place = pc.list_parent_indices(column).to_numpy()
    hits = pa.Table.from_struct_array(pc.list_flatten(column))
    hits = hits.append_column("row", rows["id"].combine_chunks().take(pa.array(place)))
    summary, notes = [], []
    for about in context.fitted.values["sets"]:
        own = hits.filter(pc.equal(hits["set"], about["name"]))
        items, in_rows = (len(pc.unique(own[name])) for name in ("item", "row"))
        kinds = Counter(own["kind"].to_pylist())
        share = round(items / about["items"], 4)
        counted = [about["items"], about["not_read"], about["short"], items, share, in_rows]
        summary.append([about["name"], *counted, *(kinds[kind] for kind in KINDS)])
        if items:
            notes.append(f"{items} of {about['items']} items of {about['name']}")
    told = "no row contains an item"
    if notes:
        told = f"{len(pc.unique(hits['row']))} of {len(rows)} rows contain {', '.join(notes)}"
    tables = [finding("Evaluation items that stand in rows", SUMMARY, summary)]
    if len(hits) and config.shown:
        tables.append(_items(hits, config))
    return Fitted(values={"findings": tables, "notes": [told]})


def _items(hits: pa.Table, config: Config) -> dict[str, Any]:
    """The finding that names items, each with the row that has most of it, those with the greatest share
    first."""
    by = [("share", "descending"), *((name, "ascending") for name in ("set", "item", "row", "part", "kind"))]
    best: dict[tuple[str, int], dict[str, Any]] = {}
    holding: dict[tuple[str, int], set[str]] = {}
    for hit in hits.sort_by(by).to_pylist():
        where = (hit["set"], hit["item"])
        best.setdefault(where, hit)
        holding.setdefault(where, set()).add(hit["row"])
    shown = dict(list(best.items())[: config.shown])
    texts = _texts(config, shown)
    rows: list[list[Any]] = []
    for where, hit in shown.items():
        about = [texts[where], len(holding[where]), hit["row"], hit["part"], hit["kind"]]
        rows.append([*where, *about, round(hit["share"], 4)])
    if len(best) > len(shown):
        rows.append([f"and {len(best) - len(shown)} more", *[None] * (len(ITEMS) - 1)])
    return finding("Evaluation items, and the row that has most of each", ITEMS, rows)


def _texts(config: Config, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """How the questions of these items, by set and number, begin."""
    found: dict[tuple[str, int], str] = {}
    for name, given in config.sets.items():
        numbers = {number for of, number in wanted if of == name}
        for item in items_of(given) if numbers else ():
            if isinstance(item, Item) and item.number in numbers:
                found.setdefault((name, item.number), " ".join(item.question.split())[:CHARACTERS_SHOWN])
    return found


def drop(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """Marks for the rows in which items stand."""
    if not config.drop:
        return table
    details = [_detail(hits) for hits in table["contamination"].to_pylist()]
    return mark_dropped(table, context.stage, [detail and "contaminated" for detail in details], details)


def _detail(hits: Sequence[Mapping[str, Any]]) -> str | None:
    if not hits:
        return None
    rest = f"; and {len(hits) - 1} more" if len(hits) > 1 else ""
    return "{set} item {item}, {part}: {kind} {share:.2f}".format(**hits[0]) + rest


def columns(config: Config) -> tuple[str, ...]:
    """What the embedded items are held against."""
    return ("embedding",) if config.engine else ()


STEPS = (
    Fit(fn=index),
    Fit(fn=embed_items, columns=columns, max_rows=1, engine="engine", protocol="embedder"),
    Map(fn=annotate),
    Fit(fn=report, columns=("contamination",)),
    Map(fn=drop),
)
