"""`train.pack`: the sealed, curated rows as tokens in packed rows, sealed themselves, for all ranks to read.

Below the stage's folder, beside what raysft/runtime/manifest.py says:
    shards/train-<part>-…, eval-…   rows of raysft.train.pack.PACKED; eval holds the held-out samples
    tokenizer/                      as it encoded them; made here where the model is made from scratch
    unusable.parquet                id, reason and detail of samples, or parts of them, that cannot be used
The manifest's counts are samples (a row's drop rule is its reason), its records' rows are packed rows,
its `files` hold the SHA-256 of everything that is not a shard, and its findings say what was mixed how, and
how full the rows are.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from transformers import AutoTokenizer

from raysft.engines.build import TOKENIZER_SUFFIXES, model_identity, resolve_model
from raysft.engines.spec import TransformersSpec
from raysft.runtime import chain, manifest
from raysft.runtime.manifest import DigestMismatch, Manifest, Record, manifest_digest
from raysft.runtime.passes import semantic
from raysft.runtime.storage import Storage
from raysft.runtime.work import WorkShard, read_rows
from raysft.sample import digest, digest64, live, set_column
from raysft.stage import Counts
from raysft.train import templates
from raysft.train.added_tokens import added_in, check_seen, extend_tokenizer
from raysft.train.batches import packing_table
from raysft.train.chat import check_template
from raysft.train.config import TrainConfig
from raysft.train.evaluate import held_out
from raysft.train.mixing import (
    MIXED_OUT,
    columns_of,
    copies_of,
    group_columns,
    group_labels,
    groups_of,
    mixing_table,
)
from raysft.train.pack import PackedIndex, encode_rows, pack
from raysft.train.scratch import texts_of, train_tokenizer
from raysft.train.too_long import cut_finding

STAGE = "train.pack"
VERSION = 2
ROWS_PER_TASK = 20_000
ROWS_PER_PART = 131_072
"""Samples that are packed together: of 500 tokens each, 0.5 GB in one process."""
TOKENS_PER_SHARD = 8 << 20
UNUSABLE = "unusable.parquet"
TOKENIZER = "tokenizer"
SPLITS = ("train", "eval")
DECIDES = (
    *("context_length", "packed", "mixing", "eval_fraction", "eval_max_rows", "seed", "init", "scratch"),
    *("default_system", "too_long", "tool_calls", "added_tokens"),
)
"""Fields of a TrainConfig that decide the packed rows; the model decides them by its tokenizer."""


class NothingToTrainOn(RuntimeError):
    """No curated row can be trained on."""


class ModelNotFound(RuntimeError):
    """The model to train is not there, or has no tokenizer."""


def pack_stage(storage: Storage, sealed: Sequence[Manifest], config: TrainConfig) -> Manifest:
    """Encode, split, mix and pack the live rows of a chain of sealed stages, and seal the result.

    Samples are dealt to parts by their id; each part is packed by itself, so that no process holds more
    than one, and the driver ids and numbers alone. A stage that is sealed already for just these rows and
    settings is returned as it is.

    Raises:
        DigestMismatch: a curated shard is not what its manifest says.
        NothingToTrainOn: with the reasons, counted.
        MixingError: the samples cannot be mixed as asked.
        ModelNotFound: no tokenizer can be loaded for the model.
        ValueError: the model's tokenizer has no chat template or no EOS, or an added token stands nowhere.
    """
    parent = sealed[-1]
    fingerprint = pack_fingerprint(config, parent)
    folder = f"stages/{len(sealed):02d}-{STAGE}-{fingerprint[:12]}"
    known = manifest.read_manifest(storage, folder)
    if known is not None:
        return known
    started = time.monotonic()
    base, sidecars = chain.split(sealed)
    for stage in (base, *sidecars):
        manifest.verify(storage, stage)
    shards = chain.work_shards(sealed, chain.ranges_of(sealed, ROWS_PER_TASK))
    rows = _narrow_rows(storage, shards, columns_of(config.mixing))
    ids = rows["id"].to_pylist()
    chosen = held_out(ids, config.seed, config.eval_fraction, config.eval_max_rows)
    is_held_out = {id for id, held in zip(ids, chosen, strict=True) if held}
    groups = dict(zip(ids, groups_of(group_columns(rows), config.mixing).tolist(), strict=True))
    tokenizer = _tokenizer(storage, shards, config, is_held_out)
    parts = max(1, -(-len(ids) // ROWS_PER_PART))
    tables, told = _encode_all(storage, shards, tokenizer, config, parts)
    decided, mixed = _decide(told, is_held_out, groups, config)
    counts = _counts(decided)
    if not pc.sum(decided["copies"]).as_py():
        raise NothingToTrainOn(
            f"{counts.rows_in:,} curated rows, {len(is_held_out):,} held out, none left to train on; "
            f"not usable: {dict(counts.rules)}"
        )
    taken = decided.filter(pc.greater(decided["copies"], 0))
    check_seen(taken["added"], tokenizer, config.added_tokens)
    records, filled = _pack_all(storage, folder, tables, decided, config, fingerprint)
    unusable = decided.filter(pc.is_valid(decided["reason"])).select(["id", "reason", "detail"])
    files = {UNUSABLE: storage.write_table(f"{folder}/{UNUSABLE}", unusable).sha256}
    files |= _write_tokenizer(storage, folder, tokenizer)
    return manifest.seal(
        storage,
        Manifest(
            stage=STAGE,
            folder=folder,
            fingerprint=fingerprint,
            writes="rows",
            shards=tuple(records),
            counts=counts,
            parents={parent.folder: manifest_digest(parent)},
            config=semantic(config),
            files=files,
            findings=tuple(
                table
                for table in (cut_finding(told), *mixed, packing_table(filled, config.context_length))
                if table
            ),
            seconds=round(time.monotonic() - started, 3),
        ),
    )


def findings_as_lines(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each row of the findings as a line for whoever watches the run."""
    lines = []
    for table in findings:
        for name, *values in table["rows"]:
            told = zip(table["columns"][1:], values, strict=True)
            numbers = (
                f"{c} {v:,}" if isinstance(v, int | float) else v for c, v in told if v not in (None, "")
            )
            lines.append(f"{name}: {', '.join(numbers)}")
    return lines


def pack_fingerprint(config: TrainConfig, parent: Manifest) -> str:
    """Identity of the packed rows: the sealed rows by digest, the settings, the tokenizer's model."""
    fields = {name: value for name, value in semantic(config).items() if name in DECIDES}
    return digest(
        STAGE,
        VERSION,
        manifest_digest(parent),
        json.dumps(fields, sort_keys=True),
        model_revision(config),
        templates.identity(config.chat_template, config.default_system),
    )


def model_revision(config: TrainConfig) -> str:
    """Which model a run starts from, as `model_identity` knows it; "" for one from scratch."""
    if config.model is None:
        return ""
    identity = model_identity(TransformersSpec(model=config.model))
    return f"{identity.model}@{identity.revision}"


def local_model(config: TrainConfig) -> str:
    """What transformers can load: a folder, fetched once a node if it is in a store, or a hub name."""
    assert config.model is not None
    return resolve_model(config.model)


def model_config_source(config: TrainConfig) -> str | None:
    """Where the shape of the model is read: a folder or hub name; None for one made from scratch. Of a model
    in a store all but the weights is fetched."""
    return None if config.model is None else resolve_model(config.model, TOKENIZER_SUFFIXES)


def read_packed(storage: Storage, packed: Manifest, split: str) -> pa.Table:
    """All packed rows of "train" or "eval", in the sealed order."""
    records = [r for r in packed.shards if r.unit.startswith(f"{split}-")]
    tables = [storage.read_table(manifest.shard_path(packed.folder, r.name)) for r in records]
    return pa.concat_tables(tables).combine_chunks()


def read_tokenizer(storage: Storage, packed: Manifest, folder: Path) -> Any:
    """The tokenizer that encoded the rows; its files go below `folder`.

    Raises:
        DigestMismatch: a file is not what the manifest says.
    """
    target = folder / TOKENIZER
    target.mkdir(parents=True)
    for name, sha256 in packed.files.items():
        if not name.startswith(f"{TOKENIZER}/"):
            continue
        data = storage.read_bytes(f"{packed.folder}/{name}")
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DigestMismatch(f"{storage.uri(f'{packed.folder}/{name}')} is not what its manifest says")
        (folder / name).write_bytes(data)
    return AutoTokenizer.from_pretrained(str(target), trust_remote_code=False)


def _narrow_rows(storage: Storage, shards: Sequence[WorkShard], columns: Sequence[str]) -> pa.Table:
    """`id` and these columns of all live rows."""
    return pa.concat_tables(_live_rows(storage, shards, [c for c in columns if c != "id"])).combine_chunks()


def _live_rows(storage: Storage, shards: Sequence[WorkShard], columns: Sequence[str]) -> Iterator[pa.Table]:
    for shard in shards:
        yield live(read_rows(storage, shard, columns)).select(["id", *columns])


def _tokenizer(
    storage: Storage, shards: Sequence[WorkShard], config: TrainConfig, is_held_out: set[str]
) -> Any:
    """The model's own tokenizer, or one trained on the samples that are not held out."""
    if config.scratch is not None:
        conversations = (
            row["messages"]
            for rows in _live_rows(storage, shards, ["messages"])
            for row in rows.to_pylist()
            if row["id"] not in is_held_out
        )
        made = extend_tokenizer(train_tokenizer(texts_of(conversations), config.scratch), config.added_tokens)
        return templates.choose(made, config.chat_template, config.default_system)
    tokenizer = extend_tokenizer(_own_tokenizer(config), config.added_tokens)
    tokenizer = templates.choose(tokenizer, config.chat_template, config.default_system)
    check_template(tokenizer, config.tool_calls)
    return tokenizer


def _own_tokenizer(config: TrainConfig) -> Any:
    """The model's tokenizer, as it comes.

    Raises:
        ModelNotFound: names the model and says what can be done.
    """
    assert config.model is not None
    try:
        found = resolve_model(config.model, TOKENIZER_SUFFIXES)
        return AutoTokenizer.from_pretrained(found, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelNotFound(
            f"train.model: got {config.model!r}, for which no tokenizer can be loaded ({reason}); allowed: a "
            "folder with config.json, weights and tokenizer, or a model of the hub that this machine reaches "
            "or has in its cache"
        ) from error


@ray.remote(num_cpus=1)
def _encode(storage: Storage, shard: str, tokenizer: Any, config: TrainConfig, parts: int) -> Any:
    """The usable samples of each part, or pieces of them, and of all what the driver needs: id, part, tokens,
    reason, detail, cut and the added tokens in it."""
    columns = ["messages", "task", "lang", "source", "op"]
    (rows,) = _live_rows(storage, [WorkShard.from_json(shard)], columns)
    encoded = encode_rows(rows, tokenizer, config.context_length, config.too_long, config.tool_calls)
    part = pa.array([digest64("part", id) % parts for id in encoded["id"].to_pylist()], pa.int64())
    told = encoded.select(["id", "reason", "detail", "cut"])
    told = told.append_column("part", part)
    told = told.append_column("added", added_in(encoded["input_ids"], tokenizer, config.added_tokens))
    told = told.append_column("tokens", pc.list_value_length(encoded["input_ids"]).cast(pa.int64()))
    is_usable = pc.is_null(encoded["reason"])
    return *(encoded.filter(pc.and_(is_usable, pc.equal(part, p))) for p in range(parts)), told


def _encode_all(
    storage: Storage, shards: Sequence[WorkShard], tokenizer: Any, config: TrainConfig, parts: int
) -> tuple[list[list[Any]], pa.Table]:
    """References to the encoded samples of each part, which Ray keeps, and what is told of all samples."""
    shared = ray.put(tokenizer)
    encode = _encode.options(num_returns=parts + 1)
    made = [encode.remote(storage, s.to_json(), shared, config, parts) for s in shards]
    told = ray.get([references[-1] for references in made])
    return [[references[p] for references in made] for p in range(parts)], pa.concat_tables(told)


def _decide(
    told: pa.Table, is_held_out: Collection[str], groups: Mapping[str, int], config: TrainConfig
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """What was told of the samples, with `held_out` and `copies`; those that the mixing takes no time have a
    reason. And the finding on the mixing, if there is any."""
    ids = told["id"].to_pylist()
    held = np.array([id in is_held_out for id in ids], dtype=bool)
    is_usable = told["reason"].is_null().to_numpy()
    trained = np.flatnonzero(is_usable & ~held)
    copies = np.zeros(len(told), dtype=np.int64)
    copies[trained] = 1
    told = told.append_column("held_out", pa.array(held))
    if not config.mixing:
        return told.append_column("copies", pa.array(copies)), []
    tokens = told["tokens"].to_numpy()[trained]
    group = np.array([groups[ids[i]] for i in trained.tolist()], dtype=np.int64)
    copies[trained] = copies_of([ids[i] for i in trained.tolist()], tokens, group, config.mixing, config.seed)
    labels = group_labels(config.mixing)
    out = {i: labels[g] for i, g in zip(trained.tolist(), group.tolist(), strict=True) if not copies[i]}
    reason = pa.array([MIXED_OUT if i in out else None for i in range(len(told))], pa.string())
    detail = pa.array([out.get(i) for i in range(len(told))], pa.string())
    told = set_column(told, "reason", pc.coalesce(told["reason"], reason))
    told = set_column(told, "detail", pc.coalesce(told["detail"], detail))
    table = mixing_table(tokens, group, copies[trained], config.mixing)
    return told.append_column("copies", pa.array(copies)), [table]


def _counts(decided: pa.Table) -> Counts:
    """Of samples, however many pieces one is in: it passed if any of them can be learnt."""
    told = decided.select(["id", "reason"]).to_pylist()
    usable = {row["id"] for row in told if row["reason"] is None}
    reason_of = {row["id"]: row["reason"] for row in told if row["id"] not in usable}
    rules = dict(sorted(Counter(reason_of.values()).items()))
    return Counts(
        rows_in=len(usable) + len(reason_of), passed=len(usable), dropped_in=len(reason_of), rules=rules
    )


@ray.remote(num_cpus=1)
def _pack_part(
    storage: Storage,
    folder: str,
    part: int,
    decided: pa.Table,
    config: TrainConfig,
    fingerprint: str,
    *tables: pa.Table,
) -> tuple[dict[str, list[Record]], dict[str, PackedIndex]]:
    """Pack the samples of one part and commit them; of "train" and "eval" each the records and the index.

    Args:
        decided: `copies` and `held_out` of the samples in `tables`, in their order.
    """
    encoded = pa.concat_tables(tables).combine_chunks()
    # By id, so that the order and the cut of the curated rows decide nothing.
    by_id = pc.sort_indices(encoded["id"]).to_numpy()
    times = {
        "train": decided["copies"].to_numpy()[by_id],
        "eval": decided["held_out"].to_numpy()[by_id].astype(np.int64),
    }
    records, indexes = {}, {}
    for split, count in times.items():
        samples = encoded.take(pa.array(np.repeat(by_id, count))).combine_chunks()
        rows = pack(samples, config.context_length, packed=config.packed, seed=config.seed)
        indexes[split] = PackedIndex.of(rows)
        records[split] = _write_rows(storage, folder, f"{split}-{part:05d}", rows, fingerprint)
    return records, indexes


def _pack_all(
    storage: Storage,
    folder: str,
    tables: Sequence[Sequence[Any]],
    decided: pa.Table,
    config: TrainConfig,
    fingerprint: str,
) -> tuple[list[Record], dict[str, PackedIndex]]:
    """Pack all parts; returns the records and, for "train" and "eval", the index of all rows."""
    usable = decided.filter(pc.greater(decided["tokens"], 0))
    made = ray.get(
        [
            _pack_part.remote(
                storage,
                folder,
                part,
                usable.filter(pc.equal(usable["part"], part)).select(["copies", "held_out"]),
                config,
                fingerprint,
                *references,
            )
            for part, references in enumerate(tables)
        ]
    )
    records = [record for split in SPLITS for by_split, _ in made for record in by_split[split]]
    return records, {split: PackedIndex.joined([found[split] for _, found in made]) for split in SPLITS}


def _write_rows(storage: Storage, folder: str, unit: str, rows: pa.Table, fingerprint: str) -> list[Record]:
    """Commit packed rows in shards of about `TOKENS_PER_SHARD`; at least one."""
    mean = max(1.0, float(PackedIndex.of(rows).tokens.mean())) if len(rows) else 1.0
    size = max(1, int(TOKENS_PER_SHARD / mean))
    return [
        manifest.commit(
            storage,
            folder,
            f"{unit}-{start // size:05d}",
            rows.slice(start, size),
            base=None,
            input=fingerprint,
            counts=Counts(),
        )
        for start in range(0, max(len(rows), 1), size)
    ]


def _write_tokenizer(storage: Storage, folder: str, tokenizer: Any) -> dict[str, str]:
    """Store the tokenizer's files; returns their digests by name below the folder."""
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer.save_pretrained(temporary)
        return {
            f"{TOKENIZER}/{file.name}": storage.write_bytes(
                f"{folder}/{TOKENIZER}/{file.name}", file.read_bytes()
            ).sha256
            for file in sorted(Path(temporary).iterdir())
        }
